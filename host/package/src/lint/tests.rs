//! What is found in manifests and components that are each wrong in one way.

use super::*;
use crate::usage::tests::{manifest, surface};

const WHOLE: &str = "author = \"Ada\"\nhomepage = \"https://chess.example\"\nlicense = \"MIT\"\n";

const NOTHING: [(Severity, String); 0] = [];

/// Severity and subject of what is found.
fn found(rest: &str, built: Option<(&Surface, usize)>) -> Vec<(Severity, String)> {
    let built = built.map(|(surface, bytes)| Built { surface, bytes });
    let findings = lint(&manifest(&format!("{WHOLE}{rest}")), built);
    assert!(
        findings.iter().all(|finding| !finding.why.is_empty()),
        "{findings:?}"
    );
    findings
        .into_iter()
        .map(|finding| (finding.severity, finding.about))
        .collect()
}

fn asks(name: &str, value: &str) -> String {
    format!("[[capability]]\nname = \"{name}\"\nreason = \"because\"\nvalues = [\"{value}\"]\n")
}

#[test]
fn a_plugin_that_says_who_made_it_and_asks_for_nothing_is_clean() {
    assert_eq!(found("", Some((&surface(&[], &["inbound"]), 1000))), NOTHING);
}

#[test]
fn what_people_look_for_is_advised() {
    let findings = lint(&manifest(""), None);
    let about: Vec<_> = findings.iter().map(|finding| finding.about.as_str()).collect();
    assert_eq!(about, ["author", "homepage", "license"]);
    assert!(
        findings
            .iter()
            .all(|finding| finding.severity == Severity::Advice)
    );
}

#[test]
fn a_wide_right_is_a_warning_and_a_narrow_one_is_none() {
    for (name, wide, narrow) in [
        ("tcp.connect", "engine.lan:*", "engine.lan:9000"),
        ("tcp.connect", "engine.lan:1-1000", "engine.lan:9000-9010"),
        ("udp.connect", "0.0.0.0:53", "192.0.2.1:53"),
        ("tcp.listen", "0.0.0.0:80", "127.0.0.1:*"),
        ("udp.bind", "[::]:5353", "[::1]:5353"),
        ("protocols", "/peerup/*/1.0.0", "/peerup/web/1.0.0"),
        ("directories", "/home/ada:ro", "/home/ada/chess:rw"),
        ("directories", "/root:ro", "/srv/chess:rw"),
        ("directories", "/etc/chess:rw", "/etc/chess:ro"),
        ("directories", "/srv:rw", "/var/lib/chess:rw"),
        ("store", "2GB", "10MB"),
        ("environment", "GITHUB_TOKEN", "LANG"),
    ] {
        let about = format!("capability {name}");
        assert_eq!(
            found(&asks(name, wide), None),
            [(Severity::Warning, about)],
            "{wide}"
        );
        assert_eq!(found(&asks(name, narrow), None), NOTHING, "{narrow}");
    }
}

#[test]
fn capabilities_are_held_against_the_component() {
    let calls = surface(&[("peerup:plugin/tcp@0.1.1", &["connect"])], &[]);
    let about = |name: &str| format!("capability {name}");
    assert_eq!(
        found("", Some((&calls, 1))),
        [(Severity::Error, about("tcp.connect"))]
    );
    let store = asks("store", "10MB");
    let found = found(&store, Some((&calls, 1)));
    assert_eq!(
        found,
        [
            (Severity::Error, about("tcp.connect")),
            (Severity::Warning, about("store"))
        ]
    );
}

#[test]
fn a_list_of_names_that_is_only_looked_up_in_is_more_than_needed() {
    let find = [("peerup:plugin/name-list@0.1.1", &["find"][..])];
    let rest = "[[capability]]\nname = \"names.list\"\nreason = \"because\"\n";
    let about = "capability names.list".to_owned();
    assert_eq!(
        found(rest, Some((&surface(&find, &["service"]), 1))),
        [(Severity::Advice, about)]
    );
    assert_eq!(found(rest, Some((&surface(&find, &["resolver"]), 1))), NOTHING);
    let both = [("peerup:plugin/name-list@0.1.1", &["find", "entries"][..])];
    assert_eq!(found(rest, Some((&surface(&both, &["service"]), 1))), NOTHING);
}

#[test]
fn protocols_of_its_own_need_no_grant_and_those_of_another_do() {
    let own = "protocols = [\"/peerup/p/chess/game/1.0.0\"]\n[[capability]]\nname = \"protocols\"\nreason = \"plays\"\n";
    assert_eq!(
        found(own, None),
        [(Severity::Advice, "capability protocols".to_owned())]
    );
    let shared = own.replace("/p/chess/", "/p/board/");
    assert_eq!(found(&shared, None), [(Severity::Advice, "protocols".to_owned())]);
}

#[test]
fn exports_and_the_manifest_have_to_agree() {
    let command = "[[command]]\nname = \"play\"\nsummary = \"Plays.\"\n";
    let serves = "protocols = [\"/peerup/p/chess/game/1.0.0\"]\n";
    let one = |severity, about: &str| vec![(severity, about.to_owned())];
    let runs = surface(&[], &["command"]);
    let answers = surface(&[], &["answer"]);
    assert_eq!(found(command, Some((&runs, 1))), NOTHING);
    assert_eq!(found("", Some((&runs, 1))), one(Severity::Warning, "command"));
    assert_eq!(
        found(command, Some((&answers, 1))),
        one(Severity::Error, "command")
    );
    assert_eq!(
        found(serves, Some((&answers, 1))),
        one(Severity::Error, "protocols")
    );
    let settings = surface(&[("peerup:plugin/settings@0.1.1", &["get"])], &[]);
    let schema = "[settings.depth]\ntype = \"integer\"\ndescription = \"How far.\"\n";
    assert_eq!(found("", Some((&settings, 1))), one(Severity::Advice, "settings"));
    assert_eq!(found(schema, Some((&settings, 1))), NOTHING);
    assert_eq!(
        found(schema, Some((&answers, 1))),
        one(Severity::Warning, "settings")
    );
}

#[test]
fn another_contract_than_the_component_was_built_for_is_an_error() {
    let built = surface(&[], &["inbound"]);
    let older = manifest(WHOLE);
    let older = Manifest {
        contract: "0.1.0".to_owned(),
        ..older
    };
    let findings = lint(
        &older,
        Some(Built {
            surface: &built,
            bytes: 1,
        }),
    );
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::Error);
    assert!(findings[0].why.contains("contract = \"0.1.1\""), "{findings:?}");
}

#[test]
fn size_has_a_budget_and_a_limit() {
    let any = surface(&[], &["inbound"]);
    let of = |bytes| found("", Some((&any, bytes)));
    assert_eq!(of(LARGE_COMPONENT_BYTES), NOTHING);
    assert_eq!(
        of(LARGE_COMPONENT_BYTES + 1),
        [(Severity::Warning, "size".to_owned())]
    );
    assert_eq!(of((64 << 20) + 1), [(Severity::Error, "size".to_owned())]);
}
