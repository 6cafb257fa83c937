//! What happens to peers and the paths to them, as it happens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Error, Path, Peer, bindings::peerup::plugin::events as raw};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The first connection to a peer was made.
    PeerConnected,
    /// The last connection to a peer ended.
    PeerDisconnected,
    /// New streams to a peer take another way.
    PathChanged,
    /// The plugin was too slow and the host left some out: ask [`peers`](crate::peers) how things stand.
    Missed,
    /// Something that this version does not know; ignore it.
    Other(String),
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// Who it is about; none for [`Kind::Missed`].
    pub peer: Option<Peer>,
    /// The way that new streams take from now on, where there is one.
    pub path: Option<Path>,
    /// When.
    pub at: SystemTime,
}

/// What has happened since it was made waits here, at most 256 events. Dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    inner: raw::Subscription,
}

/// Subscribes to what happens from now on. Needs the grant `peers: [read]`.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, events};
/// # async fn example() -> Result<(), Error> {
/// let subscription = events::subscribe().await?;
/// let event = subscription.next().await?;
/// # Ok(())
/// # }
/// ```
pub async fn subscribe() -> Result<Subscription, Error> {
    let inner = raw::subscribe().await?;
    Ok(Subscription { inner })
}

impl Subscription {
    /// Waits for the next event. Fails with [`Error::Closed`] when the node ends.
    ///
    /// ```no_run
    /// # use peerup_plugin_sdk::{Error, events::{Kind, Subscription}};
    /// # async fn example(subscription: Subscription) -> Result<(), Error> {
    /// while subscription.next().await?.kind != Kind::PeerConnected {}
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&self) -> Result<Event, Error> {
        let event = self.inner.next().await?;
        Ok(Event {
            kind: match event.kind.as_str() {
                "peer-connected" => Kind::PeerConnected,
                "peer-disconnected" => Kind::PeerDisconnected,
                "path-changed" => Kind::PathChanged,
                "missed" => Kind::Missed,
                _ => Kind::Other(event.kind),
            },
            peer: event.peer.map(Into::into),
            path: event.path.map(Into::into),
            at: UNIX_EPOCH + Duration::from_millis(event.at),
        })
    }
}
