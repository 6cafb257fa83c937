//! What a command does at a terminal and not elsewhere: colours, tables that fit, and the questions of `init`.

use std::{fs, process::Command};

use crate::support::{Node, Outcome, Terminal, bare, free_port};

fn coloured(mut command: Command) -> Command {
    command.env_remove("NO_COLOR").env("TERM", "xterm");
    command
}

#[test]
fn colours_are_for_terminals() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    for arguments in [&["doctor"][..], &["resolve", "nobody"]] {
        let (_, shown) = Terminal::start(coloured(node.command(arguments))).ends();
        assert!(shown.contains("\u{1b}["), "{shown:?}");
        let (_, shown) = Terminal::start(node.command(arguments)).ends();
        assert!(!shown.contains("\u{1b}["), "NO_COLOR: {shown:?}");
        let mut never = coloured(node.command(arguments));
        never.args(["--color", "never"]);
        let (_, shown) = Terminal::start(never).ends();
        assert!(!shown.contains("\u{1b}["), "{shown:?}");
        let piped = Outcome::of(coloured(node.command(arguments)));
        assert!(
            !(piped.stdout + &piped.stderr).contains("\u{1b}["),
            "{arguments:?}"
        );
    }
}

#[test]
fn tables_fit_the_terminal_and_a_pipe_gets_all() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    let host = format!("{}.example:80", "a".repeat(60));
    node.run(&["service", "add", "web", &host]).ok();
    let (_, shown) = Terminal::start_with_columns(node.command(&["service", "list"]), 40).ends();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 2, "{shown}");
    assert!(lines[1].starts_with("web") && lines[1].contains('…'), "{shown}");
    assert!(lines[1].ends_with("enabled  tcp-proxy"), "{shown}");
    assert!(lines.iter().all(|line| line.chars().count() <= 40), "{shown}");
    assert!(node.run(&["service", "list"]).ok().contains(&host));
}

#[test]
fn every_column_shows_in_80_columns() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    let (peer, relay) = (
        "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",
        "/dns4/relay.example.org/udp/7777/quic-v1/p2p/12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5",
    );
    node.run(&["auth", "add", peer, "--name", "zanzibar", "--expires", "30d"])
        .ok();
    node.run(&["relay", "add", relay]).ok();
    let at_80 = |arguments: &[&str]| {
        let (_, shown) = Terminal::start_with_columns(node.command(arguments), 80).ends();
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        shown.lines().map(str::to_owned).collect::<Vec<_>>()
    };

    let shown = at_80(&["relay", "list"]);
    assert!(shown[0].ends_with("STATE      LAST ERROR"), "{shown:#?}");
    assert!(shown[1].ends_with("no daemon  -"), "{shown:#?}");
    assert!(
        shown[1].starts_with("12D3Koo") && shown[1].contains("SUKPH5  /dns4/relay"),
        "{shown:#?}"
    );

    let shown = at_80(&["auth", "list"]);
    assert!(
        shown[0].contains("EXPIRES") && shown[0].ends_with("COMMENT"),
        "{shown:#?}"
    );
    assert!(shown[1].contains("6nXTN  all  "), "{shown:#?}");
    // Whole seconds, for people; a program gets what there is.
    let time = shown[1].split_whitespace().nth_back(1).unwrap();
    assert!(time.len() == 20 && time.ends_with('Z'), "{shown:#?}");
    let entries = node.run(&["auth", "list", "--json"]).json();
    let told = entries[0]["expires"].as_str().unwrap();
    assert!(told.starts_with(time.trim_end_matches('Z')), "{told}");
}

fn wizard(node: &Node) -> Terminal {
    let folder = node.folder.join("made");
    Terminal::start(bare(&node.folder, &["init", "--dir", folder.to_str().unwrap()]))
}

const NAME: &str = "What others call this machine";
const RELAY: &str = "A relay";
const ID: &str = "Its peer id";
const PORT: &str = "The port";
const MAKE: &str = "Make it? [Y/n]";

#[test]
fn init_asks_checks_each_answer_and_shows_what_comes_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::blank(folder.path(), "blank");
    let mut terminal = wizard(&node);
    terminal.shows(NAME);
    terminal.types("not a name\n");
    terminal.shows("is not valid");
    terminal.types("Attic\n");
    terminal.shows(RELAY);
    terminal.types("/ip4/203.0.113.5/tcp/7777\n");
    terminal.shows("the relay /ip4");
    terminal.types("203.0.113.5\n");
    terminal.shows(ID);
    terminal.types("nobody\n");
    terminal.shows("with the id nobody");
    terminal.types("12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5\n");
    terminal.shows(PORT);
    terminal.types("70000\n");
    terminal.shows("from 1 to 65535");
    let port = free_port();
    terminal.types(&format!("{port}\n"));
    terminal.shows(MAKE);
    assert!(
        !node.file("made").exists(),
        "nothing is written before the last answer"
    );
    terminal.types("\n");
    let (code, shown) = terminal.ends();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("next: start it with `peerup daemon`"), "{shown}");
    let config = node.read("made/config.yaml");
    for text in [
        "name: attic",
        "/ip4/203.0.113.5/tcp/7777/p2p/12D3KooWK99",
        &port.to_string(),
    ] {
        assert!(config.contains(text), "{text}: {config}");
    }
    Outcome::of(bare(&node.folder, &["config", "validate", "made/config.yaml"])).ok();
}

#[test]
fn enter_takes_what_is_usual() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::blank(folder.path(), "blank");
    let folder = node.folder.join("made");
    let mut command = bare(&node.folder, &["init", "--name", "attic", "--dir"]);
    command.arg(&folder);
    let mut terminal = Terminal::start(command);
    for question in [RELAY, PORT, MAKE] {
        terminal.shows(question);
        terminal.types("\n");
    }
    let (code, shown) = terminal.ends();
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains(NAME), "a flag answers: {shown}");
    assert!(node.file("made/identity.key").exists());
}

#[test]
fn leaving_the_questions_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::blank(folder.path(), "blank");
    for (last, keys, expected) in [
        (NAME, "\u{3}", 130),
        (RELAY, "\u{3}", 130),
        (MAKE, "\u{3}", 130),
        (MAKE, "n\n", 130),
        (PORT, "\u{4}", 1),
    ] {
        let mut terminal = wizard(&node);
        for question in [NAME, RELAY, PORT, MAKE] {
            terminal.shows(question);
            if question == last {
                break;
            }
            terminal.types(if question == NAME { "attic\n" } else { "\n" });
        }
        terminal.types(keys);
        let (code, shown) = terminal.ends();
        assert_eq!(code, expected, "{last}: {shown}");
        let left = fs::read_dir(&node.folder).unwrap().count();
        assert_eq!(left, 0, "{last}: {shown}");
    }
}
