//! `plugin.toml`: what is read, and every refusal with its place.

use proptest::prelude::*;

use super::*;
use crate::problem::{Problem, is_visible};

const GOOD: &str = r#"
name = "chess"
version = "0.1.0"
contract = "0.1.0"
summary = "Plays."
author = "Somebody"
homepage = "https://chess.example"
license = "MIT"
protocols = ["/peerup/p/chess/game/1.0.0"]

[[capability]]
name = "tcp.connect"
reason = "asks the engine"
optional = true
values = ["localhost:9000"]

[[command]]
name = "play"
summary = "Plays a game."

[[command.flag]]
name = "peer"
type = "string"
summary = "Against whom."
required = true
positional = true

[[command.flag]]
name = "clock"
type = "duration"
summary = "Time for each."
default = "5m"

[settings.level]
type = "integer"
description = "How well it plays."
default = 3
minimum = 1
maximum = 0x10

[settings.engine]
type = "string"
description = "Which engine."
enum = ["fast", "good"]
required = true
"#;

fn problems(text: &str) -> Vec<Problem> {
    match Manifest::parse(text) {
        Err(ManifestError::Invalid { problems }) => problems,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refuses(text: &str, words: &[&str]) {
    let told = Manifest::parse(text).unwrap_err().to_string();
    for word in words {
        assert!(told.contains(word), "no {word:?} in {told}");
    }
}

#[test]
fn reads_what_a_plugin_says_about_itself() {
    let manifest = Manifest::parse(GOOD).unwrap();
    assert_eq!(manifest.name.as_str(), "chess");
    assert_eq!(manifest.capabilities[0].name, CapabilityName::TcpConnect);
    assert_eq!(manifest.capabilities[0].values, ["localhost:9000"]);
    let [peer, clock] = &manifest.commands[0].flags[..] else {
        panic!("{:?}", manifest.commands);
    };
    assert!(peer.positional && peer.required && peer.kind == FlagType::String);
    assert_eq!(clock.default, Some("5m".into()));
    let settings = manifest.settings.settings().unwrap();
    assert_eq!(settings["level"].maximum, Some(16.into()));
    assert!(settings["engine"].required);
}

#[test]
fn reads_every_plugin_of_this_repository() {
    let plugins = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    let mut seen = 0;
    for folder in [plugins.clone(), plugins.join("test-guests")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path().join("plugin.toml");
            if let Ok(text) = std::fs::read_to_string(&path) {
                Manifest::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                seen += 1;
            }
        }
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn all_that_is_wrong_is_told_at_once_with_its_place() {
    let text =
        "nmae = \"chess\"\nversion = \"1\"\ncontract = \"0.1.0\"\n[[capability]]\nname = \"tcp.conect\"\n";
    let found: Vec<(usize, usize, String)> = problems(text)
        .into_iter()
        .map(|problem| (problem.line, problem.column, problem.key))
        .collect();
    for (line, column, key) in [
        (1, 1, "nmae"),
        (1, 1, "name"),
        (1, 1, "summary"),
        (2, 11, "version"),
        (5, 8, "capability[0].name"),
        (4, 1, "capability[0].reason"),
    ] {
        assert!(
            found.contains(&(line, column, key.to_owned())),
            "{line}:{column} {key} in {found:?}"
        );
    }
    assert_eq!(found.len(), 6, "{found:?}");
    refuses(text, &["did you mean `name`", "did you mean `tcp.connect`"]);
}

#[test]
fn a_text_that_is_no_toml_is_told_with_its_line() {
    let found = problems("name = \"chess\"\nversion = \n");
    assert!(found.iter().any(|problem| problem.line == 2), "{found:?}");
    assert!(
        found.iter().all(|problem| problem.message != "is missing"),
        "{found:?}"
    );
}

#[test]
fn refuses_values_of_the_wrong_form() {
    for (old, new, words) in [
        (
            "\"0.1.0\"\ncontract",
            "\"0.1\"\ncontract",
            &["version", "1.2.3"][..],
        ),
        ("\"chess\"", "\"Chess\"", &["name", "lower-case"]),
        ("\"Plays.\"", "\"\"", &["summary", "is empty"]),
        ("\"Plays.\"", "\"a\\nb\"", &["summary", "more than one line"]),
        (
            "\"Plays.\"",
            "7",
            &["summary", "a text in quotes", "a whole number"],
        ),
        ("https://", "ftp://", &["homepage"]),
        ("[\"/peerup", "[\"peerup", &["protocols[0]", "slash"]),
        (
            "localhost:9000",
            "*:9000",
            &["capability[0].values[0]", "every host"],
        ),
        ("optional = true", "optional = 1", &["optional", "true or false"]),
        ("\"5m\"", "\"soon\"", &["command[0].flag[1].default", "a time"]),
        (
            "\"duration\"",
            "\"time\"",
            &["command[0].flag[1].type", "there are: string"],
        ),
        ("\"clock\"", "\"peer\"", &["command[0].flag[1].name", "twice"]),
        ("\"play\"", "\"-play\"", &["command[0].name", "letter or digit"]),
        (
            "default = 3",
            "default = 0",
            &["settings.level.default", "less than 1"],
        ),
        (
            "default = 3",
            "default = 17",
            &["settings.level.default", "more than 16"],
        ),
        (
            "default = 3",
            "default = \"x\"",
            &["settings.level.default", "a whole number"],
        ),
        (
            "\"integer\"",
            "\"int\"",
            &["settings.level.type", "did you mean `integer`"],
        ),
        (
            "minimum",
            "minimun",
            &["settings.level.minimun", "did you mean `minimum`"],
        ),
        ("[settings.engine]", "[settings.\"a b\"]", &["settings.a b"]),
        (
            "positional = true",
            "positional = true\ndefault = \"x\"",
            &["no default"],
        ),
    ] {
        assert!(GOOD.contains(old), "{old}");
        refuses(&GOOD.replacen(old, new, 1), words);
    }
}

#[test]
fn nothing_in_a_manifest_can_change_what_a_terminal_shows() {
    for hidden in ["\\u202e", "\\u001b[2J", "\\u200b"] {
        refuses(&GOOD.replace("Plays.", hidden), &["summary", "does not show"]);
        refuses(
            &GOOD.replace("asks the engine", hidden),
            &["reason", "does not show"],
        );
        let told = Manifest::parse(&format!("\"{hidden}x\" = 1\n"))
            .unwrap_err()
            .to_string();
        assert!(told.chars().all(|c| c == '\n' || is_visible(c)), "{told:?}");
    }
}

#[test]
fn refuses_what_is_too_long_or_asked_for_twice() {
    refuses(&" ".repeat(MAX_MANIFEST_BYTES + 1), &["65536"]);
    refuses(&GOOD.replace("Plays.", &"x".repeat(500)), &["longer than 400"]);
    let capability = "[[capability]]\nname = \"store\"\nreason = \"r\"\n";
    refuses(
        &format!("{GOOD}{capability}{capability}"),
        &["store is asked for twice"],
    );
    let many: String = (0..70)
        .map(|n| format!("[[command]]\nname = \"w{n}\"\nsummary = \"s\"\n"))
        .collect();
    refuses(
        &format!("{}{many}", GOOD.split("[[").next().unwrap()),
        &["more than 64"],
    );
}

#[test]
fn settings_of_the_operator_are_checked_and_filled_up() {
    let schema = Manifest::parse(GOOD).unwrap().settings;
    let given = |value: serde_json::Value| value.as_object().unwrap().clone();
    let good = given(serde_json::json!({ "engine": "fast" }));
    assert_eq!(schema.check(&good), []);
    assert_eq!(schema.with_defaults(&good)["level"], 3);
    assert_eq!(schema.with_defaults(&good)["engine"], "fast");
    for (bad, word) in [
        (
            serde_json::json!({}),
            "settings.engine: is missing: Which engine.",
        ),
        (
            serde_json::json!({ "engine": "slow" }),
            "none of \"fast\", \"good\"",
        ),
        (
            serde_json::json!({ "engine": "good", "level": 99 }),
            "99 is more than 16",
        ),
        (
            serde_json::json!({ "engine": "good", "level": 1.5 }),
            "expected a whole number",
        ),
        (
            serde_json::json!({ "engine": "good", "levle": 1 }),
            "did you mean `level`",
        ),
    ] {
        let told: Vec<String> = schema
            .check(&given(bad))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(told.iter().any(|one| one.contains(word)), "{word}: {told:?}");
    }
    let any = SettingsSchema::default();
    assert_eq!(any.check(&given(serde_json::json!({ "what": ["ever"] }))), []);
}

proptest! {
    #[test]
    fn parsing_never_panics(text in ".{0,200}") {
        let _ = Manifest::parse(&text);
    }

    #[test]
    fn any_damage_gives_an_error_with_a_place_or_a_manifest(at in 0..GOOD.len(), with in "[\"\\[\\]=\\n a-z0-9]{0,3}") {
        let damaged = format!("{}{with}{}", &GOOD[..at], &GOOD[at + 1..]);
        if let Err(ManifestError::Invalid { problems }) = Manifest::parse(&damaged) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|problem| problem.line <= 1 + damaged.matches('\n').count()));
        }
    }
}
