//! `plugin test`, `plugin trace` and `plugin dev`: what an author sees.

use std::{
    fs,
    path::{Path, PathBuf},
};

use peerup_testkit::Process;

use crate::support::{Client, Outcome, Pair, SOON, bare};

/// A folder with a plugin that answers from `names:`, whose build only copies the component.
fn project(parent: &Path) -> PathBuf {
    let folder = parent.join("mynames");
    fs::create_dir_all(folder.join("tests")).unwrap();
    let bundled = peerup_bundle::BUNDLED
        .iter()
        .find(|one| one.name == "names-local")
        .unwrap();
    fs::write(folder.join("component"), bundled.wasm).unwrap();
    fs::write(folder.join("plugin.toml"), manifest("0.1.0")).unwrap();
    build_script(
        &folder,
        "mkdir -p build && cp component build/plugin.wasm && cp plugin.toml build/",
    );
    folder
}

fn manifest(version: &str) -> String {
    let bundled = peerup_bundle::BUNDLED
        .iter()
        .find(|one| one.name == "names-local")
        .unwrap();
    let text = bundled
        .manifest
        .replace("name = \"names-local\"", "name = \"mynames\"");
    text.replace("version = \"0.1.0\"", &format!("version = \"{version}\""))
}

fn build_script(folder: &Path, commands: &str) {
    fs::write(
        folder.join("build.sh"),
        format!("#!/bin/sh\nset -e\ncd \"$(dirname \"$0\")\"\n{commands}\n"),
    )
    .unwrap();
}

fn scenario(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join("tests").join(name).with_extension("yaml"), text).unwrap();
}

fn test(folder: &Path, arguments: &[&str]) -> Outcome {
    let words: Vec<&str> = ["plugin", "test"].iter().chain(arguments).copied().collect();
    Outcome::of(bare(folder, &words))
}

#[test]
fn scenarios_that_hold_pass_and_one_that_does_not_is_told_with_its_calls() {
    let parent = tempfile::tempdir().unwrap();
    let folder = project(parent.path());
    test(&folder, &[]).fails(1, &["has no scenarios"]);

    scenario(
        &folder,
        "knows",
        "names: {nas: home}\nsteps:\n- {resolve: nas, answers: home}\n- advance: 24h\n",
    );
    let told = test(&folder, &[]).ok();
    assert!(
        told.contains("ok") && told.contains("knows: 2 steps, 86400000 ms of its clock"),
        "{told}"
    );

    scenario(&folder, "wrong", "steps:\n- {resolve: nas, answers: home}\n");
    let failed = test(&folder, &["--no-build"]).fails(1, &["1 of 2 scenarios failed"]);
    for words in [
        "FAILED  wrong",
        "step 1, resolve nas: it answers nobody, and home was expected",
        "name-list.find nas",
    ] {
        assert!(failed.stdout.contains(words), "no {words:?} in {}", failed.stdout);
    }
    let object = test(&folder, &["knows", "--no-build", "--json"]).json();
    assert_eq!(
        (object["passed"].as_bool(), object["scenario"].as_str()),
        (Some(true), Some("knows"))
    );
    assert_eq!(object["calls"][0]["call"], "name-list.find");

    scenario(&folder, "wrong", "steps:\n- {resolve: nas, anwsers: home}\n");
    test(&folder, &["wrong", "--no-build"]).fails(2, &["wrong.yaml", "anwsers"]);
    test(&folder, &["missing", "--no-build"]).fails(2, &["missing"]);
}

#[test]
fn the_calls_of_a_running_plugin_are_shown_and_only_while_somebody_looks() {
    let pair = Pair::start();
    let mut trace = pair.laptop.spawn(&["plugin", "trace", "tcp-proxy"]);
    let mut denied = pair.laptop.spawn(&["plugin", "trace", "ping", "--denied"]);
    // Each try opens a stream; the first that is seen says that the trace has begun.
    let (_proxy, address) = pair.laptop.proxy("home", "echo");
    let opened = |line: &str| line.contains("command  streams.open ") && line.contains("/peerup/echo/1.0.0");
    peerup_testkit::poll("a call in the trace", SOON, || {
        assert!(Client::connect(&address).echoes());
        Ok(trace.stdout().lines().any(opened).then_some(()))
    })
    .unwrap();
    let finished = trace.interrupt(SOON).unwrap();
    assert_eq!(finished.code, 0, "{finished:#?}");

    let granted = "[\"/peerup/ping/1.0.0\", \"/pingpong/1.0.0\"]";
    pair.laptop.replace(granted, "[\"/pingpong/1.0.0\"]");
    pair.laptop.run(&["daemon", "reload"]).ok();
    peerup_testkit::poll("a denial in the trace", SOON, || {
        pair.laptop
            .run(&["ping", "home", "-c", "1"])
            .fails(4, &["not granted"]);
        Ok(denied
            .stdout()
            .contains("DENIED: opening /peerup/ping/1.0.0")
            .then_some(()))
    })
    .unwrap();
    let finished = denied.interrupt(SOON).unwrap();
    assert!(
        finished
            .stdout
            .contains("plugins.ping.grants.protocols: [\"/peerup/ping/1.0.0\"]"),
        "{finished:#?}"
    );
    assert_eq!(
        finished.stdout.lines().count(),
        finished.stdout.matches("DENIED").count()
    );
}

fn says(dev: &mut Process, words: &[&str]) -> String {
    let what = format!("a line with {words:?}");
    dev.wait_for_line(&what, SOON * 2, |line| {
        words.iter().all(|word| line.contains(word))
    })
    .unwrap()
}

#[test]
fn a_change_is_built_and_swapped_and_what_fails_leaves_the_version_before() {
    let parent = tempfile::tempdir().unwrap();
    let folder = project(parent.path());
    let mut dev = Process::spawn("plugin dev", &mut bare(&folder, &["plugin", "dev"])).unwrap();
    says(&mut dev, &["laptop", "mynames 0.1.0 is active"]);
    says(&mut dev, &["home", "mynames 0.1.0 is active"]);
    let line = says(&mut dev, &["home", "--config "]);
    let config = PathBuf::from(line.rsplit_once("--config ").unwrap().1);
    assert!(config.is_file());

    fs::write(folder.join("plugin.toml"), manifest("0.2.0")).unwrap();
    says(&mut dev, &["home", "mynames 0.2.0 is active"]);

    build_script(&folder, "exit 1");
    says(&mut dev, &["kept", "the version before goes on"]);
    let inspect = [
        "plugin",
        "inspect",
        "mynames",
        "--json",
        "--config",
        config.to_str().unwrap(),
    ];
    let info = Outcome::of(bare(&folder, &inspect)).json();
    assert_eq!(
        (info["version"].as_str(), info["state"].as_str()),
        (Some("0.2.0"), Some("active"))
    );

    let finished = dev.interrupt(SOON).unwrap();
    assert_eq!(finished.code, 0, "{finished:#?}");
    assert!(!config.exists(), "the nodes' folder is gone");
}

#[test]
fn a_word_of_a_plugin_is_a_word_of_the_command_line() {
    let pair = Pair::start();
    let told = Outcome::of(bare(&pair.laptop.folder, &["--help"])).ok();
    assert!(!told.contains("Words of"), "there is no config here: {told}");
    let told = pair.laptop.run(&["--help"]).ok();
    assert!(
        told.contains("Words of the plugin tcp-proxy:\n  forward "),
        "{told}"
    );
    let help = pair.laptop.run(&["forward", "--help"]).ok();
    for words in [
        "Usage: peerup forward",
        "<PEER> <SERVICE> [LISTEN]",
        "--probe",
        "A word of the plugin tcp-proxy.",
    ] {
        assert!(help.contains(words), "no {words:?} in {help}");
    }
    for words in [
        &["forward", "home", "echo"][..],
        &["plugin", "run", "tcp-proxy", "forward", "home", "echo"],
    ] {
        let mut forward = pair.laptop.spawn(words);
        let line = forward
            .wait_for_line("the address", SOON, |line| line.starts_with("listening on "))
            .unwrap();
        assert!(Client::connect(line.trim_start_matches("listening on ")).echoes());
        assert_eq!(forward.interrupt(SOON).unwrap().code, 130);
    }
    pair.laptop.run(&["forward", "home"]).fails(2, &["<SERVICE>"]);
    pair.laptop
        .run(&["frobnicate"])
        .fails(2, &["frobnicate", "neither a command"]);
    pair.laptop
        .run(&["plugin", "run", "tcp-proxy"])
        .fails(2, &["forward"]);
}
