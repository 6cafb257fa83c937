//! Wakes everybody who polls a shared value when that value is replaced.
//!
//! Owned by the shared policy and the protocol table; holds no value itself.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicU64, Ordering},
};

use futures::task::AtomicWaker;

/// A generation counter with the wakers of those who watch it.
///
/// The list is as long as the number of live subscribers: one for each behaviour and each connection.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    generation: AtomicU64,
    list: Mutex<Vec<Weak<AtomicWaker>>>,
}

impl Wakers {
    /// Returns a slot in which the subscriber registers its waker; it is forgotten when dropped.
    pub(crate) fn subscribe(&self) -> Arc<AtomicWaker> {
        let waker = Arc::new(AtomicWaker::new());
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() == list.capacity() {
            list.retain(|weak| weak.strong_count() > 0);
        }
        list.push(Arc::downgrade(&waker));
        waker
    }

    /// The number of replacements so far. Read it after registering a waker, or a replacement is missed.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Counts a replacement and wakes all subscribers.
    pub(crate) fn changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|weak| match weak.upgrade() {
            Some(waker) => {
                waker.wake();
                true
            }
            None => false,
        });
    }
}
