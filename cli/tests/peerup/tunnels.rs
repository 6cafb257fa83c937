//! `proxy` and `daemon connect`: what travels, and what a client and the far side are told when it cannot.

use std::net::TcpListener;

use crate::support::{Client, END, Echo, Node, Pair, SOON, free_port};

#[test]
fn bytes_travel_with_and_without_a_daemon() {
    let mut pair = Pair::start();
    let (_proxy, address) = pair.laptop.proxy("home", "echo");
    assert!(Client::connect(&address).echoes());
    drop(_proxy);

    pair.laptop.stop();
    let (_proxy, address) = pair.laptop.proxy("home", "echo");
    assert!(Client::connect(&address).echoes());
}

#[test]
fn a_proxy_of_the_daemon_lasts_until_it_is_disconnected() {
    let pair = Pair::start();
    let connect = ["daemon", "connect", "--peer", "home", "--service", "echo"];
    let line = pair.laptop.run(&connect).ok();
    let (id, address) = line.split_once(' ').unwrap();
    let mut client = Client::connect(address);
    assert!(client.echoes());

    pair.laptop.run(&["daemon", "disconnect", id]).ok();

    client.ended();
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_service_that_is_down_costs_the_client_its_connection_and_nothing_else() {
    let mut pair = Pair::start();
    let port = free_port();
    let local = format!("127.0.0.1:{port}");
    pair.home.run(&["service", "add", "down", &local]).ok();
    let (mut proxy, address) = pair.laptop.proxy("home", "down");

    Client::connect(&address).ended();

    pair.home.logs(&["refused", "down", &local]);
    assert!(proxy.exited().unwrap().is_none());
    let listener = TcpListener::bind(&local).unwrap();
    let mut client = Client::connect(&address);
    drop(listener.accept().unwrap());
    client.ended();
}

#[test]
fn a_service_that_the_peer_does_not_have_is_named() {
    let pair = Pair::start();
    let mut proxy = pair.laptop.spawn(&["proxy", "home", "nothing"]);
    let listening = proxy.wait_for_line("the address", SOON, |line| line.starts_with("listening on "));
    if let Ok(line) = listening {
        Client::connect(line.trim_start_matches("listening on ")).ended();
    }
    proxy
        .wait_for_line("the refusal", SOON, |line| {
            line.contains("does not offer") && line.contains("nothing")
        })
        .unwrap();
}

#[test]
fn a_port_that_is_taken_is_named() {
    let pair = Pair::start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    pair.laptop
        .run(&["proxy", "home", "echo", &address])
        .fails(1, &[&address, "another program"]);
    let connect = [
        "daemon",
        "connect",
        "--peer",
        "home",
        "--service",
        "echo",
        "--listen",
        &address,
    ];
    pair.laptop.run(&connect).fails(1, &[&address, "another program"]);
}

#[test]
fn an_address_that_the_operator_names_needs_no_grant() {
    let pair = Pair::start();
    pair.laptop.replace("127.0.0.1:*", "127.0.0.2:*");
    pair.laptop.run(&["daemon", "reload"]).ok();
    let (_proxy, address) = pair.laptop.proxy("home", "echo");
    assert!(
        Client::connect(&address).echoes(),
        "what the operator asks for by hand is granted for that proxy"
    );
}

#[test]
fn services_come_go_and_change_without_a_restart() {
    let pair = Pair::start();
    let (_echo_proxy, echo) = pair.laptop.proxy("home", "echo");
    let (_other_proxy, other) = pair.laptop.proxy("home", "other");
    let mut open = Client::connect(&other);
    assert!(Client::connect(&echo).echoes() && open.echoes());

    pair.home.run(&["service", "disable", "echo"]).ok();
    Client::connect(&echo).ended();
    assert!(open.echoes() && Client::connect(&other).echoes());

    pair.home.run(&["service", "enable", "echo"]).ok();
    assert!(Client::connect(&echo).echoes());

    pair.home.run(&["service", "remove", "echo"]).ok();
    Client::connect(&echo).ended();

    let another = Echo::start();
    pair.home
        .run(&["service", "add", "echo", &another.address()])
        .ok();
    assert!(Client::connect(&echo).echoes());
}

#[test]
fn a_proxy_ends_with_130_when_it_is_interrupted() {
    let mut pair = Pair::start();
    let (mut proxy, address) = pair.laptop.proxy("home", "echo");
    let mut client = Client::connect(&address);
    assert!(client.echoes());
    assert_eq!(proxy.interrupt(END).unwrap().code, 130);
    client.ended();

    pair.laptop.stop();
    let (mut alone, address) = pair.laptop.proxy("home", "echo");
    let mut client = Client::connect(&address);
    assert!(client.echoes());
    assert_eq!(alone.interrupt(END).unwrap().code, 130);
    client.ended();
}

#[test]
fn a_proxy_cannot_go_on_without_its_daemon_and_says_so() {
    let mut pair = Pair::start();
    let (mut proxy, _) = pair.laptop.proxy("home", "echo");
    pair.laptop.daemon().kill().unwrap();
    let outcome = crate::support::Outcome::from(proxy.finish(SOON).unwrap());
    outcome.fails(1, &["daemon"]);
}

#[test]
fn ping_names_the_path_and_adds_up() {
    let pair = Pair::start();
    let text = pair
        .laptop
        .run(&["ping", "home", "-c", "2", "--interval", "20ms"])
        .ok();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("seq=1 rtt="), "{text}");
    assert!(
        lines[0].contains("path=[DIRECT") || lines[0].contains("path=[RELAYED via"),
        "{text}"
    );
    assert!(lines[2].contains("2 sent, 2 received"), "{text}");
}

#[test]
fn a_node_does_not_reach_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::init(folder.path(), "home");
    node.start();
    let own = node.peer_id();
    node.run(&["ping", &own]).fails(2, &["own peer id"]);
}
