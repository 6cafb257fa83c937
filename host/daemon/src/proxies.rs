//! The table of the proxies that end with the daemon, by id.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError, atomic::AtomicU64},
};

use peerup_api::ConnectInfo;
use tokio_util::sync::CancellationToken;

/// The proxies of a daemon, by id.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    running: Mutex<BTreeMap<u64, Proxy>>,
    pub(crate) next: AtomicU64,
}

/// A running one.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) info: ConnectInfo,
    pub(crate) end: CancellationToken,
}

impl Proxies {
    /// Returns the running proxies.
    pub(crate) fn list(&self) -> Vec<ConnectInfo> {
        self.lock().values().map(|proxy| proxy.info.clone()).collect()
    }

    /// Ends a proxy with its tunnels. Returns whether there was one of that id.
    pub(crate) fn remove(&self, id: &str) -> bool {
        let Some(number) = id
            .strip_prefix("proxy-")
            .and_then(|number| number.parse::<u64>().ok())
        else {
            return false;
        };
        match self.lock().remove(&number) {
            Some(proxy) => {
                proxy.end.cancel();
                true
            }
            None => false,
        }
    }

    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Proxy>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
