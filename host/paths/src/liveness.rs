//! Which connections still answer: probes the idle ones, suspects the slow ones, closes the dead ones.
//!
//! Driven by the swarm loop of `peerup-net`, one table for all connections. What counts as a probe and as an answer
//! is up to the driver; anything that the peer sends is an answer. It never closes anything on its own.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::{Duration, Instant},
};

/// How long a probe may stay without an answer before new streams avoid the connection.
pub const SUSPECT_AFTER: Duration = Duration::from_secs(1);
/// How long a probe may stay without an answer before the connection is closed.
pub const DEAD_AFTER: Duration = Duration::from_secs(3);
/// A connection whose last answer is older is probed.
pub const IDLE_PROBE: Duration = Duration::from_secs(10);
/// Connections watched at one time; far above what the swarm's own limits let in.
pub const MAX_CONNECTIONS: usize = 4096;

/// What the driver is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LivenessCommand<Id> {
    /// Make the peer answer on this connection.
    Probe(Id),
    /// Close this connection, it is dead; report its removal as that of any other.
    Close(Id),
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Answered last at this time.
    Answered { at: Instant },
    /// Probed at this time, and not overdue.
    Probed { at: Instant },
    /// Overdue and probed once more at this time.
    Suspect { since: Instant },
    /// Given up; asked to be closed at this time.
    Closing { since: Instant },
}

impl State {
    fn deadline(self) -> Instant {
        match self {
            Self::Answered { at } => at + IDLE_PROBE,
            Self::Probed { at } => at + SUSPECT_AFTER,
            // Counted from the second probe and not from the first: a process that was stopped for a while must
            // read what arrived meanwhile before it closes everything.
            Self::Suspect { since } => since + DEAD_AFTER.saturating_sub(SUSPECT_AFTER),
            Self::Closing { since } => since + DEAD_AFTER,
        }
    }
}

/// The liveness of all connections. `Id` is whatever the driver calls a connection.
#[derive(Debug)]
pub struct Liveness<Id> {
    connections: HashMap<Id, State>,
    commands: VecDeque<LivenessCommand<Id>>,
    /// No deadline is earlier than this. It may be too early after an answer: that costs one look, while an exact
    /// one would cost a search for each packet.
    next: Option<Instant>,
}

impl<Id> Default for Liveness<Id> {
    fn default() -> Self {
        Self {
            connections: HashMap::new(),
            commands: VecDeque::new(),
            next: None,
        }
    }
}

impl<Id: Copy + Eq + Hash> Liveness<Id> {
    /// Starts with no connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches a connection that was just established, which counts as an answer.
    ///
    /// Returns whether it is watched: beyond [`MAX_CONNECTIONS`] it is not.
    pub fn insert(&mut self, id: Id, now: Instant) -> bool {
        if self.connections.len() >= MAX_CONNECTIONS && !self.connections.contains_key(&id) {
            return false;
        }
        self.set(id, State::Answered { at: now });
        true
    }

    /// Forgets a connection that was closed.
    pub fn remove(&mut self, id: &Id) {
        if self.connections.remove(id).is_some() {
            self.forget_commands(id);
        }
        if self.connections.is_empty() {
            self.next = None;
        }
    }

    /// Takes a sign of life on the connection, with the time that it came. One from before a probe answers no probe,
    /// and none brings back a connection that is being closed.
    pub fn handle_answer(&mut self, id: Id, at: Instant) {
        match self.connections.get(&id).copied() {
            None | Some(State::Closing { .. }) => {}
            Some(State::Answered { at: before }) => self.set(id, State::Answered { at: at.max(before) }),
            Some(State::Probed { at: since }) if at < since => {}
            Some(State::Suspect { since }) if at + SUSPECT_AFTER < since => {}
            Some(State::Probed { .. } | State::Suspect { .. }) => {
                self.forget_commands(&id);
                self.set(id, State::Answered { at });
            }
        }
    }

    /// Probes the connection now, for example because a stream on it does not open. One probe is under way at most.
    pub fn probe(&mut self, id: Id, now: Instant) {
        if matches!(self.connections.get(&id), Some(State::Answered { .. })) {
            self.set(id, State::Probed { at: now });
            self.commands.push_back(LivenessCommand::Probe(id));
        }
    }

    /// Probes every connection now, because the network changed.
    pub fn probe_all(&mut self, now: Instant) {
        let ids: Vec<_> = self.connections.keys().copied().collect();
        for id in ids {
            self.probe(id, now);
        }
    }

    /// Acts on the passing of time. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        let due: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, state)| now >= state.deadline())
            .map(|(id, state)| (*id, *state))
            .collect();
        for (id, state) in due {
            self.advance(id, state, now);
        }
        self.next = self.connections.values().map(|state| state.deadline()).min();
    }

    /// Returns the next command to carry out.
    pub fn next_command(&mut self) -> Option<LivenessCommand<Id>> {
        self.commands.pop_front()
    }

    /// Returns when [`Self::handle_timeout`] may have something to do; none exactly while nothing is watched.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Whether an answer on the connection is overdue. New streams go elsewhere then.
    pub fn is_suspect(&self, id: &Id) -> bool {
        matches!(
            self.connections.get(id),
            Some(State::Suspect { .. } | State::Closing { .. })
        )
    }

    /// How many connections are watched.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether no connection is watched.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    fn advance(&mut self, id: Id, state: State, now: Instant) {
        // At most one command of a connection waits, so a driver that does not fetch them fills nothing.
        self.forget_commands(&id);
        let (state, command) = match state {
            State::Answered { .. } => (State::Probed { at: now }, LivenessCommand::Probe(id)),
            State::Probed { .. } => (State::Suspect { since: now }, LivenessCommand::Probe(id)),
            State::Suspect { .. } | State::Closing { .. } => {
                (State::Closing { since: now }, LivenessCommand::Close(id))
            }
        };
        self.connections.insert(id, state);
        self.commands.push_back(command);
    }

    fn set(&mut self, id: Id, state: State) {
        let deadline = state.deadline();
        self.next = Some(self.next.map_or(deadline, |next| next.min(deadline)));
        self.connections.insert(id, state);
    }

    fn forget_commands(&mut self, id: &Id) {
        self.commands.retain(|command| match command {
            LivenessCommand::Probe(one) | LivenessCommand::Close(one) => one != id,
        });
    }
}
