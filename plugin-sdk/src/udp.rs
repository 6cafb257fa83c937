//! UDP on the host's own network, address by address as granted.

use crate::{Error, bindings::peerup::plugin::udp as raw};

/// The largest payload of a datagram.
pub const MAX_DATAGRAM_BYTES: usize = 65_507;

/// One datagram that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// What it holds.
    pub data: Vec<u8>,
    /// `address:port` of who sent it.
    pub remote: String,
}

/// A socket on an address. Dropping it frees the address.
#[derive(Debug)]
pub struct Socket {
    inner: raw::Socket,
}

/// A socket for one target alone.
#[derive(Debug)]
pub struct Connected {
    inner: raw::Socket,
}

/// Binds a socket to `address:port`; port 0 asks for a free one. Needs the grant `udp.bind`.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, udp};
/// # async fn example() -> Result<(), Error> {
/// let socket = udp::bind("0.0.0.0:5353").await?;
/// for datagram in socket.receive(16).await? {
///     socket.send_to(&datagram.data, &datagram.remote).await?;
/// }
/// # Ok(())
/// # }
/// ```
pub async fn bind(address: &str) -> Result<Socket, Error> {
    let inner = raw::bind(address.to_owned()).await?;
    Ok(Socket { inner })
}

/// Makes a socket for `host:port` alone. The host looks names up. Needs the grant `udp.connect`.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, udp};
/// # async fn example() -> Result<(), Error> {
/// let socket = udp::connect("192.0.2.53:53").await?;
/// socket.send(b"question").await?;
/// let answers = socket.receive(1).await?;
/// # Ok(())
/// # }
/// ```
pub async fn connect(target: &str) -> Result<Connected, Error> {
    let inner = raw::connect(target.to_owned()).await?;
    Ok(Connected { inner })
}

impl Socket {
    /// Returns the address bound, with the port chosen where 0 was asked for.
    pub fn local_address(&self) -> String {
        self.inner.local_address()
    }

    /// Sends one datagram to `address:port`, which `udp.connect` grants or which has sent something to this socket
    /// before.
    pub async fn send_to(&self, data: &[u8], remote: &str) -> Result<(), Error> {
        Ok(self.inner.send(data.to_vec(), Some(remote.to_owned())).await?)
    }

    /// Waits for one datagram at least and returns what is there, at most `max` and at most 64.
    pub async fn receive(&self, max: u32) -> Result<Vec<Datagram>, Error> {
        receive(&self.inner, max).await
    }
}

impl Connected {
    /// Returns the address that the system chose.
    pub fn local_address(&self) -> String {
        self.inner.local_address()
    }

    /// Sends one datagram to the target.
    pub async fn send(&self, data: &[u8]) -> Result<(), Error> {
        Ok(self.inner.send(data.to_vec(), None).await?)
    }

    /// Waits for one datagram of the target at least and returns what is there, at most `max` and at most 64.
    pub async fn receive(&self, max: u32) -> Result<Vec<Datagram>, Error> {
        receive(&self.inner, max).await
    }
}

async fn receive(socket: &raw::Socket, max: u32) -> Result<Vec<Datagram>, Error> {
    let received = socket.receive(max).await?.into_iter();
    let received = received.map(|datagram| Datagram {
        data: datagram.data,
        remote: datagram.remote,
    });
    Ok(received.collect())
}
