//! Why the path to a peer is what it is, and the one change most likely to make it better.
//!
//! A pure function from plain data to sentences, asked by `peerup why`. The words are meant for somebody who helps a
//! friend; they name what to do and on which machine. It knows no addresses and reads no state of its own.

use std::time::Duration;

use libp2p_identity::PeerId;
use peerup_model::{PathKind, PathPolicy};

use crate::{
    budget::BudgetLeft,
    info::PathNat,
    nat::{NatKind, UdpVerdict},
};

/// A circuit with less time left is worth a word.
const SHORT_TIME: Duration = Duration::from_secs(60);
/// A circuit with fewer bytes left is worth a word.
const FEW_BYTES: u64 = 1024 * 1024;

/// How this node stands with its relays; with several, the best of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RelaySituation {
    /// The config names none.
    #[default]
    NotConfigured,
    /// It does not answer.
    Unreachable {
        /// What people call it.
        relay: String,
        /// The last error.
        error: String,
    },
    /// It answers and does not know this node.
    NotAdmitted {
        /// What people call it.
        relay: String,
    },
    /// It answers, and gives no reservation for another reason.
    NoReservation {
        /// What people call it.
        relay: String,
        /// What it said.
        reason: String,
    },
    /// This node can be reached over it.
    Reserved {
        /// What people call it.
        relay: String,
    },
}

/// Whose `authorized_keys` lacks the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The peer refused this node.
    ByPeer,
    /// This node refused the peer.
    ByUs,
}

/// Everything the answer depends on.
#[derive(Debug, Clone)]
pub struct Situation {
    /// What people call the peer.
    pub peer: String,
    /// The peer's id, for commands.
    pub peer_id: PeerId,
    /// This node's id, for commands.
    pub own_id: PeerId,
    /// The best live path; none without a connection.
    pub path: Option<PathKind>,
    /// What people call the relay that the path takes.
    pub via: Option<String>,
    /// The policy for this peer.
    pub policy: PathPolicy,
    /// The NAT on this side.
    pub local: PathNat,
    /// The NAT on the other side, if it told.
    pub remote: Option<PathNat>,
    /// What is left of the circuit.
    pub budget: Option<BudgetLeft>,
    /// How this node stands with its relays.
    pub relay: RelaySituation,
    /// Whether the relay knows a reservation of the peer; none if nobody asked.
    pub peer_reserved: Option<bool>,
    /// How many direct addresses of the peer are known.
    pub known_addresses: usize,
    /// Whether both seem to be in one local network.
    pub same_lan: bool,
    /// Whether the peer takes part in hole punching; none if nobody asked.
    pub remote_answers_punch: Option<bool>,
    /// Who refused whom.
    pub refusal: Option<Refusal>,
    /// What the last attempt at a direct path ended in.
    pub last_direct_failure: Option<String>,
    /// What the last dial of any kind ended in.
    pub dial_error: Option<String>,
    /// Attempts at a direct path so far.
    pub attempts: u32,
}

impl Situation {
    /// Returns the situation of a peer about which nothing is known yet.
    pub fn new(peer: impl Into<String>, peer_id: PeerId, own_id: PeerId) -> Self {
        Self {
            peer: peer.into(),
            peer_id,
            own_id,
            path: None,
            via: None,
            policy: PathPolicy::default(),
            local: PathNat::default(),
            remote: None,
            budget: None,
            relay: RelaySituation::default(),
            peer_reserved: None,
            known_addresses: 0,
            same_lan: false,
            remote_answers_punch: None,
            refusal: None,
            last_direct_failure: None,
            dial_error: None,
            attempts: 0,
        }
    }

    /// Returns why the path is what it is, and what to do about it.
    pub fn advice(&self) -> Advice {
        match self.path {
            Some(PathKind::Direct(transport)) => self.direct(&transport.to_string()),
            Some(PathKind::Relayed(_)) => self.relayed(),
            None => self.unconnected(),
        }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// One sentence on why the path is what it is.
    pub reason: String,
    /// The one change most likely to help; none where nothing is to be done.
    pub advice: Option<Suggestion>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// What to do, and on which machine.
    pub text: String,
    /// The command that does it, if one command does.
    pub command: Option<String>,
}

impl Advice {
    fn nothing_to_do(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            advice: None,
        }
    }

    fn change(reason: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            advice: Some(Suggestion {
                text: text.into(),
                command: None,
            }),
        }
    }

    fn run(reason: impl Into<String>, text: impl Into<String>, command: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            advice: Some(Suggestion {
                text: text.into(),
                command: Some(command.into()),
            }),
        }
    }
}

/// The answers with a direct path.
impl Situation {
    fn direct(&self, transport: &str) -> Advice {
        let peer = &self.peer;
        if self.policy == PathPolicy::RelayOnly {
            return Advice::change(
                format!(
                    "a direct connection over {transport} is up, but the policy relay-only keeps streams off it"
                ),
                format!("set prefer-direct for {peer} under paths: in this node's config"),
            );
        }
        let place = if self.same_lan {
            ", inside one local network"
        } else {
            ""
        };
        Advice::nothing_to_do(format!(
            "connected to {peer} directly over {transport}{place}; nothing is better than that"
        ))
    }
}

/// The answers with a relayed path.
impl Situation {
    fn relayed(&self) -> Advice {
        let mut advice = self
            .relayed_by_wish()
            .or_else(|| self.one_network())
            .or_else(|| self.udp_blocked())
            .or_else(|| self.symmetric())
            .or_else(|| self.remote_silent())
            .or_else(|| self.public_and_closed())
            .or_else(|| self.carrier_nat())
            .unwrap_or_else(|| self.punch_failed());
        if let Some(warning) = self.budget_warning() {
            advice.reason.push_str(&warning);
        }
        advice
    }

    fn relayed_by_wish(&self) -> Option<Advice> {
        let peer = &self.peer;
        if self.policy == PathPolicy::RelayOnly {
            return Some(Advice::change(
                format!("the policy for {peer} is relay-only, so no direct path is tried"),
                format!("set prefer-direct for {peer} under paths: in this node's config"),
            ));
        }
        if self.attempts == 0 {
            return Some(Advice::nothing_to_do(format!(
                "the connection to {peer} over {} is new and the first attempt at a direct path is still to come",
                self.relay_name()
            )));
        }
        None
    }

    fn one_network(&self) -> Option<Advice> {
        self.same_lan.then(|| {
            Advice::change(
                format!(
                    "both machines are in one local network, but a direct connection fails{}",
                    self.failure()
                ),
                format!(
                    "let peerup through the firewall of {} and of this machine, and turn off client isolation in the Wi-Fi",
                    self.peer
                ),
            )
        })
    }

    fn udp_blocked(&self) -> Option<Advice> {
        let local = self.local.udp == UdpVerdict::Blocked;
        let remote = self.remote.is_some_and(|nat| nat.udp == UdpVerdict::Blocked);
        let network = match (local, remote) {
            (false, false) => return None,
            (true, false) => "this machine's network".to_owned(),
            (false, true) => format!("the network of {}", self.peer),
            (true, true) => format!("the networks of both this machine and {}", self.peer),
        };
        Some(Advice::change(
            format!("UDP is blocked in {network}, and a hole through TCP could not be punched either"),
            format!("allow outgoing UDP in {network}, at least to the ports that peerup uses"),
        ))
    }

    fn symmetric(&self) -> Option<Advice> {
        let local = self.local.kind == NatKind::Symmetric;
        let remote = self.remote.is_some_and(|nat| nat.kind == NatKind::Symmetric);
        let reason = match (local, remote) {
            (false, false) => return None,
            (true, true) => {
                "both routers give each connection a new port, so no hole can be punched".to_owned()
            }
            (true, false) => {
                "the router on this side gives each connection a new port, so the other side cannot aim at it"
                    .to_owned()
            }
            (false, true) => format!(
                "the router of {} gives each connection a new port, so this side cannot aim at it",
                self.peer
            ),
        };
        Some(Advice::change(reason, self.forward_a_port()))
    }

    /// A port can be forwarded on any router that has an address of its own in the internet.
    fn forward_a_port(&self) -> String {
        let local = self.local.cgnat != Some(true);
        let remote = self.remote.is_none_or(|nat| nat.cgnat != Some(true));
        let place = match (local, remote) {
            (true, true) => "either router".to_owned(),
            (true, false) => "the router on this side".to_owned(),
            (false, true) => format!("the router of {}", self.peer),
            (false, false) => {
                return "no port can be forwarded behind a provider's NAT: get IPv6 on both sides, or stay on the relay"
                    .to_owned();
            }
        };
        format!(
            "forward one port on {place} to peerup and write the outside address into network.external_addresses there"
        )
    }

    fn remote_silent(&self) -> Option<Advice> {
        (self.remote_answers_punch == Some(false)).then(|| {
            Advice::change(
                format!("{} takes no part in hole punching", self.peer),
                format!("update peerup on {} and restart its daemon", self.peer),
            )
        })
    }

    fn public_and_closed(&self) -> Option<Advice> {
        let place = if self.local.kind == NatKind::None {
            "this machine".to_owned()
        } else if self.remote.is_some_and(|nat| nat.kind == NatKind::None) {
            self.peer.clone()
        } else {
            return None;
        };
        Some(Advice::change(
            format!(
                "{place} has a public address, but connections to it do not get through{}",
                self.failure()
            ),
            format!("open the port of peerup, UDP and TCP, in the firewall of {place}"),
        ))
    }

    fn carrier_nat(&self) -> Option<Advice> {
        let local = self.local.cgnat == Some(true);
        let remote = self.remote.is_some_and(|nat| nat.cgnat == Some(true));
        let place = match (local, remote) {
            (false, false) => return None,
            (true, true) => "both sides are".to_owned(),
            (true, false) => "this side is".to_owned(),
            (false, true) => format!("{} is", self.peer),
        };
        let reason = format!(
            "{place} behind a provider's NAT (CGNAT), and no hole could be punched through it{}",
            self.failure()
        );
        let text = if local && remote {
            self.forward_a_port()
        } else {
            format!(
                "{}; behind the provider's NAT itself none can be forwarded, only IPv6 on both sides helps",
                self.forward_a_port()
            )
        };
        Some(Advice::change(reason, text))
    }

    fn punch_failed(&self) -> Advice {
        if self.local.kind == NatKind::Unknown {
            return Advice::run(
                format!(
                    "no attempt at a direct path worked{}, and with fewer than two relays nobody can tell what this side's NAT does",
                    self.failure()
                ),
                "add a second relay, so that its view can be compared with the first one's",
                "peerup relay add ADDR",
            );
        }
        Advice::change(
            format!(
                "the NATs should let a hole be punched, but no attempt worked so far{}",
                self.failure()
            ),
            format!(
                "wait for the next attempt; if it stays so, {}",
                self.forward_a_port()
            ),
        )
    }

    fn budget_warning(&self) -> Option<String> {
        let left = self.budget?;
        if let Some(time) = left.time.filter(|time| *time < SHORT_TIME) {
            return Some(format!("; the relay ends this circuit in {} s", time.as_secs()));
        }
        let bytes = left.bytes.filter(|bytes| *bytes < FEW_BYTES)?;
        Some(format!("; the relay ends this circuit after {bytes} more bytes"))
    }
}

/// The answers without a connection.
impl Situation {
    fn unconnected(&self) -> Advice {
        self.refused()
            .or_else(|| self.direct_only())
            .or_else(|| self.relay_missing())
            .or_else(|| self.peer_missing())
            .unwrap_or_else(|| self.unreachable())
    }

    fn refused(&self) -> Option<Advice> {
        let peer = &self.peer;
        Some(match self.refusal? {
            Refusal::ByPeer => Advice::run(
                format!("{peer} refused this node: it is not in the authorized_keys there"),
                format!("let this node in, on {peer}"),
                format!("peerup auth add {}", self.own_id),
            ),
            Refusal::ByUs => Advice::run(
                format!("this node refused {peer}: it is not in the authorized_keys here"),
                format!("let {peer} in, on this machine"),
                format!("peerup auth add {}", self.peer_id),
            ),
        })
    }

    fn direct_only(&self) -> Option<Advice> {
        let peer = &self.peer;
        (self.policy == PathPolicy::DirectOnly).then(|| {
            Advice::change(
                format!(
                    "the policy for {peer} is direct-only, and no direct path works{}",
                    self.failure()
                ),
                format!("set prefer-direct for {peer} under paths: in this node's config"),
            )
        })
    }

    fn relay_missing(&self) -> Option<Advice> {
        match &self.relay {
            RelaySituation::Reserved { .. } => None,
            RelaySituation::NotConfigured => Some(Advice::run(
                format!(
                    "no relay is configured, and {}",
                    if self.known_addresses == 0 {
                        format!("no address of {} is known", self.peer)
                    } else {
                        format!(
                            "{} does not answer at any known address{}",
                            self.peer,
                            self.failure()
                        )
                    }
                ),
                format!("use the relay that {} uses", self.peer),
                "peerup relay add ADDR",
            )),
            RelaySituation::NotAdmitted { relay } => Some(Advice::run(
                format!("relay {relay} does not know this node"),
                format!("let this node use it, on {relay}"),
                format!("relay-server authorize {}", self.own_id),
            )),
            RelaySituation::Unreachable { relay, error } => Some(Advice::run(
                format!("relay {relay} does not answer: {error}"),
                format!("see whether this machine is online and {relay} runs"),
                "peerup doctor",
            )),
            RelaySituation::NoReservation { relay, reason } if self.peer_reserved != Some(false) => {
                Some(Advice::change(
                    format!("relay {relay} gives this node no reservation: {reason}"),
                    format!("ask whoever runs {relay}, or add another relay with peerup relay add"),
                ))
            }
            RelaySituation::NoReservation { .. } => None,
        }
    }

    fn peer_missing(&self) -> Option<Advice> {
        let peer = &self.peer;
        (self.peer_reserved == Some(false)).then(|| {
            Advice::run(
                format!(
                    "{peer} holds no reservation on the relay: it is off, offline, or uses another relay"
                ),
                format!("start the daemon on {peer}"),
                "peerup daemon start",
            )
        })
    }

    fn unreachable(&self) -> Advice {
        let error = self
            .dial_error
            .as_deref()
            .map(|error| format!(": {error}"))
            .unwrap_or_default();
        Advice::change(
            format!("{} does not answer{error}", self.peer),
            format!("see whether {} is on and its daemon runs", self.peer),
        )
    }
}

impl Situation {
    fn relay_name(&self) -> &str {
        self.via.as_deref().unwrap_or("the relay")
    }

    fn failure(&self) -> String {
        self.last_direct_failure
            .as_deref()
            .map(|failure| format!(" (last: {failure})"))
            .unwrap_or_default()
    }
}
