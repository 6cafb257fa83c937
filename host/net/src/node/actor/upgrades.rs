//! The way from a relayed to a direct path: who asks whom, what is dialled when.
//!
//! Part of the node's task. Both sides of a circuit try: each dials the addresses that it knows of the other; the side
//! that the circuit came in at also has both dial at one moment, and the other side asks it to.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId,
    multiaddr::Protocol,
    swarm::{
        ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use peerup_model::{HOLE_PUNCH_PROTOCOL, PathKind, REACH_PROTOCOL, Transport};
use peerup_paths::{AddressScope, MAX_CANDIDATES, PathInfo, PathNat, is_candidate, scope};
use peerup_trust::Role;

use super::{NodeActor, TaskOutcome};
use crate::{
    address::{ip_of, is_circuit, path_of, without_peer},
    counters::PunchOutcome,
    error::root_cause,
    node::{
        book::unix_now,
        members::{Later, Told},
        punch, reach,
    },
    snapshot::AttemptKind,
    streams::{Conn, InboundStream},
};

/// How long punching over QUIC goes alone where both sides can: TCP would often win the race by a hair, and is the
/// poorer path.
const QUIC_HEAD_START: Duration = Duration::from_millis(600);

/// What a peer says of its addresses is dialled no sooner than this after what it said before.
const LEAST_BETWEEN_NEWS: Duration = Duration::from_secs(1);
/// Who knows an address of this node: a relay that it is connected to.
const SEEN: &str = "seen by a relay";
/// Who knows an address of this node: the machine itself.
const OWN: &str = "this machine";

impl NodeActor {
    /// Starts the attempts that are due, and ends those that are over.
    pub(super) fn run_upgrades(&mut self, now: Instant) {
        for (peer, later) in self.members.take_later(now) {
            if self.streams.live_kinds(&peer).0 {
                continue;
            }
            self.punch_dial(peer, later.addresses, later.as_listener);
        }
        for (_, member) in self.members.iter_mut() {
            member.settle(now);
        }
        while let Some((peer, number)) = self.members.next_attempt() {
            self.start_attempt(peer, number, now);
        }
    }

    /// Tells a peer's machine which paths live.
    pub(super) fn review_member(&mut self, peer: &PeerId, now: Instant) {
        let (direct, relayed) = self.streams.live_kinds(peer);
        if let Some(member) = self.members.get_mut(peer) {
            member.upgrade.handle_paths(direct, relayed, now);
        }
    }

    fn start_attempt(&mut self, peer: PeerId, number: u32, now: Instant) {
        let circuit = self
            .streams
            .connections(&peer)
            .into_iter()
            .find(|conn| conn.path().is_relayed() && conn.is_live());
        let Some(member) = self.members.get_mut(&peer) else {
            return;
        };
        member.running = Some(number);
        let Some(circuit) = circuit else {
            member.settle(now);
            return;
        };
        member.tasks += 1;
        // The side that dialled the circuit cannot start the punch; it asks the other one to.
        let incoming = circuit.port_use().is_none();
        let own = self.path_info(!incoming, now);
        let streams = self.streams.clone();
        let conn = circuit.clone();
        self.tasks.spawn(async move {
            let told = match streams.open_on(&conn, REACH_PROTOCOL).await {
                Ok(stream) => reach::ask(stream, &own).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            TaskOutcome::Told {
                peer,
                told,
                asked: true,
            }
        });
        if incoming {
            self.start_punch(peer, &circuit, now);
        }
        self.dial_known(peer, now);
    }

    /// Has both sides dial at one moment, over a circuit that came in here.
    fn start_punch(&mut self, peer: PeerId, circuit: &std::sync::Arc<Conn>, now: Instant) {
        let candidates = self.candidates(now);
        let Some(member) = self.members.get_mut(&peer) else {
            return;
        };
        if member.punching {
            return;
        }
        if candidates.is_empty() {
            self.counters.count_punch(PunchOutcome::NotTried);
            let outcome = "no relay has seen an address of this node yet";
            member.note(AttemptKind::Punch, "hole punching", outcome, now);
            return;
        }
        member.punching = true;
        let streams = self.streams.clone();
        let circuit = circuit.clone();
        self.tasks.spawn(async move {
            let theirs = match streams.open_on(&circuit, HOLE_PUNCH_PROTOCOL).await {
                Ok(stream) => punch::initiate(stream, &candidates)
                    .await
                    .map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            TaskOutcome::Punch {
                peer,
                theirs,
                as_listener: true,
            }
        });
    }

    /// Serves the two protocols of the core that members speak.
    pub(super) fn serve_core(&mut self, inbound: InboundStream, now: Instant) {
        let (peer, stream) = (inbound.peer, inbound.stream);
        if !matches!(inbound.role, Role::Member(_)) || self.tasks.len() >= super::MAX_TASKS {
            return;
        }
        if inbound.protocol.as_ref() == REACH_PROTOCOL {
            let own = self.path_info(false, now);
            self.tasks.spawn(async move {
                let told = reach::answer(stream, &own)
                    .await
                    .map_err(|error| error.to_string());
                TaskOutcome::Told {
                    peer,
                    told,
                    asked: false,
                }
            });
            return;
        }
        let candidates = self.candidates(now);
        let member = self.members.enter(peer, now);
        if !inbound.path.is_relayed() || member.punching {
            return;
        }
        member.punching = true;
        self.tasks.spawn(async move {
            let theirs = punch::respond(stream, &candidates)
                .await
                .map_err(|error| error.to_string());
            TaskOutcome::Punch {
                peer,
                theirs,
                as_listener: false,
            }
        });
    }

    /// Takes what a member said of itself.
    pub(super) fn handle_told(
        &mut self,
        peer: PeerId,
        told: Result<PathInfo, String>,
        asked: bool,
        now: Instant,
    ) {
        let direct = self.streams.live_kinds(&peer).0;
        if direct && told.as_ref().is_ok_and(|info| info.wants_direct) {
            self.doubt_direct(&peer, now);
        }
        let Some(member) = self.members.get_mut(&peer) else {
            return;
        };
        if asked {
            member.tasks = member.tasks.saturating_sub(1);
        }
        let info = match told {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%peer, error, "no word of how the peer can be reached");
                return;
            }
        };
        let news = member
            .told
            .as_ref()
            .is_some_and(|old| old.info.candidates != info.candidates);
        let first = member.told.is_none();
        // A peer that says something else all the time must not make this node dial all the time.
        let again = member
            .told
            .as_ref()
            .is_some_and(|old| now.saturating_duration_since(old.at) < LEAST_BETWEEN_NEWS);
        if !direct && (news || (info.wants_direct && member.running.is_none())) {
            member.upgrade.handle_news(now);
        }
        member.told = Some(Told { info, at: now });
        if !direct && (first || news) && !again {
            self.dial_known(peer, now);
        }
    }

    /// Dials what the other side offered, at the moment that both agreed on.
    pub(super) fn handle_punch(
        &mut self,
        peer: PeerId,
        theirs: Result<Vec<Multiaddr>, String>,
        as_listener: bool,
        now: Instant,
    ) {
        let direct = self.streams.live_kinds(&peer).0;
        let own = self.candidates(now);
        let Some(member) = self.members.get_mut(&peer) else {
            return;
        };
        member.punching = false;
        let theirs = match theirs {
            Ok(theirs) => theirs,
            Err(error) => {
                self.counters.count_punch(PunchOutcome::NotTried);
                member.answers_punch = Some(false);
                member.note(AttemptKind::Punch, "hole punching", &error, now);
                return;
            }
        };
        member.answers_punch = Some(true);
        if direct {
            return;
        }
        if theirs.is_empty() {
            self.counters.count_punch(PunchOutcome::NotTried);
            let outcome = "the other side offers no address: no relay has seen it yet";
            member.note(AttemptKind::Punch, "hole punching", outcome, now);
            return;
        }
        // A peer must not make this node dial services of its own machine, unless all of them are on it.
        let one_machine = own.iter().any(punch::is_loopback);
        let theirs: Vec<_> = theirs
            .into_iter()
            .filter(|address| one_machine || !punch::is_loopback(address))
            .collect();
        let is_quic = |address: &Multiaddr| path_of(address) == PathKind::Direct(Transport::Quic);
        let (quic, rest): (Vec<_>, Vec<_>) = theirs.into_iter().partition(is_quic);
        // Both sides know both lists, so both take the same decision.
        let quic_first = !quic.is_empty() && own.iter().any(is_quic);
        if quic_first {
            if !rest.is_empty() {
                member.later = Some(Later {
                    at: now + QUIC_HEAD_START,
                    addresses: rest,
                    as_listener,
                });
            }
            self.punch_dial(peer, quic, as_listener);
        } else {
            self.punch_dial(peer, rest, as_listener);
        }
    }

    fn punch_dial(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, as_listener: bool) {
        if addresses.is_empty() {
            return;
        }
        tracing::debug!(%peer, ?addresses, as_listener, "punches");
        let addresses = addresses
            .iter()
            .map(|address| crate::address::with_peer(address, peer))
            .collect();
        let dial = DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(addresses);
        let dial = if as_listener {
            dial.override_role().build()
        } else {
            dial.build()
        };
        self.dial_member(peer, dial, AttemptKind::Punch);
    }

    /// Dials the direct addresses that are known of a member, except those that only a punch can reach.
    pub(super) fn dial_known(&mut self, peer: PeerId, now: Instant) {
        if self.streams.live_kinds(&peer).0 {
            return;
        }
        let mut addresses = self.book.direct(&peer, unix_now());
        let same_lan = self.same_lan(&peer);
        if let Some(member) = self.members.get(&peer) {
            let offered = member.candidates();
            // A plain dial over TCP takes the ports that the punch needs.
            addresses.retain(|address| {
                path_of(address) == PathKind::Direct(Transport::Quic)
                    || !offered.contains(&without_peer(address, peer))
                    || ip_of(address).is_none_or(|ip| scope(ip) != AddressScope::Public)
            });
            let local = offered
                .into_iter()
                .filter(|address| same_lan && is_local(address));
            addresses.extend(local.map(|address| crate::address::with_peer(&address, peer)));
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses.retain(|address| self.backoffs.may_dial(address, now));
        if addresses.is_empty() {
            return;
        }
        tracing::debug!(%peer, ?addresses, "dials what is known");
        let dial = DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(addresses)
            .build();
        self.dial_member(peer, dial, AttemptKind::Dial);
    }

    fn dial_member(&mut self, peer: PeerId, dial: DialOpts, kind: AttemptKind) {
        let connection = dial.connection_id();
        let started = self.swarm.dial(dial);
        let Some(member) = self.members.get_mut(&peer) else {
            return;
        };
        match started {
            Ok(()) => {
                member.dials.insert(connection, kind);
            }
            Err(error) => member.note(kind, "dial", &root_cause(&error), Instant::now()),
        }
    }

    /// Writes down how a dial of a member ended.
    pub(super) fn note_dial_failure(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        error: &DialError,
        now: Instant,
    ) {
        let own = self
            .members
            .get_mut(&peer)
            .and_then(|member| member.dials.remove(&connection));
        if own == Some(AttemptKind::Punch) {
            self.counters.count_punch(PunchOutcome::Failed);
        }
        let listed = matches!(self.policy.role(&peer), Some(Role::Member(_)));
        if !listed {
            return;
        }
        let DialError::Transport(errors) = error else {
            let kind = own.unwrap_or(AttemptKind::Dial);
            self.members
                .enter(peer, now)
                .note(kind, "dial", &error.to_string(), now);
            return;
        };
        for (address, error) in errors {
            let kind = match own {
                _ if is_circuit(address) => AttemptKind::Circuit,
                Some(kind) => kind,
                None => AttemptKind::Dial,
            };
            if kind == AttemptKind::Dial {
                self.backoffs
                    .handle_failed(address.clone(), now, &mut rand::rng());
            }
            let target = without_peer(address, peer).to_string();
            let outcome = super::transport_text(error);
            self.members.enter(peer, now).note(kind, &target, &outcome, now);
        }
    }

    /// Writes down that a dial of a member worked. Says whether it was a punch.
    pub(super) fn note_dial_success(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        address: &Multiaddr,
        now: Instant,
    ) -> bool {
        self.backoffs.handle_ok(&crate::address::with_peer(address, peer));
        let Some(member) = self.members.get_mut(&peer) else {
            return false;
        };
        let own = member.dials.remove(&connection);
        let kind = match own {
            _ if is_circuit(address) => AttemptKind::Circuit,
            Some(kind) => kind,
            None => AttemptKind::Dial,
        };
        if kind == AttemptKind::Punch {
            self.counters.count_punch(PunchOutcome::Connected);
        }
        let target = without_peer(address, peer).to_string();
        member.note(kind, &target, "connected", now);
        kind == AttemptKind::Punch
    }

    /// Addresses of this node that a hole can be punched to: as relays see it, known from outside, IPv6 without NAT.
    pub(super) fn candidates(&self, now: Instant) -> Vec<Multiaddr> {
        let mut found: Vec<Multiaddr> = Vec::new();
        for (address, source) in self.own_candidates(now) {
            // What a relay sees is the way that packets take, even where its network has private addresses.
            let public = ip_of(&address).is_some_and(|ip| scope(ip) == AddressScope::Public);
            if (source == SEEN || public) && !found.contains(&address) {
                found.push(address);
            }
        }
        found.truncate(MAX_CANDIDATES);
        found
    }

    /// All addresses of this node that are worth telling a member, with who knows them.
    pub(super) fn own_candidates(&self, _now: Instant) -> Vec<(Multiaddr, &'static str)> {
        let mut found: Vec<(Multiaddr, &'static str)> = Vec::new();
        let local = *self.swarm.local_peer_id();
        let seen = self.seen.values().map(|address| (address.clone(), SEEN));
        let external = self
            .swarm
            .external_addresses()
            .map(|address| (without_peer(address, local), "reachable from outside"));
        let listened = self
            .swarm
            .listeners()
            .map(|address| (without_peer(address, local), OWN));
        for (address, source) in external.chain(seen).chain(listened) {
            // Link-local addresses need an interface, which a multiaddr cannot name.
            let dialable = is_candidate(&address)
                && ip_of(&address).is_none_or(|ip| scope(ip) != AddressScope::LinkLocal);
            // Loopback is of use where the relay is on this machine, too.
            let usable = dialable || (source == SEEN && punch::is_loopback(&address));
            if usable && found.iter().all(|(known, _)| *known != address) {
                found.push((address, source));
            }
        }
        found
    }

    fn path_info(&self, wants_direct: bool, now: Instant) -> PathInfo {
        PathInfo {
            wants_direct,
            nat: PathNat::from(&self.nat.verdict(now)),
            candidates: self
                .own_candidates(now)
                .into_iter()
                .map(|(address, _)| address)
                .take(MAX_CANDIDATES)
                .collect(),
        }
    }

    /// Whether a member seems to be on this node's network: behind the same public address, or with a local address
    /// like one of ours. A guess, which costs a few dials where it is wrong and gives nothing away.
    pub(super) fn same_lan(&self, peer: &PeerId) -> bool {
        let Some(told) = self.members.get(peer).and_then(|member| member.told.as_ref()) else {
            return false;
        };
        let own = self.own_candidates(Instant::now());
        let ips = |wanted: &'static str| {
            own.iter()
                .filter(move |(_, source)| *source == wanted)
                .filter_map(|(address, _)| ip_of(address))
        };
        told.info.candidates.iter().filter_map(ip_of).any(|theirs| {
            // Behind one router, relays see both under its address, whatever kind that is.
            ips(SEEN).any(|ours| same_site(ours, theirs)) || ips(OWN).any(|ours| same_subnet(ours, theirs))
        })
    }
}

/// Whether two local addresses look like one network.
fn same_subnet(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            scope(other.into()) == AddressScope::Private
                && one.octets().first_chunk::<3>() == other.octets().first_chunk::<3>()
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            scope(other.into()) == AddressScope::UniqueLocal
                && one.segments().first_chunk::<4>() == other.segments().first_chunk::<4>()
        }
        _ => false,
    }
}

/// Whether two addresses that relays see belong to one site: the same IPv4 address, the same 64 bits of IPv6.
fn same_site(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            one.segments().first_chunk::<4>() == other.segments().first_chunk::<4>()
        }
        (one, other) => one == other,
    }
}

fn is_local(address: &Multiaddr) -> bool {
    let names_ip = address
        .iter()
        .next()
        .is_some_and(|part| matches!(part, Protocol::Ip4(_) | Protocol::Ip6(_)));
    names_ip
        && ip_of(address).is_some_and(|ip| {
            matches!(
                scope(ip),
                AddressScope::Private | AddressScope::UniqueLocal | AddressScope::Cgnat
            )
        })
}
