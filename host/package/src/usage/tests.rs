//! Each capability, declared or not, against each kind of import.

use super::*;

/// A component that imports these functions.
pub(crate) fn surface(imports: &[(&str, &[&str])], exports: &[&str]) -> Surface {
    let mut text = "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m))\n\
                    (func $f (canon lift (core func $i \"f\")))\n"
        .to_owned();
    for (name, functions) in imports {
        let functions: String = functions
            .iter()
            .map(|function| format!("(export \"{function}\" (func))"))
            .collect();
        text.push_str(&format!("(import \"{name}\" (instance {functions}))\n"));
    }
    for name in exports {
        text.push_str(&format!("(instance ${name} (export \"run\" (func $f)))\n"));
        text.push_str(&format!(
            "(export \"peerup:plugin/{name}@0.1.1\" (instance ${name}))\n"
        ));
    }
    text.push(')');
    Surface::read(&wat::parse_str(&text).unwrap()).unwrap()
}

pub(crate) fn manifest(rest: &str) -> Manifest {
    let head = "name = \"chess\"\nversion = \"1.0.0\"\ncontract = \"0.1.1\"\nsummary = \"Plays.\"\n";
    Manifest::parse(&format!("{head}{rest}")).unwrap()
}

fn asks(names: &[&str]) -> Manifest {
    let rest: String = names
        .iter()
        .map(|name| format!("[[capability]]\nname = \"{name}\"\nreason = \"because\"\n"))
        .collect();
    manifest(&rest)
}

fn statuses(manifest: &Manifest, surface: &Surface) -> Vec<(String, UseStatus)> {
    let uses = capability_uses(manifest, surface);
    uses.into_iter()
        .map(|one| (one.name.to_string(), one.status))
        .collect()
}

#[test]
fn an_import_of_the_contract_is_a_use() {
    for (capability, interface, function) in [
        ("tcp.connect", "tcp", "connect"),
        ("tcp.listen", "tcp", "listen"),
        ("udp.bind", "udp", "bind"),
        ("udp.connect", "udp", "connect"),
        ("store", "store", "apply-if"),
        ("names.resolve", "names", "resolve"),
        ("names.list", "name-list", "find"),
        ("peers.read", "peers", "describe"),
        ("peers.read", "events", "subscribe"),
    ] {
        let name = format!("peerup:plugin/{interface}@0.1.1");
        let using = surface(&[(&name, &[function])], &[]);
        let found = |manifest: &Manifest, surface: &Surface| statuses(manifest, surface);
        let one = |status| vec![(capability.to_owned(), status)];
        assert_eq!(found(&asks(&[capability]), &using), one(UseStatus::Used));
        assert_eq!(found(&asks(&[]), &using), one(UseStatus::Undeclared));
        assert_eq!(
            found(&asks(&[capability]), &surface(&[], &[])),
            one(UseStatus::Unused)
        );
    }
    let shapes_only = surface(&[("peerup:plugin/tcp@0.1.1", &[])], &[]);
    assert!(statuses(&asks(&[]), &shapes_only).is_empty());
}

#[test]
fn opening_streams_asks_for_no_declaration_and_serving_what_is_not_its_own_does() {
    let opens = surface(&[("peerup:plugin/streams@0.1.1", &["open"])], &[]);
    let protocols = |status| vec![("protocols".to_owned(), status)];
    assert!(statuses(&asks(&[]), &opens).is_empty());
    assert_eq!(
        statuses(&asks(&["protocols"]), &opens),
        protocols(UseStatus::Used)
    );
    let quiet = surface(&[], &[]);
    assert_eq!(
        statuses(&asks(&["protocols"]), &quiet),
        protocols(UseStatus::Unused)
    );
    let own = manifest("protocols = [\"/peerup/p/chess/game/1.0.0\"]\n");
    assert!(statuses(&own, &quiet).is_empty());
    let foreign = manifest("protocols = [\"/peerup/p/go/game/1.0.0\"]\n");
    let uses = capability_uses(&foreign, &quiet);
    assert_eq!(uses[0].status, UseStatus::Undeclared);
    assert_eq!(uses[0].evidence, ["serves /peerup/p/go/game/1.0.0"]);
}

#[test]
fn what_tools_add_of_wasi_asks_for_no_declaration() {
    let everything = surface(
        &[
            ("wasi:cli/environment@0.2.6", &["get-environment"]),
            ("wasi:filesystem/preopens@0.2.6", &["get-directories"]),
            ("wasi:filesystem/types@0.2.6", &["get-flags", "open-at"]),
        ],
        &[],
    );
    assert!(statuses(&asks(&[]), &everything).is_empty());
    let both = asks(&["directories", "environment"]);
    let used = |status| {
        vec![
            ("directories".to_owned(), status),
            ("environment".to_owned(), status),
        ]
    };
    assert_eq!(statuses(&both, &everything), used(UseStatus::Used));
    assert_eq!(statuses(&both, &surface(&[], &[])), used(UseStatus::Unused));
    // The library of C looks at these before main, whatever the program does.
    let started = surface(
        &[
            ("wasi:filesystem/preopens@0.2.6", &["get-directories"]),
            ("wasi:filesystem/types@0.2.6", &["get-flags"]),
        ],
        &[],
    );
    assert_eq!(
        statuses(&asks(&["directories"]), &started),
        [("directories".to_owned(), UseStatus::Unused)]
    );
}

#[test]
fn addresses_are_used_where_peers_are_asked() {
    let peers = surface(&[("peerup:plugin/peers@0.1.1", &["connected"])], &[]);
    let both = asks(&["peers.read", "peers.addresses"]);
    assert!(
        statuses(&both, &peers)
            .iter()
            .all(|(_, status)| *status == UseStatus::Used)
    );
    let events = surface(&[("peerup:plugin/events@0.1.1", &["subscribe"])], &[]);
    assert_eq!(statuses(&both, &events)[1].1, UseStatus::Unused);
}
