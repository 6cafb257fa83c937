//! `config`: applying with a way back, over deadlines, kills and starts that fail.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, time::Duration};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Client, Node, Pair, SOON, eventually};

fn node() -> (TempDir, Node) {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    (folder, node)
}

impl Node {
    /// Writes `new.yaml`: the config with something else in it.
    fn propose(&self, old: &str, new: &str) -> String {
        let text = self.read("config.yaml");
        assert!(text.contains(old), "no {old:?} in {text}");
        let file = self.file("new.yaml");
        fs::write(&file, text.replace(old, new)).unwrap();
        file.to_str().unwrap().to_owned()
    }

    fn config_status(&self) -> Value {
        self.run(&["config", "status", "--json"]).json()
    }

    fn has_service(&self, name: &str) -> bool {
        let services = self.run(&["service", "list", "--json"]).json();
        services
            .as_array()
            .unwrap()
            .iter()
            .any(|service| service["name"] == name)
    }

    fn has_marker(&self) -> bool {
        self.file(".config.pending").exists()
    }

    #[track_caller]
    fn settles(&self) {
        eventually("the config to be settled", || {
            self.config_status()["state"] == "settled"
        });
    }
}

const WEB: &str = "services: { web: { local_address: 'localhost:80' } }";

#[test]
fn a_config_that_nobody_confirms_goes_back_live() {
    let (_folder, mut node) = node();
    let before = node.read("config.yaml");
    node.start();
    let new = node.propose("services: {}", WEB);

    let applied = node
        .run(&["config", "apply", &new, "--confirm-timeout", "3s", "--json"])
        .json();

    assert_eq!(applied["status"], "pending");
    assert!(applied["config"]["pending"]["seconds_left"].as_u64().unwrap() <= 3);
    assert!(node.has_service("web"));
    let status = node.run(&["status", "--json"]).json();
    assert_eq!(status["config"]["state"], "pending");
    assert!(status["config"]["pending"]["deadline"].is_string());
    node.settles();
    assert!(!node.has_service("web"));
    assert_eq!(node.read("config.yaml"), before);
    assert!(!node.has_marker());
    let last = node.config_status()["last"].clone();
    assert_eq!(last["outcome"], "reverted");
    assert!(last["reason"].as_str().unwrap().contains("nobody confirmed"));
    assert_eq!(node.read(".config.rejected"), fs::read_to_string(new).unwrap());
}

#[test]
fn a_confirmed_config_stays_without_a_restart() {
    let (_folder, mut node) = node();
    node.start();
    let cookie = node.read(".daemon-cookie");
    let new = node.propose("services: {}", WEB);
    let apply = ["config", "apply", &new, "--confirm-timeout", "2s"];
    let applied = node.run(&apply);
    assert!(applied.stderr.contains("peerup config confirm"), "{applied:?}");
    applied.ok();

    node.run(&["config", "confirm"]).ok();

    assert!(!node.has_marker());
    assert_eq!(node.config_status()["state"], "settled");
    // The deadline has come and gone.
    let mut clock = std::time::Instant::now();
    eventually("the deadline to be over", || {
        let over = clock.elapsed() > Duration::from_secs(3);
        if over {
            clock = std::time::Instant::now();
        }
        over
    });
    assert!(node.has_service("web"));
    assert_eq!(
        node.read(".daemon-cookie"),
        cookie,
        "the daemon was started again"
    );
    node.run(&["config", "confirm"]).fails(1, &["no config waits"]);
}

#[test]
fn one_waits_at_a_time_and_the_next_is_told_who_was_first() {
    let (_folder, mut node) = node();
    node.start();
    let new = node.propose("services: {}", WEB);
    node.run(&["config", "apply", &new, "--confirm-timeout", "5m"])
        .ok();

    node.run(&["config", "apply", &new])
        .fails(1, &["waits to be confirmed", "pid", "ago"]);
    node.run(&["service", "add", "ssh", "localhost:22"])
        .fails(1, &["waits to be confirmed", "config confirm"]);

    node.run(&["config", "rollback"]).ok();
    assert!(!node.has_service("web"));
    node.run(&["service", "add", "ssh", "localhost:22"]).ok();
}

#[test]
fn a_deadline_holds_over_a_kill() {
    let (_folder, mut node) = node();
    let before = node.read("config.yaml");
    node.start();
    let new = node.propose("services: {}", WEB);
    for timeout in ["1s", "5s"] {
        node.run(&["config", "apply", &new, "--confirm-timeout", timeout])
            .ok();
        node.daemon().kill().unwrap();
        drop(node.daemon.take());
        assert!(node.has_marker());
        if timeout == "1s" {
            // It is over before the next start.
            eventually("the deadline to be over", || {
                node.config_status()["pending"]["seconds_left"] == 0
            });
        }
        node.start();
        if timeout == "1s" {
            assert_eq!(node.config_status()["last"]["outcome"], "reverted");
        }
        node.settles();
        assert!(!node.has_service("web"));
        assert_eq!(node.read("config.yaml"), before);
    }
}

#[test]
fn killed_in_the_middle_of_an_apply_the_daemon_starts_with_either_config() {
    let (_folder, mut node) = node();
    let before = node.read("config.yaml");
    node.start();
    let new = node.propose("services: {}", WEB);
    let after = fs::read_to_string(&new).unwrap();
    for round in 0..6 {
        let mut apply = node.spawn(&["config", "apply", &new, "--confirm-timeout", "5m"]);
        if round % 2 == 1 {
            eventually("the marker", || node.has_marker());
        }
        node.daemon().kill().unwrap();
        drop(node.daemon.take());
        // It may have been answered, or not, or have found no daemon and written the files itself.
        apply.finish(SOON).unwrap();

        node.start();

        let file = node.read("config.yaml");
        assert!(file == before || file == after, "{file}");
        assert_eq!(node.has_service("web"), file == after);
        if node.config_status()["state"] == "pending" {
            node.run(&["config", "rollback"]).ok();
        }
        assert_eq!(node.read("config.yaml"), before);
        assert!(!node.has_marker());
        let kept = node.config_status()["last_good"].clone();
        assert_eq!(kept[0]["is_current"], true, "{kept}");
    }
}

#[test]
fn a_start_with_a_config_that_does_not_do_takes_the_one_from_before() {
    let (_folder, mut node) = node();
    let before = node.read("config.yaml");
    node.start();
    node.stop();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let new = node.propose("/ip4/127.0.0.1/tcp/0", &format!("/ip4/127.0.0.1/tcp/{port}"));
    // Without a daemon nothing tries it; the next start does.
    let applied = node.run(&["config", "apply", &new, "--confirm-timeout", "5m"]);
    assert!(applied.stderr.contains("next start"), "{applied:?}");
    applied.ok();
    assert_ne!(node.read("config.yaml"), before);

    node.start();

    let status = node.config_status();
    assert_eq!(
        (&status["state"], &status["last"]["outcome"]),
        (&"settled".into(), &"reverted".into())
    );
    assert!(
        status["last"]["reason"].as_str().unwrap().contains("is taken"),
        "{status}"
    );
    assert_eq!(node.read("config.yaml"), before);
    node.logs(&["ERROR", "from before is in force"]);
}

#[test]
fn a_file_broken_by_hand_leaves_the_last_good_config_in_force_and_all_say_so() {
    let (_folder, mut node) = node();
    node.start();
    node.stop();
    node.edit(|text| format!("{text}\nnmae: x\n"));
    let broken = node.read("config.yaml");

    node.start();

    assert_eq!(node.read("config.yaml"), broken, "the file is its writer's");
    let status = node.run(&["status", "--json"]).json();
    assert_eq!(status["config"]["state"], "fallback");
    assert!(
        status["config"]["reason"]
            .as_str()
            .unwrap()
            .contains("did you mean `name`")
    );
    assert!(
        status["problems"][0]
            .as_str()
            .unwrap()
            .contains("last good config")
    );
    node.logs(&["ERROR", "last good config is in force"]);

    node.edit(|text| text.replace("nmae: x\n", ""));
    node.run(&["daemon", "reload"]).ok();
    assert_eq!(node.config_status()["state"], "settled");
}

#[test]
fn a_config_that_is_gone_locks_nobody_out_and_rollback_brings_it_back() {
    let (_folder, mut node) = node();
    node.start();
    let (text, id) = (node.read("config.yaml"), node.run(&["whoami"]).ok());
    fs::remove_file(node.file("config.yaml")).unwrap();

    node.run(&["daemon", "status"]).ok();
    node.run(&["status"]).ok();
    let who = node.run(&["whoami"]);
    assert!(
        who.stderr
            .contains("next: correct it, or take the last good one: peerup config rollback"),
        "{who:#?}"
    );
    assert_eq!(who.ok(), id);
    let doctor = node.run(&["doctor"]);
    assert!(
        doctor.stdout.contains("starts with the last good one"),
        "{doctor:#?}"
    );

    node.stop();
    node.run(&["whoami"])
        .fails(6, &["no config file", "peerup config rollback"]);
    node.start();
    assert_eq!(node.config_status()["state"], "fallback");
    node.run(&["config", "rollback"]).ok();
    assert_eq!(node.read("config.yaml"), text);
    assert_eq!(node.config_status()["state"], "settled");
}

#[test]
fn rollback_takes_the_last_good_ones_by_number() {
    let (_folder, mut node) = node();
    let first = node.read("config.yaml");
    node.start();
    let new = node.propose("services: {}", WEB);
    node.run(&["config", "apply", &new]).ok();
    let second = node.read("config.yaml");
    assert_ne!(first, second);

    node.run(&["config", "rollback"]).ok();
    assert_eq!(node.read("config.yaml"), first);
    let kept = node.config_status()["last_good"].clone();
    assert_eq!(kept.as_array().unwrap().len(), 2, "{kept}");
    assert_eq!(kept[0]["is_current"], false);
    node.run(&["config", "rollback", "1"]).ok();
    assert_eq!(node.read("config.yaml"), second);
    node.run(&["config", "rollback", "9"])
        .fails(1, &["no last good config 9"]);

    node.stop();
    node.run(&["config", "rollback"]).ok();
    assert_eq!(node.read("config.yaml"), first);
}

#[test]
fn what_is_no_config_is_not_applied() {
    let (_folder, mut node) = node();
    let before = node.read("config.yaml");
    node.start();
    let new = node.propose("services: {}", "servces: {}\nnmae: x");
    for _ in 0..2 {
        node.run(&["config", "apply", &new])
            .fails(6, &["did you mean `services`", "did you mean `name`"]);
        assert_eq!(node.read("config.yaml"), before);
        if node.daemon.is_some() {
            node.stop();
            node.daemon = None;
        }
    }
}

#[test]
fn checks_confirm_or_take_back_and_name_what_failed() {
    let pair = Pair::start();
    let new = pair.laptop.propose("services: {}", WEB);
    let apply = [
        "config",
        "apply",
        &new,
        "--confirm-timeout",
        "60s",
        "--confirm-if",
    ];
    let checks = "ping:home,connect:home/echo,relay";
    pair.laptop.run(&[&apply[..], &[checks]].concat()).ok();
    assert!(pair.laptop.has_service("web"));
    let last = pair.laptop.config_status()["last"].clone();
    assert_eq!(last["outcome"], "confirmed", "{last}");

    let new = pair.laptop.propose("'localhost:80'", "'localhost:81'");
    let apply = ["config", "apply", &new, "--confirm-timeout", "4s", "--confirm-if"];
    pair.laptop
        .run(&[&apply[..], &["relay,connect:home/nothing"]].concat())
        .fails(7, &["connect:home/nothing"]);
    assert!(!pair.laptop.read("config.yaml").contains("localhost:81"));
    assert!(!pair.laptop.has_marker());
}

#[test]
fn changes_that_concern_nobody_keep_open_tunnels() {
    let pair = Pair::start();
    let (_proxy, address) = pair.laptop.proxy("home", "echo");
    let mut client = Client::connect(&address);
    assert!(client.echoes());
    for (node, old, new) in [
        (&pair.home, "name: home", "name: castle"),
        (&pair.home, "drain_timeout: 3s", "drain_timeout: 2s"),
        (&pair.laptop, "services: {}", WEB),
        (&pair.laptop, "cpu: 1s", "cpu: 2s"),
    ] {
        let file = node.propose(old, new);
        let plan = node.run(&["config", "plan", &file, "--json"]).json();
        assert!(!plan["changes"].as_array().unwrap().is_empty(), "{plan}");
        let drops = &plan["drops"];
        assert_eq!(drops["strangers"], false);
        for kind in ["plugins", "relays", "paths"] {
            assert_eq!(drops[kind], serde_json::json!([]), "{plan}");
        }
        node.run(&["config", "apply", &file]).ok();
        assert!(client.echoes(), "{old} -> {new} cost a tunnel");
    }
    let file = pair.home.propose("castle", "fort");
    pair.home
        .run(&["config", "apply", &file, "--confirm-timeout", "1s"])
        .ok();
    pair.home.settles();
    assert!(client.echoes(), "a revert cost a tunnel");
}

#[test]
fn the_schema_is_printed() {
    let (_folder, node) = node();
    let schema = node.run(&["config", "schema"]).json();
    assert!(schema["properties"]["services"].is_object());
    let relay = node.run(&["config", "schema", "--relay"]).json();
    assert!(relay["properties"]["resources"].is_object());
    let shown = node.run(&["config", "show"]).ok();
    assert_eq!(shown, node.read("config.yaml").trim_end());
}

#[test]
fn the_only_connected_peer_is_not_removed_without_a_word() {
    let pair = Pair::start();
    pair.laptop.run(&["ping", "home", "-c", "1"]).ok();
    pair.laptop
        .run(&["auth", "remove", "home"])
        .fails(2, &["only peer that is connected", "--yes"]);
    pair.laptop.run(&["ping", "home", "-c", "1"]).ok();
    pair.laptop.run(&["auth", "remove", "home", "--yes"]).ok();
}

#[test]
fn a_file_that_does_not_load_is_told_beside_no_daemon() {
    let (_folder, mut node) = node();
    node.edit(|text| format!("{text}\nnmae: x\nzz: 1\n"));
    let broken = node.read("config.yaml");
    // Nothing ran yet, so nothing is kept.
    let status = node.run(&["config", "status"]).ok();
    assert!(status.contains("the next start fails"), "{status}");
    node.write("config.yaml", &broken.replace("nmae: x\nzz: 1\n", ""));
    node.start();
    node.stop();
    node.daemon = None;
    node.write("config.yaml", &broken);

    let text = node.run(&["config", "status"]).ok();
    let status = node.config_status();

    let line = 1 + broken.lines().position(|line| line == "nmae: x").unwrap();
    let reason = status["reason"].as_str().unwrap();
    for part in [
        format!("config.yaml:{line}: nmae: there is no such key; did you mean `name`? (and 1 more)"),
        "the next start runs the last good config instead".to_owned(),
        "peerup config validate".to_owned(),
    ] {
        assert!(
            text.contains(&part) && reason.contains(&part),
            "{part}: {text}\n{reason}"
        );
    }
    assert_eq!(status["state"], "fallback");
    node.start();
    assert_eq!(node.config_status()["state"], "fallback");
}

#[test]
fn the_deadline_holds_beside_no_daemon() {
    let (_folder, node) = node();
    let before = node.read("config.yaml");
    let new = node.propose("services: {}", WEB);
    let apply = ["config", "apply", &new, "--confirm-timeout", "1s"];
    node.run(&apply).ok();
    eventually("the deadline to be over", || {
        node.config_status()["pending"]["seconds_left"] == 0
    });
    let status = node.run(&["config", "status"]).ok();
    assert!(
        status.contains("its time is over; the next start takes it back"),
        "{status}"
    );

    node.run(&["config", "confirm"])
        .fails(7, &["its time was over; the config from before is back"]);

    assert_eq!(node.read("config.yaml"), before);
    assert!(!node.has_marker());
    assert_eq!(node.config_status()["state"], "settled");
    node.run(&["config", "confirm"]).fails(1, &["no config waits"]);
}

#[test]
fn what_is_wrong_with_a_new_config_is_told_under_its_own_path() {
    let (_folder, mut node) = node();
    let new = node.propose("services: {}", "servces: {}");
    node.start();
    for _ in 0..2 {
        for command in ["plan", "apply"] {
            let wrong = node.run(&["config", command, &new]).fails(
                6,
                &[
                    &format!("the config file {new} is not valid"),
                    "did you mean `services`",
                ],
            );
            assert!(!wrong.stderr.contains("/config.yaml"), "{wrong:#?}");
            let gone = node.run(&["config", command, "gone.yaml"]);
            let validated = node.run(&["config", "validate", "gone.yaml"]);
            assert_eq!(gone.stderr, validated.stderr);
            gone.fails(6, &["there is no config file gone.yaml"]);
        }
        if node.daemon.is_some() {
            node.stop();
            node.daemon = None;
        }
    }
}

#[test]
fn validate_prints_what_is_wrong_as_json_too() {
    let (_folder, node) = node();
    node.write("bad.yaml", "nmae: x\ntunnels: {zz: 1, idle_timeout: banana}\n");
    let outcome = node
        .run(&["config", "validate", "bad.yaml", "--json"])
        .fails(6, &["line 1, column 1: nmae", "tunnels.idle_timeout"]);
    let told: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(told["valid"], false);
    assert!(told["config"].as_str().unwrap().ends_with("bad.yaml"));
    let errors = told["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 3, "{told}");
    assert_eq!(
        errors[1],
        serde_json::json!({
            "line": 2, "column": 11, "key": "tunnels.zz",
            "message": "there is no such key; the keys here are idle_timeout, write_timeout",
        })
    );

    node.write("later.yaml", "version: 99\n");
    for (file, message) in [
        ("later.yaml", "has version 99"),
        ("gone.yaml", "there is no config file"),
    ] {
        let outcome = node
            .run(&["config", "validate", file, "--json"])
            .fails(6, &[message]);
        let told: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(told["errors"][0]["line"], Value::Null);
        assert!(
            told["errors"][0]["message"].as_str().unwrap().contains(message),
            "{told}"
        );
    }
}

#[test]
fn a_config_that_others_can_read_is_warned_about() {
    let (_folder, mut node) = node();
    let mode = |mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(node.file("config.yaml"), mode).unwrap();
    };
    let warnings = || node.run(&["config", "validate", "--json"]).json()["warnings"].clone();
    mode(0o600);
    assert_eq!(warnings(), serde_json::json!([]));
    mode(0o644);
    let told = warnings();
    let warning = told[0].as_str().unwrap();
    assert!(
        warning.contains("mode 0644") && warning.contains("chmod 600"),
        "{told}"
    );
    let text = node.run(&["config", "validate"]);
    assert!(
        text.stderr.contains("warning: ") && text.stderr.contains("0644"),
        "{text:#?}"
    );
    text.ok();
    node.start();
    node.logs(&["WARN", "mode 0644", "chmod 600"]);
}
