//! Which of several connections to one peer a new stream takes, and which connections nobody needs any more.
//!
//! Driven by the stream behaviour of `peerup-net`; a pure function of what it is told.

use std::{
    cmp::Reverse,
    time::{Duration, Instant},
};

use peerup_model::{PathKind, PathPolicy, Transport};

/// Below this round trip the path is a fast local network, where TCP moves a byte for less CPU than QUIC does.
const LOCAL_ROUND_TRIP: Duration = Duration::from_millis(2);

/// One live connection to the peer, as far as the choice is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<Id> {
    /// What the caller calls this connection.
    pub id: Id,
    /// How it gets to the peer.
    pub path: PathKind,
    /// Last measured round trip; none before the first answer.
    pub rtt: Option<Duration>,
    /// When it was established.
    pub opened: Instant,
    /// Whether the peer answered on it lately.
    pub live: bool,
    /// Whether a probe or the opening of a stream on it is overdue.
    pub suspect: bool,
}

impl<Id> Candidate<Id> {
    fn answers(&self) -> bool {
        self.live && !self.suspect
    }
}

/// Returns the connection that a new stream takes, or none if the policy allows none of them.
///
/// The order is that of [`choose_all`].
pub fn choose<Id: Copy>(candidates: &[Candidate<Id>], policy: PathPolicy) -> Option<Id> {
    let local = is_local(candidates);
    candidates
        .iter()
        .filter(|candidate| policy.allows(candidate.path))
        .min_by_key(|candidate| rank(candidate, local))
        .map(|candidate| candidate.id)
}

/// Returns every connection that the policy allows, the best one first.
///
/// Order: answering before silent, direct before relayed, then by transport (QUIC, TCP, WebSocket; TCP first where
/// the round trip is under 2 ms), then the lowest round trip, then the oldest. So a direct path that fell silent
/// loses to a relayed one that answers.
pub fn choose_all<Id: Copy>(candidates: &[Candidate<Id>], policy: PathPolicy) -> Vec<Id> {
    let local = is_local(candidates);
    let mut allowed: Vec<_> = candidates
        .iter()
        .filter(|candidate| policy.allows(candidate.path))
        .collect();
    allowed.sort_by_key(|candidate| rank(candidate, local));
    allowed.into_iter().map(|candidate| candidate.id).collect()
}

/// Returns the relayed connections to close once their streams have ended, because a direct one that answers exists.
///
/// Only those that are older than such a direct connection count: a circuit dialled later was asked for on purpose.
pub fn superseded<Id: Copy>(candidates: &[Candidate<Id>]) -> Vec<Id> {
    let newest_direct = candidates
        .iter()
        .filter(|candidate| candidate.answers() && !candidate.path.is_relayed())
        .map(|candidate| candidate.opened)
        .max();
    let Some(newest_direct) = newest_direct else {
        return Vec::new();
    };
    candidates
        .iter()
        .filter(|candidate| candidate.path.is_relayed() && candidate.opened <= newest_direct)
        .map(|candidate| candidate.id)
        .collect()
}

fn is_local<Id>(candidates: &[Candidate<Id>]) -> bool {
    candidates
        .iter()
        .filter(|candidate| !candidate.path.is_relayed())
        .filter_map(|candidate| candidate.rtt)
        .any(|rtt| rtt < LOCAL_ROUND_TRIP)
}

fn rank<Id>(candidate: &Candidate<Id>, local: bool) -> (Reverse<bool>, bool, u8, Duration, Instant) {
    (
        Reverse(candidate.answers()),
        candidate.path.is_relayed(),
        transport_rank(candidate.path, local),
        candidate.rtt.unwrap_or(Duration::MAX),
        candidate.opened,
    )
}

fn transport_rank(path: PathKind, local: bool) -> u8 {
    match path {
        PathKind::Direct(Transport::Tcp) => u8::from(!local),
        PathKind::Direct(Transport::Quic) => u8::from(local),
        PathKind::Direct(Transport::Websocket) => 2,
        PathKind::Relayed(_) => 3,
    }
}

#[cfg(test)]
mod tests {
    use libp2p_identity::PeerId;
    use proptest::prelude::*;

    use super::*;

    const FAR: Duration = Duration::from_millis(30);
    const NEAR: Duration = Duration::from_micros(300);

    fn candidate(id: u32, path: PathKind, rtt: Duration) -> Candidate<u32> {
        Candidate {
            id,
            path,
            rtt: Some(rtt),
            opened: Instant::now(),
            live: true,
            suspect: false,
        }
    }

    fn relayed() -> PathKind {
        PathKind::Relayed(PeerId::random())
    }

    const QUIC: PathKind = PathKind::Direct(Transport::Quic);
    const TCP: PathKind = PathKind::Direct(Transport::Tcp);
    const WS: PathKind = PathKind::Direct(Transport::Websocket);

    #[test]
    fn prefers_a_slow_direct_path_to_a_fast_relay() {
        let all = [candidate(1, relayed(), NEAR), candidate(2, WS, FAR)];
        assert_eq!(choose(&all, PathPolicy::PreferDirect), Some(2));
        assert_eq!(choose(&all, PathPolicy::RelayOnly), Some(1));
        assert_eq!(choose(&all[..1], PathPolicy::DirectOnly), None);
    }

    #[test]
    fn prefers_quic_far_away_and_tcp_nearby() {
        let far = [
            candidate(1, WS, FAR),
            candidate(2, TCP, FAR),
            candidate(3, QUIC, FAR),
        ];
        assert_eq!(choose(&far, PathPolicy::PreferDirect), Some(3));
        let near = [
            candidate(1, WS, NEAR),
            candidate(2, TCP, NEAR),
            candidate(3, QUIC, NEAR),
        ];
        assert_eq!(choose(&near, PathPolicy::PreferDirect), Some(2));
    }

    #[test]
    fn prefers_a_path_that_answers() {
        let mut all = [candidate(1, QUIC, FAR), candidate(2, TCP, FAR)];
        all[0].live = false;
        assert_eq!(choose(&all, PathPolicy::PreferDirect), Some(2));
    }

    #[test]
    fn a_silent_direct_path_loses_to_a_relay_that_answers() {
        let mut all = [candidate(1, QUIC, NEAR), candidate(2, relayed(), FAR)];
        all[0].suspect = true;
        assert_eq!(choose_all(&all, PathPolicy::PreferDirect), vec![2, 1]);
        assert_eq!(choose(&all, PathPolicy::DirectOnly), Some(1));
        all[1].live = false;
        assert_eq!(choose_all(&all, PathPolicy::PreferDirect), vec![1, 2]);
        all[1].opened = all[0].opened;
        assert_eq!(superseded(&all), Vec::<u32>::new());
    }

    #[test]
    fn a_circuit_is_superseded_by_a_later_direct_path_only() {
        let circuit = candidate(1, relayed(), FAR);
        let mut direct = candidate(2, TCP, FAR);
        direct.opened = circuit.opened + FAR;
        let mut later = candidate(3, relayed(), FAR);
        later.opened = direct.opened + FAR;
        assert_eq!(superseded(&[circuit, direct, later]), vec![1]);
        assert_eq!(superseded(&[circuit, later]), Vec::<u32>::new());
        direct.live = false;
        assert_eq!(superseded(&[circuit, direct]), Vec::<u32>::new());
    }

    proptest! {
        #[test]
        fn the_choice_obeys_the_policy_and_misses_nothing(
            kinds in proptest::collection::vec((0_u8..4, any::<bool>(), any::<bool>(), 0_u64..100), 0..8),
            policy in 0_u8..3,
        ) {
            let policy = [PathPolicy::PreferDirect, PathPolicy::DirectOnly, PathPolicy::RelayOnly][usize::from(policy)];
            let all: Vec<_> = kinds
                .iter()
                .enumerate()
                .map(|(id, (kind, live, suspect, rtt))| Candidate {
                    live: *live,
                    suspect: *suspect,
                    ..candidate(
                        id as u32,
                        [QUIC, TCP, WS, relayed()][usize::from(*kind)],
                        Duration::from_millis(*rtt),
                    )
                })
                .collect();
            let allowed = all.iter().any(|one| policy.allows(one.path));
            let chosen = choose(&all, policy);
            prop_assert_eq!(chosen.is_some(), allowed);
            if let Some(id) = chosen {
                prop_assert!(policy.allows(all[id as usize].path));
            }
            let order = choose_all(&all, policy);
            prop_assert_eq!(order.first().copied(), chosen);
            prop_assert_eq!(order.len(), all.iter().filter(|one| policy.allows(one.path)).count());
            let answers = order.iter().map(|id| all[*id as usize].answers());
            prop_assert!(answers.is_sorted_by(|a, b| a >= b), "a silent one before one that answers");
        }
    }
}
