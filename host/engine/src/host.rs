//! What the engine asks of the daemon.

use futures::future::BoxFuture;
use libp2p_identity::PeerId;
use peerup_model::{PathPolicy, PluginName};

use crate::{duplex::Duplex, error::HostError};

/// What the daemon does for plugins. The engine has checked the grants before it calls.
pub trait Host: Send + Sync + 'static {
    /// Opens a stream to a peer, which is a name, an id or a unique prefix of one.
    fn open<'a>(
        &'a self,
        plugin: &'a PluginName,
        peer: &'a str,
        protocol: &'a str,
        policy: PathPolicy,
    ) -> BoxFuture<'a, Result<Duplex, HostError>>;

    /// Tells who a name stands for, and which tier knew it.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(PeerId, String), HostError>>;
}
