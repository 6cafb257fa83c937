//! The relay's part in how peers find each other: their records, and dials back to them.

use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use libp2p::autonat::v2::client;
use libp2p::identity::Keypair;
use libp2p::kad::{self, GetRecordOk, QueryResult, Quorum, Record, RecordKey, store::MemoryStore};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, identify};
use peerup_model::KAD_PROTOCOL;
use peerup_net::server_swarm_with;
use peerup_trust::{AddressRecord, record_key};
use relay_server::Relay;
use tokio::time::timeout;

use crate::client::DEADLINE;
use crate::setting::Setting;

#[derive(NetworkBehaviour)]
struct Behaviour {
    kad: kad::Behaviour<MemoryStore>,
    identify: identify::Behaviour,
    autonat: client::Behaviour,
}

type Event = SwarmEvent<BehaviourEvent>;

/// A peer that speaks libp2p's protocols as they are, without any of peerup's manners.
struct Peer {
    key: Keypair,
    swarm: Swarm<Behaviour>,
}

impl Peer {
    async fn start(key: &Keypair) -> Self {
        let swarm = server_swarm_with(key.clone(), |key| {
            let id = key.public().to_peer_id();
            let config = kad::Config::new(StreamProtocol::new(KAD_PROTOCOL));
            let probe = client::Config::default().with_probe_interval(Duration::from_millis(50));
            let mut kad = kad::Behaviour::with_config(id, MemoryStore::new(id), config);
            kad.set_mode(Some(kad::Mode::Client));
            Behaviour {
                kad,
                identify: identify::Behaviour::new(identify::Config::new("/test".into(), key.public())),
                autonat: client::Behaviour::new(rand::make_rng::<rand::rngs::StdRng>(), probe),
            }
        })
        .await
        .unwrap();
        Self {
            key: key.clone(),
            swarm,
        }
    }

    async fn connect(&mut self, relay: &Relay) {
        let (id, address) = (relay.peer_id(), relay.addresses()[0].clone());
        self.swarm.behaviour_mut().kad.add_address(&id, address.clone());
        self.swarm.dial(address).unwrap();
        self.wait(|event| matches!(event, SwarmEvent::ConnectionEstablished { .. }).then_some(()))
            .await;
    }

    async fn wait<T>(&mut self, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let found = async {
            loop {
                let event = self.swarm.select_next_some().await;
                if let Some(found) = pick(&event) {
                    return found;
                }
            }
        };
        timeout(DEADLINE, found).await.expect("it did not happen in time")
    }

    /// Sends a value under a peer's key to the relay, which always claims to have taken it.
    async fn put(&mut self, relay: &Relay, owner: PeerId, value: Vec<u8>) {
        let record = Record::new(RecordKey::new(&record_key(&owner)), value);
        let to = [relay.peer_id()];
        let id = self
            .swarm
            .behaviour_mut()
            .kad
            .put_record_to(record, to.into_iter(), Quorum::One);
        self.wait(|event| match event {
            SwarmEvent::Behaviour(BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
                id: of,
                result: QueryResult::PutRecord(result),
                ..
            })) if *of == id => Some(result.clone().unwrap()),
            _ => None,
        })
        .await;
    }

    async fn get(&mut self, owner: PeerId) -> Option<Vec<u8>> {
        let key = RecordKey::new(&record_key(&owner));
        let id = self.swarm.behaviour_mut().kad.get_record(key);
        self.wait(|event| match event {
            SwarmEvent::Behaviour(BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
                id: of,
                result: QueryResult::GetRecord(result),
                ..
            })) if *of == id => match result {
                Ok(GetRecordOk::FoundRecord(found)) => Some(Some(found.record.value.clone())),
                _ => Some(None),
            },
            _ => None,
        })
        .await
    }

    fn record(&self) -> Vec<u8> {
        let address: Multiaddr = "/ip4/203.0.113.7/udp/4001/quic-v1".parse().unwrap();
        AddressRecord::seal(&self.key, &[address], Timestamp::now()).unwrap()
    }

    fn id(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }
}

async fn two_members() -> (Setting, Peer, Peer) {
    let keys = [(); 2].map(|()| Keypair::generate_ed25519());
    let ids = keys.each_ref().map(|key| key.public().to_peer_id());
    let setting = Setting::with_members(&ids, "").await;
    let [mut one, mut two] = [Peer::start(&keys[0]).await, Peer::start(&keys[1]).await];
    one.connect(&setting.relay).await;
    two.connect(&setting.relay).await;
    (setting, one, two)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_finds_the_record_of_another() {
    let (setting, mut one, mut two) = two_members().await;
    let record = one.record();
    one.put(&setting.relay, one.id(), record.clone()).await;

    let found = two.get(one.id()).await;

    assert_eq!(found, Some(record.clone()));
    let opened = AddressRecord::open(&one.id(), &record, Timestamp::now()).unwrap();
    assert_eq!(opened.addresses.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_cannot_put_a_record_for_another() {
    let (setting, mut one, mut two) = two_members().await;
    // A genuine record of somebody else, one of its own in the other's place, and noise.
    for value in [one.record(), two.record(), vec![7; 300]] {
        two.put(&setting.relay, one.id(), value).await;
    }
    // Answered on the same connection, so after all of it has been looked at.
    two.put(&setting.relay, two.id(), two.record()).await;
    assert!(two.get(two.id()).await.is_some());

    assert_eq!(one.get(one.id()).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_keeps_no_providers() {
    let (_setting, mut one, mut two) = two_members().await;
    let key = RecordKey::new(&record_key(&one.id()));
    one.swarm
        .behaviour_mut()
        .kad
        .start_providing(key.clone())
        .unwrap();
    one.wait(|event| match event {
        SwarmEvent::Behaviour(BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
            result: QueryResult::StartProviding(_),
            ..
        })) => Some(()),
        _ => None,
    })
    .await;
    two.swarm.behaviour_mut().kad.get_providers(key);
    let found = two
        .wait(|event| match event {
            SwarmEvent::Behaviour(BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
                result: QueryResult::GetProviders(result),
                step,
                ..
            })) => match result {
                Ok(kad::GetProvidersOk::FoundProviders { providers, .. }) => Some(providers.len()),
                _ if step.last => Some(0),
                _ => None,
            },
            _ => None,
        })
        .await;
    assert_eq!(found, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_does_not_dial_back_to_loopback() {
    let key = Keypair::generate_ed25519();
    let setting = Setting::with_members(&[key.public().to_peer_id()], "").await;
    let mut peer = Peer::start(&key).await;
    peer.swarm
        .listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap())
        .unwrap();
    let listening = peer
        .wait(|event| match event {
            SwarmEvent::NewListenAddr { address, .. } => Some(address.clone()),
            _ => None,
        })
        .await;
    peer.connect(&setting.relay).await;

    // identify offers the address; a relay that dials it would get through.
    let (tested, result) = peer
        .wait(|event| match event {
            SwarmEvent::Behaviour(BehaviourEvent::Autonat(event)) => {
                Some((event.tested_addr.clone(), event.result.is_ok()))
            }
            SwarmEvent::IncomingConnection { .. } => panic!("the relay dialled {listening}"),
            _ => None,
        })
        .await;
    assert_eq!(tested, listening);
    assert!(!result);
    assert_eq!(peer.swarm.external_addresses().count(), 0);
}
