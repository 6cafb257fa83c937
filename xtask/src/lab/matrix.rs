//! The matrix: each case with the little internet that it is set in.

use super::{Case, PRESERVING, changes, ground, lan, nats, relays};

const REMAPPED: &str = "NAT, other ports";
const SYMMETRIC: &str = "NAT, symmetric";
const FULL_CONE: &str = "NAT, full cone";
const NO_UDP: &str = "NAT, no UDP";
const SAME: &str = "one network";

/// The cases.
pub(super) static CASES: [Case; 17] = [
    Case {
        name: "port-preserving",
        shows: "two NATs that keep ports: direct over QUIC",
        home: PRESERVING,
        laptop: PRESERVING,
        ground: ground::as_it_is,
        run: nats::direct_over_quic,
    },
    Case {
        name: "remapped",
        shows: "two NATs that give one other port to each socket: direct over QUIC",
        home: REMAPPED,
        laptop: REMAPPED,
        ground: ground::as_it_is,
        run: nats::remapped,
    },
    Case {
        name: "symmetric-one",
        shows: "a port for each destination against a NAT that lets nothing else in: stays on the relay",
        home: PRESERVING,
        laptop: SYMMETRIC,
        ground: ground::symmetric_one,
        run: nats::stays_relayed,
    },
    Case {
        name: "symmetric-full-cone",
        shows: "a port for each destination against a NAT that lets everybody in: direct",
        home: FULL_CONE,
        laptop: SYMMETRIC,
        ground: ground::symmetric_full_cone,
        run: nats::direct_over_quic,
    },
    Case {
        name: "symmetric-both",
        shows: "a port for each destination on both sides: stays on the relay, and `why` says so on both",
        home: SYMMETRIC,
        laptop: SYMMETRIC,
        ground: ground::symmetric_both,
        run: nats::symmetric_both,
    },
    Case {
        name: "udp-dropped",
        shows: "no UDP on one side: the relay over TCP, direct over TCP",
        home: PRESERVING,
        laptop: NO_UDP,
        ground: ground::udp_dropped_one,
        run: nats::direct_over_tcp,
    },
    Case {
        name: "tcp-punch-only",
        shows: "no UDP on either side: both open TCP at once",
        home: NO_UDP,
        laptop: NO_UDP,
        ground: ground::udp_dropped_both,
        run: nats::direct_over_tcp,
    },
    Case {
        name: "same-lan",
        shows: "one network, the relay down from before the start: they find each other",
        home: SAME,
        laptop: SAME,
        ground: ground::one_network,
        run: lan::relay_down,
    },
    Case {
        name: "relay-restart",
        shows: "the relay is killed and restarted, then started long after the nodes: reserved again within 10 s",
        home: PRESERVING,
        laptop: PRESERVING,
        ground: ground::as_it_is,
        run: relays::restart,
    },
    Case {
        name: "first-relay-dead",
        shows: "the first of two relays was never up: pairing and a tunnel, within a second more",
        home: PRESERVING,
        laptop: PRESERVING,
        ground: ground::as_it_is,
        run: relays::first_dead,
    },
    Case {
        name: "relay-failover",
        shows: "the relay in use dies: a new tunnel over the other within 2 s",
        home: PRESERVING,
        laptop: PRESERVING,
        ground: ground::as_it_is,
        run: relays::failover,
    },
    Case {
        name: "interface-down-up",
        shows: "the laptop's interface goes down and comes up: tunnels and the direct path are back",
        home: PRESERVING,
        laptop: PRESERVING,
        ground: ground::as_it_is,
        run: changes::interface_down_up,
    },
    Case {
        name: "address-and-gateway",
        shows: "the laptop gets another address and another gateway: tunnels and the direct path are back",
        home: PRESERVING,
        laptop: PRESERVING,
        ground: ground::as_it_is,
        run: changes::address_and_gateway,
    },
    Case {
        name: "daemon-restart",
        shows: "home's daemon is killed and restarted: a new tunnel works, and nobody touched the laptop",
        home: PRESERVING,
        laptop: PRESERVING,
        ground: ground::as_it_is,
        run: changes::daemon_restart,
    },
    Case {
        name: "relay-budget",
        shows: "a download larger than the relay allows: its end names the limit, and the next tunnel works",
        home: PRESERVING,
        laptop: PRESERVING,
        ground: ground::as_it_is,
        run: relays::budget,
    },
    Case {
        name: "direct-cut",
        shows: "direct packets vanish: new tunnels over the relay at once, direct again by itself later",
        home: PRESERVING,
        laptop: PRESERVING,
        ground: ground::as_it_is,
        run: changes::direct_cut,
    },
    Case {
        name: "streams-on-direct",
        shows: "with both paths up, 100 new streams: none on the relay",
        home: PRESERVING,
        laptop: PRESERVING,
        ground: ground::as_it_is,
        run: changes::streams_on_direct,
    },
];
