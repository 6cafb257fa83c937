//! What the node asks of whoever keeps the places outside of it: where it answers scrapes and logs.

use std::{collections::BTreeSet, fmt};

use futures::future::BoxFuture;
use peerup_config::NodeConfig;

/// Keeps the places of a daemon; a node of one command has those of its start.
pub(crate) trait PlaceKeeper: fmt::Debug + Send + Sync {
    /// Exchanges the places for those of a config. Where a new one cannot be had the old one stays; it is tried again
    /// with each call.
    fn take<'a>(&'a self, config: &'a NodeConfig) -> BoxFuture<'a, Exchanged>;

    /// Returns the keys that say something else than what is in force, and why.
    fn unmet(&self) -> Vec<Unmet>;
}

/// What taking the places of a config came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Exchanged {
    /// The keys whose place is another one now.
    pub(crate) keys: BTreeSet<String>,
    /// The keys whose place could not be had.
    pub(crate) unmet: Vec<Unmet>,
}

/// A key whose place cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unmet {
    /// The key, dotted.
    pub(crate) key: &'static str,
    /// Why not.
    pub(crate) why: String,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.why)
    }
}
