//! The tutorial for authors in `docs/PLUGINS.md`, as written: every command of it is run, in order, by one shell.

use std::{fs, path::Path, process::Command};

use crate::{
    registry::{registry, server::Auth},
    support::{BUILD, Outcome, bare, with_toolchain},
};

const PAGE: &str = include_str!("../../../docs/PLUGINS.md");
const SECTION: &str = "### From nothing to a published plugin\n";
/// What goes on until it is interrupted, and how the test does that. An interrupt ends it with 0.
const ENDLESS: (&str, &str) = (
    "peerup plugin dev",
    "timeout --preserve-status -s INT 5 peerup plugin dev",
);
/// Where the page has its reader's registry.
const REGISTRY: &str = "127.0.0.1:5000";

/// Returns the commands of the section, a line each.
fn commands() -> Vec<&'static str> {
    let (_, section) = PAGE.split_once(SECTION).expect("the section is there");
    let section = section.split("\n### ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    blocks
        .flat_map(str::lines)
        .filter(|line| !line.trim().is_empty())
        .collect()
}

/// Returns them as a script that ends at the first that fails.
fn script(substituted: &[(&str, &str)]) -> String {
    let mut script = "set -eux\n".to_owned();
    for line in commands() {
        let line = substituted
            .iter()
            .fold(line.to_owned(), |line, (old, new)| line.replace(old, new));
        script.push_str(&line);
        script.push('\n');
    }
    script
}

#[test]
fn every_command_of_the_tutorial_works() {
    let (_runtime, server) = registry(Auth::None);
    let folder = tempfile::tempdir().unwrap();
    let place = server.reference("x:1").registry().to_owned();
    let script = script(&[(REGISTRY, &place), ENDLESS]);
    for word in [
        "new", "build", "test", "check", "keygen", "pack", "install", "publish",
    ] {
        assert!(
            script.contains(&format!("\npeerup plugin {word}")),
            "no {word} in {script}"
        );
    }
    assert!(script.contains(&place), "{script}");

    let mut command = shell(folder.path(), &script);
    let outcome: Outcome = peerup_testkit::run("tutorial", with_toolchain(&mut command), BUILD)
        .unwrap()
        .into();
    assert_eq!(outcome.code, 0, "{outcome:#?}");
    for told in [
        "made the plugin hello",
        "contract 0.1.1",
        "test result: ok",
        "ok      hello: ",
        "published hello",
        "installed hello",
    ] {
        assert!(outcome.stdout.contains(told), "{told}: {outcome:#?}");
    }
    let lock = fs::read_to_string(folder.path().join("hello/node/plugins.lock")).unwrap();
    assert!(
        lock.contains("author = \"ed25519:") && lock.contains(&place),
        "{lock}"
    );
}

/// A shell in which `peerup` is the one that is tested, with nothing of whoever runs the tests.
fn shell(folder: &Path, script: &str) -> Command {
    let peerup = bare(folder, &[]);
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(folder);
    for (name, value) in peerup.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut paths = vec![Path::new(peerup.get_program()).parent().unwrap().to_owned()];
    paths.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    command.env("PATH", std::env::join_paths(paths).unwrap());
    command
}
