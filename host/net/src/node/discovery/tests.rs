//! Discovery without a network, and the DHT with swarms over loopback. Time is made up in both.

use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use libp2p::{
    Swarm, identify,
    kad::{InboundRequest, Mode, StoreInserts, store::RecordStore},
    swarm::{NetworkBehaviour, SwarmEvent},
};
use peerup_model::KAD_PROTOCOL;
use peerup_trust::{AccessPolicy, AuthorizedKeys, Entry};

use super::*;
use crate::{node::behaviour::kad, node::discovery::event::Source, transport::server_swarm_with};

const PUBLIC: &str = "/ip4/203.0.113.7/udp/4001/quic-v1";

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

fn id(key: &Keypair) -> PeerId {
    key.public().to_peer_id()
}

fn policy_of(peers: &[PeerId]) -> PolicyHandle {
    let mut keys = AuthorizedKeys::default();
    for peer in peers {
        keys.set(Entry::new(*peer)).unwrap();
    }
    PolicyHandle::new(AccessPolicy::new(&keys))
}

fn later(clock: Clock, seconds: u64) -> Clock {
    Clock {
        now: clock.now + Duration::from_secs(seconds),
        wall: clock.wall + SignedDuration::from_secs(seconds.cast_signed()),
    }
}

/// A discovery with a DHT behaviour that no swarm drives.
struct Alone {
    discovery: Discovery,
    kad: Kad,
    clock: Clock,
}

impl Alone {
    fn new() -> Self {
        let key = Keypair::generate_ed25519();
        Self {
            kad: Some(kad(id(&key))).into(),
            discovery: Discovery::new(key),
            clock: Clock::read(),
        }
    }

    fn with_relay() -> (Self, PeerId) {
        let (mut alone, relay) = (Self::new(), PeerId::random());
        alone.discovery.set_relays([relay], &mut alone.kad);
        alone.meets(relay);
        (alone, relay)
    }

    fn meets(&mut self, relay: PeerId) {
        let protocols = [StreamProtocol::new(KAD_PROTOCOL)];
        let at = address("/ip4/203.0.113.50/tcp/7777");
        self.discovery
            .handle_identify(relay, &at, &protocols, &mut self.kad, self.clock.now);
    }

    fn publish(&mut self, clock: Clock) {
        self.discovery.handle_timeout(&mut self.kad, clock);
    }

    fn queries(&mut self) -> usize {
        self.kad.as_mut().unwrap().iter_queries().count()
    }

    fn in_table(&mut self) -> usize {
        let buckets = self.kad.as_mut().unwrap().kbuckets();
        buckets.map(|bucket| bucket.num_entries()).sum()
    }

    fn seconds_left(&self) -> Option<u64> {
        let at = self.discovery.poll_timeout()?;
        Some(at.duration_since(self.clock.now).as_secs())
    }

    fn discovers(&mut self, found: &[(PeerId, &str)], policy: &PolicyHandle) -> Vec<DiscoveryEvent> {
        let found = found.iter().map(|(peer, text)| (*peer, address(text))).collect();
        self.discovery.handle_mdns(mdns::Event::Discovered(found), policy);
        std::iter::from_fn(|| self.discovery.next_event()).collect()
    }
}

#[test]
fn neighbours_are_listed_peers_at_addresses_that_can_be_dialled() {
    let mut alone = Alone::new();
    let (friend, stranger) = (PeerId::random(), PeerId::random());
    let policy = policy_of(&[friend]);
    let own = format!("/ip4/192.168.1.7/tcp/4001/p2p/{friend}");
    let found = [
        (friend, own.as_str()),
        (friend, "/ip4/127.0.0.1/tcp/4001"),
        (friend, "/ip6/::1/tcp/4001"),
        (friend, "/ip6/fe80::1/tcp/4001"),
        (friend, "/ip6/fd00::7/udp/4001/quic-v1"),
        (stranger, "/ip4/192.168.1.8/tcp/4001"),
    ];
    let events = alone.discovers(&found, &policy);
    let expected = DiscoveryEvent::Found {
        peer: friend,
        addresses: vec![
            address("/ip4/192.168.1.7/tcp/4001"),
            address("/ip6/fd00::7/udp/4001/quic-v1"),
        ],
        source: Source::Mdns,
    };
    assert_eq!(events, [expected]);
    // Not again for what is known.
    assert_eq!(alone.discovers(&found, &policy), []);
}

#[test]
fn a_neighbour_that_is_silent_is_lost_and_a_stranger_is_remembered_until_then() {
    let mut alone = Alone::new();
    let (friend, stranger) = (PeerId::random(), PeerId::random());
    let policy = policy_of(&[friend]);
    let at = "/ip4/192.168.1.7/tcp/4001";
    let found = alone.discovers(&[(friend, at), (stranger, at)], &policy);
    assert_eq!(found.len(), 1);
    assert_eq!(alone.discovery.neighbour(&stranger), [address(at)]);
    let lost = vec![(friend, address(at)), (stranger, address(at))];
    alone.discovery.handle_mdns(mdns::Event::Expired(lost), &policy);
    let expected = DiscoveryEvent::Lost {
        peer: friend,
        addresses: vec![address(at)],
        source: Source::Mdns,
    };
    assert_eq!(alone.discovery.next_event(), Some(expected));
    while alone.discovery.next_event().is_some() {}
    assert!(alone.discovery.neighbour(&stranger).is_empty());
    assert_eq!(alone.discovers(&[(friend, at)], &policy).len(), 1);
}

#[test]
fn strangers_on_the_network_crowd_no_friend_out() {
    let mut alone = Alone::new();
    let friend = PeerId::random();
    let policy = policy_of(&[friend]);
    let strangers: Vec<_> = (0..600)
        .map(|_| (PeerId::random(), "/ip4/192.168.1.8/tcp/1"))
        .collect();
    assert!(alone.discovers(&strangers, &policy).is_empty());
    assert_eq!(
        alone
            .discovers(&[(friend, "/ip4/192.168.1.7/tcp/1")], &policy)
            .len(),
        1
    );
}

#[test]
fn a_neighbour_cannot_claim_addresses_without_end() {
    let mut alone = Alone::new();
    let friend = PeerId::random();
    let policy = policy_of(&[friend]);
    let claims: Vec<_> = (1..100)
        .map(|port| format!("/ip4/192.168.1.7/tcp/{port}"))
        .collect();
    let claims: Vec<_> = claims.iter().map(|claim| (friend, claim.as_str())).collect();
    let events = alone.discovers(&claims, &policy);
    let [DiscoveryEvent::Found { addresses, .. }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(addresses.len(), 8);
}

#[test]
fn an_address_that_others_cannot_use_is_not_published() {
    let (mut alone, _) = Alone::with_relay();
    alone.publish(later(alone.clock, 3));
    let now = alone.clock.now + Duration::from_secs(10);
    let inside = [
        "/ip4/192.168.1.7/tcp/1",
        "/ip4/127.0.0.1/tcp/1",
        "/ip6/fe80::1/tcp/1",
    ];
    alone.discovery.set_addresses(inside.map(address), now);
    assert_eq!(alone.seconds_left(), Some(600 + 3), "nothing has changed");
    alone.discovery.set_addresses([address(PUBLIC)], now);
    assert_eq!(alone.seconds_left(), Some(10 + 2));
}

#[test]
fn addresses_are_published_two_seconds_after_a_change_and_every_ten_minutes() {
    let (mut alone, _) = Alone::with_relay();
    alone.discovery.set_addresses([address(PUBLIC)], alone.clock.now);
    assert_eq!(alone.seconds_left(), Some(2));
    alone.publish(later(alone.clock, 1));
    assert_eq!(alone.queries(), 0);
    alone.publish(later(alone.clock, 2));
    assert_eq!(alone.queries(), 1);
    assert_eq!(alone.seconds_left(), Some(602));
    // The same addresses, one of them with this node's id at its end.
    let local = alone.discovery.local;
    let same = address(&format!("{PUBLIC}/p2p/{local}"));
    alone.discovery.set_addresses([same], later(alone.clock, 5).now);
    assert_eq!(alone.seconds_left(), Some(602));
    alone.publish(later(alone.clock, 602));
    assert_eq!(alone.queries(), 2);
}

#[test]
fn nothing_is_published_before_there_is_something_to_say_but_an_end_is() {
    let (mut alone, _) = Alone::with_relay();
    alone.publish(later(alone.clock, 2));
    assert_eq!(alone.queries(), 0);
    alone.discovery.set_addresses([address(PUBLIC)], alone.clock.now);
    alone.publish(later(alone.clock, 4));
    assert_eq!(alone.queries(), 1);
    alone.discovery.set_addresses([], alone.clock.now);
    alone.publish(later(alone.clock, 8));
    assert_eq!(alone.queries(), 2);
}

#[test]
fn only_relays_that_are_configured_connected_and_serve_the_dht_are_asked() {
    let mut alone = Alone::new();
    let [relay, stranger, plain] = [(); 3].map(|()| PeerId::random());
    alone.discovery.set_relays([relay, plain], &mut alone.kad);
    alone.meets(stranger);
    let at = address("/ip4/203.0.113.51/tcp/7777");
    alone
        .discovery
        .handle_identify(plain, &at, &[], &mut alone.kad, alone.clock.now);
    assert_eq!(alone.in_table(), 0);
    alone
        .discovery
        .lookup(PeerId::random(), &mut alone.kad, alone.clock.now);
    assert_eq!(alone.queries(), 0, "there is nobody to ask");

    alone.meets(relay);
    assert_eq!(alone.in_table(), 1);
    alone.discovery.handle_disconnected(&relay, &mut alone.kad);
    assert_eq!(alone.in_table(), 0);
    alone.meets(relay);
    alone.discovery.set_relays([plain], &mut alone.kad);
    assert_eq!(alone.in_table(), 0);
    assert_eq!(alone.seconds_left(), None);
}

#[test]
fn lookups_are_bounded_and_one_for_each_peer() {
    let (mut alone, _) = Alone::with_relay();
    let peer = PeerId::random();
    for _ in 0..3 {
        alone.discovery.lookup(peer, &mut alone.kad, alone.clock.now);
    }
    assert_eq!(alone.queries(), 1);
    for _ in 0..100 {
        alone
            .discovery
            .lookup(PeerId::random(), &mut alone.kad, alone.clock.now);
    }
    assert_eq!(alone.queries(), 64);
}

#[test]
fn what_the_router_says_is_passed_on() {
    let mut alone = Alone::new();
    let external = address("/ip4/203.0.113.7/tcp/4001");
    alone.discovery.handle_upnp(upnp::Event::NewExternalAddr {
        local_addr: address("/ip4/192.168.1.7/tcp/4001"),
        external_addr: external.clone(),
    });
    alone.discovery.handle_upnp(upnp::Event::NonRoutableGateway);
    let events: Vec<_> = std::iter::from_fn(|| alone.discovery.next_event()).collect();
    let expected = [
        DiscoveryEvent::Gateway(Gateway::Public([203, 0, 113, 7].into())),
        DiscoveryEvent::External { address: external },
        DiscoveryEvent::Gateway(Gateway::Private),
    ];
    assert_eq!(events, expected);
}

#[derive(NetworkBehaviour)]
struct TestBehaviour {
    kad: Kad,
    identify: identify::Behaviour,
}

async fn swarm(key: &Keypair, kad: kad::Behaviour<kad::store::MemoryStore>) -> Swarm<TestBehaviour> {
    let identify = identify::Config::new("/test".to_owned(), key.public());
    server_swarm_with(key.clone(), |_| TestBehaviour {
        kad: Some(kad).into(),
        identify: identify::Behaviour::new(identify),
    })
    .await
    .unwrap()
}

/// A relay that keeps whatever it is given, and `junk` under the key of one peer.
async fn credulous_relay(junk: Option<PeerId>) -> (PeerId, Multiaddr) {
    let key = Keypair::generate_ed25519();
    let mut config = kad::Config::new(StreamProtocol::new(KAD_PROTOCOL));
    config.set_record_filtering(StoreInserts::FilterBoth);
    let mut store = kad::store::MemoryStore::new(id(&key));
    if let Some(peer) = junk {
        let key = kad::RecordKey::new(&peerup_trust::record_key(&peer));
        store.put(kad::Record::new(key, vec![1; 200])).unwrap();
    }
    let mut kad = kad::Behaviour::with_config(id(&key), store, config);
    kad.set_mode(Some(Mode::Server));
    let mut swarm = swarm(&key, kad).await;
    swarm.listen_on(address("/ip4/127.0.0.1/tcp/0")).unwrap();
    let listening = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    tokio::spawn(async move {
        loop {
            let event = swarm.select_next_some().await;
            if let SwarmEvent::Behaviour(TestBehaviourEvent::Kad(kad::Event::InboundRequest {
                request:
                    InboundRequest::PutRecord {
                        record: Some(record), ..
                    },
            })) = event
            {
                swarm
                    .behaviour_mut()
                    .kad
                    .as_mut()
                    .unwrap()
                    .store_mut()
                    .put(record)
                    .unwrap();
            }
        }
    });
    (id(&key), listening)
}

/// A node with nothing but discovery.
struct Seeker {
    swarm: Swarm<TestBehaviour>,
    discovery: Discovery,
    clock: Clock,
    relay: PeerId,
}

impl Seeker {
    async fn connected(key: &Keypair, (relay, at): &(PeerId, Multiaddr)) -> Self {
        let mut swarm = swarm(key, kad(id(key))).await;
        let mut discovery = Discovery::new(key.clone());
        discovery.set_relays([*relay], &mut swarm.behaviour_mut().kad);
        swarm.dial(at.clone()).unwrap();
        let mut seeker = Self {
            swarm,
            discovery,
            clock: Clock::read(),
            relay: *relay,
        };
        while seeker.discovery.poll_timeout().is_none() {
            seeker.step().await;
        }
        seeker
    }

    async fn step(&mut self) {
        let event = self.swarm.select_next_some().await;
        let kad = &mut self.swarm.behaviour_mut().kad;
        match event {
            SwarmEvent::Behaviour(TestBehaviourEvent::Kad(event)) => {
                self.discovery.handle_kad(event, self.clock);
            }
            SwarmEvent::Behaviour(TestBehaviourEvent::Identify(identify::Event::Received {
                info, ..
            })) => {
                let at = address("/ip4/127.0.0.1/tcp/1");
                self.discovery
                    .handle_identify(self.relay, &at, &info.protocols, kad, self.clock.now);
            }
            _ => {}
        }
    }

    fn queries(&mut self) -> usize {
        let kad = self.swarm.behaviour_mut().kad.as_mut().unwrap();
        kad.iter_queries().count()
    }

    /// Publishes these addresses and waits until the relay has them.
    async fn publish(&mut self, addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| address(text));
        self.discovery.set_addresses(addresses, self.clock.now);
        self.clock = later(self.clock, 3);
        let kad = &mut self.swarm.behaviour_mut().kad;
        self.discovery.handle_timeout(kad, self.clock);
        while self.queries() > 0 {
            self.step().await;
        }
    }

    /// Looks a peer up until its relay has answered.
    async fn look_up(&mut self, peer: PeerId) -> Option<DiscoveryEvent> {
        let kad = &mut self.swarm.behaviour_mut().kad;
        self.discovery.lookup(peer, kad, self.clock.now);
        while self.queries() > 0 {
            self.step().await;
        }
        self.discovery.next_event()
    }
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("it did not happen in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_finds_what_another_has_published_on_their_relay() {
    let (alice, bob) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let relay = credulous_relay(None).await;
    let circuit = format!("/ip4/203.0.113.50/tcp/7777/p2p/{}/p2p-circuit", relay.0);
    let mut alice_node = within(Seeker::connected(&alice, &relay)).await;
    let mut bob_node = within(Seeker::connected(&bob, &relay)).await;
    within(alice_node.publish(&[
        &format!("{circuit}/p2p/{}", id(&alice)),
        PUBLIC,
        "/ip4/10.0.0.1/tcp/1",
    ]))
    .await;
    let expected = |addresses: &[&str]| DiscoveryEvent::Found {
        peer: id(&alice),
        addresses: addresses.iter().map(|text| address(text)).collect(),
        source: Source::Dht,
    };
    let found = within(bob_node.look_up(id(&alice))).await;
    assert_eq!(found, Some(expected(&[PUBLIC, &circuit])));

    let moved = "/ip4/198.51.100.1/udp/4001/quic-v1";
    within(alice_node.publish(&[moved])).await;
    let found = within(bob_node.look_up(id(&alice))).await;
    assert_eq!(found, Some(expected(&[moved])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_no_relay_knows_is_not_looked_up_again_at_once() {
    let relay = credulous_relay(None).await;
    let mut node = within(Seeker::connected(&Keypair::generate_ed25519(), &relay)).await;
    let peer = PeerId::random();
    assert_eq!(within(node.look_up(peer)).await, None);
    let kad = &mut node.swarm.behaviour_mut().kad;
    node.discovery
        .lookup(peer, kad, node.clock.now + Duration::from_secs(29));
    assert_eq!(node.queries(), 0);
    let kad = &mut node.swarm.behaviour_mut().kad;
    node.discovery
        .lookup(peer, kad, node.clock.now + Duration::from_secs(31));
    assert_eq!(node.queries(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_relay_makes_up_is_not_believed() {
    let victim = Keypair::generate_ed25519();
    let relay = credulous_relay(Some(id(&victim))).await;
    let mut node = within(Seeker::connected(&Keypair::generate_ed25519(), &relay)).await;
    assert_eq!(within(node.look_up(id(&victim))).await, None);
}

#[test]
fn addresses_inside_a_members_record_lead_to_no_machine_of_this_network() {
    let member = Keypair::generate_ed25519();
    let wall = Timestamp::now();
    let inside = [address("/ip4/192.168.1.1/tcp/80"), address(PUBLIC)];
    let value = peerup_trust::AddressRecord::seal(&member, &inside, wall).unwrap();
    let (mut alone, _) = Alone::with_relay();
    alone
        .discovery
        .lookup(id(&member), &mut alone.kad, alone.clock.now);
    let query = alone.kad.as_mut().unwrap().iter_queries().next().unwrap().id();
    let key = kad::RecordKey::new(&peerup_trust::record_key(&id(&member)));
    let record = kad::PeerRecord {
        peer: None,
        record: kad::Record::new(key, value),
    };
    let answer = Ok(kad::GetRecordOk::FoundRecord(record));
    let found = alone
        .discovery
        .dht
        .handle_record(query, answer, true, alone.clock);
    let expected = DiscoveryEvent::Found {
        peer: id(&member),
        addresses: vec![address(PUBLIC)],
        source: Source::Dht,
    };
    assert_eq!(found, Some(expected));
}
