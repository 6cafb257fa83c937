//! Requests made from the document, right and wrong in every way that it leaves open.
//!
//! Whatever is sent: an answer comes, its status is one that the document has for the endpoint and none of a broken
//! server, and an error is in the envelope with a known code.

use http_body_util::Full;
use hyper::{Method, StatusCode};
use peerup_model::{ErrorCode, Failure};
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Map, Value, json};

use crate::support::Node;

/// Requests that are sent, unless `PROPTEST_CASES` says otherwise.
const CASES: usize = 800;
/// The seed, so that a failure comes again, unless `PROPTEST_RNG_SEED` says otherwise.
const SEED: u8 = 11;

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[derive(Debug, Clone)]
struct Case {
    method: String,
    target: String,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    /// The row of the document, where method and path are those of one.
    listed: Option<Value>,
}

/// One operation of the document.
#[derive(Debug, Clone)]
struct Operation {
    method: String,
    path: String,
    description: Value,
}

fn operations() -> Vec<Operation> {
    let document = peerup_api::openapi();
    let mut found = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, description) in operations.as_object().unwrap() {
            // It does what it says; another test has it.
            if path != "/v1/shutdown" {
                found.push(Operation {
                    method: method.to_uppercase(),
                    path: path.clone(),
                    description: description.clone(),
                });
            }
        }
    }
    found
}

/// Follows a reference.
fn resolved(schema: &Value) -> Value {
    match schema["$ref"].as_str() {
        Some(target) => {
            let document = peerup_api::openapi();
            document.pointer(target.trim_start_matches('#')).unwrap().clone()
        }
        None => schema.clone(),
    }
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(vec![
            "web", "home", "ping", "tcp-proxy", "names-local", "proxy-1", "invite-1", "127.0.0.1:0", "10m", "localhost:80",
            "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5", "12D3KooW", "2030-01-01T00:00:00Z", "", ".", "..",
            "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5", "true", "-1", "0", "null",
            "18446744073709551616", "{name}", "%", "\u{0}", "a\r\nb: c", "\u{202e}\u{1f9a6}", "../../etc/passwd", "$(id)",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "[a-z0-9-]{1,70}",
        1 => "[ -~]{0,200}",
    ]
}

/// Any JSON, some levels deep.
fn any_json() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((word(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
    .boxed()
}

/// A value that a schema allows.
fn of_schema(schema: &Value) -> BoxedStrategy<Value> {
    let schema = resolved(schema);
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().cloned().unwrap_or_default(),
        kind => kind.clone(),
    };
    match kind.as_str() {
        Some("object") => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let mut fields: BoxedStrategy<Map<String, Value>> = Just(Map::new()).boxed();
            for (key, of) in schema["properties"].as_object().into_iter().flatten() {
                let needed = required.iter().any(|name| name == key);
                let key = key.clone();
                let value = match needed {
                    true => of_schema(of).prop_map(Some).boxed(),
                    false => prop::option::of(of_schema(of)).boxed(),
                };
                fields = (fields, value)
                    .prop_map(move |(mut fields, value)| {
                        if let Some(value) = value {
                            fields.insert(key.clone(), value);
                        }
                        fields
                    })
                    .boxed();
            }
            fields.prop_map(Value::Object).boxed()
        }
        Some("array") => prop::collection::vec(of_schema(&schema["items"]), 0..4)
            .prop_map(Value::from)
            .boxed(),
        Some("string") => word().prop_map(Value::from).boxed(),
        Some("boolean") => any::<bool>().prop_map(Value::from).boxed(),
        Some("integer") => prop_oneof![0..20_u64, any::<u64>()].prop_map(Value::from).boxed(),
        _ => any_json(),
    }
}

/// Changes one field of an object, takes it away, or adds one.
fn broken(valid: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    (valid, any::<prop::sample::Index>(), any_json(), word(), 0..3)
        .prop_map(|(mut value, at, other, name, how)| {
            let Some(fields) = value.as_object_mut() else {
                return other;
            };
            let key = match fields.is_empty() {
                true => name.clone(),
                false => fields.keys().nth(at.index(fields.len())).unwrap().clone(),
            };
            match how {
                0 => fields.insert(key, other),
                1 => fields.remove(&key),
                _ => fields.insert(name, other),
            };
            value
        })
        .boxed()
}

fn body_of(operation: &Operation) -> BoxedStrategy<Vec<u8>> {
    let schema = &operation.description["requestBody"]["content"]["application/json"]["schema"];
    let valid = match schema {
        Value::Null => Just(json!({})).boxed(),
        schema => of_schema(schema),
    };
    let text = |value: Value| value.to_string().into_bytes();
    prop_oneof![
        6 => valid.clone().prop_map(text),
        3 => broken(valid.clone()).prop_map(text),
        2 => any_json().prop_map(text),
        1 => prop::collection::vec(any::<u8>(), 0..300),
        // Cut short.
        1 => valid.clone().prop_map(move |value| {
            let mut whole = text(value);
            whole.pop();
            whole
        }),
        1 => Just(Vec::new()),
        // Deep.
        1 => select(vec![128_usize, 100_000]).prop_map(|depth| "[".repeat(depth).into_bytes()),
        1 => Just([r#"{"peer":"#.repeat(5000), "1".to_owned(), "}".repeat(5000)].concat().into_bytes()),
        // Large: just short of the limit, and past it.
        1 => select(vec![(1_usize << 20) - 20, (1 << 20) + 1])
            .prop_map(|size| format!("{{\"name\":\"{}\"}}", "x".repeat(size)).into_bytes()),
        // One long text where the document has a short one.
        1 => (valid.clone(), any::<prop::sample::Index>()).prop_map(move |(mut value, at)| {
            let texts = value.as_object_mut().into_iter().flat_map(|fields| fields.values_mut());
            let texts: Vec<&mut Value> = texts.filter(|value| value.is_string()).collect();
            if !texts.is_empty() {
                let at = at.index(texts.len());
                *texts.into_iter().nth(at).unwrap() = "1".repeat(1 << 19).into();
            }
            text(value)
        }),
    ]
    .boxed()
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
            other => format!("%{other:02x}"),
        })
        .collect()
}

fn target_of(operation: &Operation) -> BoxedStrategy<String> {
    let mut path: BoxedStrategy<String> = Just(operation.path.clone()).boxed();
    for parameter in operation.description["parameters"].as_array().unwrap() {
        if parameter["in"] == "path" {
            let braced = format!("{{{}}}", parameter["name"].as_str().unwrap());
            // Bytes that are no UTF-8 among them.
            let value =
                prop_oneof![9 => word().prop_map(|text| encoded(&text)), 1 => Just("%ff%fe".to_owned())];
            path = (path, value)
                .prop_map(move |(path, value)| path.replace(&braced, &value))
                .boxed();
        }
    }
    let named = operation.description["parameters"].as_array().unwrap().iter();
    let mut names: Vec<String> = named
        .filter(|parameter| parameter["in"] == "query")
        .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
        .collect();
    names.push("other".to_owned());
    let value = prop_oneof![
        select(vec!["true", "false", "json", "text", "3"]).prop_map(str::to_owned),
        word().prop_map(|text| encoded(&text)),
        Just("%ff".to_owned()),
    ];
    let query = prop::collection::vec((select(names), value), 0..3);
    (path, query)
        .prop_map(|(path, query)| {
            let pairs: Vec<String> = query
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            match pairs.is_empty() {
                true => path,
                false => format!("{path}?{}", pairs.join("&")),
            }
        })
        .boxed()
}

fn cases() -> BoxedStrategy<Case> {
    let of_operation = |operation: Operation| {
        let other = select(vec![
            "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "QUERY",
        ]);
        let method = prop_oneof![
            8 => Just((operation.method.clone(), true)),
            1 => other.prop_map(|method| (method.to_owned(), false)),
        ];
        let headers = prop::collection::vec(
            select(vec![
                ("accept", "text/plain"),
                ("accept", "*/*"),
                ("content-type", "text/html"),
                ("content-type", "application/x-www-form-urlencoded"),
                ("content-encoding", "gzip"),
                ("expect", "100-continue"),
                ("x-forwarded-host", "evil.example"),
            ]),
            0..3,
        );
        (method, target_of(&operation), headers, body_of(&operation)).prop_map(
            move |((method, own), target, headers, body)| Case {
                method,
                target,
                headers,
                body,
                listed: own.then(|| operation.description.clone()),
            },
        )
    };
    select(operations()).prop_flat_map(of_operation).boxed()
}

/// What the document has for an answer of this status.
fn check(case: &Case, status: StatusCode, body: &[u8]) {
    let shown = || {
        let sent = String::from_utf8_lossy(&case.body);
        let sent: String = sent.chars().take(300).collect();
        let got = String::from_utf8_lossy(body);
        format!(
            "{} {} {:?} {sent:?} -> {status} {got}",
            case.method, case.target, case.headers
        )
    };
    if let Some(listed) = &case.listed {
        let known = listed["responses"].get(status.as_str()).is_some();
        assert!(known, "a status that is not in the document: {}", shown());
    }
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{}", shown());
    assert!(
        !status.is_server_error() || matches!(status.as_u16(), 502 | 504),
        "{}",
        shown()
    );
    if status == StatusCode::OK || case.method == "HEAD" {
        return;
    }
    if let Some(text) = std::str::from_utf8(body)
        .ok()
        .filter(|text| text.starts_with("error: "))
    {
        let asked = case.target.contains("format=text") || case.headers.contains(&("accept", "text/plain"));
        assert!(asked, "nobody asked for text: {}", shown());
        let is_known = |line: &str| line.starts_with("error: ") || line.starts_with("next: ");
        assert!(text.lines().all(is_known), "{}", shown());
        return;
    }
    let envelope: Value = serde_json::from_slice(body).unwrap_or_else(|_| panic!("no envelope: {}", shown()));
    let failure: Failure = serde_json::from_value(envelope["error"].clone())
        .unwrap_or_else(|_| panic!("no failure: {}", shown()));
    assert!(ErrorCode::ANSWERED.contains(&failure.code), "{}", shown());
    assert_eq!(failure.code.http_status(), status.as_u16(), "{}", shown());
    assert!(!failure.message.is_empty(), "{}", shown());
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_sent_is_answered_as_the_document_says() {
    let node = Node::start().await;
    let seed = from_environment("PROPTEST_RNG_SEED").unwrap_or(SEED);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = cases();
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    for _ in 0..from_environment("PROPTEST_CASES").unwrap_or(CASES) {
        let case = strategy.new_tree(&mut runner).unwrap().current();
        let method = Method::from_bytes(case.method.as_bytes()).unwrap();
        let mut request = node.request(method.as_str(), &case.target);
        for (name, value) in &case.headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(case.body.clone().into())).unwrap();
        let outcome = node.send(request).await;
        check(&case, outcome.status, &outcome.body);
        *statuses.entry(outcome.status.as_u16()).or_default() += 1;
    }
    // Otherwise it tests less than it says.
    for status in [200, 400, 404] {
        assert!(statuses.contains_key(&status), "{statuses:?}");
    }
    let alive = node.call("GET", "/v1/status", "").await;
    assert_eq!(alive.status, StatusCode::OK);
}
