//! Completions and the manual: what is generated holds, and a real shell completes with it.

use std::{fs, path::Path, process::Command};

use crate::support::{Node, Outcome, bare};

fn script(folder: &Path, shell: &str) -> String {
    Outcome::of(bare(folder, &["completion", shell])).ok()
}

/// Whether a program is there.
fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join(program).exists())
}

fn binaries() -> String {
    let own = Path::new(env!("CARGO_BIN_EXE_peerup")).parent().unwrap();
    format!("{}:{}", own.display(), std::env::var("PATH").unwrap())
}

/// Completes a line in a bash that has the script; returns what it offers.
fn completes(node: &Node, words: &[&str]) -> Vec<String> {
    let script = node.file("completion.bash");
    fs::write(&script, self::script(&node.folder, "bash")).unwrap();
    let line: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let program = format!(
        "source {}\nCOMP_WORDS=({})\nCOMP_CWORD={}\nCOMP_TYPE=9\n_clap_complete_peerup peerup \"${{COMP_WORDS[COMP_CWORD]}}\"\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        line.join(" "),
        words.len() - 1,
    );
    let mut command = Command::new("bash");
    command
        .args(["--norc", "-c", &program])
        .current_dir(&node.folder)
        .env("PATH", binaries())
        .env("HOME", &node.folder)
        .env_remove("XDG_CONFIG_HOME");
    let text = Outcome::of(command).ok();
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn the_scripts_parse() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let text = script(folder.path(), shell);
        assert!(text.contains("PEERUP_COMPLETE"), "{shell}: {text}");
        let file = folder.path().join(shell);
        fs::write(&file, text).unwrap();
        if shell != "powershell" && has(shell) {
            let mut command = Command::new(shell);
            command.arg("-n").arg(&file);
            Outcome::of(command).ok();
        }
    }
}

#[test]
fn a_real_bash_completes_words_flags_and_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::init(folder.path(), "home");
    let peer = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    node.run(&["auth", "add", peer, "--name", "zanzibar"]).ok();
    node.run(&["service", "add", "museum", "localhost:80"]).ok();
    node.run(&["proxy", "add", "gate", "zanzibar", "library", "8080"])
        .ok();
    let config = node.config.to_str().unwrap().to_owned();
    let at = |words: &[&str]| {
        let mut all = vec!["peerup", "--config", &config];
        all.extend(words);
        completes(&node, &all)
    };
    let without_daemon = [
        (&["ping", "zan"][..], "zanzibar"),
        (&["proxy", "zan"], "zanzibar"),
        (&["proxy", "zanzibar", "lib"], "library"),
        (&["proxy", "remove", ""], "gate"),
        (&["service", "disable", "m"], "museum"),
        (&["plugin", "inspect", "tr"], "traceroute"),
        (&["completion", "f"], "fish"),
        (&["ping", "zanzibar", "--until"], "--until-direct"),
        (&["forw"], "forward"),
        (&["forward", "zan"], "zanzibar"),
    ];
    // Names alone: flags and words of the definition stand beside them.
    let words = ["add", "list", "remove", "enable", "disable", "help"];
    let is_name =
        |word: &String| !word.is_empty() && !word.starts_with('-') && !words.contains(&word.as_str());
    let offers = |words: &[&str]| at(words).into_iter().filter(is_name).collect::<Vec<_>>();
    let relay = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
    node.run(&["relay", "add", &format!("/ip4/127.0.0.1/tcp/9/p2p/{relay}")])
        .ok();
    // Own services are no services of a peer; a relay is not in authorized_keys.
    assert_eq!(offers(&["proxy", "zanzibar", ""]), ["library"]);
    assert_eq!(offers(&["forward", peer, "l"]), ["library"]);
    assert_eq!(offers(&["proxy", "nobody", ""]), [""; 0]);
    assert_eq!(offers(&["auth", "remove", ""]), ["zanzibar"]);
    let checks = offers(&["config", "apply", "new.yaml", "--confirm-if", ""]);
    assert_eq!(checks, ["connect:zanzibar/library", "ping:zanzibar", "relay"]);
    assert_eq!(
        offers(&["plugin", "upgrade", "p", "--confirm-if", "ping"]),
        ["ping:zanzibar"]
    );
    for (words, expected) in without_daemon {
        let offered = at(words);
        assert!(
            offered.iter().any(|word| word == expected),
            "{words:?}: {offered:?}"
        );
    }
    assert!(at(&["ping", "nobody"]).iter().all(String::is_empty));
    assert!(!node.file("daemon.sock").exists());

    // A peer without a name is known to the daemon alone.
    let other = "12D3KooWRBy97UB99e3J6hiPesre1MZeuNQvfan4gBziswrRJsNK";
    node.start();
    node.run(&["auth", "add", other]).ok();
    let words = ["peerup", "--config", config.as_str(), "ping", "12D3KooWRB"];
    let offered = completes(&node, &words);
    assert!(offered.iter().any(|word| word == other), "{offered:?}");
    let words = ["peerup", "--config", config.as_str(), "auth", "remove", "12D3"];
    assert_eq!(completes(&node, &words), [other]);
    // The daemon kept what it runs with.
    let words = ["peerup", "--config", config.as_str(), "config", "rollback", ""];
    assert_eq!(completes(&node, &words)[0], "1");
}

#[test]
fn nothing_is_completed_where_there_is_no_config() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::blank(folder.path(), "blank");
    assert!(
        completes(&node, &["peerup", "ping", ""])
            .iter()
            .all(|word| word.is_empty() || word.starts_with('-'))
    );
}

#[test]
fn the_manual_has_pages_that_a_reader_takes() {
    let folder = tempfile::tempdir().unwrap();
    let first = Outcome::of(bare(folder.path(), &["man"])).ok();
    assert!(first.contains(".TH peerup 1"), "{first}");
    Outcome::of(bare(folder.path(), &["man", "--dir", "pages"])).ok();
    let pages: Vec<_> = fs::read_dir(folder.path().join("pages"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(
        pages.iter().any(|page| page.ends_with("peerup-proxy-add.1")),
        "{pages:?}"
    );
    if has("mandoc") {
        let mut command = Command::new("mandoc");
        command.args(["-T", "lint", "-W", "error"]).args(&pages);
        Outcome::of(command).ok();
    }
    if has("man") {
        let mut command = Command::new("man");
        command
            .arg("-l")
            .arg(folder.path().join("pages/peerup-ping.1"))
            .env("MANPAGER", "cat");
        assert!(Outcome::of(command).ok().contains("--until-direct"));
    }
}
