//! Dialling: direct addresses first, circuits over the relays shortly after, everything in parallel.
//!
//! Owned by the node's task. One job for each peer that somebody waits for; it collects what failed, so that the
//! error can say what was tried.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::transport::TransportError,
    multiaddr::Protocol,
    swarm::{
        ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use peerup_model::{PathKind, PathPolicy};
use peerup_paths::AddressBackoffs;
use tokio::sync::oneshot;

use super::{
    behaviour::NodeBehaviour,
    book::{Book, unix_now},
    relays::Relays,
};
use crate::{
    address::{circuit_on, is_circuit, with_peer},
    error::{OpenError, RelayRefusal, relay_refusal, root_cause},
    streams::StreamsHandle,
};

/// How long direct addresses may try alone. A circuit takes about as long, so a direct path that works wins.
const HEAD_START: Duration = Duration::from_millis(300);
/// How long a peer without a known address is looked for on the local network and in the DHT.
const SEARCH_TIME: Duration = Duration::from_millis(1_500);
/// How long a job may take; a little less than the caller's own limit, so that it gets the list of attempts.
const JOB_TIMEOUT: Duration = Duration::from_millis(14_500);
/// Failed attempts that an error lists.
const MAX_ATTEMPTS: usize = 12;
/// Peers dialled at once for somebody who waits.
const MAX_JOBS: usize = 512;

type Reply = oneshot::Sender<Result<(), OpenError>>;

struct Waiter {
    policy: PathPolicy,
    reply: Reply,
}

struct Job {
    waiters: Vec<Waiter>,
    deadline: Instant,
    /// Until when somebody may still find an address; the job does not give up before.
    searching_until: Option<Instant>,
    direct_started: bool,
    circuits_started: bool,
    circuits_at: Option<Instant>,
    circuit_up: bool,
    routes: usize,
    dialled: HashSet<Multiaddr>,
    pending: HashMap<ConnectionId, Option<PeerId>>,
    awaited_relays: HashMap<PeerId, Multiaddr>,
    attempts: Vec<String>,
    refusal: Option<(PeerId, RelayRefusal)>,
}

/// What a job needs of the task that owns it.
pub(super) struct DialContext<'a> {
    pub(super) swarm: &'a mut Swarm<NodeBehaviour>,
    pub(super) book: &'a Book,
    pub(super) relays: &'a Relays,
    pub(super) streams: &'a StreamsHandle,
    pub(super) backoffs: &'a AddressBackoffs<Multiaddr>,
    /// Whether addresses are looked for elsewhere meanwhile.
    pub(super) search: bool,
    pub(super) now: Instant,
}

/// All dials that somebody waits for.
#[derive(Default)]
pub(super) struct Dials {
    jobs: HashMap<PeerId, Job>,
}

impl Dials {
    /// Starts to dial, or joins the job that does.
    pub(super) fn start(&mut self, peer: PeerId, policy: PathPolicy, reply: Reply, cx: &mut DialContext<'_>) {
        // The caller looked before it asked; the connection may have come up since.
        if cx
            .streams
            .choose(&peer, policy)
            .is_some_and(|conn| !conn.is_suspect())
        {
            let _ = reply.send(Ok(()));
            return;
        }
        if self.jobs.len() >= MAX_JOBS && !self.jobs.contains_key(&peer) {
            let _ = reply.send(Err(OpenError::Busy { peer }));
            return;
        }
        let job = self
            .jobs
            .entry(peer)
            .or_insert_with(|| Job::new(cx.now + JOB_TIMEOUT, cx.search.then(|| cx.now + SEARCH_TIME)));
        job.waiters.push(Waiter { policy, reply });
        if policy != PathPolicy::RelayOnly && !job.direct_started {
            job.start_direct(peer, cx);
        }
        if !job.circuits_started {
            let alone = policy != PathPolicy::RelayOnly && !job.pending.is_empty();
            let at = if alone { cx.now + HEAD_START } else { cx.now };
            job.circuits_at = Some(job.circuits_at.map_or(at, |earlier| earlier.min(at)));
        }
        self.handle_timeout(cx);
    }

    /// Takes a connection that was established.
    pub(super) fn handle_connected(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        path: PathKind,
        cx: &mut DialContext<'_>,
    ) {
        if let Some(job) = self.jobs.get_mut(&peer) {
            job.pending.remove(&connection);
            job.circuit_up |= path.is_relayed();
            let (met, waiting) = std::mem::take(&mut job.waiters)
                .into_iter()
                .partition(|waiter: &Waiter| waiter.policy.allows(path));
            job.waiters = waiting;
            for waiter in met {
                let _ = waiter.reply.send(Ok(()));
            }
        }
        if !path.is_relayed() {
            let back = cx.streams.connections(&peer).len() == 1;
            let known = cx
                .relays
                .addresses()
                .find(|(relay, _)| *relay == peer)
                .and_then(|(_, addresses)| addresses.first().cloned());
            for (target, job) in &mut self.jobs {
                if let Some(address) = job.awaited_relays.remove(&peer) {
                    job.dial_circuit(*target, peer, &address, cx);
                } else if let Some(address) = known.as_ref()
                    && back
                    && job.circuits_started
                    && !job.circuit_up
                {
                    // What was dialled over the connection of before went with it.
                    job.dial_circuit(*target, peer, address, cx);
                }
            }
        }
        self.settle(cx.now);
    }

    /// Takes a dial that failed.
    pub(super) fn handle_dial_failed(
        &mut self,
        peer: Option<PeerId>,
        connection: ConnectionId,
        error: &DialError,
        cx: &mut DialContext<'_>,
    ) {
        for job in self.jobs.values_mut() {
            if let Some(relay) = job.pending.remove(&connection) {
                job.note_failure(relay, error);
                if job.pending.is_empty() && job.circuits_at.is_some() {
                    job.circuits_at = Some(cx.now);
                }
            }
            if let Some(relay) = peer
                && job.awaited_relays.contains_key(&relay)
                && !is_directly_connected(cx.streams, &relay)
            {
                job.awaited_relays.remove(&relay);
                job.note(format!("relay {relay}: {}", failure_text(error)));
            }
        }
        self.handle_timeout(cx);
    }

    /// Takes addresses that were just found; whoever waits for this peer has them dialled at once.
    pub(super) fn handle_found(&mut self, peer: PeerId, addresses: &[Multiaddr], cx: &mut DialContext<'_>) {
        let Some(job) = self.jobs.get_mut(&peer) else {
            return;
        };
        if job
            .waiters
            .iter()
            .all(|waiter| waiter.policy == PathPolicy::RelayOnly)
        {
            return;
        }
        let direct: Vec<_> = addresses
            .iter()
            .filter(|address| !is_circuit(address))
            .map(|address| with_peer(address, peer))
            .filter(|address| !job.dialled.contains(address))
            .collect();
        if direct.len() < addresses.len() {
            // Circuits over relays that were not known before.
            job.circuits_at = Some(cx.now);
            job.circuits_started = false;
        }
        job.dial_direct(peer, direct, cx);
        self.handle_timeout(cx);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.jobs
            .values()
            .flat_map(|job| [Some(job.deadline), job.circuits_at, job.searching_until])
            .flatten()
            .min()
    }

    /// Starts circuits that are due and ends jobs whose time is up.
    pub(super) fn handle_timeout(&mut self, cx: &mut DialContext<'_>) {
        for (peer, job) in &mut self.jobs {
            if job.circuits_at.is_some_and(|at| at <= cx.now) {
                job.circuits_at = None;
                job.start_circuits(*peer, cx);
            }
        }
        self.settle(cx.now);
    }

    /// Tells everybody who waits that the node ends.
    pub(super) fn close(&mut self) {
        for (_, job) in self.jobs.drain() {
            for waiter in job.waiters {
                let _ = waiter.reply.send(Err(OpenError::Closed));
            }
        }
    }

    fn settle(&mut self, now: Instant) {
        self.jobs.retain(|peer, job| {
            job.waiters.retain(|waiter| !waiter.reply.is_closed());
            if job.waiters.is_empty() {
                return false;
            }
            let late = now >= job.deadline;
            job.searching_until = job.searching_until.filter(|until| now < *until);
            if !late && !job.is_exhausted() {
                return true;
            }
            for waiter in std::mem::take(&mut job.waiters) {
                let error = job.error(*peer, waiter.policy, late);
                let _ = waiter.reply.send(Err(error));
            }
            false
        });
    }
}

impl Job {
    fn new(deadline: Instant, searching_until: Option<Instant>) -> Self {
        Self {
            waiters: Vec::new(),
            deadline,
            searching_until,
            direct_started: false,
            circuits_started: false,
            circuits_at: None,
            circuit_up: false,
            routes: 0,
            dialled: HashSet::new(),
            pending: HashMap::new(),
            awaited_relays: HashMap::new(),
            attempts: Vec::new(),
            refusal: None,
        }
    }

    fn start_direct(&mut self, peer: PeerId, cx: &mut DialContext<'_>) {
        self.direct_started = true;
        let mut addresses = cx.book.direct(&peer, unix_now());
        let as_relay = cx.relays.addresses().find(|(relay, _)| *relay == peer);
        for address in as_relay.into_iter().flat_map(|(_, addresses)| addresses) {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        // What has just failed waits its turn, unless there is nothing else.
        if addresses
            .iter()
            .any(|address| cx.backoffs.may_dial(address, cx.now))
        {
            addresses.retain(|address| cx.backoffs.may_dial(address, cx.now));
        }
        self.dial_direct(peer, addresses, cx);
    }

    fn dial_direct(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, cx: &mut DialContext<'_>) {
        if addresses.is_empty() {
            return;
        }
        self.routes += addresses.len();
        self.dialled.extend(addresses.iter().cloned());
        // With a circuit up, libp2p's default would not dial a direct address at all.
        let dial = DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(addresses)
            .build();
        self.dial(dial, None, cx);
    }

    fn start_circuits(&mut self, peer: PeerId, cx: &mut DialContext<'_>) {
        self.circuits_started = true;
        let mut routes: Vec<(PeerId, Vec<Multiaddr>)> = cx
            .relays
            .addresses()
            .map(|(relay, addresses)| (relay, addresses.to_vec()))
            .collect();
        for (relay, address) in cx.book.relays(&peer, unix_now()) {
            match routes.iter_mut().find(|(known, _)| *known == relay) {
                Some((_, addresses)) => addresses.push(address),
                None => routes.push((relay, vec![address])),
            }
        }
        let mut seen = HashSet::from([peer]);
        for (relay, addresses) in routes {
            let Some(first) = addresses.first().cloned() else {
                continue;
            };
            if !seen.insert(relay) {
                continue;
            }
            self.routes += 1;
            if is_directly_connected(cx.streams, &relay) {
                self.dial_circuit(peer, relay, &first, cx);
            } else {
                self.dial_relay(relay, addresses, first, cx);
            }
        }
    }

    /// Connects to the relay first: a circuit dialled while somebody else dials the relay is dropped by libp2p.
    fn dial_relay(
        &mut self,
        relay: PeerId,
        addresses: Vec<Multiaddr>,
        first: Multiaddr,
        cx: &mut DialContext<'_>,
    ) {
        let dial = DialOpts::peer_id(relay)
            .condition(PeerCondition::NotDialing)
            .addresses(addresses)
            .build();
        match cx.swarm.dial(dial) {
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {
                self.awaited_relays.insert(relay, first);
            }
            Err(error) => self.note(format!("relay {relay}: {}", failure_text(&error))),
        }
    }

    fn dial_circuit(&mut self, peer: PeerId, relay: PeerId, address: &Multiaddr, cx: &mut DialContext<'_>) {
        let circuit = circuit_on(address, relay).with(Protocol::P2p(peer));
        let dial = DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(vec![circuit])
            .build();
        self.dial(dial, Some(relay), cx);
    }

    fn dial(&mut self, dial: DialOpts, relay: Option<PeerId>, cx: &mut DialContext<'_>) {
        let connection = dial.connection_id();
        match cx.swarm.dial(dial) {
            Ok(()) => {
                self.pending.insert(connection, relay);
            }
            Err(error) => self.note_failure(relay, &error),
        }
    }

    fn note_failure(&mut self, relay: Option<PeerId>, error: &DialError) {
        let DialError::Transport(errors) = error else {
            let text = failure_text(error);
            self.note(match relay {
                Some(relay) => format!("relay {relay}: {text}"),
                None => text,
            });
            return;
        };
        for (address, error) in errors {
            let refusal = match error {
                TransportError::Other(error) => relay_refusal(error),
                TransportError::MultiaddrNotSupported(_) => None,
            };
            if let (Some(relay), Some(refusal)) = (relay, refusal) {
                self.refusal = Some((relay, refusal));
                self.note(format!("relay {relay}: {refusal}"));
            } else {
                self.note(format!("{address}: {}", transport_text(error)));
            }
        }
    }

    fn note(&mut self, attempt: String) {
        if self.attempts.len() < MAX_ATTEMPTS && !self.attempts.contains(&attempt) {
            self.attempts.push(attempt);
        }
    }

    fn is_exhausted(&self) -> bool {
        let nothing_left =
            self.pending.is_empty() && self.awaited_relays.is_empty() && self.circuits_at.is_none();
        if self.searching_until.is_some() && self.routes == 0 {
            return false;
        }
        // A circuit may still turn into a direct path for those who wait for one.
        nothing_left && !self.circuit_up
    }

    fn error(&self, peer: PeerId, policy: PathPolicy, late: bool) -> OpenError {
        let attempts = self.attempts.clone();
        if self.routes == 0 {
            return OpenError::NoRelay { peer };
        }
        match (policy, self.refusal) {
            (PathPolicy::DirectOnly, _) => OpenError::PathPolicy {
                peer,
                policy,
                attempts,
            },
            (_, Some((relay, reason))) => OpenError::RelayRefused {
                peer,
                relay,
                reason,
                attempts,
            },
            (PathPolicy::RelayOnly, None) if !late => OpenError::PathPolicy {
                peer,
                policy,
                attempts,
            },
            _ if late => OpenError::Timeout { peer, attempts },
            _ => OpenError::Unreachable { peer, attempts },
        }
    }
}

fn is_directly_connected(streams: &StreamsHandle, peer: &PeerId) -> bool {
    streams
        .connections(peer)
        .iter()
        .any(|conn| !conn.path().is_relayed() && !conn.is_closed() && !conn.is_suspect())
}

fn failure_text(error: &DialError) -> String {
    match error {
        DialError::Transport(errors) => errors
            .iter()
            .map(|(address, error)| format!("{address}: {}", transport_text(error)))
            .collect::<Vec<_>>()
            .join(", "),
        DialError::Denied { cause } => root_cause(cause),
        DialError::WrongPeerId { obtained, address } => {
            format!("{address}: another peer answers there, {obtained}")
        }
        error => error.to_string(),
    }
}

pub(super) fn transport_text(error: &TransportError<std::io::Error>) -> String {
    match error {
        TransportError::MultiaddrNotSupported(_) => "no transport for this kind of address".to_owned(),
        TransportError::Other(error) => root_cause(error),
    }
}
