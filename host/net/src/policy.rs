//! The access policy in force, shared by the gate, the streams and whoever changes it.
//!
//! Owned by the daemon (or the relay), which replaces it when `authorized_keys` changes. It decides nothing itself.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use futures::task::AtomicWaker;
use jiff::Timestamp;
use libp2p::PeerId;
use peerup_trust::{AccessPolicy, Role};

use crate::wakers::Wakers;

/// A shared access policy. Clones are handles to the same one.
///
/// A replacement takes effect at once: every gate wakes up and closes the connections of peers that lost their
/// right, and every connection offers its protocols anew.
#[derive(Debug, Clone)]
pub struct PolicyHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    current: ArcSwap<AccessPolicy>,
    wakers: Wakers,
    // Serialises `update`, so that two of them never start from the same policy.
    writing: Mutex<()>,
}

impl PolicyHandle {
    /// Starts with the given policy in force.
    pub fn new(policy: AccessPolicy) -> Self {
        Self {
            shared: Arc::new(Shared {
                current: ArcSwap::from_pointee(policy),
                wakers: Wakers::default(),
                writing: Mutex::new(()),
            }),
        }
    }

    /// Returns the policy in force.
    pub fn load(&self) -> Arc<AccessPolicy> {
        self.shared.current.load_full()
    }

    /// Puts another policy in force.
    pub fn replace(&self, policy: AccessPolicy) {
        self.update(|_| policy);
    }

    /// Puts in force what `change` makes of the present policy. Concurrent updates come one after the other.
    pub fn update(&self, change: impl FnOnce(&AccessPolicy) -> AccessPolicy) {
        {
            let _writing = self.shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let next = change(&self.shared.current.load());
            self.shared.current.store(Arc::new(next));
        }
        self.shared.wakers.changed();
    }

    /// What the peer may be on this node right now; none means that it may not connect.
    pub fn role(&self, peer: &PeerId) -> Option<Role> {
        self.shared.current.load().role(peer, Timestamp::now())
    }

    /// When the next entry of the policy expires.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        self.shared.current.load().next_expiry(Timestamp::now())
    }

    pub(crate) fn subscribe(&self) -> Arc<AtomicWaker> {
        self.shared.wakers.subscribe()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.shared.wakers.generation()
    }
}
