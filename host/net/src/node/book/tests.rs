//! What the book keeps, for how long, and what of it is good on which network.

use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 3_600;

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

fn full(text: &str, peer: PeerId) -> Multiaddr {
    with_peer(&address(text), peer)
}

#[test]
fn keeps_the_latest_addresses_and_tells_circuits_apart() {
    let mut book = Book::default();
    let (peer, relay) = (PeerId::random(), PeerId::random());
    for port in 1..=40 {
        book.learn(
            peer,
            &address(&format!("/ip4/10.0.0.1/tcp/{port}")),
            AddressSource::Told,
            NOW,
        );
    }
    let direct = book.direct(&peer, NOW);
    assert_eq!(direct.len(), ADDRESSES_PER_PEER);
    assert_eq!(direct[0], full("/ip4/10.0.0.1/tcp/40", peer));
    let circuit = format!("/ip4/1.2.3.4/tcp/1/p2p/{relay}/p2p-circuit/p2p/{peer}");
    book.give(peer, &address(&circuit), NOW);
    assert_eq!(book.direct(&peer, NOW).len(), ADDRESSES_PER_PEER - 1);
    let relay_address = address(&format!("/ip4/1.2.3.4/tcp/1/p2p/{relay}"));
    assert_eq!(book.relays(&peer, NOW), vec![(relay, relay_address)]);
}

#[test]
fn what_worked_last_comes_first_and_is_not_pushed_out() {
    let mut book = Book::default();
    let peer = PeerId::random();
    book.learn(peer, &address("/ip4/1.1.1.1/tcp/1"), AddressSource::Worked, NOW);
    book.learn(
        peer,
        &address("/ip4/1.1.1.1/tcp/2"),
        AddressSource::Worked,
        NOW + 5,
    );
    for port in 10..40 {
        let told = address(&format!("/ip4/1.1.1.1/tcp/{port}"));
        book.learn(peer, &told, AddressSource::Told, NOW + 9);
    }
    let direct = book.direct(&peer, NOW + 9);
    assert_eq!(direct[0], full("/ip4/1.1.1.1/tcp/2", peer));
    assert_eq!(direct[1], full("/ip4/1.1.1.1/tcp/39", peer));
    assert!(!direct.contains(&full("/ip4/1.1.1.1/tcp/1", peer)));
    assert_eq!(direct.len(), ADDRESSES_PER_PEER);
}

#[test]
fn the_stronger_source_stays() {
    let mut book = Book::default();
    let peer = PeerId::random();
    let here = address("/ip4/1.1.1.1/tcp/1");
    for (source, expected) in [
        (AddressSource::Mdns, AddressSource::Mdns),
        (AddressSource::Told, AddressSource::Told),
        (AddressSource::Mdns, AddressSource::Told),
        (AddressSource::Worked, AddressSource::Worked),
        (AddressSource::Operator, AddressSource::Operator),
        (AddressSource::Told, AddressSource::Operator),
    ] {
        book.learn(peer, &here, source, NOW);
        let known = book.describe(&peer, NOW + 7);
        assert_eq!(known.len(), 1);
        assert_eq!((known[0].source, known[0].age_s), (expected, 7), "{source:?}");
    }
}

#[test]
fn private_addresses_are_good_on_their_network_only() {
    let mut book = Book::default();
    let peer = PeerId::random();
    book.set_network(Some("home".to_owned()));
    for text in [
        "/ip4/192.168.1.5/tcp/1",
        "/ip4/100.64.0.5/tcp/1",
        "/ip6/fd00::5/tcp/1",
        "/ip4/169.254.1.1/tcp/1",
    ] {
        book.learn(peer, &address(text), AddressSource::Told, NOW);
    }
    let everywhere = [
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/203.0.113.5/tcp/1",
        "/ip6/2001:db8::5/tcp/1",
        "/dns/a.example/tcp/1",
    ];
    for text in everywhere {
        book.learn(peer, &address(text), AddressSource::Told, NOW);
    }
    book.give(peer, &address("/ip4/10.0.0.5/tcp/1"), NOW);
    assert_eq!(book.direct(&peer, NOW).len(), 9);

    book.set_network(Some("work".to_owned()));
    let away = book.direct(&peer, NOW);
    assert_eq!(away.len(), 5);
    assert!(away.contains(&full("/ip4/10.0.0.5/tcp/1", peer)));
    for text in everywhere {
        assert!(away.contains(&full(text, peer)), "{text}");
    }

    book.set_network(Some("home".to_owned()));
    assert_eq!(book.direct(&peer, NOW).len(), 9);
}

#[test]
fn the_same_private_address_may_be_known_on_two_networks() {
    let mut book = Book::default();
    let peer = PeerId::random();
    let here = address("/ip4/192.168.1.5/tcp/1");
    for network in ["home", "work"] {
        book.set_network(Some(network.to_owned()));
        book.learn(peer, &here, AddressSource::Told, NOW);
        assert_eq!(book.direct(&peer, NOW).len(), 1, "{network}");
    }
    book.set_network(Some("home".to_owned()));
    assert_eq!(book.direct(&peer, NOW).len(), 1);
}

#[test]
fn a_circuit_over_a_private_relay_is_good_on_its_network_only() {
    let mut book = Book::default();
    let (peer, relay) = (PeerId::random(), PeerId::random());
    book.set_network(Some("home".to_owned()));
    let circuit = address(&format!("/ip4/192.168.1.2/tcp/1/p2p/{relay}/p2p-circuit"));
    book.learn(peer, &circuit, AddressSource::Told, NOW);
    assert_eq!(book.relays(&peer, NOW).len(), 1);
    book.set_network(Some("work".to_owned()));
    assert!(book.relays(&peer, NOW).is_empty());
}

#[test]
fn addresses_learned_before_the_network_had_a_name_belong_to_it() {
    let mut book = Book::default();
    let peer = PeerId::random();
    book.learn(peer, &address("/ip4/10.0.0.5/tcp/1"), AddressSource::Worked, NOW);
    assert_eq!(book.direct(&peer, NOW).len(), 1);
    book.set_network(Some("home".to_owned()));
    assert_eq!(book.direct(&peer, NOW).len(), 1);
    book.rename_network("home of that router".to_owned());
    assert_eq!(book.direct(&peer, NOW).len(), 1);
    book.set_network(Some("home".to_owned()));
    assert!(book.direct(&peer, NOW).is_empty());
}

#[test]
fn addresses_expire_unless_somebody_sees_them_again() {
    let mut book = Book::default();
    let peer = PeerId::random();
    book.learn(peer, &address("/ip4/1.1.1.1/tcp/1"), AddressSource::Mdns, NOW);
    book.learn(peer, &address("/ip4/1.1.1.1/tcp/2"), AddressSource::Told, NOW);
    book.give(peer, &address("/ip4/1.1.1.1/tcp/3"), NOW);
    assert_eq!(book.direct(&peer, NOW + 600).len(), 3);
    assert_eq!(book.direct(&peer, NOW + 601).len(), 2);
    book.learn(
        peer,
        &address("/ip4/1.1.1.1/tcp/1"),
        AddressSource::Mdns,
        NOW + 500,
    );
    assert_eq!(book.direct(&peer, NOW + 601).len(), 3);
    assert_eq!(book.direct(&peer, NOW + 14 * DAY).len(), 2);
    assert_eq!(book.direct(&peer, NOW + 14 * DAY + 1).len(), 1);
    book.prune(NOW + 15 * DAY);
    assert_eq!(book.peers[&peer].len(), 1);
}

#[test]
fn the_end_of_an_announcement_forgets_what_is_known_from_nowhere_else() {
    let mut book = Book::default();
    let peer = PeerId::random();
    for port in [1, 2] {
        let announced = address(&format!("/ip4/10.0.0.5/tcp/{port}"));
        book.learn(peer, &announced, AddressSource::Mdns, NOW);
    }
    book.learn(peer, &address("/ip4/10.0.0.5/tcp/2"), AddressSource::Worked, NOW);
    for port in [1, 2] {
        book.expire(&peer, &address(&format!("/ip4/10.0.0.5/tcp/{port}")));
    }
    assert_eq!(book.direct(&peer, NOW), [full("/ip4/10.0.0.5/tcp/2", peer)]);
}

#[test]
fn the_peer_seen_longest_ago_makes_room() {
    let mut book = Book::default();
    let given = PeerId::random();
    book.give(given, &address("/ip4/1.1.1.1/tcp/1"), 1);
    let peers: Vec<PeerId> = (0..PEERS).map(|_| PeerId::random()).collect();
    for (age, peer) in peers.iter().enumerate() {
        let now = NOW + u64::try_from(age).unwrap();
        book.learn(*peer, &address("/ip4/1.1.1.1/tcp/1"), AddressSource::Told, now);
    }
    assert_eq!(book.peers.len(), PEERS);
    let now = NOW + 2_000;
    assert!(book.direct(&peers[0], now).is_empty());
    assert_eq!(book.direct(&peers[1], now).len(), 1);
    assert_eq!(book.direct(&given, now).len(), 1);
}

#[test]
fn is_dirty_when_something_worth_writing_changed() {
    let mut book = Book::default();
    let peer = PeerId::random();
    let here = address("/ip4/1.1.1.1/tcp/1");
    assert!(!book.dirty());
    book.learn(peer, &here, AddressSource::Told, NOW);
    assert!(book.dirty());
    book.mark_clean();
    book.learn(peer, &here, AddressSource::Told, NOW + 60);
    assert!(!book.dirty(), "seen again within the hour");
    book.learn(peer, &here, AddressSource::Worked, NOW + 61);
    assert!(book.dirty());
    book.mark_clean();
    book.learn(peer, &here, AddressSource::Told, NOW + 4_000);
    assert!(book.dirty(), "seen again after more than an hour");
    book.mark_clean();
    book.mark_dirty();
    assert!(book.dirty(), "writing failed");
}

proptest! {
    #[test]
    fn bounds_hold_whatever_is_learned(
        steps in proptest::collection::vec((0_usize..4, any::<u32>(), any::<u16>(), 0_usize..6, 0_u64..2_000_000, any::<u8>()), 0..200)
    ) {
        let peers: Vec<PeerId> = (0..4).map(|_| PeerId::random()).collect();
        let sources = [
            AddressSource::Mdns, AddressSource::Observed, AddressSource::Dht, AddressSource::Told, AddressSource::Worked, AddressSource::Operator,
        ];
        let mut book = Book::default();
        for (peer, ip, port, source, later, network) in steps {
            if network < 32 {
                book.set_network(Some(network.to_string()));
            }
            let here = address(&format!("/ip4/{}/tcp/{port}", std::net::Ipv4Addr::from(ip)));
            book.learn(peers[peer], &here, sources[source], NOW + later);
            prop_assert!(book.peers[&peers[peer]].len() <= ADDRESSES_PER_PEER);
            let direct = book.direct(&peers[peer], NOW);
            let distinct: std::collections::HashSet<_> = direct.iter().collect();
            prop_assert_eq!(distinct.len(), direct.len());
        }
    }
}
