//! Both directions of one connection: handed on whole, or read and written here.
//!
//! Bytes that a plugin only passes on should never enter it: [`join`] gives both directions to the host, which
//! moves them natively and can let the plugin go. [`Duplex::receive`] and [`Duplex::send`] are for plugins that
//! read or rewrite.

use std::future::{Future, IntoFuture};

use wit_bindgen::{FutureReader, StreamReader, StreamResult, StreamWriter};

use crate::{
    Error, Path, Peer,
    bindings::{
        peerup::plugin::{streams as raw, types::Error as RawError},
        wit_stream,
    },
};

/// Bytes that one read takes at most where the caller has no bound of its own: two of the host's buffers.
const READ_SIZE: usize = 64 * 1024;

type End = FutureReader<Result<(), RawError>>;

/// Both directions of one connection: a stream to a peer, or a TCP connection.
///
/// Dropping it before [`send`](Self::send) closes it in good order when the plugin's function returns `Ok`, and
/// resets it when that fails or traps.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Duplex, Error};
/// async fn greet(connection: Duplex) -> Result<(), Error> {
///     let mut outgoing = connection.send();
///     outgoing.write_all(b"hello\n").await?;
///     outgoing.finish().await
/// }
/// ```
#[derive(Debug)]
pub struct Duplex {
    inner: raw::Duplex,
}

impl Duplex {
    /// Takes the bytes that come in. The second call gives an end that answers [`Error::Invalid`].
    ///
    /// ```no_run
    /// # use peerup_plugin_sdk::{Duplex, Error};
    /// # async fn example(connection: Duplex) -> Result<(), Error> {
    /// let mut incoming = connection.receive();
    /// while let Some(bytes) = incoming.read().await? {
    ///     peerup_plugin_sdk::log::debug(format!("{} bytes", bytes.len()));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn receive(&self) -> Incoming {
        let (bytes, end) = self.inner.receive();
        Incoming {
            bytes,
            end: Some(end),
            left_over: Vec::new(),
        }
    }

    /// Takes the direction out. The second call gives an end that answers [`Error::Invalid`].
    ///
    /// ```no_run
    /// # use peerup_plugin_sdk::{Duplex, Error};
    /// # async fn example(connection: Duplex) -> Result<(), Error> {
    /// let mut outgoing = connection.send();
    /// outgoing.write_all(b"pong\n").await?;
    /// outgoing.finish().await
    /// # }
    /// ```
    pub fn send(&self) -> Outgoing {
        let (bytes, reader) = wit_stream::new();
        Outgoing {
            bytes,
            sent: self.inner.send(reader),
        }
    }

    /// Ends both directions at once; the other side sees a reset, not an end.
    ///
    /// ```no_run
    /// # fn example(connection: peerup_plugin_sdk::Duplex) {
    /// connection.reset();
    /// # }
    /// ```
    pub fn reset(self) {
        self.inner.reset();
    }

    /// Returns who is at the other end; nobody for a TCP connection.
    ///
    /// ```no_run
    /// # fn example(connection: peerup_plugin_sdk::Duplex) {
    /// let name = connection.peer().map(|peer| peer.to_string());
    /// # }
    /// ```
    pub fn peer(&self) -> Option<Peer> {
        self.inner.peer().map(Peer::from)
    }

    /// Returns the way it takes at this moment; nothing for a TCP connection.
    ///
    /// ```no_run
    /// # use peerup_plugin_sdk::{Duplex, Path};
    /// # fn example(connection: Duplex) {
    /// let direct = matches!(connection.path(), Some(Path::Direct(_)));
    /// # }
    /// ```
    pub fn path(&self) -> Option<Path> {
        self.inner.path().map(Path::from)
    }
}

impl From<raw::Duplex> for Duplex {
    fn from(inner: raw::Duplex) -> Self {
        Self { inner }
    }
}

/// Connects two duplexes with each other: what comes in on one goes out on the other, half-close and reset
/// included. The host does it from here on; the plugin can return, or drop what this returns, at once.
///
/// Use it before anything was taken with [`Duplex::receive`] or [`Duplex::send`].
///
/// ```no_run
/// # use peerup_plugin_sdk::{Duplex, Error, join, tcp};
/// async fn to_printer(connection: Duplex) -> Result<(), Error> {
///     let printer = tcp::connect("printer.lan:9100").await?;
///     join(connection, printer);
///     Ok(())
/// }
/// ```
pub fn join(a: Duplex, b: Duplex) -> Joined {
    let (from_a, _) = a.inner.receive();
    let (from_b, _) = b.inner.receive();
    Joined {
        to_b: b.inner.send(from_a),
        to_a: a.inner.send(from_b),
    }
}

/// Two duplexes that the host connects. Dropping this changes nothing; they stay connected.
#[derive(Debug)]
pub struct Joined {
    to_a: End,
    to_b: End,
}

impl Joined {
    /// Waits until both directions have ended. Fails with the first failure of the two.
    ///
    /// Waiting keeps the plugin's instance alive for as long as the connection lasts.
    ///
    /// ```no_run
    /// # use peerup_plugin_sdk::{Duplex, Error, join};
    /// # async fn example(a: Duplex, b: Duplex) -> Result<(), Error> {
    /// join(a, b).finished().await
    /// # }
    /// ```
    pub async fn finished(self) -> Result<(), Error> {
        let (to_a, to_b) = futures_util::future::join(self.to_a.into_future(), self.to_b.into_future()).await;
        to_a?;
        to_b?;
        Ok(())
    }
}

/// The bytes that come in.
///
/// None of its reads is cancel safe: a read that was dropped, for instance by [`time::timeout`](crate::time::timeout),
/// can take bytes with it.
#[derive(Debug)]
pub struct Incoming {
    bytes: StreamReader<u8>,
    end: Option<End>,
    left_over: Vec<u8>,
}

impl Incoming {
    /// Reads what is there, at most 64 KiB; waits while there is nothing. `None` is the other side's half-close.
    ///
    /// Fails with the reason where the direction ended in any other way.
    ///
    /// ```no_run
    /// # use peerup_plugin_sdk::{Error, Incoming};
    /// async fn count(incoming: &mut Incoming) -> Result<u64, Error> {
    ///     let mut bytes = 0;
    ///     while let Some(chunk) = incoming.read().await? {
    ///         bytes += chunk.len() as u64;
    ///     }
    ///     Ok(bytes)
    /// }
    /// ```
    pub async fn read(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if !self.left_over.is_empty() {
            return Ok(Some(std::mem::take(&mut self.left_over)));
        }
        self.read_into(Vec::with_capacity(READ_SIZE)).await
    }

    /// Reads one line of at most `max` bytes, its newline included, and returns it with the newline cut off.
    /// `None` is an end where a line would start.
    ///
    /// Fails with [`Error::Invalid`] for a longer line and with [`Error::Closed`] for an end within a line.
    ///
    /// ```no_run
    /// # use peerup_plugin_sdk::{Error, Incoming};
    /// async fn is_ping(incoming: &mut Incoming) -> Result<bool, Error> {
    ///     Ok(incoming.read_line(64).await?.as_deref() == Some(b"ping".as_slice()))
    /// }
    /// ```
    pub async fn read_line(&mut self, max: usize) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(line) = take_line(&mut self.left_over, max)? {
                return Ok(Some(line));
            }
            // No more than the rest of the longest line: whatever follows stays with the host.
            let buffer = Vec::with_capacity(max - self.left_over.len());
            match self.read_into(buffer).await? {
                Some(chunk) => self.left_over.extend(chunk),
                None if self.left_over.is_empty() => return Ok(None),
                None => return Err(Error::closed("the other side ended within a line")),
            }
        }
    }

    /// Reads up to the buffer's capacity; `None` is the end.
    async fn read_into(&mut self, mut buffer: Vec<u8>) -> Result<Option<Vec<u8>>, Error> {
        loop {
            let (result, bytes) = self.bytes.read(buffer).await;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
            if result == StreamResult::Dropped {
                if let Some(end) = self.end.take() {
                    end.into_future().await?;
                }
                return Ok(None);
            }
            buffer = bytes;
        }
    }
}

/// Cuts the first line off, if it is there in full. Fails once there can be no newline within `max` bytes.
fn take_line(bytes: &mut Vec<u8>, max: usize) -> Result<Option<Vec<u8>>, Error> {
    match bytes.iter().take(max).position(|byte| *byte == b'\n') {
        Some(newline) => {
            let rest = bytes.split_off(newline + 1);
            let mut line = std::mem::replace(bytes, rest);
            line.truncate(newline);
            Ok(Some(line))
        }
        None if bytes.len() >= max => Err(Error::invalid(format!("a line is longer than {max} bytes"))),
        None => Ok(None),
    }
}

/// The direction out. Dropping it ends the direction like [`finish`](Self::finish) without waiting for it.
#[derive(Debug)]
pub struct Outgoing {
    bytes: StreamWriter<u8>,
    sent: End,
}

impl Outgoing {
    /// Hands all of these bytes to the host; waits while the connection is slower.
    ///
    /// Fails with the reason once the other side takes no more.
    ///
    /// ```no_run
    /// # use peerup_plugin_sdk::{Error, Outgoing};
    /// async fn answer(outgoing: &mut Outgoing) -> Result<(), Error> {
    ///     outgoing.write_all(b"pong\n").await
    /// }
    /// ```
    pub async fn write_all(&mut self, bytes: impl Into<Vec<u8>>) -> Result<(), Error> {
        let rest = self.bytes.write_all(bytes.into()).await;
        if rest.is_empty() {
            return Ok(());
        }
        Err(Error::closed(format!(
            "the other side stopped reading with {} bytes to go",
            rest.len()
        )))
    }

    /// Ends the direction and waits until the last byte was handed to the transport.
    ///
    /// Fails with the reason where it ended before that.
    ///
    /// ```no_run
    /// # use peerup_plugin_sdk::{Error, Outgoing};
    /// async fn answer_and_end(mut outgoing: Outgoing) -> Result<(), Error> {
    ///     outgoing.write_all(b"bye\n").await?;
    ///     outgoing.finish().await
    /// }
    /// ```
    pub fn finish(self) -> impl Future<Output = Result<(), Error>> {
        let Self { bytes, sent } = self;
        drop(bytes);
        async move { Ok(sent.into_future().await?) }
    }
}

/// Copies bytes through the plugin's own memory until the incoming direction ends; returns how many. The
/// outgoing direction stays open.
///
/// Bytes that nobody looks at travel faster with [`join`].
///
/// ```no_run
/// # use peerup_plugin_sdk::{Duplex, Error, copy};
/// async fn echo(connection: Duplex) -> Result<(), Error> {
///     let mut outgoing = connection.send();
///     copy(&mut connection.receive(), &mut outgoing).await?;
///     outgoing.finish().await
/// }
/// ```
pub async fn copy(from: &mut Incoming, to: &mut Outgoing) -> Result<u64, Error> {
    let mut copied = 0;
    while let Some(bytes) = from.read().await? {
        copied += bytes.len() as u64;
        to.write_all(bytes).await?;
    }
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], max: usize) -> (Vec<Vec<u8>>, Result<Vec<u8>, Error>) {
        let mut left = bytes.to_vec();
        let mut lines = Vec::new();
        loop {
            match take_line(&mut left, max) {
                Ok(Some(line)) => lines.push(line),
                Ok(None) => return (lines, Ok(left)),
                Err(error) => return (lines, Err(error)),
            }
        }
    }

    #[test]
    fn a_line_is_cut_at_its_newline_and_the_rest_stays() {
        let (found, rest) = lines(b"ping\n\npi", 64);
        assert_eq!(found, [b"ping".to_vec(), b"".to_vec()]);
        assert_eq!(rest, Ok(b"pi".to_vec()));
    }

    #[test]
    fn the_newline_counts_towards_the_bound() {
        assert_eq!(lines(b"abc\n", 4).0, [b"abc".to_vec()]);
        assert!(lines(b"abcd\n", 4).1.is_err());
        assert!(lines(b"abcd", 4).1.is_err());
        assert_eq!(lines(b"abc", 4), (vec![], Ok(b"abc".to_vec())));
    }
}
