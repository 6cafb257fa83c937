//! What a relay tells about itself, as plain data.

use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use multiaddr::Multiaddr;
use peerup_config::RelayResources;
use peerup_net::GateCounters;
use peerup_trust::KeyFileError;

/// One peer that is connected to a relay.
#[derive(Debug, Clone)]
pub struct ConnectedPeer {
    /// Who it is.
    pub peer: PeerId,
    /// Its connections.
    pub connections: usize,
    /// Where the oldest of them comes from.
    pub address: Multiaddr,
    /// How long that one has lasted.
    pub age: Duration,
}

/// The state of a relay at one moment.
#[derive(Debug, Clone)]
pub struct RelaySnapshot {
    /// Who the relay is.
    pub peer_id: PeerId,
    /// How long it has run.
    pub uptime: Duration,
    /// Sockets that it listens on.
    pub listeners: usize,
    /// Sockets that it listened on at its start.
    pub listeners_wanted: usize,
    /// Who is connected, in the order of their ids.
    pub peers: Vec<ConnectedPeer>,
    /// Peers in the list of authorised peers.
    pub members: usize,
    /// Peers that members have admitted.
    pub guests: usize,
    /// Peers that hold a reservation.
    pub reservations: usize,
    /// Circuits that are open.
    pub circuits: u64,
    /// Prefixes in the table of AS numbers; 0 without one.
    pub asn_prefixes: usize,
    /// The limits in force.
    pub limits: RelayResources,
    /// What changed in the config since the start and waits for the next one.
    pub waits_for_restart: Vec<&'static str>,
    /// The checks of the watchdog with whether they pass; none where it does not watch.
    pub checks: Vec<(&'static str, bool)>,
    /// Why the list of authorised peers was not read again; the one before stays in force.
    pub list_problem: Option<Arc<KeyFileError>>,
    pub(crate) gate: Arc<GateCounters>,
}

impl RelaySnapshot {
    /// Returns `ok`, or `degraded` where a check of the watchdog does not pass or a listener has closed.
    pub fn health(&self) -> &'static str {
        let passes = self.checks.iter().all(|(_, passes)| *passes);
        match passes && self.listeners == self.listeners_wanted {
            true => "ok",
            false => "degraded",
        }
    }
}
