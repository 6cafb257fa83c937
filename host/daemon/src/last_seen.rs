//! When members went that are not connected: until the next start, for people who ask since when.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use libp2p_identity::PeerId;

/// When each was last connected. Holds members only, whose number is bounded.
#[derive(Debug, Default)]
pub(crate) struct LastSeen(Mutex<HashMap<PeerId, Instant>>);

impl LastSeen {
    /// Takes that the last connection of a peer has ended, and forgets who is no member.
    pub(crate) fn note(&self, peer: PeerId, members: &BTreeSet<PeerId>, now: Instant) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(peer, now);
        seen.retain(|peer, _| members.contains(peer));
    }

    /// Returns how long ago that was.
    pub(crate) fn ago(&self, peer: &PeerId, now: Instant) -> Option<Duration> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(peer).map(|at| now.saturating_duration_since(*at))
    }
}

#[cfg(test)]
mod tests {
    use libp2p_identity::Keypair;

    use super::*;

    fn peer() -> PeerId {
        Keypair::generate_ed25519().public().to_peer_id()
    }

    #[test]
    fn the_last_end_counts_and_only_members_are_kept() {
        let (seen, start) = (LastSeen::default(), Instant::now());
        let (member, former, stranger) = (peer(), peer(), peer());
        let after = |seconds| start + Duration::from_secs(seconds);
        let both = BTreeSet::from([member, former]);
        seen.note(member, &both, start);
        seen.note(former, &both, start);
        seen.note(member, &both, after(10));
        assert_eq!(seen.ago(&member, after(15)), Some(Duration::from_secs(5)));
        assert_eq!(seen.ago(&former, after(15)), Some(Duration::from_secs(15)));
        seen.note(stranger, &BTreeSet::from([member]), after(20));
        assert_eq!(seen.ago(&former, after(20)), None);
        assert_eq!(seen.ago(&stranger, after(20)), None);
        assert!(seen.ago(&member, after(20)).is_some());
    }
}
