//! Any object of the API as text for people: a list as a table whose cells are parted by tabs, an object as lines
//! `key: value`. What comes first says what it is about.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What says which thing it is, and how it is, in this order; the rest follows by name.
const FIRST: [&str; 17] = [
    "name",
    "rule",
    "target",
    "peer",
    "id",
    "peer_id",
    "service",
    "protocol",
    "address",
    "local_address",
    "listen_address",
    "addresses",
    "path",
    "transport",
    "via",
    "state",
    "enabled",
];

/// Where a column stands.
type Place = (usize, String);

/// Renders an answer.
pub(super) fn render(value: &Value) -> String {
    match value {
        Value::Array(items) if items.is_empty() => "none\n".to_owned(),
        Value::Array(items) => table(items),
        Value::Object(fields) => {
            let mut lines = BTreeMap::new();
            flatten("", fields, &mut lines);
            lines
                .into_iter()
                .map(|((_, key), value)| format!("{key}: {value}\n"))
                .collect()
        }
        other => format!("{}\n", cell(other)),
    }
}

/// A heading, and a line for each item. Lists of objects are left out: they have no room in a cell.
fn table(items: &[Value]) -> String {
    let rows: Vec<BTreeMap<Place, String>> = items.iter().map(row).collect();
    let mut columns: Vec<&Place> = rows.iter().flat_map(BTreeMap::keys).collect();
    columns.sort();
    columns.dedup();
    // What is an object in one item and missing in another has its columns by the parts alone.
    let is_part = |(_, of): &Place| {
        let parts = format!("{of}.");
        columns.iter().any(|(_, name)| name.starts_with(&parts))
    };
    let columns: Vec<&Place> = columns.iter().copied().filter(|place| !is_part(place)).collect();
    let names: Vec<&str> = columns.iter().map(|(_, name)| name.as_str()).collect();
    let mut text = names.join("\t");
    text.push('\n');
    for row in &rows {
        let cells = columns
            .iter()
            .map(|place| row.get(*place).map_or("-", String::as_str));
        text.push_str(&cells.collect::<Vec<_>>().join("\t"));
        text.push('\n');
    }
    text
}

fn row(item: &Value) -> BTreeMap<Place, String> {
    let mut cells = BTreeMap::new();
    match item {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Object(parts) => {
                        let parts = parts.iter().filter(|(_, part)| is_simple(part));
                        cells.extend(
                            parts.map(|(part, value)| (place(&format!("{name}.{part}")), cell(value))),
                        );
                    }
                    value if is_simple(value) => {
                        cells.insert(place(name), cell(value));
                    }
                    _ => {}
                }
            }
        }
        other => {
            cells.insert(place("value"), cell(other));
        }
    }
    cells
}

/// Gives each value a line of its own, named by the way to it.
fn flatten(above: &str, fields: &Map<String, Value>, lines: &mut BTreeMap<Place, String>) {
    for (key, value) in fields {
        let key = format!("{above}{key}");
        match value {
            Value::Object(fields) if !fields.is_empty() => flatten(&format!("{key}."), fields, lines),
            Value::Array(items) if !is_simple(value) => {
                for (number, item) in (1_usize..).zip(items) {
                    match item {
                        Value::Object(fields) => flatten(&format!("{key}.{number}."), fields, lines),
                        other => drop(lines.insert(place(&format!("{key}.{number}")), cell(other))),
                    }
                }
            }
            value => drop(lines.insert(place(&key), cell(value))),
        }
    }
}

fn place(name: &str) -> Place {
    let rank = FIRST.iter().position(|first| *first == name);
    (rank.unwrap_or(FIRST.len()), name.to_owned())
}

/// Whether a value has room in a cell.
fn is_simple(value: &Value) -> bool {
    let is_scalar = |value: &Value| !value.is_object() && !value.is_array();
    match value {
        Value::Array(items) => items.iter().all(is_scalar),
        value => is_scalar(value),
    }
}

/// One cell, without what would end it.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.replace(['\t', '\n', '\r'], " "),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Object(fields) if fields.is_empty() => "-".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_has_a_heading_with_what_identifies_first_and_no_json() {
        let list = json!([
            {"bytes": 3, "connections": [{"path": "DIRECT"}], "id": "12D3", "limit": null, "name": null, "state": "up\tor so"},
            {"addresses": ["a", "b"], "bytes": 4, "id": "12D4", "limit": {"bytes": 7, "deep": {"x": 1}}, "name": "home", "state": ""},
        ]);
        let expected = "name\tid\taddresses\tstate\tbytes\tlimit.bytes\n\
            -\t12D3\t-\tup or so\t3\t-\n\
            home\t12D4\ta,b\t-\t4\t7\n";
        assert_eq!(render(&list), expected);
    }

    #[test]
    fn an_empty_list_says_so() {
        assert_eq!(render(&json!([])), "none\n");
    }

    #[test]
    fn an_object_has_a_line_for_each_value() {
        let status = json!({
            "config": {"file": "/x", "pending": null}, "name": "home", "problems": [], "relays": [{"rtt_ms": 1.5, "state": "held"}], "grants": {},
        });
        let expected = "name: home\nconfig.file: /x\nconfig.pending: -\ngrants: -\nproblems: -\n\
            relays.1.rtt_ms: 1.5\nrelays.1.state: held\n";
        assert_eq!(render(&status), expected);
    }
}
