//! What the relay counts, and how it tells Prometheus of it.
//!
//! Counters are written by the rules and by the relay's actor; a scrape reads them together with a [`RelaySnapshot`].

use std::sync::atomic::{AtomicU64, Ordering};

use libp2p::metrics::Registry;
use libp2p::relay;
use peerup_api::ConfigState;
use peerup_ops::{Kind, Metric, PROCESS_METRICS, Sheet, add_process};
use peerup_trust::AdmitRefusal;

use crate::lease::Grant;
use crate::snapshot::RelaySnapshot;
use Kind::{Counter, Gauge};

/// What the relay refuses, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A reservation of a peer that is no member.
    ReservationNotMember,
    /// A reservation past `max_reservations`.
    ReservationFull,
    /// A reservation past `max_reservations_per_ip`.
    ReservationPerIp,
    /// A reservation past `max_reservations_per_asn`.
    ReservationPerAsn,
    /// A circuit of a peer that is neither member nor admitted.
    CircuitNotMember,
    /// A circuit to another peer than the one that admitted its source, or one too many.
    CircuitNotAdmitted,
    /// A circuit past `max_circuits`, `max_circuits_per_peer` or the rate of requests.
    CircuitLimit,
    /// A circuit to a peer without a reservation.
    CircuitNoReservation,
    /// A circuit that its destination did not take.
    CircuitDestination,
}

impl Refusal {
    const ALL: [(&str, &str); 9] = [
        ("reservation", "not_member"),
        ("reservation", "max_reservations"),
        ("reservation", "max_reservations_per_ip"),
        ("reservation", "max_reservations_per_asn"),
        ("circuit", "not_member"),
        ("circuit", "not_admitted"),
        ("circuit", "limit"),
        ("circuit", "no_reservation"),
        ("circuit", "destination_refused"),
    ];
}

/// What was asked for with the admit protocol, and how it ended.
const ADMITS: [&str; 7] = [
    "granted",
    "full",
    "not_member",
    "admins_only",
    "closed",
    "invalid",
    "failed",
];

/// The counters of one relay.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    granted: AtomicU64,
    renewed: AtomicU64,
    circuits: AtomicU64,
    circuits_ended: AtomicU64,
    refusals: [AtomicU64; Refusal::ALL.len()],
    admits: [AtomicU64; ADMITS.len()],
    reloads: [AtomicU64; 2],
    /// Circuits that the rules refused and that libp2p has not told of yet, in its own coarser word.
    awaited: AtomicU64,
}

impl Meters {
    pub(crate) fn count_refusal(&self, refusal: Refusal) {
        if refusal == Refusal::CircuitNotMember {
            self.awaited.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(count) = self.refusals.get(refusal as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_grant(&self, grant: Grant) {
        match grant {
            Grant::New => &self.granted,
            Grant::Renewed => &self.renewed,
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_admit(&self, refused: Option<AdmitRefusal>) {
        let outcome = match refused {
            None => 0,
            Some(AdmitRefusal::Full) => 1,
            Some(AdmitRefusal::NotMember) => 2,
            Some(AdmitRefusal::EnrollmentAdmins) => 3,
            Some(AdmitRefusal::EnrollmentClosed) => 4,
            Some(AdmitRefusal::Invalid) => 5,
            Some(_) => 6,
        };
        if let Some(count) = self.admits.get(outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_reload(&self, worked: bool) {
        if let Some(count) = self.reloads.get(usize::from(!worked)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts what libp2p's relay tells. Its word for a refusal is coarse; the rules have counted their own before.
    pub(crate) fn count_event(&self, event: &relay::Event) {
        match event {
            relay::Event::CircuitReqAccepted { .. } => {
                self.circuits.fetch_add(1, Ordering::Relaxed);
            }
            relay::Event::CircuitClosed { .. } => {
                self.circuits_ended.fetch_add(1, Ordering::Relaxed);
            }
            relay::Event::CircuitReqDenied { status, .. } => match status {
                relay::StatusCode::NoReservation => self.count_refusal(Refusal::CircuitNoReservation),
                relay::StatusCode::ResourceLimitExceeded => {
                    let less = |awaited: u64| awaited.checked_sub(1);
                    let counted = self
                        .awaited
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
                    if counted.is_err() {
                        self.count_refusal(Refusal::CircuitLimit);
                    }
                }
                relay::StatusCode::ConnectionFailed => self.count_refusal(Refusal::CircuitDestination),
                _ => {}
            },
            _ => {}
        }
    }

    /// Returns how many circuits are open.
    pub(crate) fn open_circuits(&self) -> u64 {
        let ended = self.circuits_ended.load(Ordering::Relaxed);
        self.circuits.load(Ordering::Relaxed).saturating_sub(ended)
    }
}

macro_rules! metrics {
    ($($id:ident: $kind:ident $name:literal $([$unit:literal])? ($($label:literal),*) $help:literal;)*) => {
        $(static $id: Metric = Metric {
            name: $name,
            kind: $kind,
            unit: metrics!(@unit $($unit)?),
            labels: &[$($label),*],
            help: $help,
        };)*

        const OWN: &[&Metric] = &[$(&$id),*];
    };
    (@unit) => { None };
    (@unit $unit:literal) => { Some($unit) };
}

/// How a config may stand.
const CONFIG_STATES: [&str; 4] = ["settled", "pending", "reverting", "fallback"];

metrics! {
    BUILD: Gauge "relay_build_info" ("version", "peer") "Always 1; the labels say which version and which relay it is.";
    UPTIME: Gauge "relay_uptime" ["seconds"] () "How long the relay has run.";
    CHECK: Gauge "relay_watchdog_check_passing" ("check") "Whether a check of the watchdog passes.";
    LISTENERS: Gauge "relay_listeners" () "Sockets that the relay listens on.";
    PEERS: Gauge "relay_connected_peers" () "Peers with a connection.";
    CONNECTIONS: Gauge "relay_connections" () "Connections.";
    MEMBERS: Gauge "relay_members" () "Peers in the list of authorized peers.";
    GUESTS: Gauge "relay_guests" () "Peers that members have admitted for circuits to themselves.";
    RESERVATIONS: Gauge "relay_reservations" () "Peers that hold a reservation.";
    RESERVATIONS_LIMIT: Gauge "relay_reservations_limit" () "How many may (resources.max_reservations).";
    GRANTED: Counter "relay_reservations_granted" ("kind") "Reservations that were granted, `new` or `renewed`.";
    CIRCUITS: Gauge "relay_circuits" () "Circuits that are open.";
    CIRCUITS_LIMIT: Gauge "relay_circuits_limit" () "How many may be (resources.max_circuits).";
    CIRCUITS_OPENED: Counter "relay_circuits_opened" () "Circuits that were opened.";
    REFUSALS: Counter "relay_refusals" ("what", "reason") "Reservations and circuits that were refused, and the limit or rule.";
    ADMIT_REQUESTS: Counter "relay_admit_requests" ("outcome") "Requests of members to admit or enrol a peer.";
    GATE: Counter "relay_gate_connections" ("decision") "What the gate said to connections: `admitted`, `denied` (no role), `throttled` (too many at once).";
    EXPELLED: Counter "relay_gate_expelled_peers" () "Peers whose connections were closed because they lost their right.";
    ASN_PREFIXES: Gauge "relay_asn_table_prefixes" () "Prefixes in the table of AS numbers; 0 without one.";
    CONFIG: Gauge "relay_config_state" ("state") "How the config stands: 1 at one of `settled`, `pending` (it waits to be confirmed), `reverting` and `fallback` (the last good one is in force).";
    CONFIG_LEFT: Gauge "relay_config_confirm_left" ["seconds"] () "How long a config that waits to be confirmed has left; 0 where none waits.";
    CONFIG_WAITS: Gauge "relay_config_keys_waiting_for_restart" () "Keys of the config that are in force only after the next start.";
    RELOADS: Counter "relay_config_reloads" ("outcome") "Times that the config was read again.";
}

/// Counted by libp2p's transports, and told by its own registry.
static BANDWIDTH: Metric = Metric {
    name: "libp2p_bandwidth",
    kind: Counter,
    unit: Some("bytes"),
    labels: &["protocols", "direction"],
    help: "Bytes of all connections, by stack of protocols, `Inbound` and `Outbound`. A byte of a circuit counts once each way.",
};

const COUNT: usize = OWN.len() + PROCESS_METRICS.len() + 1;

/// Every metric that `/metrics` of the relay has.
pub static METRICS: [&Metric; COUNT] = {
    let mut all = [&BANDWIDTH; COUNT];
    let mut index = 0;
    while index + 1 < COUNT {
        #[expect(
            clippy::indexing_slicing,
            reason = "evaluated by the compiler, which would refuse it"
        )]
        {
            all[index] = if index < OWN.len() {
                OWN[index]
            } else {
                PROCESS_METRICS[index - OWN.len()]
            };
        }
        index += 1;
    }
    all
};

/// Returns everything as OpenMetrics text.
pub(crate) fn scrape(
    snapshot: &RelaySnapshot,
    config: &ConfigState,
    meters: &Meters,
    transports: &Registry,
) -> String {
    let own = METRICS.iter().filter(|metric| metric.name != BANDWIDTH.name);
    let mut sheet = Sheet::new(own.copied());
    let peer = snapshot.peer_id.to_base58();
    sheet.whole(&BUILD, &[env!("CARGO_PKG_VERSION"), &peer], 1);
    sheet.real(&UPTIME, &[], snapshot.uptime.as_secs_f64());
    for (check, passes) in &snapshot.checks {
        sheet.flag(&CHECK, &[check], *passes);
    }
    sheet.count(&LISTENERS, &[], snapshot.listeners);
    sheet.count(&PEERS, &[], snapshot.peers.len());
    let connections = snapshot.peers.iter().map(|peer| peer.connections).sum();
    sheet.count(&CONNECTIONS, &[], connections);
    sheet.count(&MEMBERS, &[], snapshot.members);
    sheet.count(&GUESTS, &[], snapshot.guests);
    sheet.count(&RESERVATIONS, &[], snapshot.reservations);
    sheet.whole(&RESERVATIONS_LIMIT, &[], snapshot.limits.max_reservations.into());
    sheet.whole(&CIRCUITS_LIMIT, &[], snapshot.limits.max_circuits.into());
    sheet.whole(&CIRCUITS, &[], snapshot.circuits);
    let gate = &snapshot.gate;
    for (decision, count) in [
        ("admitted", gate.admitted()),
        ("denied", gate.denied()),
        ("throttled", gate.throttled()),
    ] {
        sheet.whole(&GATE, &[decision], count);
    }
    sheet.whole(&EXPELLED, &[], gate.expelled());
    sheet.count(&ASN_PREFIXES, &[], snapshot.asn_prefixes);
    add_config(&mut sheet, config);
    add_meters(&mut sheet, meters);
    add_process(&mut sheet);
    sheet.encode_after(transports)
}

fn add_config(sheet: &mut Sheet, config: &ConfigState) {
    for state in CONFIG_STATES {
        sheet.flag(&CONFIG, &[state], config.state == state);
    }
    let left = config.pending.as_ref().map_or(0, |pending| pending.seconds_left);
    sheet.real(&CONFIG_LEFT, &[], left as f64);
    sheet.count(&CONFIG_WAITS, &[], config.needs_restart.len());
}

fn add_meters(sheet: &mut Sheet, meters: &Meters) {
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    sheet.whole(&GRANTED, &["new"], read(&meters.granted));
    sheet.whole(&GRANTED, &["renewed"], read(&meters.renewed));
    sheet.whole(&CIRCUITS_OPENED, &[], read(&meters.circuits));
    for ((what, reason), count) in Refusal::ALL.iter().zip(&meters.refusals) {
        sheet.whole(&REFUSALS, &[what, reason], read(count));
    }
    for (outcome, count) in ADMITS.iter().zip(&meters.admits) {
        sheet.whole(&ADMIT_REQUESTS, &[outcome], read(count));
    }
    for (outcome, count) in ["ok", "failed"].iter().zip(&meters.reloads) {
        sheet.whole(&RELOADS, &[outcome], read(count));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_single_and_helped() {
        let names: BTreeSet<String> = METRICS.iter().map(|metric| metric.full_name()).collect();
        assert_eq!(names.len(), METRICS.len());
        assert!(METRICS.iter().all(|metric| metric.help.ends_with('.')));
    }

    #[test]
    fn each_refusal_has_its_own_counter() {
        let meters = Meters::default();
        meters.count_refusal(Refusal::ReservationPerAsn);
        meters.count_refusal(Refusal::CircuitDestination);
        let counts: Vec<_> = Refusal::ALL
            .iter()
            .zip(&meters.refusals)
            .filter(|(_, count)| count.load(Ordering::Relaxed) == 1)
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(
            counts,
            [
                ("reservation", "max_reservations_per_asn"),
                ("circuit", "destination_refused")
            ]
        );
    }
}
