//! The daemon under a service manager: what it tells, when it is vouched for, what SIGHUP does, a socket that is
//! handed down.

use std::{
    os::{fd::OwnedFd, unix::fs::PermissionsExt, unix::net::UnixListener},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use peerup_testkit::Process;
use rustix::process::Signal;

use crate::support::{END, Node, Outcome, Pair, SOON, ServiceManager, send};

const ALIVE: &str = "WATCHDOG=1";

fn node() -> (tempfile::TempDir, Node) {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    (folder, node)
}

fn start(
    node: &Node,
    manager: &ServiceManager,
    watchdog: Option<Duration>,
    stall_ms: Option<u64>,
) -> Process {
    let mut command = node.command(&["daemon"]);
    manager.watch(&mut command, watchdog);
    if let Some(time) = stall_ms {
        command.env("PEERUP_DEBUG_STALL_MS", time.to_string());
    }
    Process::spawn("daemon", &mut command).unwrap()
}

#[test]
fn a_service_manager_hears_of_the_daemons_whole_life() {
    let (folder, node) = node();
    let manager = ServiceManager::listen(folder.path());
    let mut daemon = start(&node, &manager, Some(Duration::from_secs(3)), None);

    let ready = manager.wait_for("READY=1");
    assert!(ready.contains(&format!("MAINPID={}", daemon.id())), "{ready:?}");
    assert!(
        ready.contains(&"STATUS=connected to 0 peers, relays included; reserved on 0 of 0 relays".to_owned()),
        "{ready:?}"
    );
    for _ in 0..3 {
        manager.wait_for(ALIVE);
    }

    node.replace(
        "services: {}",
        "services:\n  web:\n    local_address: localhost:80",
    );
    send(daemon.id(), Signal::HUP);
    let reloading = manager.wait_for("RELOADING=1");
    let clock = |line: &String| {
        line.strip_prefix("MONOTONIC_USEC=")
            .is_some_and(|time| time.parse::<u64>().is_ok())
    };
    assert!(reloading.iter().any(clock), "{reloading:?}");
    manager.wait_for("READY=1");
    let services = node.run(&["daemon", "services", "--json"]).json();
    assert_eq!(services[0]["name"], "web");

    node.replace("local_address: localhost:80", "local_address: nowhere");
    send(daemon.id(), Signal::HUP);
    manager.wait_for("RELOADING=1");
    let kept = manager.wait_for("READY=1");
    assert!(
        kept.iter()
            .any(|line| line.contains("the config was not read again")),
        "{kept:?}"
    );
    let services = node.run(&["daemon", "services", "--json"]).json();
    assert_eq!(services[0]["local_address"], "localhost:80");

    let (ended, _) = daemon.terminate(END).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    manager.wait_for("STOPPING=1");
}

#[test]
fn the_status_follows_peers_and_relays() {
    let mut pair = Pair::prepare();
    let manager = ServiceManager::listen(pair.folder.path());
    let daemon = start(&pair.home, &manager, None, None);
    pair.home.daemon = Some(daemon);
    let ready = manager.wait_for("READY=1");
    let status = "STATUS=connected to 1 peer, relays included; reserved on 1 of 1 relays";
    assert!(ready.contains(&status.to_owned()), "{ready:?}");
    pair.laptop.start();
    pair.laptop.run(&["ping", "home", "-c", "1"]).ok();
    manager.wait_for("STATUS=connected to 2 peers, relays included; reserved on 1 of 1 relays");
    pair.relay.stop();
    manager.wait_for("STATUS=connected to 1 peer, relays included; reserved on 0 of 1 relays");
}

#[test]
fn a_daemon_whose_loop_stands_still_is_vouched_for_no_more() {
    let (folder, node) = node();
    let manager = ServiceManager::listen(folder.path());
    let mut daemon = start(
        &node,
        &manager,
        Some(Duration::from_millis(1500)),
        Some(3_600_000),
    );
    manager.wait_for("READY=1");
    manager.wait_for(ALIVE);

    send(daemon.id(), Signal::USR1);

    daemon
        .wait_for_line("the failing check", SOON, |line| {
            line.contains("a check of this process does not pass") && line.contains("loop")
        })
        .unwrap();
    daemon
        .wait_for_line("the end of the feeding", SOON, |line| {
            line.contains("the service manager is told nothing any more")
        })
        .unwrap();
    manager.drain();
    // Four times as long as it takes to feed a daemon that is well.
    let next = manager.next(Duration::from_secs(3));
    assert_eq!(next, None);
    daemon.kill().unwrap();
}

#[test]
fn a_loop_that_moves_on_in_time_is_vouched_for_again() {
    let (folder, node) = node();
    let manager = ServiceManager::listen(folder.path());
    let mut daemon = start(&node, &manager, Some(Duration::from_millis(1500)), Some(3000));
    manager.wait_for("READY=1");

    send(daemon.id(), Signal::USR1);
    daemon
        .wait_for_line("the end of the feeding", SOON, |line| {
            line.contains("is told nothing any more")
        })
        .unwrap();
    daemon
        .wait_for_line("the feeding again", SOON, |line| {
            line.contains("is told again that this process is alive")
        })
        .unwrap();
    manager.drain();
    manager.wait_for(ALIVE);
    daemon.terminate(END).unwrap();
}

#[test]
fn a_daemon_whose_socket_was_taken_away_is_vouched_for_no_more() {
    let (folder, node) = node();
    let manager = ServiceManager::listen(folder.path());
    let mut daemon = start(&node, &manager, Some(Duration::from_millis(1500)), None);
    manager.wait_for("READY=1");

    std::fs::remove_file(node.file("peerup.sock")).unwrap();

    daemon
        .wait_for_line("the failing check", SOON, |line| {
            line.contains("is not this daemon's socket any more")
        })
        .unwrap();
    daemon
        .wait_for_line("the end of the feeding", SOON, |line| {
            line.contains("is told nothing any more")
        })
        .unwrap();
    daemon.terminate(END).unwrap();
}

/// Starts the daemon with a listening socket as the service manager hands it down.
fn start_with_socket(node: &Node, mode: u32) -> (UnixListener, Process) {
    let path = node.file("peerup.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    let daemon = node.command(&["daemon"]);
    let mut shell = Command::new("sh");
    shell
        .args([
            "-c",
            "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"",
        ])
        .arg(daemon.get_program())
        .args(daemon.get_args())
        .current_dir(&node.folder);
    for (name, value) in daemon.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let input = OwnedFd::from(listener.try_clone().unwrap());
    let process = Process::spawn_with("daemon", &mut shell, Stdio::from(input)).unwrap();
    (listener, process)
}

#[test]
fn a_socket_that_is_handed_down_is_used_and_left_in_place() {
    let (_folder, node) = node();
    let (listener, mut daemon) = start_with_socket(&node, 0o600);
    daemon
        .wait_for_line("ready", SOON, |line| line.starts_with("ready "))
        .unwrap();
    let status = node.run(&["daemon", "status", "--json"]).json();
    assert_eq!(status["peer_id"], node.peer_id());
    daemon.terminate(END).unwrap();
    assert!(node.file("peerup.sock").exists());
    assert!(!node.file(".daemon-cookie").exists());
    drop(listener);
}

#[test]
fn a_socket_that_others_may_open_is_refused() {
    let (_folder, node) = node();
    let (_listener, mut daemon) = start_with_socket(&node, 0o666);
    let ended = daemon.finish(SOON).unwrap();
    Outcome::from(ended).fails(1, &["open to other users", "666", "SocketMode=0600"]);
}

/// Programs that stand in for those of the system: `systemctl` writes down what it is asked, and nobody lingers.
fn fake_system(folder: &Path) -> String {
    let fake = folder.join("fake");
    std::fs::create_dir_all(&fake).unwrap();
    let asked = folder.join("asked");
    let systemctl = format!(
        "if [ \"$1\" = --version ]; then echo systemd 257; else echo \"$@\" >> {}; fi",
        asked.display()
    );
    for (name, script) in [("systemctl", systemctl.as_str()), ("loginctl", "echo no")] {
        std::fs::write(fake.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(fake.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    format!("{}:{}", fake.display(), std::env::var("PATH").unwrap())
}

/// Has root run a command as a user who is not.
fn not_as_root(command: Command) -> Command {
    if !rustix::process::geteuid().is_root() {
        return command;
    }
    let mut lesser = Command::new("setpriv");
    lesser
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        lesser.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => lesser.env(name, value),
            None => lesser.env_remove(name),
        };
    }
    lesser
}

#[test]
fn a_users_own_daemon_is_installed_checked_and_taken_away_without_root() {
    let folder = tempfile::tempdir().unwrap();
    let path = fake_system(folder.path());
    let home = folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        for owned in [folder.path(), &home] {
            std::os::unix::fs::chown(owned, Some(65534), Some(65534)).unwrap();
        }
    }
    let run = |arguments: &[&str]| {
        let mut command = crate::support::bare(&home, arguments);
        command.arg("--user").env("PATH", &path);
        Outcome::of(not_as_root(command))
    };

    run(&["daemon", "install", "--check"]).fails(7, &["[FAIL]", "peerup daemon install --user"]);
    let done = run(&["daemon", "install"]);
    for told in [
        "next: ",
        "loginctl enable-linger",
        "peerup relay add ADDR\n",
        "peerup invite",
    ] {
        assert!(done.stderr.contains(told), "{told}: {}", done.stderr);
    }
    done.ok();
    let config = home.join("xdg/peerup/config.yaml");
    assert!(config.exists() && home.join(".local/bin/peerup").exists());
    let definition = home.join(".config/systemd/user/peerup.service");
    let unit = std::fs::read_to_string(&definition).unwrap();
    assert!(
        unit.contains(&format!("--config {}\n", config.display())),
        "{unit}"
    );
    run(&["daemon", "install", "--check"]).ok();
    let found = run(&["auth", "list"]);
    assert_ne!(
        found.code, 4,
        "the config is not where commands look for it: {found:?}"
    );
    run(&["daemon", "uninstall"]).ok();
    assert!(!definition.exists() && !home.join(".local/bin/peerup").exists());
    assert!(config.with_file_name("identity.key").exists());
    let asked = std::fs::read_to_string(folder.path().join("asked")).unwrap();
    assert_eq!(
        asked.lines().collect::<Vec<_>>(),
        [
            "--user is-active peerup.service",
            "--user daemon-reload",
            "--user enable peerup.service",
            "--user restart peerup.service",
            "--user is-active peerup.service",
            "--user disable --now peerup.service",
            "--user daemon-reload",
        ]
    );
}

#[test]
fn a_users_own_daemon_is_not_for_root_and_not_for_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = crate::support::bare(folder.path(), arguments);
        command.env("PATH", folder.path());
        Outcome::of(command)
    };
    for place in ["--root", "--prefix"] {
        let outcome = run(&["daemon", "install", "--user", place, "/nowhere"]);
        assert_eq!(outcome.code, 2, "{outcome:?}");
        let refused = format!("'--user' cannot be used with '{place} <DIR>'");
        assert!(outcome.stderr.contains(&refused), "{outcome:?}");
    }
    if rustix::process::geteuid().is_root() {
        for command in ["install", "uninstall"] {
            run(&["daemon", command, "--user"]).fails(2, &["this is root", "next: run it as that user"]);
        }
    }
}

#[test]
fn the_daemon_is_installed_into_an_image_checked_and_taken_away() {
    let (folder, node) = node();
    let (root, path) = (folder.path().join("image"), fake_system(folder.path()));
    let run = |arguments: &[&str]| {
        let mut command = crate::support::bare(&node.folder, arguments);
        command.arg("--root").arg(&root).env("PATH", &path);
        Outcome::of(command)
    };

    run(&["daemon", "install", "--check"]).fails(7, &["[FAIL]", "peerup.service"]);
    run(&["daemon", "install"]).ok();
    run(&["daemon", "install", "--check"]).ok();
    let unit = std::fs::read_to_string(root.join("etc/systemd/system/peerup.service")).unwrap();
    assert!(unit.contains("Type=notify-reload"), "{unit}");
    assert!(
        !unit
            .lines()
            .any(|line| line.starts_with("MemoryDenyWriteExecute=")),
        "{unit}"
    );
    assert!(root.join("etc/peerup/identity.key").exists());
    run(&["daemon", "uninstall"]).ok();
    assert!(!root.join("etc/systemd/system/peerup.service").exists());
    assert!(root.join("etc/peerup/identity.key").exists());
}
