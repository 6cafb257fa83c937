//! What is true in the world, what the node knows of it, and the loop over both.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::{Duration, Instant},
};

use libp2p_identity::PeerId;
use peerup_paths::{
    AddressBackoffs, ChangeDetector, CircuitBudget, Liveness, NetworkFingerprint, RelayHealth, Reservation,
    Upgrade,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::checks::Patience;

pub(crate) const RELAYS: usize = 3;
pub(crate) const PEERS: usize = 4;
/// Fewer than there are relays, so that the choice between them matters.
pub(crate) const HELD: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    DialEnd {
        relay: usize,
        generation: u64,
    },
    ReserveEnd {
        relay: usize,
        listener: u64,
    },
    Answer(u64),
    Reset(u64),
    AttemptEnd {
        peer: usize,
        number: u32,
        possible: bool,
    },
    Redial(usize),
    CircuitEnd(u64),
    Fate,
    RelayUp(usize),
    RelayAdmits(usize),
    PeerUp(usize),
    NetworkUp {
        network: u32,
    },
    ReadClock,
    WakeUp,
    Rehold,
}

/// What is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Relay(usize),
    Direct(usize),
    Circuit { peer: usize, relay: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Answers,
    /// Silent because this node is offline; the same network brings it back.
    Offline {
        since: Instant,
    },
    /// Silent for good.
    Silent {
        since: Instant,
    },
    /// The other end has forgotten it: a probe is answered by a reset.
    Gone {
        since: Instant,
    },
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) end: End,
    pub(crate) wire: Wire,
    pub(crate) opened: Instant,
    /// Since when it answers.
    pub(crate) answers_since: Instant,
    pub(crate) budget: Option<CircuitBudget>,
    pub(crate) used: u64,
}

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct RelayTruth {
    pub(crate) up: bool,
    /// Whether packets to it vanish while it is down, instead of being refused.
    pub(crate) vanishes: bool,
    pub(crate) refuses: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerTruth {
    pub(crate) up: bool,
    pub(crate) punchable: bool,
    pub(crate) wanted: bool,
    pub(crate) redial_due: bool,
}

pub(crate) struct Slot {
    pub(crate) machine: Reservation<u64, StdRng>,
    pub(crate) generation: u64,
    pub(crate) listener: Option<u64>,
}

/// What happened so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) steps: u64,
    pub(crate) fates: u64,
    pub(crate) reservations: u64,
    pub(crate) upgrades: u64,
    pub(crate) network_changes: u64,
    pub(crate) closed_silent: u64,
    pub(crate) budgets_used_up: u64,
    pub(crate) swaps: u64,
}

pub(crate) struct Sim {
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) rng: StdRng,
    pub(crate) queue: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    pub(crate) counter: u64,
    // The truth.
    pub(crate) relays: [RelayTruth; RELAYS],
    pub(crate) peers: [PeerTruth; PEERS],
    pub(crate) online: bool,
    pub(crate) network: u32,
    pub(crate) slept: Duration,
    pub(crate) wall_shift: Duration,
    pub(crate) conns: BTreeMap<u64, Conn>,
    // The node.
    pub(crate) slots: [Option<Slot>; RELAYS],
    pub(crate) health: [RelayHealth; RELAYS],
    pub(crate) upgrades: Vec<Upgrade<StdRng>>,
    pub(crate) liveness: Liveness<u64>,
    pub(crate) backoffs: AddressBackoffs<usize>,
    pub(crate) detector: ChangeDetector,
    pub(crate) rehold_due: bool,
    /// Whether a path may be another one than before this step.
    pub(crate) paths_moved: bool,
    pub(crate) relay_id: PeerId,
    // The test.
    pub(crate) patience: Patience,
    pub(crate) seen: Seen,
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Self {
        let now = Instant::now();
        let machine_rng = |salt: u64| StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(salt));
        Self {
            now,
            start: now,
            rng: StdRng::seed_from_u64(seed),
            queue: BinaryHeap::new(),
            counter: 0,
            relays: [RelayTruth {
                up: true,
                ..RelayTruth::default()
            }; RELAYS],
            peers: [PeerTruth {
                up: true,
                punchable: true,
                wanted: true,
                redial_due: false,
            }; PEERS],
            online: true,
            network: 1,
            slept: Duration::ZERO,
            wall_shift: Duration::from_secs(1_700_000_000),
            conns: BTreeMap::new(),
            slots: [const { None }; RELAYS],
            health: [RelayHealth::new(); RELAYS],
            upgrades: (0..PEERS as u64)
                .map(|peer| Upgrade::new(now, machine_rng(peer)))
                .collect(),
            liveness: Liveness::new(),
            backoffs: AddressBackoffs::new(),
            detector: ChangeDetector::new(),
            rehold_due: false,
            paths_moved: true,
            relay_id: PeerId::random(),
            patience: Patience::default(),
            seen: Seen::default(),
        }
    }

    pub(crate) fn begin(&mut self) {
        let fingerprint = self.fingerprint();
        self.detector.handle_fingerprint(fingerprint, self.now);
        self.schedule(Duration::ZERO, Event::ReadClock);
        self.schedule(Duration::from_secs(60), Event::Fate);
        self.settle();
    }

    /// Moves to the next thing that happens and lets it happen.
    pub(crate) fn step(&mut self) {
        self.seen.steps += 1;
        self.skip_quiet_time();
        let event = self.queue.peek().map(|Reverse((at, ..))| *at);
        let timer = self.timers().min();
        let next = event.into_iter().chain(timer).min().unwrap();
        assert!(next >= self.start, "a timer before the beginning");
        self.now = self.now.max(next);
        if event.is_some_and(|at| at <= self.now) {
            let Reverse((_, _, event)) = self.queue.pop().unwrap();
            self.handle(event);
        }
        self.run_timers();
        self.settle();
        self.check();
    }

    /// Where nothing has been wrong for a while, other traffic makes probes needless: hours of them are not played.
    fn skip_quiet_time(&mut self) {
        const PLAYED: Duration = Duration::from_secs(15);
        if self.now < self.patience.last_trouble.unwrap_or(self.start) + PLAYED {
            return;
        }
        let event = self.queue.peek().map(|Reverse((at, ..))| *at);
        let Some(next) = event.into_iter().chain(self.other_timers()).min() else {
            return;
        };
        if self.liveness.poll_timeout().is_none_or(|due| due > next) {
            return;
        }
        self.now = self.now.max(next - Duration::from_millis(1));
        for id in self.conns.keys() {
            self.liveness.handle_answer(*id, self.now);
        }
        self.liveness.handle_timeout(self.now);
    }

    fn timers(&self) -> impl Iterator<Item = Instant> {
        self.other_timers().chain(self.liveness.poll_timeout())
    }

    fn other_timers(&self) -> impl Iterator<Item = Instant> {
        self.slots
            .iter()
            .flatten()
            .filter_map(|slot| slot.machine.poll_timeout())
            .chain(self.upgrades.iter().filter_map(Upgrade::poll_timeout))
            .chain(self.detector.poll_timeout())
    }

    pub(crate) fn schedule(&mut self, after: Duration, event: Event) {
        self.counter += 1;
        self.queue.push(Reverse((self.now + after, self.counter, event)));
    }

    pub(crate) fn fingerprint(&self) -> NetworkFingerprint {
        let mut fingerprint = NetworkFingerprint::default();
        if self.online {
            let subnet = self.network % 200;
            fingerprint
                .addresses
                .insert(format!("192.168.{subnet}.5").parse().unwrap());
            fingerprint.gateways.insert(format!("192.168.{subnet}.1"));
        }
        fingerprint
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    /// A time between the two, each magnitude as likely as the others.
    pub(crate) fn some_time(&mut self, low: f64, high: f64) -> Duration {
        Duration::from_secs_f64((self.rng.random_range(low.ln()..high.ln())).exp())
    }

    pub(crate) fn some_of(&mut self, count: usize) -> usize {
        self.rng.random_range(0..count)
    }
}
