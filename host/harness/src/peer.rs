//! One of the two peers, as its plugin sees the host.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use futures::future::BoxFuture;
use libp2p_identity::{Keypair, PeerId};
use peerup_engine::{
    ConnectionDetails, Duplex, Host, HostError, InboundRequest, LogLine, PathRef, PeerDetails, PeerEvent,
    PeerEventKind, PeerRef, PeerRole, Plugin,
};
use peerup_model::{
    Grants, PathPolicy, PeerName, PluginName, ProtocolPattern, ServiceName, Transport, service_protocol,
};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{
    link::{self, End},
    scenario::{Service, Who},
};

/// What waits for a slow subscriber, as the contract promises.
const EVENTS: usize = 256;
/// Log lines that are kept.
const MAX_LINES: usize = 10_000;

/// What is between the two peers.
#[derive(Debug)]
pub(crate) struct Between {
    pub(crate) delay: Duration,
    /// Cancelled when they lose each other; none while they have.
    pub(crate) cut: Option<CancellationToken>,
}

/// One peer.
pub(crate) struct Peer {
    pub(crate) who: Who,
    names: BTreeMap<PeerName, Who>,
    services: BTreeMap<ServiceName, Service>,
    between: Arc<Mutex<Between>>,
    events: broadcast::Sender<PeerEvent>,
    pub(crate) plugin: Mutex<Option<Plugin>>,
    lines: Mutex<Vec<String>>,
    other: OnceLock<Weak<Self>>,
}

impl Who {
    /// Its id, the same each time.
    pub(crate) fn id(self) -> PeerId {
        let seed = match self {
            Self::Laptop => [1; 32],
            Self::Home => [2; 32],
        };
        let keypair = Keypair::ed25519_from_bytes(seed).expect("32 bytes are a key");
        keypair.public().to_peer_id()
    }

    /// It as others see it.
    fn peer(self) -> PeerRef {
        PeerRef {
            id: self.id(),
            name: self.name().parse().ok(),
        }
    }
}

impl Peer {
    pub(crate) fn new(
        who: Who,
        names: BTreeMap<PeerName, Who>,
        services: BTreeMap<ServiceName, Service>,
        between: Arc<Mutex<Between>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            who,
            names,
            services,
            between,
            events: broadcast::Sender::new(EVENTS),
            plugin: Mutex::default(),
            lines: Mutex::default(),
            other: OnceLock::new(),
        })
    }

    /// What the plugin has logged.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets two peers know each other.
    pub(crate) fn introduce(one: &Arc<Self>, other: &Arc<Self>) {
        // Set once; each pair is introduced once.
        let _ = one.other.set(Arc::downgrade(other));
        let _ = other.other.set(Arc::downgrade(one));
    }

    pub(crate) fn plugin(&self) -> Option<Plugin> {
        self.plugin.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells the plugin what happened to the other peer.
    pub(crate) fn tell(&self, kind: PeerEventKind) {
        let path = (kind != PeerEventKind::Disconnected).then_some(PathRef::Direct(Transport::Quic));
        let event = PeerEvent {
            kind,
            peer: Some(self.who.other().peer()),
            path,
            at: SystemTime::UNIX_EPOCH,
        };
        // Nobody has to listen.
        let _ = self.events.send(event);
    }

    /// Who a text stands for: one of the two by its name, an entry of `names`, an id or the beginning of one.
    pub(crate) fn find(&self, text: &str) -> Option<Who> {
        let is = |who: &Who| {
            let id = who.id().to_base58();
            who.name() == text || id == text || (text.len() >= 8 && id.starts_with(text))
        };
        let named = || {
            text.parse::<PeerName>()
                .ok()
                .and_then(|name| self.names.get(&name).copied())
        };
        Who::BOTH.into_iter().find(is).or_else(named)
    }

    fn link(&self) -> Result<(Duration, CancellationToken), HostError> {
        let between = self.between.lock().unwrap_or_else(PoisonError::into_inner);
        let other = self.who.other().name();
        match &between.cut {
            Some(cut) => Ok((between.delay, cut.clone())),
            None => Err(HostError::Unreachable(format!(
                "{other} cannot be reached: the network is cut"
            ))),
        }
    }

    /// Opens a stream to the other peer's plugin, and returns this side's end with the path.
    pub(crate) async fn reach(&self, protocol: &str) -> Result<End, HostError> {
        let (delay, cut) = self.link()?;
        // The request and the answer to it.
        tokio::time::sleep(delay * 2).await;
        let other = self.other.get().and_then(Weak::upgrade);
        let other = other.ok_or_else(|| HostError::Closed("the scenario is over".to_owned()))?;
        let plugin = other
            .plugin()
            .ok_or_else(|| HostError::Closed("the scenario is over".to_owned()))?;
        let (near, far) = link::pair(delay, &cut);
        let request = other.request(&plugin, protocol, self.who.peer())?;
        let duplex = to_peer(far, self.who.peer()).with_protocol(protocol);
        tokio::spawn(async move {
            // Counted and remembered by the plugin; whoever opened the stream sees a reset.
            let _ = plugin.handle_inbound(request, duplex).await;
        });
        Ok(near)
    }

    /// What the plugin is asked, where it serves the protocol.
    fn request(&self, plugin: &Plugin, protocol: &str, peer: PeerRef) -> Result<InboundRequest, HostError> {
        let service = self
            .services
            .iter()
            .find(|(name, _)| protocol == service_protocol(name));
        let manifest = plugin.manifest();
        let own = format!("/peerup/p/{}/", manifest.name);
        let serves = protocol.starts_with(&own) || manifest.protocols.iter().any(|one| covers(one, protocol));
        if !plugin.exports().serves() || (service.is_none() && !serves) {
            let name = self.who.name();
            return Err(HostError::NotFound(format!("{name} does not offer {protocol}")));
        }
        Ok(InboundRequest {
            protocol: protocol.to_owned(),
            service: service.map(|(name, service)| (name.clone(), service.local_address.clone())),
            peer,
            extra_grants: Grants::default(),
        })
    }

    fn details(&self) -> PeerDetails {
        let connections = self.link().map(|(delay, _)| ConnectionDetails {
            path: PathRef::Direct(Transport::Quic),
            address: "/ip4/192.0.2.2/udp/4001/quic-v1".to_owned(),
            rtt: Some(delay * 2),
            last_answer: Some(Duration::ZERO),
            streams: 0,
            age: Duration::from_secs(60),
        });
        PeerDetails {
            peer: self.who.other().peer(),
            role: PeerRole::Member,
            connections: connections.into_iter().collect(),
        }
    }
}

fn to_peer(end: End, peer: PeerRef) -> Duplex {
    let reset = end.reset;
    Duplex::peer(end.reader, end.writer, peer, PathRef::Direct(Transport::Quic))
        .on_reset(Box::new(move || reset.now()))
}

/// Whether a protocol of the manifest, which may have a `*`, stands for this one.
fn covers(pattern: &str, protocol: &str) -> bool {
    pattern
        .parse::<ProtocolPattern>()
        .is_ok_and(|pattern| pattern.matches(protocol))
}

fn unknown(text: &str) -> HostError {
    HostError::NotFound(format!(
        "no peer is called {text:?}; the peers of a scenario are laptop and home"
    ))
}

impl Host for Peer {
    fn open<'a>(
        &'a self,
        _: &'a PluginName,
        peer: &'a str,
        protocol: &'a str,
        policy: PathPolicy,
    ) -> BoxFuture<'a, Result<Duplex, HostError>> {
        Box::pin(async move {
            let who = self.find(peer).ok_or_else(|| unknown(peer))?;
            if who == self.who {
                return Err(HostError::Invalid(format!("{peer} is this node itself")));
            }
            if policy == PathPolicy::RelayOnly {
                return Err(HostError::Unreachable(
                    "there is no relay in a scenario".to_owned(),
                ));
            }
            let end = self.reach(protocol).await?;
            Ok(to_peer(end, who.peer()).with_protocol(protocol))
        })
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(PeerId, String), HostError>> {
        Box::pin(async move {
            let who = self.find(name).ok_or_else(|| unknown(name))?;
            Ok((who.id(), "names-local".to_owned()))
        })
    }

    fn describe<'a>(&'a self, peer: &'a str) -> BoxFuture<'a, Result<PeerDetails, HostError>> {
        Box::pin(async move {
            match self.find(peer) {
                Some(who) if who != self.who => Ok(self.details()),
                _ => Err(unknown(peer)),
            }
        })
    }

    fn connected(&self) -> BoxFuture<'_, Result<Vec<PeerDetails>, HostError>> {
        Box::pin(async move {
            let details = self.details();
            Ok(match details.connections.is_empty() {
                true => Vec::new(),
                false => vec![details],
            })
        })
    }

    fn subscribe(&self) -> Result<broadcast::Receiver<PeerEvent>, HostError> {
        Ok(self.events.subscribe())
    }

    fn find_name(&self, name: &str) -> Result<Option<PeerId>, HostError> {
        let name = name.parse::<PeerName>().ok();
        Ok(name.and_then(|name| self.names.get(&name)).map(|who| who.id()))
    }

    fn names(&self) -> Result<Vec<(String, PeerId)>, HostError> {
        Ok(self
            .names
            .iter()
            .map(|(name, who)| (name.to_string(), who.id()))
            .collect())
    }

    fn hear(&self, _: &PluginName, line: &LogLine) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < MAX_LINES {
            lines.push(line.text.clone());
        }
    }
}
