//! Whether a plugin has what its manifest cannot do without.

use peerup_model::Grants;
use peerup_package::{Capability, Manifest};
use serde_json::Value;

/// Returns why a plugin may not start with these grants, with the line of YAML that would let it; none where it may.
///
/// This asks only whether anything of the kind is granted. What exactly is checked at each call, by the engine.
pub(super) fn missing(manifest: &Manifest, grants: &Grants) -> Option<String> {
    let granted = serde_json::to_value(grants).unwrap_or_default();
    let mut wanted = manifest.capabilities.iter();
    let missing =
        wanted.find(|capability| !capability.optional && !is_granted(&granted, capability.name.as_str()))?;
    let name = &manifest.name;
    Some(format!(
        "{} is not granted to the plugin {name}, which cannot do without: {}; to allow it, write in the config: \
         plugins.{name}.grants.{}",
        missing.name,
        missing.reason,
        line(manifest, missing)
    ))
}

/// Looks a capability up in the grants as the config writes them: `tcp.connect` is a key below a key, `peers.read` a
/// word in a list.
fn is_granted(granted: &Value, capability: &str) -> bool {
    let (key, word) = match capability.split_once('.') {
        None => (capability, None),
        Some((key, word)) => (key, Some(word)),
    };
    match (granted.get(key), word) {
        (None | Some(Value::Null), _) => false,
        (Some(Value::Object(fields)), Some(word)) => fields.get(word).is_some_and(|value| !is_empty(value)),
        (Some(Value::Array(words)), Some(word)) => words.iter().any(|known| known.as_str() == Some(word)),
        (Some(value), _) => !is_empty(value),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn line(manifest: &Manifest, missing: &Capability) -> String {
    let wanted = missing.name.as_str();
    match wanted.split_once('.') {
        None if wanted == "protocols" && !manifest.protocols.is_empty() => {
            let quoted: Vec<String> = manifest
                .protocols
                .iter()
                .map(|protocol| format!("\"{protocol}\""))
                .collect();
            format!("protocols: [{}]", quoted.join(", "))
        }
        None if wanted == "store" => "store: 10MB".to_owned(),
        None => format!("{wanted}: [...]"),
        Some((key @ ("tcp" | "udp"), word)) => format!("{key}.{word}: [\"HOST:PORT\"]"),
        Some(("peers", "addresses")) => "peers: [read, addresses]".to_owned(),
        Some((key, word)) => format!("{key}: [{word}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(capability: &str, optional: bool) -> Manifest {
        Manifest::parse(&format!(
            "name = \"chess\"\nversion = \"1.0.0\"\ncontract = \"0.1.0\"\nsummary = \"Plays.\"\n\
             protocols = [\"/peerup/chess/1.0.0\"]\n[[capability]]\nname = \"{capability}\"\n\
             reason = \"asks the engine\"\noptional = {optional}\n"
        ))
        .unwrap()
    }

    fn grants(text: &str) -> Grants {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_missing_is_told_with_the_line_that_grants_it_and_that_line_helps() {
        for (capability, line, granted) in [
            (
                "protocols",
                "protocols: [\"/peerup/chess/1.0.0\"]",
                r#"{"protocols": ["/peerup/chess/1.0.0"]}"#,
            ),
            (
                "tcp.connect",
                "tcp.connect: [\"HOST:PORT\"]",
                r#"{"tcp": {"connect": ["localhost:1"]}}"#,
            ),
            (
                "tcp.listen",
                "tcp.listen: [\"HOST:PORT\"]",
                r#"{"tcp": {"listen": ["127.0.0.1:1"]}}"#,
            ),
            ("names.resolve", "names: [resolve]", r#"{"names": ["resolve"]}"#),
            ("peers.read", "peers: [read]", r#"{"peers": ["read"]}"#),
            (
                "peers.addresses",
                "peers: [read, addresses]",
                r#"{"peers": ["read", "addresses"]}"#,
            ),
        ] {
            let wants = manifest(capability, false);
            let text = missing(&wants, &Grants::default()).unwrap();
            assert!(text.ends_with(&format!("plugins.chess.grants.{line}")), "{text}");
            assert!(text.contains("asks the engine"), "{text}");
            assert_eq!(missing(&wants, &grants(granted)), None, "{capability}");
            assert_eq!(missing(&manifest(capability, true), &Grants::default()), None);
        }
    }

    #[test]
    fn a_grant_of_another_kind_does_not_count() {
        let elsewhere = grants(r#"{"tcp": {"listen": ["127.0.0.1:1"]}, "peers": ["read"]}"#);
        assert!(missing(&manifest("tcp.connect", false), &elsewhere).is_some());
        assert!(missing(&manifest("peers.addresses", false), &elsewhere).is_some());
    }
}
