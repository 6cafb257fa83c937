//! What the node asks of whoever keeps the proxies of the config.

use std::fmt;

use futures::future::BoxFuture;
use peerup_api::ConnectInfo;
use peerup_model::ProxyName;

/// Keeps the proxies of the config in a daemon; a node of one command has none.
pub(crate) trait ProxyKeeper: fmt::Debug + Send + Sync {
    /// Starts, ends and restarts what the config asks for now. Those that end have closed their listeners when this
    /// returns, so that an address may go from one to another.
    fn apply(&self) -> BoxFuture<'_, ()>;

    /// Tells of each proxy of the config, those that are disabled too.
    fn list(&self) -> Vec<ConnectInfo>;

    /// Returns one of them once it listens or has failed, or as it is after a few seconds.
    fn settled<'a>(&'a self, name: &'a ProxyName) -> BoxFuture<'a, Option<ConnectInfo>>;
}
