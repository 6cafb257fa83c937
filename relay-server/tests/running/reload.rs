//! A reload of which a part does not load: what does is in force, and everybody who asks is told until all of it loads.

use std::path::PathBuf;

use serde_json::Value;

use crate::setting::{Running, relay_server, stderr};

impl Running {
    fn list(&self) -> PathBuf {
        self.folder.path().join("relay_authorized_keys")
    }

    #[track_caller]
    fn problems(&self) -> Vec<String> {
        let status = self.json(&["status", "--json"]);
        let problems: Vec<String> = serde_json::from_value(status["problems"].clone()).unwrap();
        let state = if problems.is_empty() { "ok" } else { "degraded" };
        assert_eq!(status["status"], state, "{status}");
        problems
    }

    fn words(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.run(arguments).stdout).unwrap()
    }

    /// Waits until `status` names no problem: the watcher of the list looks a few times a second.
    #[track_caller]
    fn waits_for_no_problem(&self) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !self.problems().is_empty() {
            assert!(std::time::Instant::now() < until, "{:?}", self.problems());
        }
    }
}

const PEER: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

#[test]
fn a_list_that_does_not_load_fails_the_reload_and_the_config_is_in_force() {
    let mut relay = Running::prepare();
    let list = format!("# mine\n{PEER}\n");
    std::fs::write(relay.list(), &list).unwrap();
    relay.start(&[]);
    assert_eq!(relay.problems(), [""; 0]);
    std::fs::write(relay.list(), format!("{list}garbage\n")).unwrap();
    relay.edit(|text| text.replace("max_reservations: 128", "max_reservations: 5"));

    let reloaded = relay.run(&["reload"]);

    let told = stderr(&reloaded);
    assert_eq!(reloaded.status.code(), Some(6), "{told}");
    for words in [
        "relay_authorized_keys",
        "line 3",
        "stay",
        "mend or remove that line",
        "resources.max_reservations",
    ] {
        assert!(told.contains(words), "no {words:?} in {told}");
    }
    let status = relay.json(&["status", "--json"]);
    assert_eq!(
        (&status["max_reservations"], &status["members"]),
        (&5.into(), &1.into())
    );
    let problems = relay.problems();
    assert!(
        problems.len() == 1 && problems[0].contains("line 3"),
        "{problems:?}"
    );
    let words = relay.words(&["status"]);
    assert!(
        words.contains("degraded") && words.contains("problem: "),
        "{words}"
    );
    assert!(words.contains("line 3"), "{words}");
    // It goes on: nothing of it is a reason to restart, or to send peers elsewhere.
    assert!(relay.get("/healthz").0.starts_with("HTTP/1.1 200"));

    relay.signal("-HUP");
    relay.hears("RELOADING=1");
    let ready = relay.hears("READY=1");
    assert!(ready.contains("STATUS=") && ready.contains("line 3"), "{ready}");
    let (_, metrics) = relay.get("/metrics");
    let failed = r#"relay_config_reloads_total{outcome="failed"} 2"#;
    assert!(metrics.contains(failed), "{metrics}");

    std::fs::write(relay.list(), &list).unwrap();
    relay.json(&["reload", "--json"]);
    assert_eq!(relay.problems(), [""; 0]);
    relay.stop();
}

#[test]
fn a_list_that_another_hand_breaks_is_told_until_it_loads() {
    let mut relay = Running::prepare();
    relay.start(&[]);
    std::fs::write(relay.list(), "garbage\n").unwrap();
    relay.says("the peers authorized before stay in force");
    assert!(relay.problems()[0].contains("line 1"), "{:?}", relay.problems());
    std::fs::write(relay.list(), format!("{PEER}\n")).unwrap();
    relay.waits_for_no_problem();
    relay.stop();
}

#[test]
fn a_config_that_did_not_load_is_a_problem_until_one_does() {
    let mut relay = Running::prepare();
    relay.start(&[]);
    relay.edit(|text| text.replace("max_reservations: 128", "max_reservations: many"));
    assert_eq!(relay.run(&["reload"]).status.code(), Some(6));

    let problems = relay.problems();
    assert!(
        problems.len() == 1
            && problems[0].contains("the config was not read again")
            && problems[0].contains("max_reservations"),
        "{problems:?}"
    );
    assert!(
        relay
            .words(&["status"])
            .contains("problem: the config was not read again")
    );
    assert!(relay.get("/healthz").0.starts_with("HTTP/1.1 200"));

    relay.edit(|text| text.replace("max_reservations: many", "max_reservations: 7"));
    relay.json(&["reload", "--json"]);
    assert_eq!(relay.problems(), [""; 0]);

    // A config that is applied takes the place of the one that does not load.
    let good = std::fs::read_to_string(&relay.config).unwrap();
    relay.edit(|text| text.replace("max_reservations: 7", "max_reservations: many"));
    assert_eq!(relay.run(&["reload"]).status.code(), Some(6));
    let other = relay.folder.path().join("other.yaml");
    std::fs::write(&other, good.replace("max_reservations: 7", "max_reservations: 8")).unwrap();
    relay.json(&["config", "apply", other.to_str().unwrap(), "--json"]);
    assert_eq!(relay.problems(), [""; 0]);
    relay.stop();
}

#[test]
fn a_plan_names_the_keys_that_wait_for_a_restart() {
    let mut relay = Running::prepare();
    relay.start(&[]);
    let none = relay.json(&["config", "plan", "--json"]);
    assert_eq!(none["waits_for_restart"], serde_json::json!([]));
    relay.edit(|text| text.replace("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.2/tcp/0"));
    let planned = relay.words(&["config", "plan"]);
    assert!(planned.contains("in force after the next start"), "{planned}");
    relay.json(&["reload", "--json"]);

    let plan = relay.json(&["config", "plan", "--json"]);
    assert_eq!(plan["changes"], Value::Array(Vec::new()), "{plan}");
    assert_eq!(
        plan["waits_for_restart"],
        serde_json::json!(["network.listen_addresses"])
    );
    let words = relay.words(&["config", "plan"]);
    assert_eq!(
        words,
        "restart:   network.listen_addresses is in force after the next start\n"
    );

    relay.edit(|text| text.replace("/ip4/127.0.0.2/tcp/0", "/ip4/127.0.0.1/tcp/0"));
    let back = relay.json(&["config", "plan", "--json"]);
    assert_eq!(back["waits_for_restart"], serde_json::json!([]), "{back}");
    relay.stop();
}

#[test]
fn without_a_config_the_next_step_is_told_and_its_path_is_the_one_that_was_named() {
    let mut relay = Running::prepare();
    let folder = relay.folder.path().to_owned();
    let absent = relay_server(&["--config", folder.join("nope").to_str().unwrap()])
        .output()
        .unwrap();
    let told = stderr(&absent);
    assert_eq!(absent.status.code(), Some(6), "{told}");
    assert!(
        told.contains("nope") && told.contains("relay-server init --dir"),
        "{told}"
    );
    // Started beside its config, under a name that means nothing elsewhere.
    let child = relay_server(&["--config", "relay-server.yaml"])
        .current_dir(&folder)
        .env("NOTIFY_SOCKET", folder.join("notify"))
        .spawn()
        .unwrap();
    relay.child = Some(child);
    relay.hears("READY=1");
    let status = relay.json(&["config", "status", "--json"]);
    assert_eq!(status["file"], relay.config.to_str().unwrap());
    relay.edit(|text| text.replace("max_reservations: 128", "max_reservations: many"));
    let refused = stderr(&relay.run(&["reload"]));
    assert!(refused.contains(relay.config.to_str().unwrap()), "{refused}");
    relay.stop();
}
