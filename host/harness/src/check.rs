//! Comparing what came with what a scenario expects.

use serde_json::Value;

/// Whether `actual` has everything that `expected` says; what it has besides does not matter. Lists are compared
/// whole.
pub(crate) fn covers(actual: &Value, expected: &Value) -> bool {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => expected
            .iter()
            .all(|(key, value)| actual.get(key).is_some_and(|found| covers(found, value))),
        (Value::Array(actual), Value::Array(expected)) => {
            actual.len() == expected.len()
                && actual
                    .iter()
                    .zip(expected)
                    .all(|(found, wanted)| covers(found, wanted))
        }
        _ => actual == expected,
    }
}

/// Bytes for people: text where they are some, else hexadecimal digits; cut where they are many.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const SHOWN: usize = 200;
    let cut = bytes.get(..bytes.len().min(SHOWN)).unwrap_or(bytes);
    let text = match std::str::from_utf8(cut) {
        Ok(text) => format!("{text:?}"),
        Err(_) => cut.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    match bytes.len() > SHOWN {
        true => format!("{text}... ({} bytes)", bytes.len()),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_expectation_is_a_part_of_what_came() {
        let actual =
            json!({"answer": "hi", "peer": {"id": "x", "name": "home"}, "list": [1, {"a": 2, "b": 3}]});
        for part in [
            json!({}),
            json!({"answer": "hi"}),
            json!({"peer": {"name": "home"}}),
            json!({"list": [1, {"a": 2}]}),
        ] {
            assert!(covers(&actual, &part), "{part}");
        }
        for other in [
            json!({"answer": "ho"}),
            json!({"more": null}),
            json!({"list": [1]}),
            json!([]),
        ] {
            assert!(!covers(&actual, &other), "{other}");
        }
    }
}
