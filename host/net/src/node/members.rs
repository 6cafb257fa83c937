//! What the node knows of each member beyond its connections: its way to a direct path, what it says of itself, and
//! what was tried.
//!
//! Owned by the node's task, which carries out what it asks for. Bounded: of peers that are no longer connected only
//! the latest are kept, so that they can be explained.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Instant,
};

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use peerup_paths::{PathInfo, Upgrade, UpgradeCommand};
use rand::{SeedableRng, rngs::StdRng};

use crate::snapshot::AttemptKind;

/// Members kept in all.
const MEMBERS: usize = 1024;
/// Attempts kept of each.
const ATTEMPTS: usize = 24;
/// Characters kept of an attempt's target and outcome.
const TEXT: usize = 160;

/// One thing that was tried, and what it ended in.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) kind: AttemptKind,
    pub(super) target: String,
    pub(super) outcome: String,
    pub(super) at: Instant,
}

/// What a member said of itself.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) info: PathInfo,
    pub(super) at: Instant,
}

/// Dials over TCP that wait until those over QUIC had their chance.
#[derive(Debug)]
pub(super) struct Later {
    pub(super) at: Instant,
    pub(super) addresses: Vec<Multiaddr>,
    pub(super) as_listener: bool,
}

/// One member.
pub(super) struct Member {
    pub(super) upgrade: Upgrade<StdRng>,
    pub(super) told: Option<Told>,
    pub(super) attempts: VecDeque<Attempt>,
    /// The attempt under way by its number, and what it waits for.
    pub(super) running: Option<u32>,
    pub(super) tasks: usize,
    pub(super) dials: HashMap<ConnectionId, AttemptKind>,
    pub(super) later: Option<Later>,
    /// Whether an exchange of hole punching is under way.
    pub(super) punching: bool,
    /// Whether the peer answered the last exchange.
    pub(super) answers_punch: Option<bool>,
    connected: bool,
    seen: Instant,
}

impl Member {
    fn new(now: Instant) -> Self {
        Self {
            upgrade: Upgrade::new(now, StdRng::from_rng(&mut rand::rng())),
            told: None,
            attempts: VecDeque::new(),
            running: None,
            tasks: 0,
            dials: HashMap::new(),
            later: None,
            punching: false,
            answers_punch: None,
            connected: true,
            seen: now,
        }
    }

    /// Writes down what an attempt ended in. The same outcome of the same target takes the old one's place.
    pub(super) fn note(&mut self, kind: AttemptKind, target: &str, outcome: &str, now: Instant) {
        let (target, outcome) = (cut(target), cut(outcome));
        self.attempts
            .retain(|old| !(old.kind == kind && old.target == target));
        if self.attempts.len() >= ATTEMPTS {
            self.attempts.pop_front();
        }
        self.attempts.push_back(Attempt {
            kind,
            target,
            outcome,
            at: now,
        });
    }

    /// Ends the attempt under way once nothing of it is left.
    pub(super) fn settle(&mut self, now: Instant) {
        let idle = self.tasks == 0 && self.dials.is_empty() && self.later.is_none() && !self.punching;
        if let Some(number) = self.running
            && idle
        {
            self.running = None;
            if self.upgrade.attempts() == number {
                self.upgrade.handle_attempt_ended(now);
            }
        }
    }

    /// The addresses that the peer offers for punching.
    pub(super) fn candidates(&self) -> HashSet<Multiaddr> {
        self.told
            .iter()
            .flat_map(|told| told.info.candidates.iter().cloned())
            .collect()
    }
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT).collect()
}

/// All members that are or lately were connected.
#[derive(Default)]
pub(super) struct Members {
    peers: HashMap<PeerId, Member>,
}

impl Members {
    /// The member's entry, made where there is none.
    pub(super) fn enter(&mut self, peer: PeerId, now: Instant) -> &mut Member {
        if self.peers.len() >= MEMBERS && !self.peers.contains_key(&peer) {
            let oldest = self
                .peers
                .iter()
                .filter(|(_, member)| !member.connected)
                .min_by_key(|(_, member)| member.seen)
                .map(|(peer, _)| *peer);
            if let Some(oldest) = oldest {
                self.peers.remove(&oldest);
            }
        }
        let member = self.peers.entry(peer).or_insert_with(|| Member::new(now));
        member.seen = now;
        member
    }

    pub(super) fn get(&self, peer: &PeerId) -> Option<&Member> {
        self.peers.get(peer)
    }

    pub(super) fn get_mut(&mut self, peer: &PeerId) -> Option<&mut Member> {
        self.peers.get_mut(peer)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&PeerId, &mut Member)> {
        self.peers.iter_mut()
    }

    /// Takes over whether the peer is connected at all.
    pub(super) fn set_connected(&mut self, peer: &PeerId, connected: bool) {
        if let Some(member) = self.peers.get_mut(peer) {
            member.connected = connected;
            if !connected {
                member.later = None;
                member.punching = false;
            }
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for member in self.peers.values_mut() {
            member.upgrade.handle_timeout(now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let later = |member: &Member| member.later.as_ref().map(|later| later.at);
        self.peers
            .values()
            .flat_map(|member| [member.upgrade.poll_timeout(), later(member)])
            .flatten()
            .min()
    }

    /// The next member for which an attempt is due, with the attempt's number.
    pub(super) fn next_attempt(&mut self) -> Option<(PeerId, u32)> {
        self.peers.iter_mut().find_map(|(peer, member)| {
            let UpgradeCommand::Attempt = member.upgrade.next_command()?;
            Some((*peer, member.upgrade.attempts()))
        })
    }

    /// Dials over TCP whose time has come.
    pub(super) fn take_later(&mut self, now: Instant) -> Vec<(PeerId, Later)> {
        self.peers
            .iter_mut()
            .filter_map(|(peer, member)| {
                let later = member.later.take_if(|later| later.at <= now)?;
                Some((*peer, later))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_and_members_are_bounded_and_the_latest_stay() {
        let now = Instant::now();
        let mut members = Members::default();
        let first = PeerId::random();
        let member = members.enter(first, now);
        for number in 0..100 {
            member.note(
                AttemptKind::Dial,
                &format!("address {number}"),
                &"x".repeat(999),
                now,
            );
        }
        member.note(AttemptKind::Dial, "address 99", "again", now);
        assert_eq!(member.attempts.len(), ATTEMPTS);
        assert_eq!(member.attempts.back().unwrap().outcome, "again");
        members.set_connected(&first, false);
        for _ in 0..MEMBERS {
            members.enter(PeerId::random(), now);
        }
        assert!(members.get(&first).is_none());
        assert_eq!(members.peers.len(), MEMBERS);
    }
}
