//! The further lists of keys that single services and plugins have: `authorized_keys` in their sections.
//!
//! Looked at with the main list, twice a second. They only narrow: who is not let in by the main list does not get
//! here. A list that is missing or does not load lets nobody in.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use libp2p_identity::PeerId;
use peerup_config::NodeConfig;
use peerup_trust::{AccessPolicy, KeyFile};

use crate::access::{Stamp, stamp};

/// The lists in force.
#[derive(Debug, Default)]
pub(crate) struct ExtraKeys {
    lists: ArcSwap<HashMap<PathBuf, List>>,
}

#[derive(Debug, Clone)]
struct List {
    stamp: Option<Stamp>,
    /// None where the file does not load.
    policy: Option<AccessPolicy>,
}

impl ExtraKeys {
    /// Reads what has changed since the last look, and says whether anything has. Blocks on the disk.
    pub(crate) fn look(&self, config: &NodeConfig) -> bool {
        let old = self.lists.load();
        let paths = paths(config);
        let current = |path: &PathBuf| old.get(path).filter(|list| list.stamp == stamp(path));
        if old.len() == paths.len() && paths.iter().all(|path| current(path).is_some()) {
            return false;
        }
        let lists = paths.iter().map(|path| {
            let list = current(path).cloned().unwrap_or_else(|| List::read(path));
            (path.clone(), list)
        });
        self.lists.store(lists.collect::<HashMap<_, _>>().into());
        true
    }

    /// Returns whether a peer stands in the list, where there is one.
    pub(crate) fn admits(&self, file: Option<&Path>, peer: &PeerId, now: Timestamp) -> bool {
        let Some(file) = file else { return true };
        let lists = self.lists.load();
        let policy = lists.get(file).and_then(|list| list.policy.as_ref());
        policy.is_some_and(|policy| policy.member(peer, now).is_some())
    }
}

impl List {
    fn read(path: &Path) -> Self {
        // Before reading: a file that changes meanwhile is read again.
        let mut stamp = stamp(path);
        let policy = match (&stamp, KeyFile::new(path.to_owned()).load_or_empty()) {
            (None, _) => {
                tracing::warn!(file = %path.display(), "there is no such list of keys: it lets nobody in");
                None
            }
            (_, Ok(keys)) => Some(AccessPolicy::new(&keys)),
            (_, Err(error)) => {
                tracing::error!(%error, "this list of keys lets nobody in until it is correct");
                None
            }
        };
        if std::fs::File::open(path).is_err() {
            // Not the list but its reading failed: it is read again with the next look.
            stamp = None;
        }
        Self { stamp, policy }
    }
}

/// The lists that a config names.
pub(crate) fn paths(config: &NodeConfig) -> BTreeSet<PathBuf> {
    let services = config
        .services
        .values()
        .filter_map(|entry| entry.keys_file.clone());
    let plugins = config
        .plugins
        .values()
        .filter_map(|entry| entry.keys_file.clone());
    services.chain(plugins).collect()
}

#[cfg(test)]
mod tests {
    use libp2p_identity::Keypair;

    use super::*;

    fn config(folder: &Path) -> NodeConfig {
        let text =
            "version: 1\nservices:\n  ssh:\n    local_address: localhost:22\n    authorized_keys: ssh_keys\n";
        peerup_config::parse_node(text, &folder.join("config.yaml"))
            .unwrap()
            .config
    }

    fn peer() -> PeerId {
        Keypair::generate_ed25519().public().to_peer_id()
    }

    #[test]
    fn a_list_narrows_and_a_missing_or_broken_one_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let file = folder.path().join("ssh_keys");
        let (listed, other) = (peer(), peer());
        let keys = ExtraKeys::default();
        let admits = |peer: &PeerId| keys.admits(Some(&file), peer, Timestamp::now());
        assert!(!admits(&listed), "not looked at yet");
        assert!(keys.look(&config));
        assert!(!admits(&listed), "missing");
        assert!(!keys.look(&config), "nothing new");

        std::fs::write(&file, format!("{listed}\n")).unwrap();
        assert!(keys.look(&config));
        assert!(admits(&listed) && !admits(&other));
        assert!(keys.admits(None, &other, Timestamp::now()), "no list, no limit");

        std::fs::write(&file, "nonsense\n").unwrap();
        assert!(keys.look(&config));
        assert!(!admits(&listed));

        std::fs::write(&file, format!("{listed} expires=2001-01-01T00:00:00Z\n")).unwrap();
        assert!(keys.look(&config));
        assert!(!admits(&listed));

        let without = peerup_config::parse_node("version: 1\n", &folder.path().join("config.yaml")).unwrap();
        assert!(keys.look(&without.config));
        assert!(!admits(&listed), "forgotten with its section");
    }
}
