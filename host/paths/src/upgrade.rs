//! When to try for a direct path to a peer that is connected over a relay only.
//!
//! Driven by the swarm loop of `peerup-net`, one machine for each connected member peer. One attempt is everything
//! the driver can do at that moment: dials of known addresses and a hole punch. The machine keeps the schedule; it
//! knows no addresses, and the relayed connection is none of its business.

use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

/// Waiting times after the first attempts, jitter apart.
const SCHEDULE: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
];
/// The waiting time after every later attempt: NATs change seldom, and each try costs the peer some packets.
const SLOW: Duration = Duration::from_secs(5 * 60);
/// The least time between the starts of two attempts, whatever news arrive: a peer that sends news all the time
/// must not make this node dial all the time.
const SPACING: Duration = Duration::from_secs(1);
/// How long an attempt may take; longer than any dial of the driver's.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long an attempt that news overtook may still take. With addresses of before it hardly works any more, and where
/// it does, it does so within this time; its dials may go on beside those of the next one.
const STALE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the driver is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeCommand {
    /// Dial the peer's known addresses and punch, then report that the attempt ended, however it did.
    Attempt,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Idle,
    Waiting { until: Instant },
    Trying { deadline: Instant },
}

/// The state machine of one peer's way from a relayed to a direct path.
#[derive(Debug)]
pub struct Upgrade<R> {
    state: State,
    direct: bool,
    relayed: bool,
    wanted: bool,
    /// Attempts that ended since the schedule started over.
    step: usize,
    /// Whether the schedule starts over when the running attempt ends.
    restart: bool,
    last_start: Option<Instant>,
    attempts: u32,
    command: Option<UpgradeCommand>,
    rng: R,
}

impl<R: Rng> Upgrade<R> {
    /// Starts without any connection, with a direct path wanted. Nothing is due before
    /// [`Self::handle_paths`] tells of a relayed connection.
    pub fn new(_now: Instant, rng: R) -> Self {
        Self {
            state: State::Idle,
            direct: false,
            relayed: false,
            wanted: true,
            step: 0,
            restart: false,
            last_start: None,
            attempts: 0,
            command: None,
            rng,
        }
    }

    /// Takes which kinds of live connections to the peer there are now.
    pub fn handle_paths(&mut self, direct: bool, relayed: bool, now: Instant) {
        self.direct = direct;
        self.relayed = relayed;
        self.settle(now);
    }

    /// Takes the end of the attempt, whether it gave a direct connection or not.
    pub fn handle_attempt_ended(&mut self, now: Instant) {
        if matches!(self.state, State::Trying { .. }) && self.command.is_none() {
            self.end_attempt(now);
        }
    }

    /// Takes news that make success more likely: either side's candidates changed, or the peer asked for a try.
    pub fn handle_news(&mut self, now: Instant) {
        match self.state {
            State::Idle => {}
            State::Waiting { .. } => self.start_over(now),
            // The driver has not begun, so it will begin with the news.
            State::Trying { .. } if self.command.is_some() => {}
            State::Trying { deadline } => {
                self.restart = true;
                let overtaken = deadline.min(now + STALE_TIMEOUT);
                self.state = State::Trying { deadline: overtaken };
            }
        }
    }

    /// Takes a change of the network: the schedule starts over, and a running attempt does not hold it up for long.
    pub fn handle_network_change(&mut self, now: Instant) {
        self.handle_news(now);
    }

    /// Takes whether the policy wants a direct path at all; it does not under `relay-only`.
    pub fn set_wanted(&mut self, wanted: bool, now: Instant) {
        self.wanted = wanted;
        self.settle(now);
    }

    /// Acts on the passing of time. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Waiting { until } if now >= until => self.start(now),
            State::Trying { deadline } if now >= deadline => {
                self.command = None;
                self.end_attempt(now);
            }
            _ => {}
        }
    }

    /// Returns the next command to carry out.
    pub fn next_command(&mut self) -> Option<UpgradeCommand> {
        self.command.take()
    }

    /// Returns when [`Self::handle_timeout`] has something to do; none exactly while no attempt runs or is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Idle => None,
            State::Waiting { until } => Some(until),
            State::Trying { deadline } => Some(deadline),
        }
    }

    /// When the next attempt begins, for people; none while one runs and while none is needed.
    pub fn next_try(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Idle | State::Trying { .. } => None,
        }
    }

    /// How many attempts were started so far.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    fn is_needed(&self) -> bool {
        self.wanted && self.relayed && !self.direct
    }

    fn settle(&mut self, now: Instant) {
        match self.state {
            State::Idle if self.is_needed() => self.start_over(now),
            State::Waiting { .. } if !self.is_needed() => self.state = State::Idle,
            // The driver has not begun: nothing runs, so nothing has to end.
            State::Trying { .. } if !self.is_needed() && self.command.take().is_some() => {
                self.attempts = self.attempts.saturating_sub(1);
                self.state = State::Idle;
            }
            // A running attempt ends by itself; the schedule starts over if its success was lost meanwhile.
            State::Trying { .. } if !self.is_needed() => self.restart = true,
            _ => {}
        }
    }

    fn start_over(&mut self, now: Instant) {
        self.step = 0;
        let until = self.no_sooner(now);
        self.state = State::Waiting { until };
        if now >= until {
            self.start(now);
        }
    }

    fn start(&mut self, now: Instant) {
        self.state = State::Trying {
            deadline: now + ATTEMPT_TIMEOUT,
        };
        self.restart = false;
        self.last_start = Some(now);
        self.attempts = self.attempts.saturating_add(1);
        self.command = Some(UpgradeCommand::Attempt);
    }

    fn end_attempt(&mut self, now: Instant) {
        if !self.is_needed() {
            self.state = State::Idle;
        } else if self.restart {
            self.start_over(now);
        } else {
            let wait = SCHEDULE.get(self.step).copied().unwrap_or(SLOW);
            self.step = self.step.saturating_add(1);
            let wait = wait.mul_f64(self.rng.random_range(0.75..=1.25));
            self.state = State::Waiting {
                until: self.no_sooner(now + wait),
            };
        }
    }

    fn no_sooner(&self, wished: Instant) -> Instant {
        self.last_start
            .map_or(wished, |start| wished.max(start + SPACING))
    }
}
