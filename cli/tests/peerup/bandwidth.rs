//! Limits of bandwidth over two daemons: what is sent arrives, the metrics tell that it had to wait, and a changed limit
//! holds for a tunnel that is open.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
};

use crate::{
    metrics::{scrape, sum},
    support::{Node, Pair, SOON},
};

/// Sends so much over a tunnel to an echo, and reads it back.
#[track_caller]
fn passes(stream: &TcpStream, bytes: usize) {
    let sent: Vec<u8> = (0..bytes).map(|index| (index / 7) as u8).collect();
    let (mut writer, mut reader, expected) = (
        stream.try_clone().unwrap(),
        stream.try_clone().unwrap(),
        sent.clone(),
    );
    let sender = thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut back = vec![0; bytes];
    reader.read_exact(&mut back).unwrap();
    sender.join().unwrap();
    assert!(back == expected);
}

fn tunnel(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn waits(node: &Node, words: &[&str]) -> f64 {
    sum(&scrape(node), "peerup_bandwidth_waits_total", words)
}

#[test]
fn a_limit_of_a_service_holds_both_ways_and_one_that_goes_frees_an_open_tunnel() {
    let mut pair = Pair::prepare();
    pair.home
        .edit(|text| format!("{text}\nbandwidth:\n  services:\n    echo: 64KB\n"));
    pair.home.start();
    pair.laptop.start();
    let (_proxy, address) = pair.laptop.proxy("home", "echo");
    let stream = tunnel(&address);
    // Within the burst nothing waits; what is past it arrives as well.
    passes(&stream, 1 << 10);
    assert_eq!(waits(&pair.home, &["kind=\"service\"", "of=\"echo\""]), 0.0);
    passes(&stream, 80 << 10);
    assert!(waits(&pair.home, &["kind=\"service\"", "of=\"echo\""]) > 0.0);
    assert!(
        sum(
            &scrape(&pair.home),
            "peerup_bandwidth_wait_seconds_total",
            &["echo"]
        ) > 0.0
    );
    // With the limit this would take minutes, and the read gives up sooner.
    pair.home.replace("echo: 64KB", "echo: unlimited");
    pair.home.run(&["daemon", "reload"]).ok();
    passes(&stream, 16 << 20);
    assert_eq!(
        sum(
            &scrape(&pair.home),
            "peerup_bandwidth_limit_bytes_per_second",
            &[]
        ),
        0.0
    );
}

#[test]
fn a_limit_of_a_peer_holds_for_what_this_node_opens_and_comes_live() {
    let pair = Pair::start();
    let connect = ["daemon", "connect", "--peer", "home", "--service", "echo"];
    let line = pair.laptop.run(&connect).ok();
    let stream = tunnel(line.split_once(' ').unwrap().1);
    passes(&stream, 1 << 20);
    let home = pair.home.peer_id();
    pair.laptop
        .edit(|text| format!("{text}\nbandwidth:\n  default_per_peer: 1GB\n  peers:\n    home: 64KB\n"));
    pair.laptop.run(&["daemon", "reload"]).ok();
    let limit = "peerup_bandwidth_limit_bytes_per_second";
    assert_eq!(
        sum(&scrape(&pair.laptop), limit, &["kind=\"peer\"", &home]),
        65536.0
    );
    passes(&stream, 80 << 10);
    assert!(waits(&pair.laptop, &["kind=\"peer\"", &home]) > 0.0);
}
