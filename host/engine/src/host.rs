//! What the engine asks of the daemon.

use futures::future::BoxFuture;
use libp2p_identity::PeerId;
use peerup_model::{PathPolicy, PluginName};
use tokio::sync::broadcast;

use crate::{describe::PeerDetails, duplex::Duplex, error::HostError, event::PeerEvent, guest_log::LogLine};

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

    /// Tells about a peer, which is a name, an id or a unique prefix of one, and of the ways to it. Whoever is
    /// neither member nor relay is not found.
    fn describe<'a>(&'a self, peer: &'a str) -> BoxFuture<'a, Result<PeerDetails, HostError>>;

    /// Tells about every member and relay that there is a connection to.
    fn connected(&self) -> BoxFuture<'_, Result<Vec<PeerDetails>, HostError>>;

    /// Tells what happens to peers from now on. The channel's length is how much may wait for a slow plugin; 256
    /// is what the contract promises.
    fn subscribe(&self) -> Result<broadcast::Receiver<PeerEvent>, HostError>;

    /// Tells who the operator's own list of names says a name stands for, exactly as written there.
    fn find_name(&self, name: &str) -> Result<Option<PeerId>, HostError>;

    /// Tells the operator's own list of names, in the order of the names.
    fn names(&self) -> Result<Vec<(String, PeerId)>, HostError>;
    /// Takes a line that a plugin wrote, bounded in length and rate, as it also goes to the log. Must not block.
    fn hear(&self, _plugin: &PluginName, _line: &LogLine) {}
}
