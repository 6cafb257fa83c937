//! Rights: what is asked for, what would be written, and what an upgrade adds.

use super::*;

fn manifest(rest: &str) -> Manifest {
    let text =
        format!("name = \"chess\"\nversion = \"0.1.0\"\ncontract = \"0.1.0\"\nsummary = \"Plays.\"\n{rest}");
    Manifest::parse(&text).unwrap()
}

fn capability(name: &str, values: &str) -> String {
    format!("[[capability]]\nname = \"{name}\"\nreason = \"for {name}\"\nvalues = [{values}]\n")
}

#[test]
fn protocols_without_values_are_those_that_it_serves_but_for_its_own() {
    let asks = "protocols = [\"/peerup/p/chess/game/1.0.0\", \"/peerup/ping/1.0.0\"]\n";
    let wanted = Rights::wanted(&manifest(&format!("{asks}{}", capability("protocols", ""))));
    assert_eq!(wanted.to_string(), "protocols (/peerup/ping/1.0.0)");
    let own = manifest(&format!(
        "protocols = [\"/peerup/p/chess/game/1.0.0\"]\n{}",
        capability("protocols", "")
    ));
    assert!(Rights::wanted(&own).is_empty());
    assert!(missing(&own, &Rights::default()).is_empty());
}

#[test]
fn wanted_rights_become_the_grants_of_the_config_and_back() {
    let asks = [
        capability("protocols", "\"/peerup/*/1.0.0\""),
        capability("tcp.connect", "\"localhost:80\", \"[::1]:8000-8010\""),
        capability("tcp.listen", "\"127.0.0.1:*\""),
        capability("names.resolve", ""),
        capability("peers.read", ""),
        capability("peers.addresses", ""),
    ];
    let wanted = Rights::wanted(&manifest(&asks.concat()));
    let grants = wanted.to_grants().unwrap();
    assert!(grants.allows_protocol("chess", "/peerup/web/1.0.0"));
    assert!(grants.allows_connect("localhost:80") && !grants.allows_connect("localhost:81"));
    assert!(grants.allows_listen("127.0.0.1:0") && grants.allows_resolve() && grants.allows_peer_addresses());
    assert_eq!(Rights::granted(&grants), wanted);
}

#[test]
fn lines_carry_the_reasons_and_join_words_of_one_key() {
    let asks = [capability("peers.read", ""), capability("peers.addresses", "")].concat();
    let manifest = manifest(&asks);
    let lines = Rights::wanted(&manifest).lines(Some(&manifest));
    assert_eq!(
        lines,
        [GrantLine {
            path: &["peers"],
            values: vec!["read".to_owned(), "addresses".to_owned()],
            single: false,
            reasons: vec![
                "peers.read: for peers.read".to_owned(),
                "peers.addresses: for peers.addresses".to_owned(),
            ],
        }]
    );
}

#[test]
fn a_capability_whose_values_the_operator_chooses_is_asked_for_but_not_written() {
    let manifest = manifest(&capability("tcp.connect", ""));
    let wanted = Rights::wanted(&manifest);
    assert!(wanted.has(CapabilityName::TcpConnect));
    assert!(wanted.decided().is_empty() && wanted.lines(None).is_empty());
    assert_eq!(missing(&manifest, &wanted.decided()).len(), 1);
    let mut granted = Rights::default();
    granted
        .add(CapabilityName::TcpConnect, Some("localhost:80"))
        .unwrap();
    assert!(missing(&manifest, &granted).is_empty());
}

#[test]
fn rights_are_added_one_by_one_in_their_form() {
    let mut rights = Rights::default();
    assert!(rights.add(CapabilityName::TcpConnect, None).is_err());
    assert!(rights.add(CapabilityName::TcpConnect, Some("*:80")).is_err());
    assert!(rights.add(CapabilityName::PeersRead, Some("all")).is_err());
    rights.add(CapabilityName::PeersRead, None).unwrap();
    rights.add(CapabilityName::Store, Some("1MB")).unwrap();
    rights.add(CapabilityName::Store, Some("2MB")).unwrap();
    assert_eq!(rights.to_string(), "store (2MB), peers.read");
}

#[test]
fn two_versions_differ_by_what_is_added_removed_and_widened() {
    let before = manifest(
        &[
            capability("tcp.connect", "\"localhost:80\", \"other:1\""),
            capability("peers.read", ""),
            capability("store", "\"1MB\""),
        ]
        .concat(),
    );
    let after = manifest(
        &[
            capability("tcp.connect", "\"localhost:*\", \"third:2\""),
            capability("store", "\"2MB\""),
            capability("names.resolve", ""),
        ]
        .concat(),
    );
    let difference = RightsDifference::between(&before, &after);
    assert_eq!(
        difference.added.to_string(),
        "tcp.connect (third:2), names.resolve"
    );
    assert_eq!(
        difference.removed.to_string(),
        "tcp.connect (other:1), peers.read"
    );
    let widened: Vec<_> = difference
        .widened
        .iter()
        .map(|one| format!("{} {} -> {}", one.name, one.before, one.after))
        .collect();
    assert_eq!(
        widened,
        ["tcp.connect localhost:80 -> localhost:*", "store 1MB -> 2MB"]
    );
    assert!(RightsDifference::between(&after, &after).is_empty());
    let less = RightsDifference::between(&after, &before);
    assert!(less.widened.is_empty(), "{less:?}");
}

#[test]
fn what_becomes_required_is_told() {
    let optional = capability("peers.read", "").replace("values = []", "optional = true");
    let difference =
        RightsDifference::between(&manifest(&optional), &manifest(&capability("peers.read", "")));
    assert_eq!(difference.now_required, [CapabilityName::PeersRead]);
}

#[test]
fn an_upgrade_asks_for_more_only_where_nobody_has_answered_yet() {
    let before = manifest(&capability("tcp.connect", "\"localhost:80\""));
    let more = manifest(
        &[
            capability("tcp.connect", "\"localhost:80-81\""),
            capability("peers.read", ""),
        ]
        .concat(),
    );
    let granted = |text: Option<&str>| {
        let mut rights = Rights::default();
        if let Some(value) = text {
            rights.add(CapabilityName::TcpConnect, Some(value)).unwrap();
        }
        rights
    };
    // The operator declined what the version before asked for: the same wish is no news.
    assert!(asks_more(&before, &before, &granted(None)).is_empty());
    let asked = asks_more(&before, &more, &granted(Some("localhost:80")));
    assert_eq!(asked.to_string(), "tcp.connect (localhost:80-81), peers.read");
    let asked = asks_more(&before, &more, &granted(Some("localhost:*")));
    assert_eq!(asked.to_string(), "peers.read");
}
