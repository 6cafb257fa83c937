//! A running relay as its operator meets it: admin commands, signals, health, metrics, the watchdog, the way back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod config;
mod reload;
mod setting;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use setting::{Running, relay_server, stderr};

#[test]
fn status_health_and_metrics_agree() {
    let mut relay = Running::prepare();
    let before = relay.run(&["status"]);
    assert_eq!(before.status.code(), Some(3), "{}", stderr(&before));
    relay.start(&[]);

    let status = relay.json(&["status", "--json"]);
    assert_eq!(status["status"], "ok");
    assert_eq!(status["connected_peers"], 0);
    let mode = relay
        .folder
        .path()
        .join("relay-server.sock")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = relay.run(&["status"]);
    assert!(
        String::from_utf8(text.stdout)
            .unwrap()
            .contains("no limit for each AS number")
    );

    let (head, body) = relay.get("/healthz");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let health: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(health["peer_id"], status["peer_id"]);
    assert_eq!(health["status"], "ok");
    let protocols = health["protocols"].as_array().unwrap();
    assert!(
        protocols.contains(&"/libp2p/circuit/relay/0.2.0/hop".into()),
        "{health}"
    );

    let (_, text) = relay.get("/metrics");
    // What libp2p counts is there with the first connection.
    for metric in relay_server::METRICS
        .iter()
        .filter(|metric| metric.name != "libp2p_bandwidth")
    {
        let name = metric.full_name();
        let described = format!("# TYPE {} ", name.trim_end_matches("_total"));
        assert!(text.contains(&described), "{described} is missing in {text}");
    }
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    let second = relay.run(&["serve"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(
        stderr(&second).contains("another relay-server"),
        "{}",
        stderr(&second)
    );
    relay.stop();
    assert!(!relay.folder.path().join("relay-server.sock").exists());
}

#[test]
fn a_reload_says_what_is_in_force_and_what_waits() {
    let mut relay = Running::prepare();
    relay.start(&[]);
    relay.edit(|text| format!("{text}\nenrollment: closed\n").replace("enrollment: members\n", ""));
    relay.edit(|text| {
        text.replace("max_reservations: 128", "max_reservations: 5")
            .replace("max_circuits: 1024", "max_circuits: 6")
    });

    let reloaded = relay.json(&["reload", "--json"]);
    assert_eq!(
        reloaded["live"],
        serde_json::json!(["enrollment", "resources.max_reservations"])
    );
    assert_eq!(
        reloaded["waits_for_restart"],
        serde_json::json!(["resources.max_circuits"])
    );
    let status = relay.json(&["status", "--json"]);
    assert_eq!(
        (&status["max_reservations"], &status["max_circuits"]),
        (&5.into(), &1024.into())
    );

    relay.edit(|text| text.replace("max_reservations: 5", "max_reservations: many"));
    let refused = relay.run(&["reload"]);
    assert_eq!(refused.status.code(), Some(6), "{}", stderr(&refused));
    assert!(
        stderr(&refused).contains("the config before stays in force"),
        "{}",
        stderr(&refused)
    );
    // It runs on, and can still be asked.
    assert_eq!(relay.json(&["status", "--json"])["max_reservations"], 5);
    relay.signal("-HUP");
    let message = relay.hears("RELOADING=1");
    assert!(message.contains("MONOTONIC_USEC="), "{message}");
    assert!(relay.hears("READY=1").contains("the config was not read again"));
    relay.edit(|text| text.replace("max_reservations: many", "max_reservations: 7"));
    relay.signal("-HUP");
    relay.hears("RELOADING=1");
    relay.hears("READY=1");
    assert_eq!(relay.json(&["status", "--json"])["max_reservations"], 7);
    let (_, text) = relay.get("/metrics");
    assert!(
        text.contains(r#"relay_config_reloads_total{outcome="ok"} 2"#),
        "{text}"
    );
    assert!(
        text.contains(r#"relay_config_reloads_total{outcome="failed"} 2"#),
        "{text}"
    );

    let absent = relay.run(&[
        "disconnect",
        "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5",
    ]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(
        stderr(&absent).contains("is not connected"),
        "{}",
        stderr(&absent)
    );
    relay.stop();
    relay.hears("STOPPING=1");
}

#[test]
fn a_relay_that_stands_still_is_vouched_for_no_more() {
    let mut relay = Running::prepare();
    relay.start(&[("WATCHDOG_USEC", "1500000"), ("PEERUP_DEBUG_STALL_MS", "3600000")]);
    relay.hears("WATCHDOG=1");
    relay.signal("-USR1");
    relay.says("is told nothing any more");
    while relay.next_message(Duration::from_millis(1)).is_some() {}
    assert_eq!(relay.next_message(Duration::from_secs(3)), None);
}

#[test]
fn a_log_file_is_written_and_standard_error_is_for_people() {
    let mut relay = Running::prepare();
    relay.edit(|text| format!("{text}\nlog:\n  file: relay.log\n"));
    relay.start(&[]);
    relay.stop();
    let log = std::fs::read_to_string(relay.folder.path().join("relay.log")).unwrap();
    assert!(log.contains("answers scrapes"), "{log}");
    let lines: Vec<String> = relay.lines.take().unwrap().iter().collect();
    assert!(lines.iter().all(|line| !line.contains("scrapes")), "{lines:?}");
}

/// A `systemctl` that writes down what it is asked, for `PATH`.
fn fake_systemctl(folder: &std::path::Path, version: u32) -> String {
    let bin = folder.join("fake");
    std::fs::create_dir_all(&bin).unwrap();
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo \"systemd {version} ({version})\"; exit 0; fi\necho \"$@\" >> {}\n",
        folder.join("asked").display()
    );
    let path = bin.join("systemctl");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

#[test]
fn setup_puts_a_relay_into_an_image_checks_it_and_takes_it_away() {
    let folder = tempfile::tempdir().unwrap();
    let (root, path) = (folder.path().join("image"), fake_systemctl(folder.path(), 252));
    let setup = |arguments: &[&str]| {
        let mut command = relay_server(&[
            "setup",
            "--root",
            root.to_str().unwrap(),
            "--prefix",
            "/opt/relay",
        ]);
        command.args(arguments).env("PATH", &path).output().unwrap()
    };
    let absent = setup(&["--check"]);
    assert_eq!(absent.status.code(), Some(7), "{}", stderr(&absent));

    let done = setup(&["--external", "/ip4/192.0.2.7/tcp/7777"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let mode = |file: &str| root.join(file).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("opt/relay/bin/relay-server"), 0o755);
    assert_eq!(mode("etc/peerup-relay"), 0o700);
    assert_eq!(mode("etc/peerup-relay/relay.key"), 0o600);
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let unit = read("etc/systemd/system/relay-server.service");
    assert!(
        unit.contains("ExecStart=/opt/relay/bin/relay-server serve"),
        "{unit}"
    );
    assert!(
        unit.contains("ExecReload=") && !unit.contains("\nType=notify-reload"),
        "{unit}"
    );
    assert!(read("etc/sysctl.d/60-peerup.conf").contains("net.core.rmem_max = 7500000"));
    assert!(read("etc/peerup-relay/relay-server.yaml").contains("/ip4/192.0.2.7/tcp/7777"));
    let asked = || std::fs::read_to_string(folder.path().join("asked")).unwrap();
    assert_eq!(
        asked(),
        format!("--root={} enable relay-server.service\n", root.display())
    );

    let good = setup(&["--check"]);
    assert!(good.status.success(), "{}", stderr(&good));
    let key = read("etc/peerup-relay/relay-server.yaml");
    assert!(setup(&[]).status.success(), "a second run changes nothing");
    assert_eq!(read("etc/peerup-relay/relay-server.yaml"), key);

    let unit = root.join("etc/systemd/system/relay-server.service");
    std::fs::write(&unit, "[Service]\n").unwrap();
    let changed = setup(&["--check"]);
    assert_eq!(changed.status.code(), Some(7));
    assert!(
        stderr(&changed).contains("not the one of this release"),
        "{}",
        stderr(&changed)
    );

    let gone = setup(&["--uninstall"]);
    assert!(gone.status.success(), "{}", stderr(&gone));
    assert!(!unit.exists() && !root.join("opt/relay/bin/relay-server").exists());
    assert!(root.join("etc/peerup-relay/relay.key").exists());
    assert!(asked().ends_with("disable relay-server.service\n"), "{}", asked());
}

#[test]
fn in_the_journal_a_line_has_its_priority_and_no_time() {
    use std::os::unix::fs::MetadataExt;
    let mut relay = Running::prepare();
    let path = relay.folder.path().join("journal");
    let file = std::fs::File::create(&path).unwrap();
    let found = file.metadata().unwrap();
    let child = relay_server(&["--config", relay.config.to_str().unwrap()])
        .env("NOTIFY_SOCKET", relay.folder.path().join("notify"))
        .env("JOURNAL_STREAM", format!("{}:{}", found.dev(), found.ino()))
        .stderr(file)
        .spawn()
        .unwrap();
    relay.child = Some(child);
    relay.hears("READY=1");
    relay.stop();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.lines()
            .any(|line| line.starts_with("<4>") && line.contains("no external address")),
        "{text}"
    );
}

#[test]
fn health_and_log_go_elsewhere_while_it_runs() {
    let mut relay = Running::prepare();
    relay.start(&[]);
    let was = std::fs::read_to_string(&relay.config).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
    let line = was
        .lines()
        .find(|line| line.contains("listen_address: "))
        .unwrap();
    let log = "log:\n  level: debug\n  file: relay.log\n";
    relay.edit(|text| text.replace(line, &format!("  listen_address: {}\n{log}", taken.1)));
    let refused = relay.run(&["reload"]);
    let told = stderr(&refused);
    assert!(
        told.contains("health.listen_address") && told.contains(&taken.1.to_string()),
        "{told}"
    );
    assert!(relay.get("/healthz").0.starts_with("HTTP/1.1 200"));

    relay.edit(|_| was.replace(line, &format!("{line}\n{log}")));
    assert_eq!(
        relay.json(&["reload", "--json"])["live"],
        serde_json::json!(["log"])
    );
    relay.edit(|text| text.replace("enabled: true\n  listen", "enabled: false\n  listen"));
    let reloaded = relay.json(&["reload", "--json"]);
    assert_eq!(reloaded["live"], serde_json::json!(["health"]));
    assert_eq!(reloaded["waits_for_restart"], serde_json::json!([]));
    relay.edit(|text| text.replace("enabled: false\n  listen", "enabled: true\n  listen"));
    relay.json(&["reload", "--json"]);
    assert!(relay.get("/healthz").0.starts_with("HTTP/1.1 200"));
    relay.stop();
    let logged = std::fs::read_to_string(relay.folder.path().join("relay.log")).unwrap();
    assert!(logged.contains("answers scrapes"), "{logged}");
}
