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
}

/// Returns the connection that a new stream takes, or none if the policy allows none of them.
///
/// Order: direct before relayed, answering before silent, then by transport (QUIC, TCP, WebSocket; TCP first where
/// the round trip is under 2 ms), then the lowest round trip, then the oldest.
pub fn choose<Id: Copy>(candidates: &[Candidate<Id>], policy: PathPolicy) -> Option<Id> {
    let local = candidates
        .iter()
        .filter(|candidate| !candidate.path.is_relayed())
        .filter_map(|candidate| candidate.rtt)
        .any(|rtt| rtt < LOCAL_ROUND_TRIP);
    candidates
        .iter()
        .filter(|candidate| policy.allows(candidate.path))
        .min_by_key(|candidate| {
            (
                candidate.path.is_relayed(),
                Reverse(candidate.live),
                transport_rank(candidate.path, local),
                candidate.rtt.unwrap_or(Duration::MAX),
                candidate.opened,
            )
        })
        .map(|candidate| candidate.id)
}

/// Returns the relayed connections to close once their streams have ended, because a live direct one exists.
///
/// Only those that are older than a live direct connection count: a circuit dialled later was asked for on purpose.
pub fn superseded<Id: Copy>(candidates: &[Candidate<Id>]) -> Vec<Id> {
    let newest_direct = candidates
        .iter()
        .filter(|candidate| candidate.live && !candidate.path.is_relayed())
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
            kinds in proptest::collection::vec((0_u8..4, any::<bool>(), 0_u64..100), 0..8),
            policy in 0_u8..3,
        ) {
            let policy = [PathPolicy::PreferDirect, PathPolicy::DirectOnly, PathPolicy::RelayOnly][usize::from(policy)];
            let all: Vec<_> = kinds
                .iter()
                .enumerate()
                .map(|(id, (kind, live, rtt))| Candidate {
                    live: *live,
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
        }
    }
}
