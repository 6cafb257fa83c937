//! What the name chain has answered: kept for as long as the answer says, names that nobody knows too.
//!
//! Time comes in as an argument. Cleared whenever the config changes, which may change any answer.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p_identity::PeerId;
use peerup_model::PluginName;

/// How long a name that no tier knows is taken for unknown.
const NEGATIVE_TTL: Duration = Duration::from_secs(60);
/// Names kept. Plugins can ask for as many as they like.
const MAX_NAMES: usize = 1024;

/// Who a name stands for, and which tier said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) peer: PeerId,
    pub(crate) source: PluginName,
}

#[derive(Debug)]
struct Kept {
    known: Option<Known>,
    until: Instant,
}

/// The answers that are kept.
#[derive(Debug, Default)]
pub(crate) struct ResolverCache {
    names: HashMap<String, Kept>,
}

impl ResolverCache {
    /// Returns what is kept for a name: an answer, or that no tier knows it; the outer none where it has to be asked.
    pub(crate) fn get(&self, name: &str, now: Instant) -> Option<Option<Known>> {
        let kept = self.names.get(name).filter(|kept| now < kept.until)?;
        Some(kept.known.clone())
    }

    /// Keeps an answer for as long as it says.
    pub(crate) fn keep(&mut self, name: &str, known: Known, ttl: Duration, now: Instant) {
        self.insert(name, Some(known), ttl, now);
    }

    /// Keeps for a while that no tier knows the name.
    pub(crate) fn keep_unknown(&mut self, name: &str, now: Instant) {
        self.insert(name, None, NEGATIVE_TTL, now);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.names.clear();
    }

    fn insert(&mut self, name: &str, known: Option<Known>, ttl: Duration, now: Instant) {
        if ttl.is_zero() {
            self.names.remove(name);
            return;
        }
        if self.names.len() >= MAX_NAMES && !self.names.contains_key(name) {
            self.names.retain(|_, kept| now < kept.until);
        }
        if self.names.len() >= MAX_NAMES && !self.names.contains_key(name) {
            let first_to_go = self.names.iter().min_by_key(|(_, kept)| kept.until);
            if let Some(name) = first_to_go.map(|(name, _)| name.clone()) {
                self.names.remove(&name);
            }
        }
        let until = now + ttl;
        self.names.insert(name.to_owned(), Kept { known, until });
    }
}

#[cfg(test)]
mod tests {
    use libp2p_identity::Keypair;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn known() -> Known {
        Known {
            peer: Keypair::generate_ed25519().public().to_peer_id(),
            source: "names-dns".parse().unwrap(),
        }
    }

    #[test]
    fn answers_live_as_long_as_they_say_and_unknown_names_a_minute() {
        let now = Instant::now();
        let mut cache = ResolverCache::default();
        let answer = known();
        cache.keep("home", answer.clone(), SECOND * 300, now);
        cache.keep_unknown("nobody", now);
        assert_eq!(cache.get("home", now + SECOND * 299), Some(Some(answer)));
        assert_eq!(cache.get("home", now + SECOND * 300), None);
        assert_eq!(cache.get("nobody", now + SECOND * 59), Some(None));
        assert_eq!(cache.get("nobody", now + SECOND * 60), None);
        cache.keep("brief", known(), Duration::ZERO, now);
        assert_eq!(cache.get("brief", now), None);
        cache.keep_unknown("home", now);
        cache.clear();
        assert_eq!(cache.get("home", now), None);
    }

    #[test]
    fn the_names_kept_are_bounded_and_the_first_to_expire_goes() {
        let now = Instant::now();
        let mut cache = ResolverCache::default();
        for number in 0..MAX_NAMES {
            cache.keep(
                &format!("name-{number}"),
                known(),
                SECOND * (100 + number as u32),
                now,
            );
        }
        cache.keep_unknown("one-more", now);
        assert_eq!(cache.names.len(), MAX_NAMES);
        assert_eq!(cache.get("name-0", now), None);
        assert!(cache.get("name-1", now).is_some());
        cache.keep("later", known(), SECOND, now + SECOND * 5000);
        assert_eq!(cache.names.len(), 1, "what has expired goes first");
    }
}
