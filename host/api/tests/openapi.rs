//! The OpenAPI document is what the repository has, and whole.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step is a failed test"
)]

use std::{collections::BTreeSet, path::Path};

use peerup_api::{ENDPOINTS, openapi};
use peerup_model::ErrorCode;
use serde_json::Value;

#[test]
fn the_document_of_the_repository_is_the_one_that_the_code_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let made = format!("{}\n", serde_json::to_string_pretty(&openapi()).unwrap());
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/openapi.json is not what the code says; UPDATE_OPENAPI=1 writes it anew"
    );
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(target) if key == "$ref" => {
                        found.insert(target.to_owned());
                    }
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_nothing_is_left_over() {
    let document = openapi();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for target in &found {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
    }
    for kind in ["schemas", "responses"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            let target = format!("#/components/{kind}/{name}");
            assert!(found.contains(&target), "nothing uses {target}");
        }
    }
}

#[test]
fn every_endpoint_has_an_id_of_its_own_and_says_what_it_takes() {
    let document = openapi();
    let mut ids = BTreeSet::new();
    for endpoint in ENDPOINTS {
        let operation = &document["paths"][endpoint.path][endpoint.verb.as_str().to_lowercase()];
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap().to_owned()),
            "{operation}"
        );
        assert!(endpoint.summary.ends_with('.'), "{}", endpoint.path);
        assert_eq!(
            operation["requestBody"].is_object(),
            endpoint.body.is_some(),
            "{operation}"
        );
    }
    assert_eq!(ids.len(), ENDPOINTS.len());
}

#[test]
fn every_code_that_is_answered_stands_in_the_document() {
    let codes = openapi()["components"]["schemas"]["Error"]["properties"]["code"]["enum"].clone();
    for code in ErrorCode::ANSWERED {
        let word = serde_json::to_value(code).unwrap();
        assert!(codes.as_array().unwrap().contains(&word), "{word}");
        assert_ne!(code.http_status(), 200);
    }
}

/// Every request of the endpoints' table of `docs/DAEMON-API.md`: `METHOD /path`.
fn requests_of_the_page() -> BTreeSet<String> {
    const PAGE: &str = include_str!("../../../docs/DAEMON-API.md");
    let endpoints = PAGE.split("\n## Endpoints\n").nth(1).unwrap();
    let endpoints = endpoints.split("\n## ").next().unwrap();
    let rows = endpoints.lines().filter_map(|line| line.strip_prefix("| "));
    let mut found = BTreeSet::new();
    for cell in rows.map(|row| row.split(" | ").next().unwrap()) {
        let (mut methods, mut new) = (Vec::new(), true);
        for word in cell.split([' ', ',', ';']) {
            if ["GET", "POST", "PUT", "DELETE"].contains(&word) {
                if new {
                    methods.clear();
                }
                new = false;
                methods.push(word);
            } else if let Some(path) = word.strip_prefix("`/") {
                let path = path.split(['`', '[', '?']).next().unwrap();
                found.extend(methods.iter().map(|method| format!("{method} /{path}")));
                new = true;
            }
        }
    }
    found
}

#[test]
fn every_endpoint_stands_in_the_page_and_no_other_does() {
    let of_code = ENDPOINTS
        .iter()
        .map(|endpoint| format!("{} {}", endpoint.verb.as_str(), endpoint.path));
    assert_eq!(requests_of_the_page(), of_code.collect::<BTreeSet<String>>());
}
