//! Streams to peers.

use crate::{Duplex, Error, PathPolicy, bindings::peerup::plugin::streams as raw};

/// Opens a stream to a peer: a name, a peer id, or a unique prefix of an id of at least eight characters.
///
/// Needs the grant `protocols`, except for the plugin's own `/peerup/p/<plugin>/...`; without it the answer is
/// [`Error::Denied`]. A name nobody knows is [`Error::NotFound`], a peer that is away [`Error::Unreachable`], a
/// protocol it does not serve to us [`Error::Refused`].
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, PathPolicy, streams};
/// # async fn example() -> Result<(), Error> {
/// let stream = streams::open("home", "/peerup/web/1.0.0", PathPolicy::PreferDirect).await?;
/// # Ok(())
/// # }
/// ```
pub async fn open(peer: &str, protocol: &str, policy: PathPolicy) -> Result<Duplex, Error> {
    let duplex = raw::open(peer.to_owned(), protocol.to_owned(), policy.into()).await?;
    Ok(duplex.into())
}
