//! TCP on the host's own network, address by address as granted.

use std::{future::Future, time::Duration};

use futures_util::{TryStreamExt, stream};

use crate::{Duplex, Error, bindings::peerup::plugin::tcp as raw, log, time};

/// How long [`Listener::serve`] waits after an accept that failed, so that a host without free descriptors
/// is not asked in a tight loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connects to `host:port`. The host looks names up. Needs the grant `tcp.connect`.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, tcp};
/// # async fn example() -> Result<(), Error> {
/// let connection = tcp::connect("localhost:80").await?;
/// # Ok(())
/// # }
/// ```
pub async fn connect(target: &str) -> Result<Duplex, Error> {
    Ok(raw::connect(target.to_owned()).await?.into())
}

/// Listens on `address:port`; port 0 asks for a free one. Needs the grant `tcp.listen`.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, tcp};
/// # async fn example() -> Result<(), Error> {
/// let listener = tcp::listen("127.0.0.1:0").await?;
/// let address = listener.local_address();
/// # Ok(())
/// # }
/// ```
pub async fn listen(address: &str) -> Result<Listener, Error> {
    let inner = raw::listen(address.to_owned()).await?;
    Ok(Listener { inner })
}

/// A bound address. Dropping it frees the address; connections that came in stay.
#[derive(Debug)]
pub struct Listener {
    inner: raw::Listener,
}

impl Listener {
    /// Returns the address bound, with the port chosen where 0 was asked for.
    ///
    /// ```no_run
    /// # fn example(listener: peerup_plugin_sdk::tcp::Listener) {
    /// let line = format!("listening on {}", listener.local_address());
    /// # }
    /// ```
    pub fn local_address(&self) -> String {
        self.inner.local_address()
    }

    /// Waits for the next connection. Not cancel safe: dropping the wait can drop a connection.
    ///
    /// ```no_run
    /// # use peerup_plugin_sdk::{Error, tcp::Listener};
    /// # async fn example(listener: Listener) -> Result<(), Error> {
    /// let first = listener.accept().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn accept(&self) -> Result<Duplex, Error> {
        Ok(self.inner.accept().await?.into())
    }

    /// Accepts for ever and runs `handler` for each connection, at most `limit` at once; with that many at work
    /// it stops accepting until one is done.
    ///
    /// Ends with the first error of a handler, or once the listener is closed. Any other failed accept is
    /// logged and tried again.
    ///
    /// ```no_run
    /// # use peerup_plugin_sdk::{Error, join, tcp};
    /// # async fn example() -> Result<(), Error> {
    /// let listener = tcp::listen("127.0.0.1:0").await?;
    /// listener
    ///     .serve(16, |connection| async {
    ///         join(connection, tcp::connect("localhost:80").await?);
    ///         Ok(())
    ///     })
    ///     .await
    /// # }
    /// ```
    pub async fn serve<F>(self, limit: usize, handler: impl Fn(Duplex) -> F) -> Result<(), Error>
    where
        F: Future<Output = Result<(), Error>>,
    {
        let accepted = stream::try_unfold(self, |listener| async move {
            let connection = listener.accept_again().await?;
            Ok(Some((connection, listener)))
        });
        accepted.try_for_each_concurrent(limit, handler).await
    }

    async fn accept_again(&self) -> Result<Duplex, Error> {
        loop {
            match self.accept().await {
                Err(
                    error
                    @ (Error::Limit(_) | Error::Unreachable(_) | Error::TimedOut(_) | Error::Refused(_)),
                ) => {
                    log::warn(format!("no connection accepted: {error}"));
                    time::sleep(ACCEPT_PAUSE).await;
                }
                done => return done,
            }
        }
    }
}
