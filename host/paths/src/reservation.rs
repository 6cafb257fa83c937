//! The reservation on one relay: connect, wait until established, listen, stay reserved, and come back when lost.
//!
//! Driven by the swarm loop of `peerup-net`, one machine for each configured relay. It keys what it knows by the
//! listener's id, because a listener that closes may report no address at all. It never asks to remove a listener:
//! libp2p's relay client cannot bear that while a request is in flight, so a stuck request ends by closing the
//! connection. It never asks for a second listener on one connection either.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rand::Rng;

use crate::Backoff;

/// The first waiting time after a failure.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest waiting time, jitter apart: a relay that comes back is in use again within ten
/// seconds.
const RETRY_CAP: Duration = Duration::from_secs(5);
/// How long a dial may take; the swarm's own limit is shorter, this one catches an answer that never comes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the relay may take to answer a reservation request.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long closing a connection may take before it is asked for again.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the driver is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Dial the relay.
    Connect,
    /// Listen on the relay's circuit address, and report the listener's id.
    Listen,
    /// Close every connection to the relay.
    CloseConnection,
}

/// Where the machine is, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Waiting until the next attempt.
    Waiting,
    /// A dial is under way.
    Connecting,
    /// The relay has been asked for a reservation.
    Requesting,
    /// Others can reach this node over the relay.
    Reserved,
    /// A connection whose request got stuck is being closed.
    Closing,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Waiting { until: Instant },
    Connecting { deadline: Instant },
    Requesting { deadline: Instant },
    Reserved { since: Instant },
    Closing { deadline: Instant },
}

/// The state machine of one relay's reservation. `Listener` is whatever the driver calls a listener.
#[derive(Debug)]
pub struct Reservation<Listener, R> {
    state: State,
    connected: bool,
    listener: Option<Listener>,
    backoff: Backoff,
    rng: R,
    commands: VecDeque<Command>,
    last_failure: Option<String>,
    failures: u64,
}

impl<Listener: PartialEq, R: Rng> Reservation<Listener, R> {
    /// Starts disconnected; the first attempt is due at once.
    pub fn new(now: Instant, rng: R) -> Self {
        Self {
            state: State::Waiting { until: now },
            connected: false,
            listener: None,
            backoff: Backoff::new(RETRY_FIRST, RETRY_CAP),
            rng,
            commands: VecDeque::new(),
            last_failure: None,
            failures: 0,
        }
    }

    /// Takes a direct connection to the relay that was established, whoever dialled.
    pub fn handle_connected(&mut self, now: Instant) {
        let news = !self.connected;
        self.connected = true;
        match self.state {
            State::Connecting { .. } => self.request(now),
            // A dial of an attempt that was given up, over a slower transport, has made it after all.
            State::Waiting { .. } if news => self.attempt(now),
            _ => {}
        }
    }

    /// Takes a dial that failed.
    pub fn handle_connect_failed(&mut self, reason: &str, now: Instant) {
        if matches!(self.state, State::Connecting { .. }) && !self.connected {
            self.fail(reason, now);
        }
    }

    /// Takes the id of the listener that [`Command::Listen`] opened.
    pub fn handle_listener_opened(&mut self, listener: Listener) {
        self.listener = Some(listener);
    }

    /// Takes a listen command that could not be carried out.
    pub fn handle_listen_failed(&mut self, reason: &str, now: Instant) {
        if matches!(self.state, State::Requesting { .. }) {
            self.fail(reason, now);
        }
    }

    /// Takes the relay's consent, the first one or a renewal.
    pub fn handle_reserved(&mut self, now: Instant) {
        if matches!(self.state, State::Requesting { .. }) {
            self.state = State::Reserved { since: now };
            self.backoff.reset();
            self.last_failure = None;
        }
    }

    /// Takes a listener that closed. Ids that are not the current listener's are ignored.
    pub fn handle_listener_closed(&mut self, listener: &Listener, reason: &str, now: Instant) {
        if self.listener.as_ref() != Some(listener) {
            return;
        }
        self.listener = None;
        if matches!(self.state, State::Requesting { .. } | State::Reserved { .. }) {
            self.fail(reason, now);
        }
    }

    /// Takes the end of the last direct connection to the relay.
    pub fn handle_disconnected(&mut self, reason: &str, now: Instant) {
        self.connected = false;
        self.listener = None;
        match self.state {
            State::Requesting { .. } | State::Reserved { .. } => self.fail(reason, now),
            State::Closing { .. } => self.wait(now),
            State::Waiting { .. } | State::Connecting { .. } => {}
        }
    }

    /// Takes a change of the network: no waiting for what failed in the old one.
    ///
    /// A waiting machine tries at once, a dial starts over. A reservation stays until a probe or the connection
    /// itself says that it is gone.
    pub fn handle_network_change(&mut self, now: Instant) {
        self.backoff.reset();
        if matches!(self.state, State::Waiting { .. } | State::Connecting { .. }) {
            self.commands.clear();
            self.attempt(now);
        }
    }

    /// Forgets all failures; a waiting machine tries at once.
    pub fn reset(&mut self, now: Instant) {
        self.backoff.reset();
        self.last_failure = None;
        if matches!(self.state, State::Waiting { .. }) {
            self.attempt(now);
        }
    }

    /// Acts on the passing of time. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Waiting { until } if now >= until => self.attempt(now),
            State::Connecting { deadline } if now >= deadline => {
                self.fail("the relay did not answer the dial in time", now);
            }
            State::Requesting { deadline } if now >= deadline => {
                self.last_failure =
                    Some("the relay did not answer the reservation request in time".to_owned());
                self.close(now);
            }
            State::Closing { deadline } if now >= deadline => self.close(now),
            _ => {}
        }
    }

    /// Returns the next command to carry out.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Returns when [`Self::handle_timeout`] has something to do; none exactly while reserved.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Connecting { deadline } | State::Requesting { deadline } | State::Closing { deadline } => {
                Some(deadline)
            }
            State::Reserved { .. } => None,
        }
    }

    /// Where the machine is.
    pub fn stage(&self) -> Stage {
        match self.state {
            State::Waiting { .. } => Stage::Waiting,
            State::Connecting { .. } => Stage::Connecting,
            State::Requesting { .. } => Stage::Requesting,
            State::Reserved { .. } => Stage::Reserved,
            State::Closing { .. } => Stage::Closing,
        }
    }

    /// Since when the relay is reserved, if it is.
    pub fn reserved_since(&self) -> Option<Instant> {
        match self.state {
            State::Reserved { since } => Some(since),
            _ => None,
        }
    }

    /// Whether a direct connection to the relay exists.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether the id is that of the current listener.
    pub fn owns(&self, listener: &Listener) -> bool {
        self.listener.as_ref() == Some(listener)
    }

    /// Why the last attempt failed; none after a success.
    pub fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    /// How many attempts or reservations have failed so far.
    pub fn failed_attempts(&self) -> u64 {
        self.failures
    }

    /// Keeps a reason that is better than the one the machine saw, such as the relay's own words.
    pub fn set_last_failure(&mut self, reason: impl Into<String>) {
        self.last_failure = Some(reason.into());
    }

    fn attempt(&mut self, now: Instant) {
        if !self.connected {
            self.state = State::Connecting {
                deadline: now + CONNECT_TIMEOUT,
            };
            self.commands.push_back(Command::Connect);
        } else if self.listener.is_some() {
            self.close(now);
        } else {
            self.request(now);
        }
    }

    fn request(&mut self, now: Instant) {
        if self.listener.is_some() {
            self.close(now);
            return;
        }
        self.state = State::Requesting {
            deadline: now + RESERVE_TIMEOUT,
        };
        self.commands.push_back(Command::Listen);
    }

    fn close(&mut self, now: Instant) {
        self.state = State::Closing {
            deadline: now + CLOSE_TIMEOUT,
        };
        self.commands.push_back(Command::CloseConnection);
    }

    fn fail(&mut self, reason: &str, now: Instant) {
        self.failures += 1;
        self.last_failure = Some(reason.to_owned());
        self.wait(now);
    }

    fn wait(&mut self, now: Instant) {
        // A command of an attempt that is over must not run: it would open a listener nobody waits for.
        self.commands.clear();
        self.state = State::Waiting {
            until: now + self.backoff.next_delay(&mut self.rng),
        };
    }
}
