//! The config of a relay that its operator is not locked out of: plan, apply, confirm, and every way back.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;

use crate::setting::{Running, relay_server, stderr};

impl Running {
    fn text(&self) -> String {
        std::fs::read_to_string(&self.config).unwrap()
    }

    /// Writes another config beside the one in use.
    fn other(&self, edit: impl FnOnce(&str) -> String) -> PathBuf {
        let path = self.folder.path().join("other.yaml");
        std::fs::write(&path, edit(&self.text())).unwrap();
        path
    }

    fn fewer(&self, count: u32) -> PathBuf {
        self.other(|text| text.replace("max_reservations: 128", &format!("max_reservations: {count}")))
    }

    /// Another config that listens where somebody else does: nothing starts with it.
    fn taken(&self) -> (TcpListener, PathBuf) {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
        let other = self.other(|text| text.replace("/ip4/127.0.0.1/tcp/0", &address));
        (taken, other)
    }

    #[track_caller]
    fn apply(&self, file: &std::path::Path, more: &[&str]) -> Value {
        let file = file.to_str().unwrap();
        let arguments = [&["config", "apply", file, "--json"], more].concat();
        self.json(&arguments)
    }

    #[track_caller]
    fn state(&self) -> Value {
        self.json(&["config", "status", "--json"])
    }

    #[track_caller]
    fn limit(&self) -> Value {
        self.json(&["status", "--json"])["max_reservations"].clone()
    }

    /// Has the deadline of what waits be long ago, in every clock.
    fn let_time_pass(&self) {
        let marker = self.folder.path().join(".relay-server.pending");
        let mut pending: Value = serde_json::from_slice(&std::fs::read(&marker).unwrap()).unwrap();
        pending["deadline_ms"] = 1.into();
        pending["steady"] = Value::Null;
        std::fs::write(&marker, pending.to_string()).unwrap();
    }
}

#[test]
fn what_is_wrong_with_a_file_is_told_under_its_own_name() {
    let mut relay = Running::prepare();
    let bad = relay.folder.path().join("bad.yaml");
    std::fs::write(&bad, "version: 1\nnonsense: 1\n").unwrap();
    let (bad, missing) = (bad.to_str().unwrap().to_owned(), "/nonexistent/other.yaml");
    // Beside no relay, and by one that runs.
    for _ in 0..2 {
        for word in ["plan", "apply"] {
            for (file, told) in [(bad.as_str(), "nonsense"), (missing, "other.yaml")] {
                let refused = relay.run(&["config", word, file]);
                let text = stderr(&refused);
                assert_eq!(refused.status.code(), Some(6), "{text}");
                assert!(text.contains(file) && text.contains(told), "{text}");
                assert!(!text.contains("relay-server.yaml is not valid"), "{text}");
            }
        }
        if relay.child.is_some() {
            break;
        }
        relay.start(&[]);
    }
    relay.stop();
}

#[test]
fn a_change_is_planned_applied_live_and_confirmed() {
    let mut relay = Running::prepare();
    relay.start(&[]);
    let before = relay.text();
    let other = relay.fewer(5);
    let file = other.to_str().unwrap();

    let plan = relay.json(&["config", "plan", file, "--json"]);
    assert_eq!(plan["changes"][0]["path"], "resources.max_reservations");
    assert_eq!(plan["changes"][0]["class"], "live");
    let words = relay.run(&["config", "plan", file]);
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(
        words.starts_with("resources.max_reservations: 128 -> 5\n"),
        "{words}"
    );
    assert_eq!(relay.limit(), 128, "a plan changes nothing");

    let outcome = relay.apply(&other, &["--confirm-timeout", "1h"]);
    assert_eq!(outcome["status"], "pending");
    assert_eq!(outcome["config"]["state"], "pending");
    assert_eq!(relay.limit(), 5, "it is in force at once");
    let status = relay.hears_of("STATUS=the config waits to be confirmed");
    assert!(status.contains("relay-server config confirm"), "{status}");
    let (_, metrics) = relay.get("/metrics");
    assert!(
        metrics.contains("relay_config_state{state=\"pending\"} 1"),
        "{metrics}"
    );

    for refused in [&["config", "apply", file][..], &["reload"]] {
        let second = relay.run(refused);
        assert_eq!(second.status.code(), Some(1), "{refused:?}");
        assert!(stderr(&second).contains("config confirm"), "{}", stderr(&second));
    }
    let confirmed = relay.json(&["config", "confirm", "--json"]);
    assert_eq!(confirmed["status"], "confirmed");
    assert_eq!(confirmed["config"]["state"], "settled");
    let again = relay.run(&["config", "confirm"]);
    assert_eq!(again.status.code(), Some(1), "{}", stderr(&again));
    let state = relay.state();
    assert_eq!(state["last_good"][0]["is_current"], true);
    assert_eq!(state["last_good"].as_array().unwrap().len(), 2);

    assert_eq!(
        relay.json(&["config", "rollback", "--json"])["status"],
        "rolled back"
    );
    assert_eq!((relay.limit(), relay.text()), (128.into(), before));
    relay.stop();
}

#[test]
fn what_nobody_confirms_goes_back_live() {
    let mut relay = Running::prepare();
    relay.start(&[]);
    let before = relay.text();

    relay.apply(&relay.fewer(5), &["--confirm-timeout", "1s"]);
    relay.says("the config from before is in force again");
    relay.hears_of("STATUS=0 peers connected");
    let state = relay.state();
    assert_eq!(state["state"], "settled");
    assert_eq!(state["last"]["outcome"], "reverted");
    assert_eq!((relay.limit(), relay.text()), (128.into(), before.clone()));

    relay.apply(&relay.fewer(6), &["--confirm-timeout", "1h"]);
    assert_eq!(relay.limit(), 6);
    assert_eq!(
        relay.json(&["config", "rollback", "--json"])["status"],
        "reverted"
    );
    assert_eq!((relay.limit(), relay.text()), (128.into(), before));
    relay.stop();
}

#[test]
fn a_kill_neither_confirms_nor_forgets() {
    let mut relay = Running::prepare();
    relay.start(&[]);
    let before = relay.text();
    relay.apply(&relay.fewer(5), &["--confirm-timeout", "1h"]);
    relay.kill();
    assert_eq!(relay.state()["state"], "pending", "also beside no relay");

    relay.start(&[]);
    assert_eq!(relay.state()["state"], "pending");
    assert_eq!(relay.limit(), 5);
    relay.kill();
    relay.let_time_pass();

    relay.start(&[]);
    assert_eq!(relay.state()["last"]["outcome"], "reverted");
    assert_eq!((relay.limit(), relay.text()), (128.into(), before));
    relay.stop();
}

#[test]
fn a_config_that_does_not_start_goes_back_by_itself() {
    let mut relay = Running::prepare();
    relay.start(&[]);
    let before = relay.text();
    let (_taken, other) = relay.taken();
    let outcome = relay.apply(&other, &["--confirm-timeout", "1h"]);
    assert_eq!(
        outcome["config"]["needs_restart"],
        serde_json::json!(["network.listen_addresses"])
    );
    relay.kill();

    relay.start(&[]);
    let last = &relay.state()["last"];
    assert_eq!(last["outcome"], "reverted");
    assert!(
        last["reason"]
            .as_str()
            .unwrap()
            .contains("nothing starts with it"),
        "{last}"
    );
    assert_eq!(relay.text(), before);
    relay.stop();

    // An edit by hand leaves the file to whoever wrote it.
    std::fs::copy(&other, &relay.config).unwrap();
    let edited = relay.text();
    relay.start(&[]);
    let state = relay.state();
    assert_eq!(state["state"], "fallback", "{state}");
    assert_eq!(relay.text(), edited);
    assert_eq!(
        relay.json(&["config", "rollback", "--json"])["status"],
        "rolled back"
    );
    assert_eq!(
        (relay.state()["state"].clone(), relay.text()),
        ("settled".into(), before)
    );
    relay.stop();
}

#[test]
fn without_a_relay_the_files_are_changed_and_the_next_start_keeps_the_deadline() {
    let mut relay = Running::prepare();
    let before = relay.text();
    let none = relay.run(&["config", "rollback"]);
    assert_eq!(none.status.code(), Some(1), "{}", stderr(&none));
    let wrong = relay.other(|text| format!("{text}\nlisten: []\n"));
    let refused = relay.run(&["config", "apply", wrong.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(6), "{}", stderr(&refused));
    let other = relay.fewer(5);
    let short = [
        "config",
        "apply",
        other.to_str().unwrap(),
        "--confirm-timeout",
        "1ms",
    ];
    assert_eq!(relay.run(&short).status.code(), Some(2));

    let outcome = relay.apply(&other, &["--confirm-timeout", "1h"]);
    assert_eq!(outcome["status"], "pending");
    assert_eq!(
        relay.json(&["config", "rollback", "--json"])["status"],
        "reverted"
    );
    assert_eq!(relay.text(), before);

    relay.apply(&other, &["--confirm-timeout", "1h"]);
    relay.let_time_pass();
    relay.start(&[]);
    assert_eq!((relay.limit(), relay.text()), (128.into(), before));
    relay.stop();
}

#[test]
fn what_an_earlier_release_kept_is_found() {
    let mut relay = Running::prepare();
    let good = relay.text();
    let kept = relay.folder.path().join(".relay-server.last-good.yaml");
    std::fs::write(&kept, &good).unwrap();
    std::fs::copy(relay.fewer(5), &relay.config).unwrap();
    relay.start(&[]);
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), relay.text());
    let state = relay.state();
    assert_eq!(state["last_good"].as_array().unwrap().len(), 2, "{state}");
    let file = state["last_good"][1]["file"].as_str().unwrap();
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    relay.json(&["config", "rollback", "2", "--json"]);
    assert_eq!((relay.limit(), relay.text()), (128.into(), good));
    relay.stop();
}

#[test]
fn a_reload_brings_back_nothing_that_is_being_taken_back() {
    let mut relay = Running::prepare();
    relay.start(&[]);
    let other = relay.fewer(5);
    relay.apply(&other, &["--confirm-timeout", "1h"]);
    // A disk that does not take the way back: what should go cannot be removed.
    let marker = relay.folder.path().join(".relay-server.pending");
    std::fs::remove_file(&marker).unwrap();
    std::fs::create_dir(&marker).unwrap();
    let stuck = relay.run(&["config", "rollback"]);
    assert_eq!(stuck.status.code(), Some(1), "{}", stderr(&stuck));
    assert_eq!(
        (relay.state()["state"].clone(), relay.limit()),
        ("reverting".into(), 128.into())
    );

    std::fs::copy(&other, &relay.config).unwrap();
    let refused = relay.run(&["reload"]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    let said = stderr(&refused);
    assert!(
        said.contains("is being taken back") && said.contains("relay-server config status"),
        "{said}"
    );
    relay.signal("-HUP");
    relay.says("is being taken back");
    assert_eq!(relay.limit(), 128);

    std::fs::remove_dir(&marker).unwrap();
    relay.says("the config from before is in force again");
    relay.stop();
}

#[test]
fn who_may_connect_can_be_changed_while_the_last_good_config_is_in_force() {
    const PEER: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
    let mut relay = Running::prepare();
    relay.start(&[]);
    relay.kill();
    relay.edit(|text| format!("{text}\nlisten: []\n"));
    relay.start(&[]);
    assert_eq!(relay.state()["state"], "fallback");

    let listed = |relay: &Running| relay.json(&["list-peers", "--json"]).to_string();
    let done = relay.run(&["authorize", PEER]);
    assert!(done.status.success(), "{}", stderr(&done));
    let said = stderr(&done);
    assert!(
        said.contains("listen") && said.contains("runs with the last good config"),
        "{said}"
    );
    assert!(listed(&relay).contains(PEER));
    let strict = relay.run(&["config", "validate"]);
    assert_eq!(strict.status.code(), Some(6), "{}", stderr(&strict));

    // Also where the file is gone, in a place where it is looked for.
    std::fs::remove_file(&relay.config).unwrap();
    let done = relay_server(&["deauthorize", PEER])
        .current_dir(relay.folder.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(!listed(&relay).contains(PEER));

    relay.stop();
    let without = relay.run(&["list-peers"]);
    assert_eq!(without.status.code(), Some(6), "{}", stderr(&without));
    assert!(
        stderr(&without).contains("relay-server config rollback"),
        "{}",
        stderr(&without)
    );
}
