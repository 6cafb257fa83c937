//! NAT verdicts from what relays observe.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed step is a failed test"
)]

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use libp2p_identity::PeerId;
use peerup_model::Transport;
use peerup_paths::{NatKind, NatTable, Observation, UdpVerdict};
use proptest::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);
const PORT: u16 = 4001;

struct Lab {
    relays: Vec<PeerId>,
    now: Instant,
    table: NatTable,
}

impl Lab {
    fn new() -> Self {
        let mut table = NatTable::new();
        table.note_local_address(vec![ip("192.168.1.5")]);
        Self {
            relays: (0..3).map(|_| PeerId::random()).collect(),
            now: Instant::now(),
            table,
        }
    }

    fn sees(&mut self, relay: usize, transport: Transport, seen: &str) {
        let seen: std::net::SocketAddr = seen.parse().unwrap();
        self.table.observe(Observation {
            observer: self.relays[relay],
            observer_ip: ip(&format!("203.0.113.{relay}")),
            transport,
            local_port: PORT,
            seen,
            at: self.now,
        });
    }

    fn kind(&self) -> NatKind {
        self.table.verdict(self.now).kind
    }

    fn text(&self) -> String {
        self.table.verdict(self.now).to_string()
    }

    fn udp(&self) -> UdpVerdict {
        self.table.verdict(self.now).udp
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

use Transport::{Quic, Tcp, Websocket};

#[test]
fn nothing_is_known_without_observers() {
    assert_eq!(Lab::new().text(), "unknown");
    assert_eq!(Lab::new().table.verdict(Instant::now()).port_preserving, None);
}

#[test]
fn one_observer_tells_only_whether_ports_are_preserved() {
    let mut lab = Lab::new();
    lab.sees(0, Quic, "198.51.100.7:4001");
    let verdict = lab.table.verdict(lab.now);
    assert_eq!(verdict.kind, NatKind::Unknown);
    assert_eq!(verdict.port_preserving, Some(true));
    assert_eq!(verdict.external_ips, vec![ip("198.51.100.7")]);
}

#[test]
fn two_observers_that_agree_make_it_endpoint_independent() {
    let mut lab = Lab::new();
    lab.sees(0, Quic, "198.51.100.7:4001");
    lab.sees(1, Quic, "198.51.100.7:4001");
    assert_eq!(lab.text(), "endpoint-independent, ports preserved");
    lab.sees(0, Quic, "198.51.100.7:61000");
    lab.sees(1, Quic, "198.51.100.7:61000");
    assert_eq!(lab.text(), "endpoint-independent, ports remapped");
}

#[test]
fn two_observers_that_differ_make_it_symmetric() {
    let mut lab = Lab::new();
    lab.sees(0, Quic, "198.51.100.7:61000");
    lab.sees(1, Quic, "198.51.100.7:61001");
    assert_eq!(lab.text(), "symmetric (a new port for each destination)");
    assert_eq!(lab.table.verdict(lab.now).port_preserving, Some(false));
}

#[test]
fn one_observer_over_two_transports_is_no_second_observer() {
    let mut lab = Lab::new();
    lab.sees(0, Quic, "198.51.100.7:4001");
    lab.sees(0, Tcp, "198.51.100.7:5000");
    lab.sees(0, Websocket, "198.51.100.7:5001");
    assert_eq!(lab.kind(), NatKind::Unknown);
}

#[test]
fn udp_counts_before_tcp_where_it_tells_something() {
    let mut lab = Lab::new();
    lab.sees(0, Tcp, "198.51.100.7:61000");
    lab.sees(1, Tcp, "198.51.100.7:61001");
    assert_eq!(lab.kind(), NatKind::Symmetric);
    lab.sees(0, Quic, "198.51.100.7:4001");
    assert_eq!(lab.kind(), NatKind::Symmetric);
    lab.sees(1, Quic, "198.51.100.7:4001");
    assert_eq!(lab.kind(), NatKind::EndpointIndependent);
}

#[test]
fn ipv6_without_nat_does_not_hide_a_nat_of_ipv4() {
    let mut lab = Lab::new();
    lab.table
        .note_local_address(vec![ip("192.168.1.5"), ip("2001:db8::5")]);
    lab.sees(0, Quic, "[2001:db8::5]:4001");
    lab.sees(1, Quic, "[2001:db8::5]:4001");
    assert_eq!(lab.kind(), NatKind::None);
    lab.sees(0, Quic, "198.51.100.7:61000");
    lab.sees(1, Quic, "198.51.100.7:61001");
    assert_eq!(lab.kind(), NatKind::Symmetric);
}

#[test]
fn an_own_public_address_is_no_nat_and_an_own_private_one_says_nothing() {
    let mut lab = Lab::new();
    lab.table.note_local_address(vec![ip("198.51.100.7")]);
    lab.sees(0, Quic, "198.51.100.7:4001");
    assert_eq!(lab.text(), "none (public address)");
    let mut lab = Lab::new();
    lab.sees(0, Quic, "192.168.1.5:4001");
    assert_eq!(lab.text(), "unknown");
    lab.sees(1, Quic, "198.51.100.7:61000");
    lab.sees(2, Quic, "198.51.100.7:61000");
    assert_eq!(lab.kind(), NatKind::EndpointIndependent);
}

#[test]
fn ipv4_addresses_in_ipv6_clothes_are_ipv4() {
    let mut lab = Lab::new();
    lab.sees(0, Quic, "[::ffff:198.51.100.7]:61000");
    lab.sees(1, Quic, "198.51.100.7:61000");
    assert_eq!(lab.kind(), NatKind::EndpointIndependent);
}

#[test]
fn a_providers_nat_shows_in_addresses_and_in_what_the_router_says() {
    let mut lab = Lab::new();
    let cgnat = |lab: &Lab| lab.table.verdict(lab.now).cgnat;
    assert_eq!(cgnat(&lab), None);
    lab.table.note_gateway_external(Some(ip("198.51.100.7")));
    assert_eq!(cgnat(&lab), None);
    lab.sees(0, Quic, "198.51.100.7:4001");
    assert_eq!(cgnat(&lab), Some(false));
    lab.table.note_gateway_external(Some(ip("10.0.0.9")));
    assert_eq!(cgnat(&lab), Some(true));
    lab.table.note_gateway_external(Some(ip("100.64.3.4")));
    assert_eq!(cgnat(&lab), Some(true));
    lab.table.note_gateway_external(None);
    assert_eq!(cgnat(&lab), None);
    lab.table.note_local_address(vec![ip("100.70.0.1")]);
    assert_eq!(cgnat(&lab), Some(true));
}

#[test]
fn udp_is_blocked_where_relays_answer_over_tcp_only() {
    let mut lab = Lab::new();
    assert_eq!(lab.udp(), UdpVerdict::Unknown);
    let [first, second, _] = lab.relays[..] else {
        unreachable!()
    };
    lab.table.note_udp(first, false, lab.now);
    assert_eq!(lab.udp(), UdpVerdict::Unknown, "it may be down");
    lab.sees(0, Tcp, "198.51.100.7:4001");
    assert_eq!(lab.udp(), UdpVerdict::Blocked);
    lab.table.note_udp(second, true, lab.now);
    assert_eq!(lab.udp(), UdpVerdict::Ok, "another relay's UDP works");
    lab.table.forget_all();
    assert_eq!(lab.udp(), UdpVerdict::Unknown);
}

#[test]
fn an_old_success_does_not_hide_that_udp_is_blocked_now() {
    let mut lab = Lab::new();
    let first = lab.relays[0];
    lab.sees(0, Tcp, "198.51.100.7:4001");
    lab.sees(0, Quic, "198.51.100.7:4001");
    lab.table.note_udp(first, true, lab.now);
    lab.now += MINUTE;
    lab.table.note_udp(first, false, lab.now);
    assert_eq!(lab.udp(), UdpVerdict::Ok);
    lab.now += MINUTE;
    lab.table.note_udp(first, false, lab.now);
    assert_eq!(lab.udp(), UdpVerdict::Blocked);
    lab.table.note_udp(first, true, lab.now);
    assert_eq!(lab.udp(), UdpVerdict::Ok);
}

#[test]
fn observations_expire_and_can_be_forgotten() {
    let mut lab = Lab::new();
    lab.sees(0, Quic, "198.51.100.7:4001");
    lab.sees(1, Quic, "198.51.100.7:4001");
    lab.now += MINUTE * 10;
    assert_eq!(lab.kind(), NatKind::Unknown);
    lab.sees(0, Quic, "198.51.100.8:4001");
    lab.sees(1, Quic, "198.51.100.8:4001");
    assert_eq!(lab.table.verdict(lab.now).external_ips, vec![ip("198.51.100.8")]);
    lab.table.forget_all();
    assert_eq!(lab.table.verdict(lab.now), NatTable::new().verdict(lab.now));
}

proptest! {
    #[test]
    fn the_verdict_on_a_simulated_nat_is_right(
        preserving in any::<bool>(),
        symmetric in any::<bool>(),
        order in proptest::collection::vec((0_usize..3, 0_u8..3), 1..100),
    ) {
        let mut lab = Lab::new();
        let mut observers = std::collections::BTreeSet::new();
        for (relay, transport) in order {
            let port = match (symmetric, preserving) {
                (true, _) => 20_000 + relay as u16,
                (false, true) => PORT,
                (false, false) => 30_000,
            };
            let transport = [Quic, Tcp, Websocket][usize::from(transport)];
            lab.sees(relay, transport, &format!("198.51.100.7:{port}"));
            observers.insert((transport as u8, relay));
        }
        let compared = (0..3_u8).any(|transport| {
            observers.iter().filter(|(one, _)| *one == transport).count() > 1
        });
        let expected = match (compared, symmetric) {
            (false, _) => NatKind::Unknown,
            (true, true) => NatKind::Symmetric,
            (true, false) => NatKind::EndpointIndependent,
        };
        prop_assert_eq!(lab.kind(), expected);
        let preserved = lab.table.verdict(lab.now).port_preserving;
        prop_assert_eq!(preserved, Some(preserving && !symmetric));
    }
}
