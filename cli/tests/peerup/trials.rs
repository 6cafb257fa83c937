//! Upgrades of plugins that go back unless they are confirmed: live, over a kill, beside no daemon, and by checks.

use std::{fs, time::Duration};

use peerup_config::{boot_id, now};
use peerup_model::Deadline;
use peerup_package::{FolderError, LockedPackage, Package, PluginFolder, Trial};
use serde_json::Value;

use crate::{
    killed::{install, pong, pong_with},
    support::{Node, Pair, SOON, eventually},
};

/// What a version asks for that the other one does without.
const MORE: &str = "[[capability]]\nname = \"peers.read\"\nreason = \"shows them\"\n";

/// A node with the plugin in its first version; the second one is beside it.
struct Stage {
    _folder: tempfile::TempDir,
    node: Node,
    two: String,
}

fn stage() -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    let (one, two) = (pong(&node, "0.1.0"), pong(&node, "0.2.0"));
    node.run(&install(&one)).ok();
    Stage {
        _folder: folder,
        node,
        two,
    }
}

fn plugin(node: &Node) -> Value {
    node.run(&["plugin", "inspect", "pong", "--json"]).json()
}

fn try_for(node: &Node, file: &str, time: &str) -> Value {
    let words = [
        "plugin",
        "upgrade",
        "pong",
        file,
        "--confirm-timeout",
        time,
        "--json",
    ];
    node.run(&words).json()
}

/// Has the deadline of what waits be long ago, in every clock.
fn let_time_pass(node: &Node) {
    let lock = node.read("plugins.lock");
    let (head, rest) = lock.split_once("[plugin.trial.deadline]").unwrap();
    let tail = rest.split_once("[[plugin]]").map(|(_, tail)| tail);
    let tail = tail.map(|tail| format!("[[plugin]]{tail}")).unwrap_or_default();
    let applied = rest.lines().find(|line| line.starts_with("applied_ms")).unwrap();
    let over = format!("[plugin.trial.deadline]\n{applied}\ndeadline_ms = 2\ntimeout_ms = 1\n");
    let new = node.file("plugins.lock.new");
    fs::write(&new, format!("{head}{over}{tail}")).unwrap();
    fs::rename(new, node.file("plugins.lock")).unwrap();
}

fn audited(node: &Node, word: &str) -> Option<Value> {
    let log = node.read("audit.jsonl");
    let mut lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.find(|line| line["event"] == word)
}

#[test]
fn an_upgrade_that_nobody_confirms_goes_back_live() {
    let mut stage = stage();
    stage.node.start();
    let node = &stage.node;
    let made = try_for(node, &stage.two, "1h");
    assert_eq!(
        (&made["status"], &made["trial"]["previous"]),
        (&"upgraded".into(), &"0.1.0".into())
    );

    let waits = plugin(node);
    assert_eq!(
        (&waits["version"], &waits["trial"]["previous"]),
        (&"0.2.0".into(), &"0.1.0".into())
    );
    assert!(waits["trial"]["seconds_left"].as_u64().unwrap() > 3000);
    let shown = node.run(&["plugin", "list"]);
    assert!(shown.stderr.contains("waits to be confirmed"), "{}", shown.stderr);
    let shown = node.run(&["plugin", "inspect", "pong"]).ok();
    assert!(shown.contains("else 0.1.0 comes back"), "{shown}");
    let status = node.run(&["status", "--json"]).json();
    assert!(
        status["problems"]
            .to_string()
            .contains("peerup plugin confirm pong"),
        "{status}"
    );
    for refused in [
        &["plugin", "upgrade", "pong", &stage.two][..],
        &["plugin", "remove", "pong"],
    ] {
        node.run(refused)
            .fails(1, &["0.2.0 waits to be confirmed", "peerup plugin rollback pong"]);
    }

    let_time_pass(node);
    eventually("the version before runs again", || {
        let plugin = plugin(node);
        plugin["version"] == "0.1.0" && plugin["state"] == "active" && plugin["trial"].is_null()
    });
    eventually("it is in the audit log", || {
        audited(node, "upgrade-reverted").is_some()
    });
    let reverted = audited(node, "upgrade-reverted").unwrap();
    assert_eq!(reverted["detail"]["reason"], "nobody confirmed it in time");
    assert_eq!(reverted["detail"]["rejected"], "0.2.0");
    assert!(audited(node, "upgrade-waits").is_some());
    assert!(!node.read("plugins.lock").contains("trial"));
    stage.node.stop();
}

#[test]
fn an_upgrade_that_is_confirmed_stays_and_one_that_is_rolled_back_does_not() {
    let mut stage = stage();
    stage.node.start();
    let node = &stage.node;
    try_for(node, &stage.two, "1h");
    assert_eq!(
        node.run(&["plugin", "rollback", "pong", "--json"]).json()["version"],
        "0.1.0"
    );
    assert!(plugin(node)["trial"].is_null());
    eventually("it is in the audit log", || {
        audited(node, "upgrade-reverted").is_some()
    });
    let reverted = audited(node, "upgrade-reverted").unwrap();
    assert_eq!(reverted["detail"]["reason"], "a rollback was asked for");

    try_for(node, &stage.two, "1h");
    assert_eq!(
        node.run(&["plugin", "confirm", "pong", "--json"]).json()["status"],
        "confirmed"
    );
    assert_eq!(
        (&plugin(node)["trial"], &plugin(node)["version"]),
        (&Value::Null, &"0.2.0".into())
    );
    eventually("it is in the audit log", || {
        audited(node, "upgrade-confirmed").is_some()
    });
    node.run(&["plugin", "confirm", "pong"])
        .fails(1, &["no upgrade of pong waits", "peerup plugin inspect pong"]);
    // The same version again is no upgrade, and waits for nothing.
    assert!(try_for(node, &stage.two, "1h")["trial"].is_null());
    stage.node.stop();
}

#[test]
fn a_kill_neither_confirms_an_upgrade_nor_forgets_it() {
    let mut stage = stage();
    let kill = |node: &mut Node| {
        // Dropping it would ask it to end.
        node.daemon().kill().unwrap();
        node.daemon = None;
    };
    stage.node.start();
    try_for(&stage.node, &stage.two, "1h");
    kill(&mut stage.node);

    stage.node.start();
    let waits = plugin(&stage.node);
    assert_eq!(
        (&waits["version"], &waits["trial"]["version"]),
        (&"0.2.0".into(), &"0.2.0".into())
    );
    kill(&mut stage.node);
    let_time_pass(&stage.node);

    stage.node.start();
    assert_eq!(
        plugin(&stage.node)["version"],
        "0.1.0",
        "from the first moment on"
    );
    eventually("the lock file says so too", || {
        !stage.node.read("plugins.lock").contains("trial")
    });
    assert_eq!(plugin(&stage.node)["version"], "0.1.0");
    stage.node.stop();
}

#[test]
fn beside_no_daemon_the_marker_waits_for_the_next_start() {
    let mut stage = stage();
    let node = &stage.node;
    try_for(node, &stage.two, "1h");
    node.run(&["plugin", "remove", "pong"])
        .fails(1, &["waits to be confirmed"]);
    node.run(&["plugin", "confirm", "pong"]).ok();
    node.run(&["plugin", "confirm", "pong"])
        .fails(1, &["no upgrade of pong waits"]);
    node.run(&["plugin", "rollback", "pong"]).ok();
    node.run(&[
        "plugin",
        "upgrade",
        "pong",
        &stage.two,
        "--confirm-timeout",
        "1ms",
    ])
    .fails(2, &["between 1s and 7days"]);

    try_for(node, &stage.two, "1h");
    let_time_pass(node);
    stage.node.start();
    assert_eq!(plugin(&stage.node)["version"], "0.1.0");
    stage.node.stop();
}

#[test]
fn checks_confirm_an_upgrade_or_bring_the_version_before_back() {
    let mut stage = stage();
    stage.node.start();
    let words = [
        "plugin",
        "upgrade",
        "pong",
        &stage.two,
        "--confirm-timeout",
        "1s",
        "--confirm-if",
        "relay",
    ];
    stage.node.run(&words).fails(
        7,
        &["the version of pong before runs again", "the config has no relay"],
    );
    eventually("the version before runs again", || {
        plugin(&stage.node)["version"] == "0.1.0"
    });
    stage.node.stop();

    let pair = Pair::start();
    let node = &pair.laptop;
    let (one, two) = (pong(node, "0.1.0"), pong(node, "0.2.0"));
    node.run(&install(&one)).ok();
    let words = ["plugin", "upgrade", "pong", &two, "--confirm-if", "ping:home"];
    let done = node.run(&words);
    assert!(
        done.stderr.contains("confirmed: every check was met"),
        "{}",
        done.stderr
    );
    done.ok();
    assert_eq!(
        (&plugin(node)["trial"], &plugin(node)["version"]),
        (&Value::Null, &"0.2.0".into())
    );
}

/// Has this version wait in the files, as an upgrade leaves it whose grants were taken back.
fn try_in_files(node: &Node, file: &str, check: &str) {
    let package = Package::read(fs::read(file).unwrap()).unwrap();
    let deadline = Deadline::new(Duration::from_secs(3600), now(), boot_id().as_deref());
    let trial = Trial::new("a test", vec![check.to_owned()], deadline);
    PluginFolder::new(&node.folder)
        .edit(|lock, store| {
            store.put(&package)?;
            let locked = LockedPackage::of(&package, format!("file:{file}"), "2026-01-01T00:00:00Z");
            lock.set(&package, locked).unwrap();
            lock.begin_trial(&package.manifest().name, trial);
            Ok::<_, FolderError>(())
        })
        .unwrap();
}

#[test]
fn checks_confirm_no_version_that_does_not_load() {
    let pair = Pair::start();
    let node = &pair.laptop;
    node.run(&install(&pong(node, "0.1.0"))).ok();
    let two = pong_with(node, "0.2.0", MORE);
    // The peer answers whatever version runs.
    node.run(&["ping", "home", "-c", "1"]).ok();
    try_in_files(node, &two, "ping:home");

    eventually("the version is seen not to run", || {
        assert!(audited(node, "upgrade-confirmed").is_none());
        let reason = plugin(node)["trial"]["checks"][0]["reason"].to_string();
        reason.contains("does not run yet: peers.read is not granted")
    });
    let_time_pass(node);
    eventually("the version before is back", || {
        assert!(audited(node, "upgrade-confirmed").is_none());
        audited(node, "upgrade-reverted").is_some()
    });
    let after = plugin(node);
    assert_eq!(
        (&after["version"], &after["state"]),
        (&"0.1.0".into(), &"active".into())
    );
}

#[test]
fn the_way_back_is_tried_until_the_version_before_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::init(folder.path(), "home");
    let (one, two) = (pong_with(&node, "0.1.0", MORE), pong(&node, "0.2.0"));
    let words = [&install(&one)[..], &["--grant", "peers.read"]].concat();
    node.run(&words).ok();
    node.start();
    try_for(&node, &two, "1h");
    let granted = node.read("config.yaml");
    let without = granted.replace("      peers:\n        - read\n", "");
    assert_ne!(granted, without, "{granted}");
    node.write("config.yaml", &without);
    node.run(&["daemon", "reload"]).ok();

    let_time_pass(&node);
    let problems = |node: &Node| node.run(&["status", "--json"]).json()["problems"].to_string();
    eventually("it is told what runs", || {
        problems(&node).contains("the plugin pong runs 0.2.0 in the place of 0.1.0")
    });
    assert_eq!(plugin(&node)["version"], "0.2.0");
    node.write("config.yaml", &granted);
    node.run(&["daemon", "reload"]).ok();
    eventually("the version before runs", || {
        let plugin = plugin(&node);
        plugin["version"] == "0.1.0" && plugin["state"] == "active"
    });
    eventually("nothing is told any more", || !problems(&node).contains("pong"));
    node.stop();
}

#[test]
fn what_is_told_of_an_upgrade_is_what_became_of_it() {
    let mut stage = stage();
    stage.node.start();
    let node = &stage.node;
    // A daemon that cannot read its config again sees the upgrade a moment later.
    let before = node.read("config.yaml");
    node.write("config.yaml", &format!("{before}\nlisten: []\n"));
    let upgrade = |time: &'static str| {
        let words = ["plugin", "upgrade", "pong", &stage.two, "--confirm-timeout", time];
        [&words[..], &["--confirm-if", "relay"]].concat()
    };
    node.run(&upgrade("1s"))
        .fails(7, &["the version of pong before runs again", "in time"]);
    node.write("config.yaml", &before);

    // The version before cannot come back, so the other one stays, confirmed or not.
    let kept = PluginFolder::new(&node.folder);
    let digest = kept
        .read()
        .unwrap()
        .get(&"pong".parse().unwrap())
        .unwrap()
        .current
        .digest;
    let mut waits = node.spawn(&upgrade("1h"));
    eventually("it waits", || plugin(node)["trial"]["version"] == "0.2.0");
    fs::remove_file(kept.package_path(&digest)).unwrap();
    let_time_pass(node);
    let finished = waits.finish(SOON).unwrap();
    assert_eq!(finished.code, 7, "{finished:#?}");
    for words in [
        "0.2.0 of pong stays, although it was not confirmed",
        "the package of pong 0.1.0 is not at",
    ] {
        assert!(finished.stderr.contains(words), "{finished:#?}");
    }
    stage.node.stop();
}
