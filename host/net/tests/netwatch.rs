//! The network watch in network namespaces of its own. Needs root and `ip`; says so and passes without them.
//!
//! Each test runs itself again inside a fresh namespace, because a process belongs to one.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed step is a failed test, and a skipped one says so"
)]

use std::{
    net::IpAddr,
    process::{Command, Stdio},
    time::Duration,
};

use peerup_net::{NetEvent, NetState, NetWatch};
use tokio::{sync::mpsc, time::timeout};

/// Set in the process that runs inside a namespace.
const INSIDE: &str = "PEERUP_NETWATCH_NAMESPACE";
/// How long an event may take; far more than it does.
const PATIENCE: Duration = Duration::from_secs(30);

/// A namespace that goes with this value.
struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

/// Whether this process is inside a namespace and runs the test. Outside, it runs itself inside and waits.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let name = format!("pwatch-{}-{test}", std::process::id());
    let added = Command::new("ip")
        .args(["netns", "add", &name])
        .stderr(Stdio::null())
        .status();
    if !added.is_ok_and(|status| status.success()) {
        println!("skipped {test}: it needs root and the ip tool to make a network namespace");
        return false;
    }
    let namespace = Namespace(name);
    let status = Command::new("ip")
        .args(["netns", "exec", &namespace.0])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, &namespace.0)
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed inside its namespace");
    false
}

/// Runs commands of `ip`, one a line, in one go.
fn ip(commands: &str) {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), commands.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{commands}");
}

async fn next(events: &mut mpsc::Receiver<NetEvent>) -> NetEvent {
    timeout(PATIENCE, events.recv())
        .await
        .expect("no event in time")
        .expect("the watch ended")
}

async fn next_change(events: &mut mpsc::Receiver<NetEvent>) -> (String, NetState) {
    match next(events).await {
        NetEvent::Changed { network_id, state } => (network_id, state),
        other => panic!("{other:?} instead of a change"),
    }
}

/// A watch that has reported its first state.
async fn started() -> (NetWatch, mpsc::Receiver<NetEvent>, String, NetState) {
    let (watch, mut events) = NetWatch::start();
    match next(&mut events).await {
        NetEvent::Initial { network_id, state } => (watch, events, network_id, state),
        other => panic!("{other:?} instead of the first state"),
    }
}

fn ips(state: &NetState) -> Vec<String> {
    state.addresses.iter().map(IpAddr::to_string).collect()
}

fn gateways(state: &NetState) -> Vec<String> {
    state.gateways.iter().map(ToString::to_string).collect()
}

const TWO_LINKS: &str = "link set lo up
link add near0 type veth peer name far0
link set near0 up
link set far0 up
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_come_and_go_are_changes_and_a_burst_is_one() {
    if !inside("addresses_that_come_and_go_are_changes_and_a_burst_is_one") {
        return;
    }
    ip(TWO_LINKS);
    let (_watch, mut events, _, state) = started().await;
    assert_eq!(state, NetState::default());

    ip("addr add 192.168.1.7/24 dev near0
addr add 10.1.0.7/24 dev near0
addr add 10.2.0.7/24 dev near0
addr add 2001:db8::7/64 dev near0 nodad
");
    let (_, state) = next_change(&mut events).await;
    assert_eq!(
        ips(&state),
        ["10.1.0.7", "10.2.0.7", "192.168.1.7", "2001:db8::7"]
    );

    // Comes and goes within the debounce: nothing. The next event is the removal.
    ip("addr add 10.9.0.7/24 dev near0\naddr del 10.9.0.7/24 dev near0\n");
    ip("addr add 127.9.0.1/8 dev lo\n");
    ip("addr del 10.1.0.7/24 dev near0\n");
    let (_, state) = next_change(&mut events).await;
    assert_eq!(ips(&state), ["10.2.0.7", "192.168.1.7", "2001:db8::7"]);
    assert!(events.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checked_ipv6_address_counts_when_the_check_is_over() {
    if !inside("a_checked_ipv6_address_counts_when_the_check_is_over") {
        return;
    }
    ip(TWO_LINKS);
    let (_watch, mut events, ..) = started().await;
    ip("addr add 10.1.0.7/24 dev near0\naddr add 2001:db8::7/64 dev near0\n");
    // The kernel checks for two seconds at most, and the watch waits for that.
    let (_, state) = next_change(&mut events).await;
    assert!(state.tentative.is_empty());
    assert_eq!(ips(&state), ["10.1.0.7", "2001:db8::7"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_default_route_is_a_change_and_another_network() {
    if !inside("another_default_route_is_a_change_and_another_network") {
        return;
    }
    ip(TWO_LINKS);
    ip("addr add 192.168.1.7/24 dev near0\nroute add default via 192.168.1.1\n");
    let (_watch, mut events, first, state) = started().await;
    assert_eq!(gateways(&state), ["default via 192.168.1.1 dev near0"]);

    ip("route replace default via 192.168.1.2\n");
    let (second, state) = next_change(&mut events).await;
    assert_eq!(gateways(&state), ["default via 192.168.1.2 dev near0"]);
    assert_ne!(first, second);

    ip("route replace default via 192.168.1.1\n");
    assert_eq!(next_change(&mut events).await.0, first);

    ip("route del default\n");
    let (_, state) = next_change(&mut events).await;
    assert!(state.gateways.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_becomes_known_names_the_network_anew() {
    if !inside("a_router_that_becomes_known_names_the_network_anew") {
        return;
    }
    ip(TWO_LINKS);
    ip("addr add 192.168.1.7/24 dev near0\nroute add default via 192.168.1.1\n");
    let (_watch, mut events, nameless, _) = started().await;

    ip("neigh replace 192.168.1.1 lladdr 02:00:00:00:00:01 dev near0 nud permanent\n");
    let event = next(&mut events).await;
    let NetEvent::Identified {
        network_id: home,
        state,
    } = event
    else {
        panic!("{event:?} instead of a name");
    };
    assert_ne!(home, nameless);
    let expected = "default via 192.168.1.1 dev near0 lladdr 02:00:00:00:00:01";
    assert_eq!(gateways(&state), [expected]);

    // Another router with the same addresses. Nothing tells of neighbours, so an address says that something moved.
    ip(
        "neigh replace 192.168.1.1 lladdr 02:00:00:00:00:02 dev near0 nud permanent
addr add 10.9.0.7/24 dev far0
",
    );
    let (other, _) = next_change(&mut events).await;
    assert_ne!(other, home);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interface_that_goes_down_and_up_is_two_changes() {
    if !inside("an_interface_that_goes_down_and_up_is_two_changes") {
        return;
    }
    ip(TWO_LINKS);
    ip("addr add 192.168.1.7/24 dev near0\n");
    let (_watch, mut events, home, _) = started().await;
    ip("link set near0 down\n");
    assert!(next_change(&mut events).await.1.addresses.is_empty());
    ip("link set near0 up\n");
    let (network_id, state) = next_change(&mut events).await;
    assert_eq!(ips(&state), ["192.168.1.7"]);
    assert_eq!(network_id, home);

    // The other end of the cable.
    ip("link set far0 down\n");
    assert!(next_change(&mut events).await.1.addresses.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_is_a_change_and_a_bridge_is_none() {
    if !inside("a_tunnel_is_a_change_and_a_bridge_is_none") {
        return;
    }
    ip(TWO_LINKS);
    let (_watch, mut events, ..) = started().await;
    ip("link add quiet0 type bridge
link set quiet0 up
tuntap add dev tap7 mode tap
link set tap7 up
tuntap add dev tun7 mode tun
");
    ip("link set tun7 up\n");
    let (_, state) = next_change(&mut events).await;
    assert_eq!(state.tunnels.into_iter().collect::<Vec<_>>(), ["tun7"]);
    ip("link set tun7 down\n");
    assert!(next_change(&mut events).await.1.tunnels.is_empty());
    assert!(events.try_recv().is_err());
}
