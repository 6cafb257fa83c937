//! A client of the relay with no gate of its own, so that the relay alone decides.

use std::time::Duration;

use futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, multiaddr::Protocol, relay};
use peerup_model::{ADMIT_PROTOCOL, PathPolicy};
use peerup_net::{
    Audience, InboundStream, PolicyHandle, ProtocolTable, StreamLimits, Streams, StreamsHandle, swarm_with,
};
use relay_server::Relay;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::setting::policy_of;

/// What a test waits for at most; every wait ends with its event long before.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// The protocol that clients serve each other.
pub(crate) const ECHO_PROTOCOL: &str = "/peerup/echo/1.0.0";

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    relay: relay::client::Behaviour,
    streams: Streams,
}

type Event = SwarmEvent<BehaviourEvent>;
type Act = Box<dyn FnOnce(&mut Swarm<Behaviour>) + Send>;

/// A peer whose swarm runs in a task of its own, until dropped.
pub(crate) struct Client {
    pub(crate) peer: PeerId,
    pub(crate) streams: StreamsHandle,
    pub(crate) inbound: mpsc::Receiver<InboundStream>,
    acts: mpsc::UnboundedSender<Act>,
    events: mpsc::UnboundedReceiver<Event>,
    task: AbortHandle,
}

impl Client {
    /// Starts a peer that lets `friends` open streams to it.
    pub(crate) async fn start(key: Keypair, friends: &[PeerId]) -> Self {
        let table = ProtocolTable::new();
        table.register(ECHO_PROTOCOL, Audience::Members).unwrap();
        let policy = PolicyHandle::new(policy_of(friends));
        let (streams, handle, inbound) = Streams::new(policy, table, StreamLimits::default());
        let peer = key.public().to_peer_id();
        let mut swarm = swarm_with(key, |_, relay| Behaviour { relay, streams })
            .await
            .unwrap();
        let (acts, mut to_do) = mpsc::unbounded_channel::<Act>();
        let (seen, events) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(act) = to_do.recv() => act(&mut swarm),
                    event = swarm.select_next_some() => if seen.send(event).is_err() { return },
                }
            }
        });
        Self {
            peer,
            streams: handle,
            inbound,
            acts,
            events,
            task: task.abort_handle(),
        }
    }

    /// Starts a peer with a fresh key that has no friends.
    pub(crate) async fn random() -> Self {
        Self::start(Keypair::generate_ed25519(), &[]).await
    }

    pub(crate) fn act(&self, act: impl FnOnce(&mut Swarm<Behaviour>) + Send + 'static) {
        assert!(self.acts.send(Box::new(act)).is_ok(), "the swarm is gone");
    }

    /// Waits for the event that `pick` makes something of.
    pub(crate) async fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let found = async {
            loop {
                let event = self.events.recv().await.expect("the swarm is gone");
                if let Some(found) = pick(&event) {
                    return found;
                }
            }
        };
        timeout(DEADLINE, found)
            .await
            .unwrap_or_else(|_| panic!("waited too long for {what}"))
    }

    /// Connects to the relay over TCP.
    pub(crate) async fn connect(&mut self, relay: &Relay) {
        let (id, address) = (relay.peer_id(), direct(relay));
        self.act(move |swarm| swarm.dial(address).unwrap());
        self.wait("the relay", |event| match event {
            SwarmEvent::ConnectionEstablished { peer_id, .. } if *peer_id == id => Some(()),
            SwarmEvent::OutgoingConnectionError { error, .. } => {
                panic!("no connection to the relay: {error}")
            }
            _ => None,
        })
        .await;
    }

    async fn is_connected(&self, peer: PeerId) -> bool {
        let (reply, answer) = oneshot::channel();
        self.act(move |swarm| reply.send(swarm.is_connected(&peer)).unwrap());
        answer.await.unwrap()
    }

    /// Waits until the relay has closed the last connection.
    pub(crate) async fn closed(&mut self, relay: &Relay) {
        let id = relay.peer_id();
        if !self.is_connected(id).await {
            return;
        }
        self.wait("the end of the connection", |event| match event {
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                ..
            } if *peer_id == id => Some(()),
            _ => None,
        })
        .await;
    }

    /// Asks for a reservation; false when it is refused. Needs a connection.
    pub(crate) async fn reserve(&mut self, relay: &Relay) -> bool {
        let address = direct(relay).with(Protocol::P2pCircuit);
        self.act(move |swarm| {
            swarm.listen_on(address).unwrap();
        });
        self.wait("a reservation", |event| match event {
            SwarmEvent::Behaviour(BehaviourEvent::Relay(relay::client::Event::ReservationReqAccepted {
                ..
            })) => Some(true),
            SwarmEvent::ListenerClosed { .. } => Some(false),
            _ => None,
        })
        .await
    }

    /// Waits for the next renewal of the reservation; false when the reservation ends instead.
    pub(crate) async fn renewed(&mut self) -> bool {
        self.wait("a renewal", |event| match event {
            SwarmEvent::Behaviour(BehaviourEvent::Relay(relay::client::Event::ReservationReqAccepted {
                renewal: true,
                ..
            })) => Some(true),
            SwarmEvent::ListenerClosed { .. } => Some(false),
            _ => None,
        })
        .await
    }

    /// Dials a peer over the relay; false when that fails. Needs a connection.
    pub(crate) async fn dial_through(&mut self, relay: &Relay, destination: PeerId) -> bool {
        let address = direct(relay)
            .with(Protocol::P2pCircuit)
            .with(Protocol::P2p(destination));
        self.act(move |swarm| {
            let dial = DialOpts::peer_id(destination)
                .condition(PeerCondition::Always)
                .addresses(vec![address])
                .build();
            swarm.dial(dial).unwrap();
        });
        self.wait("a circuit", |event| match event {
            SwarmEvent::ConnectionEstablished { peer_id, .. } if *peer_id == destination => Some(true),
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(peer), ..
            } if *peer == destination => Some(false),
            _ => None,
        })
        .await
    }

    /// Opens a stream of the admit protocol.
    pub(crate) async fn admit_stream(
        &self,
        relay: &Relay,
    ) -> Result<peerup_net::PeerStream, peerup_net::OpenStreamError> {
        self.streams
            .open(&relay.peer_id(), ADMIT_PROTOCOL, PathPolicy::PreferDirect)
            .await
    }

    /// Takes all events that have come, and tells whether one of them was a connection of this peer.
    pub(crate) fn has_met(&mut self, other: PeerId) -> bool {
        let mut met = false;
        while let Ok(event) = self.events.try_recv() {
            met |= matches!(event, SwarmEvent::ConnectionEstablished { peer_id, .. } if peer_id == other);
            met |= matches!(event, SwarmEvent::IncomingConnection { .. });
        }
        met
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn direct(relay: &Relay) -> Multiaddr {
    relay.addresses()[0].clone()
}
