//! How a daemon ends: in time, with nothing left behind, whatever runs through it.

use std::os::unix::net::UnixDatagram;

use peerup_testkit::Process;

use crate::support::{Client, END, Node, Outcome, Pair, SOON, eventually};

fn assert_nothing_left(node: &Node) {
    for name in ["peerup.sock", ".daemon-cookie"] {
        assert!(!node.file(name).exists(), "{name} is left");
    }
}

/// Ends the daemon of `home` with tunnels open, one idle and one busy, in the given way.
#[track_caller]
fn ends_orderly(end: impl FnOnce(&Node, &mut Process) -> Outcome) {
    let mut pair = Pair::start();
    let (_proxy, address) = pair.laptop.proxy("home", "echo");
    let mut idle = Client::connect(&address);
    assert!(idle.echoes());
    let busy = Client::connect(&address).keep_busy();
    let mut daemon = pair.home.daemon.take().unwrap();

    let outcome = end(&pair.home, &mut daemon);

    assert_eq!(outcome.code, 0, "{outcome:#?}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome:#?}");
    assert_nothing_left(&pair.home);
    idle.ended();
    assert!(busy.join().unwrap() > 0);
}

#[test]
fn sigterm_ends_a_daemon_with_open_tunnels() {
    ends_orderly(|_, daemon| daemon.terminate(END).unwrap().0.into());
}

#[test]
fn sigint_ends_a_daemon_with_open_tunnels() {
    ends_orderly(|_, daemon| daemon.interrupt(END).unwrap().into());
}

#[test]
fn daemon_stop_ends_a_daemon_with_open_tunnels() {
    ends_orderly(|node, daemon| {
        node.run(&["daemon", "stop"]).ok();
        daemon.finish(END).unwrap().into()
    });
}

#[test]
fn the_near_side_ends_with_its_proxies() {
    let mut pair = Pair::start();
    let (mut proxy, address) = pair.laptop.proxy("home", "echo");
    let mut idle = Client::connect(&address);
    assert!(idle.echoes());
    let busy = Client::connect(&address).keep_busy();

    pair.laptop.stop();

    assert_nothing_left(&pair.laptop);
    idle.ended();
    assert!(busy.join().unwrap() > 0);
    Outcome::from(proxy.finish(SOON).unwrap()).fails(1, &[]);
    assert!(std::net::TcpStream::connect(&address).is_err());
}

#[test]
fn a_daemon_that_waits_for_its_relay_ends_at_once() {
    let mut pair = Pair::prepare();
    pair.relay.stop();
    let mut daemon = pair.home.spawn(&["daemon"]);
    eventually("its API", || {
        pair.home.run(&["status", "--json"]).json()["running"] == true
    });
    let (finished, _) = daemon.terminate(END).unwrap();
    assert_eq!(finished.code, 0, "{finished:#?}");
    assert_nothing_left(&pair.home);
}

#[test]
fn a_daemon_that_is_ended_in_the_middle_of_its_start_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    for _ in 0..3 {
        let mut daemon = node.spawn(&["daemon"]);
        // The socket is what it makes first. Looking without a pause finds it while the rest is being made.
        while !node.file("peerup.sock").exists() && daemon.exited().unwrap().is_none() {
            std::thread::yield_now();
        }
        let (finished, _) = daemon.terminate(END).unwrap();
        assert_eq!(finished.code, 0, "{finished:#?}");
        assert_nothing_left(&node);
    }
}

#[test]
fn systemd_is_told_of_the_start_and_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut command = node.command(&["daemon"]);
    command.env("NOTIFY_SOCKET", &path);
    let mut daemon = Process::spawn("daemon", &mut command).unwrap();

    assert!(receive(&socket).contains("READY=1"));
    let (finished, _) = daemon.terminate(END).unwrap();
    assert!(receive(&socket).contains("STOPPING=1"));
    assert_eq!(finished.code, 0, "{finished:#?}");
}

fn receive(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1024];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}
