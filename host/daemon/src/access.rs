//! Who may connect: joins `authorized_keys`, the configured relays and the open invites into the policy
//! that the gate holds.
//!
//! One owner: every change goes through here, so the policy never misses a part. A file that does not load
//! leaves the last good policy in force.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::Mutex,
    time::SystemTime,
};

use jiff::Timestamp;
use libp2p_identity::PeerId;
use peerup_model::{ErrorCode, Failure};
use peerup_net::PolicyHandle;
use peerup_trust::{AccessPolicy, AuthorizedKeys, Entry, KeyFile};

/// The policy and what it is made of.
#[derive(Debug)]
pub(crate) struct AccessControl {
    file: KeyFile,
    path: PathBuf,
    policy: PolicyHandle,
    parts: Mutex<Parts>,
    /// Held from reading the file until it is in force: an older read never replaces a newer one.
    reading: Mutex<()>,
}

#[derive(Debug)]
struct Parts {
    keys: AuthorizedKeys,
    stamp: Option<Stamp>,
    /// What the file was at the last look, where that is not what is in force.
    changing: Option<Option<Stamp>>,
    problem: Option<String>,
    infra: HashSet<PeerId>,
    pairing: HashMap<PeerId, Timestamp>,
    gating: bool,
}

/// What a look at the file came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// What is in force is what was found.
    Settled,
    /// Somebody may still be writing: look again soon.
    Changing,
}

/// What tells one version of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: SystemTime,
    length: u64,
    inode: u64,
}

impl AccessControl {
    /// Loads the file; a missing one is an empty list.
    pub(crate) fn load(path: PathBuf, infra: HashSet<PeerId>, gating: bool) -> Result<Self, Failure> {
        let file = KeyFile::new(path.clone());
        let stamp = stamp(&path);
        let keys = file.load_or_empty().map_err(|error| {
            Failure::new(ErrorCode::ConfigInvalid, error.to_string()).with_hint(format!(
                "correct it, then check it with: peerup auth validate {}",
                path.display()
            ))
        })?;
        let parts = Parts {
            keys,
            stamp,
            changing: None,
            problem: None,
            infra,
            pairing: HashMap::new(),
            gating,
        };
        let policy = PolicyHandle::new(parts.policy());
        Ok(Self {
            file,
            path,
            policy,
            parts: Mutex::new(parts),
            reading: Mutex::new(()),
        })
    }

    /// Returns the handle that the gate watches.
    pub(crate) fn policy(&self) -> PolicyHandle {
        self.policy.clone()
    }

    /// Returns the entries in force.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().keys.entries().cloned().collect()
    }

    /// Returns why the file is not in force as it stands, if it is not.
    pub(crate) fn problem(&self) -> Option<String> {
        self.lock().problem.clone()
    }

    /// Returns every peer with an entry.
    pub(crate) fn members(&self) -> BTreeSet<PeerId> {
        self.lock().keys.entries().map(|entry| entry.peer).collect()
    }

    /// Returns a peer's entry, expired or not.
    pub(crate) fn entry(&self, peer: &PeerId) -> Option<Entry> {
        self.lock().keys.get(peer).cloned()
    }

    /// Writes an entry in the place of the peer's old one, if any, and puts it in force. Blocks on the disk.
    pub(crate) fn set(&self, entry: Entry) -> Result<(), Failure> {
        self.file
            .set(entry)
            .map_err(|error| crate::keys_failure(&error))?;
        let _ = self.reload();
        Ok(())
    }

    /// Writes an entry and puts it in force. Blocks on the disk.
    pub(crate) fn add(&self, entry: Entry) -> Result<(), Failure> {
        self.file
            .add(entry)
            .map_err(|error| crate::keys_failure(&error))?;
        let _ = self.reload();
        Ok(())
    }

    /// Removes an entry and puts that in force: the peer's connections end. Blocks on the disk.
    pub(crate) fn remove(&self, peer: &PeerId) -> Result<Option<Entry>, Failure> {
        let removed = self
            .file
            .remove(peer)
            .map_err(|error| crate::keys_failure(&error))?;
        let _ = self.reload();
        Ok(removed)
    }

    /// Reads the file again if it changed and two looks in a row found it the same. Blocks on the disk.
    pub(crate) fn reload_if_changed(&self) -> Look {
        let found = stamp(&self.path);
        {
            let mut parts = self.lock();
            if parts.stamp == found {
                parts.changing = None;
                return Look::Settled;
            }
            if parts.changing != Some(found) {
                parts.changing = Some(found);
                return Look::Changing;
            }
        }
        let _ = self.reload();
        Look::Settled
    }

    /// Reads the file again. Blocks on the disk.
    ///
    /// # Errors
    /// It does not load: the last good list stays in force.
    pub(crate) fn reload(&self) -> Result<(), Failure> {
        let _reading = self
            .reading
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let stamp = stamp(&self.path);
        let loaded = self.file.load_or_empty();
        let mut parts = self.lock();
        parts.stamp = stamp;
        parts.changing = None;
        match loaded {
            Ok(keys) => {
                parts.keys = keys;
                parts.problem = None;
                self.policy.replace(parts.policy());
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the last good list of authorized peers stays in force");
                parts.problem = Some(error.to_string());
                Err(crate::keys_failure(&error))
            }
        }
    }

    /// Sets the relays, which have the role `infra`, and whether strangers are refused.
    pub(crate) fn set_rules(&self, infra: HashSet<PeerId>, gating: bool) {
        self.change(|parts| {
            parts.infra = infra;
            parts.gating = gating;
        });
    }

    /// Lets a one-time identity in to pair, until then.
    pub(crate) fn admit_pairing(&self, peer: PeerId, until: Timestamp) {
        self.change(|parts| {
            // What was not forgotten, because its maker went away half-way, goes here.
            let now = Timestamp::now();
            parts.pairing.retain(|_, end| *end > now);
            parts.pairing.insert(peer, until);
        });
    }

    /// Forgets a one-time identity.
    pub(crate) fn forget_pairing(&self, peer: &PeerId) {
        self.change(|parts| {
            parts.pairing.remove(peer);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) {
        let mut parts = self.lock();
        change(&mut parts);
        self.policy.replace(parts.policy());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Parts> {
        // A panic while the lock is held leaves parts that are each whole.
        self.parts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Parts {
    fn policy(&self) -> AccessPolicy {
        AccessPolicy::new(&self.keys)
            .with_infra(self.infra.iter().copied())
            .with_pairing(self.pairing.iter().map(|(peer, until)| (*peer, *until)))
            .with_gating(self.gating)
    }
}

/// Returns what tells this version of a file from others; none where there is none.
pub(crate) fn stamp(path: &std::path::Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some(Stamp {
        modified: found.modified().ok()?,
        length: found.len(),
        inode: std::os::unix::fs::MetadataExt::ino(&found),
    })
}
