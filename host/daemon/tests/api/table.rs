//! The router and the table of endpoints say the same.

use std::collections::BTreeSet;

use hyper::StatusCode;
use peerup_api::{ENDPOINTS, Produces, Verb};
use serde_json::{Value, json};

use crate::support::Node;

const ROUTER: &str = include_str!("../../src/http.rs");
const VERBS: [Verb; 4] = [Verb::Get, Verb::Post, Verb::Put, Verb::Delete];

/// Returns what each `.route(PATH, METHODS)` of the router serves.
fn routed() -> BTreeSet<(String, Verb)> {
    let mut found = BTreeSet::new();
    for part in ROUTER.split(".route(").skip(1) {
        let mut depth = 1_i32;
        let whole: String = part
            .chars()
            .take_while(|letter| {
                depth += match letter {
                    '(' => 1,
                    ')' => -1,
                    _ => 0,
                };
                depth > 0
            })
            .collect();
        let path = whole.split('"').nth(1).expect("a path in quotes").to_owned();
        for verb in VERBS {
            let word = format!("{}(", verb.as_str().to_lowercase());
            let is_there = whole.match_indices(&word).any(|(at, _)| {
                !whole[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_')
            });
            if is_there {
                found.insert((path.clone(), verb));
            }
        }
    }
    found
}

#[test]
fn every_route_is_in_the_table_and_every_row_is_routed() {
    let listed: BTreeSet<(String, Verb)> = ENDPOINTS
        .iter()
        .map(|endpoint| (endpoint.path.to_owned(), endpoint.verb))
        .collect();
    assert_eq!(listed.len(), ENDPOINTS.len(), "a row stands twice");
    let routed = routed();
    let missing: Vec<_> = routed.difference(&listed).collect();
    assert!(
        missing.is_empty(),
        "add these to host/api/src/endpoints.rs: {missing:?}"
    );
    let unknown: Vec<_> = listed.difference(&routed).collect();
    assert!(
        unknown.is_empty(),
        "nothing in host/daemon/src/http.rs serves: {unknown:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_answered_and_other_methods_and_paths_are_not() {
    let node = Node::start().await;
    let paths: BTreeSet<&str> = ENDPOINTS.iter().map(|endpoint| endpoint.path).collect();
    for path in paths {
        for verb in VERBS {
            let listed = ENDPOINTS
                .iter()
                .find(|endpoint| endpoint.path == path && endpoint.verb == verb);
            if path == "/v1/shutdown" && verb == Verb::Post {
                continue;
            }
            let target: String = path.replace(['{', '}'], "");
            // A static path may hide behind one with a parameter, which takes other methods.
            if listed.is_none() && target == "/v1/plugins/disable-all" {
                continue;
            }
            let outcome = node.call(verb.as_str(), &target, "").await;
            let message = String::from_utf8_lossy(&outcome.body).into_owned();
            let unrouted = message.contains("there is no endpoint") || message.contains(" takes no ");
            assert_eq!(unrouted, listed.is_none(), "{verb:?} {target}: {outcome:?}");
            if outcome.status == StatusCode::OK {
                let kind = match listed.unwrap().produces {
                    Produces::Lines(_) => "application/x-ndjson",
                    _ => "application/json",
                };
                let kind = match listed.unwrap().produces {
                    Produces::Text(kind) => kind,
                    _ => kind,
                };
                let told = outcome.kind.split(';').next().unwrap_or_default();
                assert_eq!(told, kind, "{verb:?} {target}");
            }
        }
    }
    let outcome = node.call("GET", "/v1/nothing", "").await;
    assert_eq!(
        (outcome.status, outcome.code().as_str()),
        (StatusCode::NOT_FOUND, "not_found")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_served_as_it_is_written_down() {
    let node = Node::start().await;
    let served = node.call("GET", "/v1/openapi.json", "").await.json();
    let kept = include_str!("../../../../docs/openapi.json");
    assert_eq!(served, serde_json::from_str::<Value>(kept).unwrap());
    assert_eq!(served["openapi"], json!("3.1.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_fields_that_the_document_requires() {
    let node = Node::start().await;
    let document = peerup_api::openapi();
    for endpoint in ENDPOINTS {
        let reads_all =
            endpoint.path_parameters().count() == 0 && matches!(endpoint.produces, Produces::Data(_));
        if endpoint.verb != Verb::Get || !reads_all {
            continue;
        }
        let answer = node.call("GET", endpoint.path, "").await.json();
        let schema = &document["paths"][endpoint.path]["get"]["responses"]["200"]["content"]["application/json"]
            ["schema"];
        fits(&document, schema, &answer, endpoint.path);
    }
}

/// Checks types and required fields; enough for what the document uses.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(target) = schema["$ref"].as_str() {
        let target = document.pointer(target.trim_start_matches('#')).unwrap();
        return fits(document, target, value, at);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let nothing = choices.iter().any(|choice| choice["type"] == "null");
        if nothing && value.is_null() {
            return;
        }
        let some = choices.iter().find(|choice| choice["type"] != "null").unwrap();
        return fits(document, some, value, at);
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is_one = kinds.contains(&kind) || kind == "integer" && kinds.contains(&"number");
    assert!(is_one, "{at} is {kind}, not {kinds:?}");
    for field in schema["required"].as_array().into_iter().flatten() {
        let field = field.as_str().unwrap();
        assert!(value.get(field).is_some(), "{at} has no {field}");
    }
    if let (Some(known), Some(fields)) = (schema["properties"].as_object(), value.as_object()) {
        for (key, value) in fields {
            let schema = known
                .get(key)
                .unwrap_or_else(|| panic!("{at}.{key} is not in the document"));
            fits(document, schema, value, &format!("{at}.{key}"));
        }
    }
    for item in value.as_array().into_iter().flatten() {
        fits(document, &schema["items"], item, &format!("{at}[]"));
    }
}
