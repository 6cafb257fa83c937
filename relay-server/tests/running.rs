//! A running relay as its operator meets it: admin commands, signals, health, metrics, the watchdog, the way back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);

/// A relay's folder, and the relay while it runs.
struct Running {
    folder: TempDir,
    config: PathBuf,
    health: SocketAddr,
    child: Option<Child>,
    lines: Option<Receiver<String>>,
    notify: UnixDatagram,
}

fn relay_server(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay-server"));
    command
        .args(arguments)
        .env_remove("PEERUP_RELAY_CONFIG")
        .env_remove("NOTIFY_SOCKET");
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

impl Running {
    fn prepare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_str().unwrap();
        let listen = "/ip4/127.0.0.1/tcp/0";
        let made = relay_server(&["init", "--dir", dir, "--listen", listen])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", stderr(&made));
        let config = folder.path().join("relay-server.yaml");
        let health = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let notify = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        let running = Self {
            folder,
            config,
            health,
            child: None,
            lines: None,
            notify,
        };
        running.edit(|text| format!("{text}\nhealth:\n  enabled: true\n  listen_address: {health}\n"));
        running
    }

    fn edit(&self, edit: impl FnOnce(&str) -> String) {
        let text = std::fs::read_to_string(&self.config).unwrap();
        std::fs::write(&self.config, edit(&text)).unwrap();
    }

    fn start(&mut self, variables: &[(&str, &str)]) {
        let mut child = relay_server(&["--config", self.config.to_str().unwrap()])
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        self.child = Some(child);
        self.lines = Some(lines);
        self.says("ready 12D3KooW");
        self.hears("READY=1");
    }

    /// Waits for a line of its log.
    #[track_caller]
    fn says(&self, words: &str) {
        let lines = self.lines.as_ref().unwrap();
        let mut seen = Vec::new();
        while let Ok(line) = lines.recv_timeout(SOON) {
            if line.contains(words) {
                return;
            }
            seen.push(line);
        }
        panic!("no {words:?} in {seen:#?}");
    }

    /// Returns the next message to the service manager within this time.
    fn next_message(&self, within: Duration) -> Option<String> {
        self.notify.set_read_timeout(Some(within)).unwrap();
        let mut buffer = [0; 2048];
        match self.notify.recv(&mut buffer) {
            Ok(length) => Some(String::from_utf8(buffer[..length].to_vec()).unwrap()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    fn hears(&self, line: &str) -> String {
        loop {
            let message = self
                .next_message(SOON)
                .unwrap_or_else(|| panic!("no {line} came"));
            if message.lines().any(|found| found == line) {
                return message;
            }
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        relay_server(arguments)
            .args(["--config", self.config.to_str().unwrap()])
            .output()
            .unwrap()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.health).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    #[track_caller]
    fn stop(&mut self) {
        self.signal("-TERM");
        assert_eq!(self.child.take().unwrap().wait().unwrap().code(), Some(0));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

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
fn the_last_config_that_worked_comes_back() {
    let mut relay = Running::prepare();
    let none = relay.run(&["config", "rollback"]);
    assert_eq!(none.status.code(), Some(1), "{}", stderr(&none));
    relay.start(&[]);
    let good = std::fs::read_to_string(&relay.config).unwrap();
    let kept = relay.folder.path().join(".relay-server.last-good.yaml");
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), good);
    assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    relay.stop();

    // Valid, and yet no start works with it.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    relay.edit(|text| text.replace("/ip4/127.0.0.1/tcp/0", &format!("/ip4/127.0.0.1/tcp/{port}")));
    assert_eq!(relay.run(&["serve"]).status.code(), Some(1));
    assert_eq!(
        std::fs::read_to_string(&kept).unwrap(),
        good,
        "it is not kept as good"
    );

    let back = relay.run(&["config", "rollback"]);
    assert!(back.status.success(), "{}", stderr(&back));
    assert_eq!(std::fs::read_to_string(&relay.config).unwrap(), good);
    let aside = relay.folder.path().join(".relay-server.before-rollback.yaml");
    assert!(
        std::fs::read_to_string(aside)
            .unwrap()
            .contains(&port.to_string())
    );
    relay.start(&[]);
    relay.stop();
}

#[test]
fn a_log_file_is_written_and_standard_error_is_for_people() {
    let mut relay = Running::prepare();
    relay.edit(|text| format!("{text}\nlog:\n  file: relay.log\n"));
    relay.start(&[]);
    relay.stop();
    let log = std::fs::read_to_string(relay.folder.path().join("relay.log")).unwrap();
    assert!(log.contains("answers /healthz and /metrics"), "{log}");
    let lines: Vec<String> = relay.lines.take().unwrap().iter().collect();
    assert!(lines.iter().all(|line| !line.contains("healthz")), "{lines:?}");
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
