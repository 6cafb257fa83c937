//! What the swarm loop does: outcomes into the machines, commands out of them.

use std::time::Duration;

use peerup_model::{PathKind, Transport};
use peerup_paths::{
    Candidate, CircuitBudget, Command, LimitKind, LivenessCommand, RelayView, Reservation, Stage,
    UpgradeCommand, hold, superseded,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::world::{Conn, End, Event, HELD, PEERS, RELAYS, Sim, Slot, Wire};

pub(crate) const TRIP: Duration = Duration::from_millis(50);
const REDIAL: Duration = Duration::from_secs(5);

impl Sim {
    pub(crate) fn handle(&mut self, event: Event) {
        // Those that change a connection say so themselves.
        self.paths_moved |= !matches!(
            event,
            Event::Answer(_)
                | Event::DialEnd { .. }
                | Event::ReserveEnd { .. }
                | Event::Redial(_)
                | Event::Rehold
        );
        match event {
            Event::DialEnd { relay, generation } => self.dial_end(relay, generation),
            Event::ReserveEnd { relay, listener } => self.reserve_end(relay, listener),
            Event::Answer(id) => {
                if self.conns.get(&id).is_some_and(|conn| conn.wire == Wire::Answers) {
                    self.paths_moved |= self.liveness.is_suspect(&id);
                    self.liveness.handle_answer(id, self.now);
                }
            }
            Event::Reset(id) => self.close(id, "reset"),
            Event::AttemptEnd {
                peer,
                number,
                possible,
            } => self.attempt_end(peer, number, possible),
            Event::Redial(peer) => self.redial(peer),
            Event::CircuitEnd(id) => self.circuit_end(id),
            Event::Fate => self.fate(),
            Event::RelayUp(relay) => {
                self.relays[relay].up = true;
                self.forget(
                    |end| matches!(end, End::Relay(at) | End::Circuit { relay: at, .. } if at == relay),
                );
            }
            Event::RelayAdmits(relay) => self.relays[relay].refuses = false,
            Event::PeerUp(peer) => {
                self.peers[peer].up = true;
                self.forget(
                    |end| matches!(end, End::Direct(at) | End::Circuit { peer: at, .. } if at == peer),
                );
            }
            Event::NetworkUp { network } => self.network_comes(network),
            Event::ReadClock => {
                self.schedule(Duration::from_secs(1800), Event::ReadClock);
                self.read_clock();
            }
            Event::WakeUp => self.read_clock(),
            Event::Rehold => self.rehold_due = false,
        }
    }

    pub(crate) fn run_timers(&mut self) {
        let now = self.now;
        if self.detector.poll_timeout().is_some_and(|due| due <= now) {
            let fingerprint = self.fingerprint();
            if self.detector.handle_fingerprint(fingerprint, now) {
                self.network_changed();
            }
        }
        self.liveness.handle_timeout(now);
        for slot in self.slots.iter_mut().flatten() {
            slot.machine.handle_timeout(now);
        }
        for upgrade in &mut self.upgrades {
            upgrade.handle_timeout(now);
        }
    }

    /// Carries commands out until none is left, and tells the machines what that changed.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100 {
            self.rehold();
            let carried_out = self.carry_out();
            if self.paths_moved {
                self.tell_paths();
            }
            if !carried_out {
                return;
            }
        }
        panic!("the commands never end");
    }

    fn read_clock(&mut self) {
        let awake = self.now - self.start;
        let boot = awake + self.slept;
        if self.detector.handle_clock(self.now, boot, boot + self.wall_shift) {
            self.network_changed();
        }
    }

    fn network_changed(&mut self) {
        self.seen.network_changes += 1;
        self.paths_moved = true;
        self.patience.triggers += 1;
        self.liveness.probe_all(self.now);
        self.backoffs.reset_all();
        for slot in self.slots.iter_mut().flatten() {
            slot.machine.handle_network_change(self.now);
        }
        for upgrade in &mut self.upgrades {
            upgrade.handle_network_change(self.now);
        }
        self.patience.handle_news(self.now);
    }

    fn rehold(&mut self) {
        let views: Vec<_> = (0..RELAYS)
            .map(|id| RelayView {
                id,
                order: id as u32,
                held: self.stage(id) == Some(Stage::Reserved),
                health: self.health[id],
            })
            .collect();
        let chosen = hold(&views, HELD, self.now);
        assert!(chosen.len() >= HELD);
        for relay in 0..RELAYS {
            let is_chosen = chosen.contains(&relay);
            if is_chosen && self.slots[relay].is_none() {
                self.counter += 1;
                self.slots[relay] = Some(Slot {
                    machine: Reservation::new(self.now, StdRng::seed_from_u64(self.counter)),
                    generation: self.counter,
                    listener: None,
                });
                self.slots[relay]
                    .as_mut()
                    .unwrap()
                    .machine
                    .handle_timeout(self.now);
                if self.is_connected(relay) {
                    panic!("a connection without a slot");
                }
                self.patience.triggers += 1;
                self.seen.swaps += 1;
            } else if !is_chosen && self.slots[relay].is_some() {
                let works = views[relay].held && !self.health[relay].is_failing(self.now);
                let held = views.iter().filter(|view| view.held).count();
                assert!(!works || held > HELD, "a relay that works was dropped");
                self.slots[relay] = None;
                self.close_relay(relay);
            }
        }
        // A failing relay gets its turn although no event of its own says so.
        let fails = (0..RELAYS).any(|relay| self.health[relay].is_failing(self.now));
        if fails && !self.rehold_due {
            self.rehold_due = true;
            self.schedule(Duration::from_secs(30), Event::Rehold);
        }
    }

    fn carry_out(&mut self) -> bool {
        let mut any = false;
        for relay in 0..RELAYS {
            while let Some(command) = self.slots[relay]
                .as_mut()
                .and_then(|slot| slot.machine.next_command())
            {
                any = true;
                self.reserve(relay, command);
            }
        }
        for peer in 0..PEERS {
            while let Some(UpgradeCommand::Attempt) = self.upgrades[peer].next_command() {
                any = true;
                self.attempt(peer);
            }
        }
        while let Some(command) = self.liveness.next_command() {
            any = true;
            self.patience.liveness_commands += 1;
            self.paths_moved = true;
            match command {
                LivenessCommand::Probe(id) => match self.conns[&id].wire {
                    Wire::Answers => self.schedule(TRIP, Event::Answer(id)),
                    Wire::Gone { .. } if self.online => self.schedule(TRIP, Event::Reset(id)),
                    _ => {}
                },
                LivenessCommand::Close(id) => {
                    let conn = &self.conns[&id];
                    let is_back = conn.wire == Wire::Answers && self.now > conn.answers_since + TRIP;
                    assert!(!is_back, "closes one that answers");
                    self.seen.closed_silent += 1;
                    self.close(id, "no answer");
                }
            }
        }
        any
    }

    fn reserve(&mut self, relay: usize, command: Command) {
        let truth = self.relays[relay];
        match command {
            Command::Connect => {
                self.patience.relay_dials[relay] += 1;
                assert!(!self.is_connected(relay), "dials although connected");
                let generation = self.slots[relay].as_ref().unwrap().generation;
                let hangs = self.online && !truth.up && truth.vanishes;
                let time = if hangs { Duration::from_secs(5) } else { TRIP };
                self.schedule(time, Event::DialEnd { relay, generation });
            }
            Command::Listen => {
                assert!(self.is_connected(relay), "listens without a connection");
                self.counter += 1;
                let listener = self.counter;
                let slot = self.slots[relay].as_mut().unwrap();
                assert_eq!(slot.listener, None, "listens twice");
                slot.listener = Some(listener);
                slot.machine.handle_listener_opened(listener);
                self.schedule(TRIP, Event::ReserveEnd { relay, listener });
            }
            Command::CloseConnection => self.close_relay(relay),
        }
    }

    fn dial_end(&mut self, relay: usize, generation: u64) {
        if self.slots[relay]
            .as_ref()
            .is_none_or(|slot| slot.generation != generation)
            || self.is_connected(relay)
        {
            return;
        }
        if self.online && self.relays[relay].up {
            self.open(End::Relay(relay));
            self.slots[relay]
                .as_mut()
                .unwrap()
                .machine
                .handle_connected(self.now);
        } else {
            self.health[relay].handle_failure(self.now);
            self.slots[relay]
                .as_mut()
                .unwrap()
                .machine
                .handle_connect_failed("no answer", self.now);
        }
    }

    fn reserve_end(&mut self, relay: usize, listener: u64) {
        let wire = self
            .conns
            .values()
            .find(|conn| conn.end == End::Relay(relay))
            .map(|conn| conn.wire);
        let Some(slot) = self.slots[relay]
            .as_mut()
            .filter(|slot| slot.listener == Some(listener))
        else {
            return;
        };
        match wire {
            Some(Wire::Answers) if self.relays[relay].refuses => {
                slot.listener = None;
                self.health[relay].handle_failure(self.now);
                slot.machine
                    .handle_listener_closed(&listener, "refused", self.now);
            }
            Some(Wire::Answers) => {
                self.seen.reservations += 1;
                self.health[relay].handle_success(self.now);
                slot.machine.handle_reserved(self.now);
            }
            // Retransmitted until the network is back.
            Some(Wire::Offline { .. }) => {
                self.schedule(Duration::from_secs(1), Event::ReserveEnd { relay, listener })
            }
            _ => {}
        }
    }

    fn close_relay(&mut self, relay: usize) {
        let ids: Vec<_> = self.ids(|end| end == End::Relay(relay));
        for id in ids {
            self.close(id, "closed");
        }
    }

    fn open(&mut self, end: End) -> u64 {
        self.paths_moved = true;
        self.counter += 1;
        let id = self.counter;
        let limited = matches!(end, End::Circuit { .. }) && self.chance(0.5);
        let budget = limited.then(|| CircuitBudget {
            bytes: Some(200_000),
            duration: Some(Duration::from_secs(4 * 3600)),
            opened: self.now,
        });
        if let Some(duration) = budget.and_then(|budget| budget.duration) {
            self.schedule(duration, Event::CircuitEnd(id));
        }
        self.conns.insert(
            id,
            Conn {
                end,
                wire: Wire::Answers,
                opened: self.now,
                answers_since: self.now,
                budget,
                used: 0,
            },
        );
        self.liveness.insert(id, self.now);
        id
    }

    pub(crate) fn close(&mut self, id: u64, reason: &str) {
        let Some(conn) = self.conns.remove(&id) else {
            return;
        };
        self.paths_moved = true;
        self.patience.triggers += 1;
        self.liveness.remove(&id);
        let End::Relay(relay) = conn.end else {
            return;
        };
        for circuit in self.circuits_over(relay) {
            self.close(circuit, "its relay is gone");
        }
        if let Some(slot) = &mut self.slots[relay] {
            let listener = slot.listener.take();
            let was_of_use = matches!(slot.machine.stage(), Stage::Requesting | Stage::Reserved);
            if let Some(listener) = listener.filter(|_| self.rng.random_bool(0.5)) {
                slot.machine.handle_listener_closed(&listener, reason, self.now);
            }
            slot.machine.handle_disconnected(reason, self.now);
            if was_of_use {
                self.health[relay].handle_failure(self.now);
            }
        }
    }

    fn attempt(&mut self, peer: usize) {
        self.patience.attempts[peer] += 1;
        let possible = self.direct_works(peer);
        let number = self.upgrades[peer].attempts();
        if self.backoffs.may_dial(&peer, self.now) {
            self.patience.direct_dials[peer] += 1;
            if possible {
                self.backoffs.handle_ok(&peer);
            } else {
                let now = self.now;
                self.backoffs.handle_failed(peer, now, &mut self.rng);
            }
        }
        // Some attempts that cannot work never end.
        if possible || self.chance(0.9) {
            let time = self.some_time(0.1, 3.0);
            self.schedule(
                time,
                Event::AttemptEnd {
                    peer,
                    number,
                    possible,
                },
            );
        }
    }

    fn attempt_end(&mut self, peer: usize, number: u32, possible: bool) {
        if self.upgrades[peer].attempts() != number {
            return;
        }
        if possible && self.direct_works(peer) && self.answering_circuit(peer) {
            self.open(End::Direct(peer));
            self.seen.upgrades += 1;
            self.tell_paths();
        }
        self.upgrades[peer].handle_attempt_ended(self.now);
        let candidates = self.candidates(peer);
        if self.chance(0.5) {
            for id in superseded(&candidates) {
                self.close(id, "superseded");
            }
        }
    }

    fn circuit_end(&mut self, id: u64) {
        if let Some(conn) = self.conns.get(&id) {
            let limit = conn.budget.unwrap().exhausted_by(0, self.now);
            assert_eq!(limit, Some(LimitKind::Duration));
            self.seen.budgets_used_up += 1;
            self.close(id, "the relay's limit");
        }
    }

    /// Tells the upgrade machines which connections live, and asks for a circuit where none does.
    fn tell_paths(&mut self) {
        for peer in 0..PEERS {
            let candidates = self.candidates(peer);
            let live = |relayed: bool| {
                candidates
                    .iter()
                    .any(|one| one.path.is_relayed() == relayed && !one.suspect)
            };
            let (direct, relayed) = (live(false), live(true));
            if relayed && !direct && self.patience.paths[peer] != (direct, relayed) {
                self.patience.restarts[peer] += 1;
                self.patience.handle_news_of(peer, self.now);
            }
            self.patience.paths[peer] = (direct, relayed);
            self.upgrades[peer].handle_paths(direct, relayed, self.now);
            if !direct && !relayed && !self.peers[peer].redial_due {
                self.peers[peer].redial_due = true;
                self.schedule(TRIP, Event::Redial(peer));
            }
        }
    }

    fn redial(&mut self, peer: usize) {
        self.peers[peer].redial_due = false;
        if self.candidates(peer).iter().any(|one| !one.suspect) {
            return;
        }
        let relay = (0..RELAYS).find(|relay| {
            self.stage(*relay) == Some(Stage::Reserved)
                && self
                    .conns
                    .values()
                    .any(|conn| conn.end == End::Relay(*relay) && conn.wire == Wire::Answers)
        });
        match relay {
            Some(relay) if self.peers[peer].up => {
                self.open(End::Circuit { peer, relay });
            }
            _ => {
                self.peers[peer].redial_due = true;
                self.schedule(REDIAL, Event::Redial(peer));
            }
        }
    }

    pub(crate) fn candidates(&self, peer: usize) -> Vec<Candidate<u64>> {
        let path = |end| match end {
            End::Direct(at) if at == peer => Some(PathKind::Direct(Transport::Quic)),
            End::Circuit { peer: at, .. } if at == peer => Some(PathKind::Relayed(self.relay_id)),
            _ => None,
        };
        self.conns
            .iter()
            .filter_map(|(id, conn)| {
                Some(Candidate {
                    id: *id,
                    path: path(conn.end)?,
                    rtt: Some(TRIP),
                    opened: conn.opened,
                    live: true,
                    suspect: self.liveness.is_suspect(id),
                })
            })
            .collect()
    }

    pub(crate) fn stage(&self, relay: usize) -> Option<Stage> {
        self.slots[relay].as_ref().map(|slot| slot.machine.stage())
    }

    pub(crate) fn is_connected(&self, relay: usize) -> bool {
        self.conns.values().any(|conn| conn.end == End::Relay(relay))
    }

    fn direct_works(&self, peer: usize) -> bool {
        self.online && self.peers[peer].up && self.peers[peer].punchable
    }

    fn answering_circuit(&self, peer: usize) -> bool {
        self.conns.values().any(|conn| {
            matches!(conn.end, End::Circuit { peer: at, .. } if at == peer) && conn.wire == Wire::Answers
        })
    }

    /// Whether a direct path could be had right now, and the node has what it needs to find it.
    pub(crate) fn upgrade_is_possible(&self, peer: usize, candidates: &[Candidate<u64>]) -> bool {
        self.direct_works(peer)
            && self.peers[peer].wanted
            && candidates.iter().all(|one| one.path.is_relayed())
            && candidates
                .iter()
                .any(|one| !one.suspect && self.conns[&one.id].wire == Wire::Answers)
    }

    fn ids(&self, matches: impl Fn(End) -> bool) -> Vec<u64> {
        let matching = self.conns.iter().filter(|(_, conn)| matches(conn.end));
        matching.map(|(id, _)| *id).collect()
    }

    pub(crate) fn circuits_over(&self, relay: usize) -> Vec<u64> {
        self.ids(|end| matches!(end, End::Circuit { relay: at, .. } if at == relay))
    }
}
