//! The limits of bandwidth that streams share: one for each peer and one for each service, as the config in force says.
//!
//! Every stream to a peer has both, also where they limit nothing, so that a changed config holds for open streams at
//! once. An entry outlives its streams: a peer that opens a stream for each request gets no fresh burst with each. Where
//! there are many, those that no stream has and that owe nothing go. Peers are authenticated members, and services those
//! of the config or of a stream that this node opened.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use libp2p_identity::PeerId;
use peerup_config::{NodeConfig, Rate};
use peerup_engine::{Throttle, ThrottleStats};
use peerup_model::ServiceName;

/// Entries of one kind that stay without a look at whether they are needed.
const MAX_KEPT: usize = 256;

/// The limits of a node.
#[derive(Debug, Default)]
pub(crate) struct Throttles {
    peers: Limits<PeerId>,
    services: Limits<ServiceName>,
}

/// How much a limit has held streams up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ThrottleView {
    /// `peer` or `service`.
    pub(crate) kind: &'static str,
    /// The peer's id, or the service's name.
    pub(crate) of: String,
    pub(crate) rate: u64,
    pub(crate) stats: ThrottleStats,
}

impl Throttles {
    /// Returns what a stream is held to. The config is asked for where a change of it cannot slip in between.
    pub(crate) fn of_stream(
        &self,
        config: impl Fn() -> Arc<NodeConfig>,
        peer: PeerId,
        service: Option<&ServiceName>,
    ) -> Vec<Arc<Throttle>> {
        let of_peer = |peer: &PeerId| {
            let config = config();
            config.bandwidth.of_peer(&config.names, peer)
        };
        let of_service = |name: &ServiceName| config().bandwidth.of_service(name);
        let mut found = vec![self.peers.of(peer, of_peer)];
        found.extend(service.map(|name| self.services.of(name.clone(), of_service)));
        found
    }

    /// Puts the limits of a config in force, for open streams too.
    pub(crate) fn apply(&self, config: &NodeConfig) {
        self.peers
            .apply(|peer| config.bandwidth.of_peer(&config.names, peer));
        self.services
            .apply(|service| config.bandwidth.of_service(service));
    }

    /// Returns the limits that hold now, with what they have done.
    pub(crate) fn view(&self) -> Vec<ThrottleView> {
        let mut view = self.peers.view("peer", |peer| peer.to_base58());
        view.extend(self.services.view("service", ToString::to_string));
        view
    }
}

/// The limits of one kind of key.
#[derive(Debug)]
struct Limits<K>(Mutex<HashMap<K, Arc<Throttle>>>);

impl<K> Default for Limits<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Limits<K> {
    fn of(&self, key: K, rate: impl Fn(&K) -> Rate) -> Arc<Throttle> {
        // A panic while the lock is held leaves a map that is whole.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limit) = known.get(&key) {
            return limit.clone();
        }
        if known.len() >= MAX_KEPT {
            known.retain(|_, limit| Arc::strong_count(limit) > 1 || !limit.is_rested());
        }
        let limit = Throttle::new(rate(&key));
        known.insert(key, limit.clone());
        limit
    }

    fn apply(&self, rate: impl Fn(&K) -> Rate) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, limit) in known.iter() {
            limit.set(rate(key));
        }
    }

    fn view(&self, kind: &'static str, text: impl Fn(&K) -> String) -> Vec<ThrottleView> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let limited = known
            .iter()
            .filter_map(|(key, limit)| Some((key, limit.rate()?, limit.stats())));
        limited
            .map(|(key, rate, stats)| ThrottleView {
                kind,
                of: text(key),
                rate,
                stats,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(seed: u8) -> PeerId {
        libp2p_identity::Keypair::ed25519_from_bytes([seed; 32])
            .unwrap()
            .public()
            .to_peer_id()
    }

    fn config(section: &str) -> Arc<NodeConfig> {
        let text = format!("names: {{phone: {}}}\nbandwidth: {section}\n", peer(1));
        let loaded = peerup_config::parse_node(&text, std::path::Path::new("/x/config.yaml"));
        Arc::new(loaded.unwrap().config)
    }

    fn rates(limits: &[Arc<Throttle>]) -> Vec<Rate> {
        limits.iter().map(|limit| limit.rate()).collect()
    }

    #[test]
    fn streams_of_a_peer_share_its_limit_and_those_of_a_service_its_own() {
        let config = config("{peers: {phone: 1MB}, services: {web: 2MB}}");
        let (throttles, web) = (Throttles::default(), "web".parse::<ServiceName>().unwrap());
        let one = throttles.of_stream(|| config.clone(), peer(1), Some(&web));
        assert_eq!(rates(&one), [Some(1 << 20), Some(2 << 20)]);
        let other = throttles.of_stream(|| config.clone(), peer(2), Some(&web));
        assert_eq!(rates(&other), [None, Some(2 << 20)]);
        assert!(Arc::ptr_eq(&one[1], &other[1]));
        // A plugin's own protocol is held to the peer's limit alone.
        let own = throttles.of_stream(|| config.clone(), peer(1), None);
        assert!(own.len() == 1 && Arc::ptr_eq(&own[0], &one[0]));
    }

    #[test]
    fn a_changed_config_holds_for_streams_that_are_open() {
        let (throttles, web) = (Throttles::default(), "web".parse::<ServiceName>().unwrap());
        let open = throttles.of_stream(|| config("{}"), peer(1), Some(&web));
        assert_eq!(rates(&open), [None, None]);
        assert!(throttles.view().is_empty());
        throttles.apply(&config("{default_per_peer: 128KB, services: {web: 64KB}}"));
        assert_eq!(rates(&open), [Some(128 << 10), Some(64 << 10)]);
        assert_eq!(throttles.view().len(), 2);
        throttles.apply(&config("{default_per_peer: 128KB, peers: {phone: unlimited}}"));
        assert_eq!(rates(&open), [None, None]);
    }

    #[test]
    fn limits_that_nobody_uses_go() {
        let (throttles, config) = (Throttles::default(), config("{default_per_peer: 64KB}"));
        let held = throttles.of_stream(|| config.clone(), peer(1), None);
        for number in 0..MAX_KEPT * 2 {
            let key = libp2p_identity::Keypair::generate_ed25519().public().to_peer_id();
            throttles.of_stream(|| config.clone(), key, None);
            assert!(throttles.peers.0.lock().unwrap().len() <= MAX_KEPT, "{number}");
        }
        let known = throttles.peers.0.lock().unwrap();
        assert!(known.contains_key(&peer(1)));
        drop((known, held));
    }
}
