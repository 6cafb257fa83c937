//! Watches the network of this machine: addresses, default routes, tunnels, and jumps of its clocks.
//!
//! One task owns a netlink subscription, reads the state again when that has been quiet for a moment, and reports
//! real differences only. Where netlink does not work it polls; where nothing works it still reports the clocks. The
//! task's inboxes are the subscription, its timers, and the closing of the event queue; nobody commands it.

mod clock;
#[cfg(target_os = "linux")]
mod netlink;
#[cfg(target_os = "linux")]
mod proc;
mod source;
#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "nothing reads the state there yet")
)]
mod survey;

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use peerup_paths::{ChangeDetector, NetworkFingerprint};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};
use tracing::Instrument as _;

pub use self::survey::{Gateway, Mac, NetState};
use self::{
    clock::ClockReading,
    source::{Source, Wake},
};

/// Events that wait for the reader. Later ones are merged, so this need not be large.
const EVENT_QUEUE: usize = 4;
/// How often the clocks are compared.
const CLOCK_TICK: Duration = Duration::from_secs(5);
/// When to look again for the link-layer address of a router that was not known at first: the neighbour table has it
/// as soon as anything was sent to the internet.
const IDENTIFY_AFTER: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
];
/// How long to wait after a survey that failed.
const RETRY: Duration = Duration::from_secs(10);
/// A survey that takes long, on a router with the internet's whole table, is followed by a pause of this many times
/// its length.
const PAUSE_FACTOR: u32 = 10;

/// What happened to the network.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetEvent {
    /// What the network was like at the start; always the first of these, once. Systems other than Linux have none.
    Initial {
        /// The name of the network: the same at the next visit.
        network_id: String,
        /// What it is like.
        state: NetState,
    },
    /// Addresses, default routes or tunnels are other ones than before. Everything learned about paths is in doubt.
    Changed {
        /// The name of the network: the same at the next visit. It may be the one of before, with a new lease.
        network_id: String,
        /// What it is like now.
        state: NetState,
    },
    /// The network is the one of before, but its router became known, and with it comes its final name.
    Identified {
        /// The name that takes the place of the one reported last.
        network_id: String,
        /// What it is like.
        state: NetState,
    },
    /// The machine slept, or its clock was set. Connections may be dead whatever the network looks like.
    Clock,
}

/// The watch; it ends when this is dropped.
#[derive(Debug)]
pub struct NetWatch {
    _task: JoinSet<()>,
}

impl NetWatch {
    /// Starts watching. Must run inside a tokio runtime.
    ///
    /// A reader that lags behind misses no state: what happened meanwhile is merged into one event. The watch ends
    /// when the reader is dropped as well.
    pub fn start() -> (Self, mpsc::Receiver<NetEvent>) {
        Self::with_source(Source::open())
    }

    fn with_source(source: Source) -> (Self, mpsc::Receiver<NetEvent>) {
        let (events, receiver) = mpsc::channel(EVENT_QUEUE);
        let mut task = JoinSet::new();
        let actor = WatchActor::new(source, events);
        task.spawn(actor.run().instrument(tracing::info_span!("netwatch")));
        (Self { _task: task }, receiver)
    }
}

struct WatchActor {
    source: Source,
    events: mpsc::Sender<NetEvent>,
    outbox: Outbox,
    detector: ChangeDetector,
    clock: Interval,
    last: Option<NetState>,
    /// IPv6 addresses under check that were already waited for.
    awaited: BTreeSet<IpAddr>,
    identify: Identify,
    /// No survey before this.
    not_before: Instant,
}

impl WatchActor {
    fn new(source: Source, events: mpsc::Sender<NetEvent>) -> Self {
        let mut clock = interval(CLOCK_TICK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            source,
            events,
            outbox: Outbox::default(),
            detector: ChangeDetector::new(),
            clock,
            last: None,
            awaited: BTreeSet::new(),
            identify: Identify::default(),
            not_before: Instant::now(),
        }
    }

    async fn run(mut self) {
        self.look().await;
        loop {
            let due = self.next_look();
            tokio::select! {
                biased;
                () = self.events.closed() => return,
                _ = self.clock.tick() => self.handle_clock(ClockReading::now()),
                () = sleep_until(due.unwrap_or(self.not_before)), if due.is_some() => self.look().await,
                () = room(&self.events), if !self.outbox.is_empty() => {
                    // Nobody else sends, so the room is still there.
                    if let Some(event) = self.outbox.pop() {
                        let _ = self.events.try_send(event);
                    }
                }
                wake = self.source.woken() => match wake {
                    Wake::Moved => self.detector.handle_event(Instant::now().into_std()),
                    Wake::Poll => self.look().await,
                },
            }
        }
    }

    /// When to read the state again: after the debounce, or to learn who the router is.
    fn next_look(&self) -> Option<Instant> {
        let debounced = self.detector.poll_timeout().map(Instant::from_std);
        debounced.or(self.identify.at).map(|due| due.max(self.not_before))
    }

    fn handle_clock(&mut self, reading: ClockReading) {
        if self
            .detector
            .handle_clock(reading.monotonic, reading.boot, reading.wall)
        {
            tracing::info!("the machine slept, or its clock was set");
            self.outbox.push(NetEvent::Clock);
            // Nothing wakes for what changed while the machine slept on a system that polls.
            self.detector.handle_event(reading.monotonic);
        }
    }

    async fn look(&mut self) {
        let started = Instant::now();
        let state = self.source.survey().await;
        let now = Instant::now();
        match state {
            Some(state) => {
                self.not_before = now + now.duration_since(started).saturating_mul(PAUSE_FACTOR);
                self.handle_state(state, now);
            }
            None => self.not_before = now + RETRY,
        }
    }

    fn handle_state(&mut self, mut state: NetState, now: Instant) {
        if let Some(last) = &self.last {
            state.keep_macs(last);
        }
        let waits = self.last.is_some() && !state.tentative.is_subset(&self.awaited);
        self.awaited.clone_from(&state.tentative);
        if waits {
            self.detector.handle_tentative(now.into_std());
            return;
        }
        let fingerprint = NetworkFingerprint {
            addresses: state.addresses.clone(),
            gateways: state.gateways.iter().map(ToString::to_string).collect(),
            tunnels: state.tunnels.clone(),
        };
        if self.detector.handle_fingerprint(fingerprint, now.into_std()) || self.last.is_none() {
            self.report(state);
        }
        let unknown = self.last.as_ref().is_some_and(NetState::lacks_macs);
        self.identify.schedule(unknown, now);
    }

    fn report(&mut self, state: NetState) {
        let network_id = network_id(&state);
        let before = self.last.replace(state.clone());
        let event = match before {
            None => NetEvent::Initial { network_id, state },
            Some(before) if state.only_identifies(&before) => {
                tracing::debug!(network_id, "the router is known now");
                self.outbox.push(NetEvent::Identified { network_id, state });
                return;
            }
            Some(_) => NetEvent::Changed { network_id, state },
        };
        self.identify = Identify::default();
        if let NetEvent::Initial { network_id, state } | NetEvent::Changed { network_id, state } = &event {
            let gateways: Vec<_> = state.gateways.iter().map(ToString::to_string).collect();
            tracing::info!(
                network_id, addresses = ?state.addresses, ?gateways, tunnels = ?state.tunnels, "the network"
            );
        }
        self.outbox.push(event);
    }
}

/// Waits until the queue takes an event, or has no reader any more.
async fn room(events: &mpsc::Sender<NetEvent>) {
    drop(events.reserve().await);
}

/// The name of the network. Only what belongs to the default route takes part, so that a bridge of containers or a
/// VPN does not make it another network.
fn network_id(state: &NetState) -> String {
    NetworkFingerprint {
        addresses: state.uplinks.clone(),
        gateways: state.naming_gateways(),
        tunnels: BTreeSet::new(),
    }
    .network_id()
}

/// When to look for the router's link-layer address.
#[derive(Debug, Default)]
struct Identify {
    attempts: usize,
    at: Option<Instant>,
}

impl Identify {
    fn schedule(&mut self, unknown: bool, now: Instant) {
        let due = self.at.is_none_or(|at| at <= now);
        if !unknown {
            self.at = None;
        } else if due {
            self.at = IDENTIFY_AFTER.get(self.attempts).map(|after| now + *after);
            self.attempts = self.attempts.saturating_add(1);
        }
    }
}

/// Events that the queue has no room for yet: one of each kind, the later one in place of the earlier.
#[derive(Debug, Default)]
struct Outbox {
    network: Option<NetEvent>,
    clock: bool,
}

impl Outbox {
    fn is_empty(&self) -> bool {
        self.network.is_none() && !self.clock
    }

    fn push(&mut self, event: NetEvent) {
        let merged = match (self.network.take(), event) {
            (before, NetEvent::Clock) => {
                self.clock = true;
                before
            }
            (
                Some(NetEvent::Initial { .. }),
                NetEvent::Changed { network_id, state } | NetEvent::Identified { network_id, state },
            ) => Some(NetEvent::Initial { network_id, state }),
            (Some(NetEvent::Changed { .. }), NetEvent::Identified { network_id, state }) => {
                Some(NetEvent::Changed { network_id, state })
            }
            (_, event) => Some(event),
        };
        self.network = merged;
    }

    fn pop(&mut self) -> Option<NetEvent> {
        self.network
            .take()
            .or_else(|| std::mem::take(&mut self.clock).then_some(NetEvent::Clock))
    }
}

#[cfg(test)]
mod tests;
