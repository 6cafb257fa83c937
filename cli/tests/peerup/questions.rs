//! What `plugin install` and `plugin upgrade` ask at a terminal, and what each answer does.

use std::fs;

use peerup_package::AuthorKey;

use crate::{
    plugins::{ASKS, SECTION, files, node, package},
    support::{Node, Terminal},
};

const INSTALL: &str = "Install chess with these rights? [y/N] ";
const UPGRADE: &str = "Upgrade chess with these rights? [y/N] ";

/// What a newer version asks for on top.
fn more() -> String {
    format!("{ASKS}[[capability]]\nname = \"names.resolve\"\nreason = \"knows names\"\n")
}

fn at_terminal(node: &Node, arguments: &[&str]) -> Terminal {
    Terminal::start(node.command(arguments))
}

#[test]
fn yes_installs_what_was_shown() {
    let (_folder, node) = node();
    let file = package(&node, "0.1.0", ASKS, Some(1));
    for (number, answer) in ["y\n", "YES\n"].into_iter().enumerate() {
        let mut terminal = at_terminal(&node, &["plugin", "install", &file]);
        terminal.shows(INSTALL);
        terminal.types(answer);
        let (code, shown) = terminal.ends();
        assert_eq!(code, 0, "{shown}");
        for text in [
            "signed by ed25519:",
            "asks the engine",
            SECTION,
            "installed chess 0.1.0",
        ] {
            assert!(shown.contains(text), "{number} {text}: {shown}");
        }
        assert!(node.read("config.yaml").contains(SECTION));
        node.run(&["plugin", "remove", "chess"]).ok();
    }
}

#[test]
fn anything_but_yes_installs_nothing() {
    let (_folder, node) = node();
    let before = files(&node);
    let file = package(&node, "0.1.0", ASKS, None);
    for answer in ["n\n", "\n", "yess\n", "\u{4}"] {
        let mut terminal = at_terminal(&node, &["plugin", "install", &file]);
        terminal.shows(INSTALL);
        terminal.types(answer);
        let (code, shown) = terminal.ends();
        assert_eq!(code, 4, "{answer:?}: {shown}");
        assert!(
            shown.contains("nothing was installed") && shown.contains("--grant CAP=VALUE"),
            "{shown}"
        );
        assert_eq!(files(&node), before, "{answer:?}");
    }
}

#[test]
fn ctrl_c_at_the_question_ends_it_and_changes_nothing() {
    let (_folder, node) = node();
    let before = files(&node);
    let file = package(&node, "0.1.0", ASKS, None);
    let mut terminal = at_terminal(&node, &["plugin", "install", &file]);
    terminal.shows(INSTALL);
    terminal.types("\u{3}");
    let (code, shown) = terminal.ends();
    assert_eq!(code, 130, "{shown}");
    assert_eq!(files(&node), before);
}

/// Getting it watches for signals, and they stay watched.
#[cfg(feature = "oci")]
#[test]
fn ctrl_c_ends_the_question_after_a_registry_was_asked_too() {
    let (_runtime, server) = crate::registry::registry(crate::registry::server::Auth::None);
    let (_folder, node) = node();
    let before = files(&node);
    let place = server.reference("chess:1").to_string();
    let file = package(&node, "0.1.0", ASKS, None);
    node.run(&["plugin", "publish", &file, &place]).ok();
    let mut terminal = at_terminal(&node, &["plugin", "install", &place]);
    terminal.shows(INSTALL);
    terminal.types("\u{3}");
    let (code, shown) = terminal.ends();
    assert_eq!(code, 130, "{shown}");
    assert_eq!(files(&node), before);
}

#[test]
fn a_flag_answers_before_anybody_is_asked() {
    let (_folder, node) = node();
    let file = package(&node, "0.1.0", ASKS, None);
    let mut terminal = at_terminal(&node, &["plugin", "install", &file, "--yes-as-declared"]);
    let (code, shown) = terminal.ends();
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains("[y/N]"), "{shown}");
}

#[test]
fn an_upgrade_asks_for_what_is_new_alone() {
    let (_folder, node) = node();
    let one = package(&node, "0.1.0", ASKS, Some(1));
    let two = package(&node, "0.2.0", &more(), Some(1));
    node.run(&["plugin", "install", &one, "--yes-as-declared"]).ok();
    let before = files(&node);

    for (keys, expected) in [("n\n", 4), ("\u{3}", 130)] {
        let mut terminal = at_terminal(&node, &["plugin", "upgrade", "chess", &two]);
        terminal.shows(UPGRADE);
        terminal.types(keys);
        let (code, shown) = terminal.ends();
        assert_eq!(code, expected, "{shown}");
        assert!(shown.contains("+ names.resolve: knows names"), "{shown}");
        assert_eq!(files(&node), before, "{keys:?}");
    }

    let mut terminal = at_terminal(&node, &["plugin", "upgrade", "chess", &two]);
    terminal.shows(UPGRADE);
    terminal.types("y\n");
    let (code, shown) = terminal.ends();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("upgraded chess 0.2.0"), "{shown}");
    assert!(
        node.read("config.yaml").contains("- resolve"),
        "{}",
        node.read("config.yaml")
    );

    let three = package(&node, "0.3.0", &more(), Some(1));
    let mut terminal = at_terminal(&node, &["plugin", "upgrade", "chess", &three]);
    let (code, shown) = terminal.ends();
    assert_eq!(code, 0, "{shown}");
    assert!(
        !shown.contains("[y/N]"),
        "the same rights need no answer: {shown}"
    );
}

#[test]
fn another_author_is_refused_and_nobody_is_asked() {
    let (_folder, node) = node();
    let one = package(&node, "0.1.0", ASKS, Some(1));
    node.run(&["plugin", "install", &one, "--yes-as-declared"]).ok();
    let before = files(&node);
    let keys = [1, 2].map(|seed| AuthorKey::from_seed(&[seed; 32]).id().to_string());
    let other = package(&node, "0.2.0", &more(), Some(2));
    for word in ["upgrade", "install"] {
        let arguments = match word {
            "upgrade" => vec!["plugin", "upgrade", "chess", &other],
            _ => vec!["plugin", "install", &other],
        };
        let mut terminal = at_terminal(&node, &arguments);
        let (code, shown) = terminal.ends();
        assert_eq!(code, 4, "{shown}");
        assert!(!shown.contains("[y/N]"), "{shown}");
        assert!(keys.iter().all(|key| shown.contains(key)), "{shown}");
        assert!(shown.contains("next: ask its author"), "{shown}");
        assert_eq!(files(&node), before);
    }
    // What was refused is not kept either.
    assert_eq!(fs::read_dir(node.file("plugins/sha256")).unwrap().count(), 1);
}
