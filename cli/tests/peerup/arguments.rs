//! Words and flags: their help, their order, their twins in the environment, and what is no use of them.

use crate::support::{Node, Outcome, bare};

/// Each word with the words under it.
const WORDS: [(&str, &[&str]); 25] = [
    ("init", &[]),
    ("whoami", &[]),
    (
        "daemon",
        &[
            "start",
            "status",
            "stop",
            "services",
            "peers",
            "ping",
            "connect",
            "disconnect",
            "reload",
            "install",
            "uninstall",
        ],
    ),
    ("proxy", &["add", "list", "remove", "enable", "disable"]),
    ("ping", &[]),
    ("traceroute", &[]),
    ("resolve", &[]),
    ("why", &[]),
    ("peers", &[]),
    ("events", &[]),
    ("alerts", &["list", "test"]),
    ("status", &[]),
    ("auth", &["add", "list", "remove", "validate"]),
    ("service", &["add", "remove", "enable", "disable", "list"]),
    ("relay", &["add", "list", "remove"]),
    ("invite", &[]),
    ("join", &[]),
    (
        "config",
        &[
            "validate", "show", "status", "plan", "apply", "confirm", "rollback", "schema",
        ],
    ),
    (
        "plugin",
        &[
            "list",
            "inspect",
            "enable",
            "disable",
            "disable-all",
            "reload",
            "logs",
            "run",
            "trace",
            "test",
            "dev",
            "new",
            "build",
            "check",
            "pack",
            "keygen",
            "install",
            "upgrade",
            "remove",
            "rollback",
            "confirm",
            "publish",
        ],
    ),
    ("doctor", &[]),
    ("logs", &[]),
    ("debug-bundle", &[]),
    ("completion", &[]),
    ("man", &[]),
    ("version", &[]),
];

fn help(words: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = words.to_vec();
    arguments.push("--help");
    Outcome::of(bare(folder.path(), &arguments)).ok()
}

#[test]
fn the_help_names_every_word_and_the_exit_codes() {
    let text = help(&[]);
    for (word, _) in WORDS {
        assert!(
            text.lines().any(|line| line.trim_start().starts_with(word)),
            "{word}: {text}"
        );
    }
    insta::assert_snapshot!("help", text);
}

#[test]
fn each_word_has_its_own_help() {
    for (word, words) in WORDS {
        let mut text = help(&[word]);
        for under in words {
            text.push_str(&format!("\n\n----- {word} {under}\n\n{}", help(&[word, under])));
        }
        insta::assert_snapshot!(format!("help-{word}"), text);
    }
}

#[test]
fn the_words_of_plugins_have_a_help_too() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| Outcome::of(bare(folder.path(), arguments));
    let text = help(&["forward"]);
    let usage = text.find("Usage: peerup forward").unwrap();
    assert!(!text.contains("What every command takes") && usage > 10, "{text}");
    assert_eq!(run(&["help", "forward"]).ok(), text);
    assert_eq!(run(&["--json", "help", "forward"]).ok(), text);
    let unknown = run(&["help", "nonsense"]);
    assert_eq!(unknown.code, 2, "{unknown:#?}");

    let node = Node::init(folder.path(), "home");
    let no_plugin = &["there is no plugin nope", "peerup plugin list"];
    node.run(&["plugin", "run", "--json", "nope", "x"])
        .fails(1, no_plugin);
    let no_word = &["tcp-proxy has no word \"nope\"", "its words are: forward"];
    node.run(&["plugin", "run", "--json", "tcp-proxy", "nope"])
        .fails(2, no_word);
    node.run(&["plugin", "run", "--json", "names-local", "x"])
        .fails(2, &["names-local has no words"]);
}

#[test]
fn a_repeated_flag_is_no_mistake_and_the_last_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Node::init(folder.path(), "one"), Node::init(folder.path(), "two"));
    let (first, last) = (one.config.to_str().unwrap(), two.config.to_str().unwrap());
    let words = [
        "--json", "--json", "whoami", "--config", first, "--json", "--config", last,
    ];
    assert_eq!(
        Outcome::of(bare(folder.path(), &words)).json()["peer_id"],
        two.peer_id()
    );
}

#[test]
fn flags_stand_before_and_after_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    let config = node.config.to_str().unwrap();
    let id = node.peer_id();
    for arguments in [
        ["--config", config, "--json", "resolve", &id],
        ["--json", "resolve", "--config", config, &id],
        ["resolve", &id, "--json", "--config", config],
    ] {
        let answer = Outcome::of(bare(folder.path(), &arguments)).json();
        assert_eq!(answer["peer_id"], id.as_str(), "{arguments:?}");
    }
}

#[test]
fn the_environment_names_the_config_and_a_flag_overrules_it() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Node::init(folder.path(), "one"), Node::init(folder.path(), "two"));

    let mut by_environment = bare(folder.path(), &["whoami"]);
    by_environment.env("PEERUP_CONFIG", &one.config);
    assert_eq!(Outcome::of(by_environment).ok(), one.peer_id());

    let mut by_flag = two.command(&["whoami"]);
    by_flag.env("PEERUP_CONFIG", &one.config);
    assert_eq!(Outcome::of(by_flag).ok(), two.peer_id());
}

#[test]
fn a_config_in_the_working_folder_comes_before_the_one_in_the_home() {
    let folder = tempfile::tempdir().unwrap();
    let (here, home) = (
        Node::init(folder.path(), "here"),
        Node::init(folder.path(), "home"),
    );
    std::fs::rename(&here.config, here.file("peerup.yaml")).unwrap();
    let xdg = here.folder.join("xdg").join("peerup");
    std::fs::create_dir_all(&xdg).unwrap();
    for name in ["config.yaml", "identity.key"] {
        std::fs::copy(home.file(name), xdg.join(name)).unwrap();
    }

    let in_home = Outcome::of({
        let mut command = bare(&here.folder, &["whoami"]);
        command.current_dir(folder.path());
        command
    });
    assert_eq!(in_home.ok(), home.peer_id());

    let own = Outcome::of(bare(&here.folder, &["whoami"])).ok();
    assert_ne!(own, home.peer_id());
}

#[test]
fn what_is_no_use_ends_with_2_and_says_where_the_help_is() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &[][..],
        &["nonsense"],
        &["ping"],
        &["ping", "home", "--count", "many"],
        &["traceroute"],
        &["traceroute", "home", "--timeout", "soon"],
        &["auth", "add"],
        &["daemon", "connect", "--peer", "home"],
        &["invite", "--ttl", "soon"],
        &["status", "--nonsense"],
    ] {
        let outcome = Outcome::of(bare(folder.path(), arguments));
        assert_eq!(outcome.code, 2, "{arguments:?}: {outcome:#?}");
        assert!(outcome.stdout.is_empty(), "{arguments:?}: {outcome:#?}");
        assert!(outcome.stderr.contains("--help"), "{arguments:?}: {outcome:#?}");
    }
}

#[test]
fn the_version_is_data() {
    let folder = tempfile::tempdir().unwrap();
    let text = Outcome::of(bare(folder.path(), &["version"])).ok();
    assert!(text.starts_with("peerup 0."), "{text}");
    let object = Outcome::of(bare(folder.path(), &["version", "--json"])).json();
    assert_eq!(object["name"], "peerup");
    assert!(
        object["version"].is_string() && object["contract"].is_string(),
        "{object}"
    );
}
