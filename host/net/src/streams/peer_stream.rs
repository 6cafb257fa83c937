//! One stream to a peer, as tokio's `AsyncRead` and `AsyncWrite`, with counters and honest ends.
//!
//! Owned by whoever opened or took it. It carries bytes only and knows no protocol.
//!
//! How a stream ends: `shutdown` ends the write side in order, and the peer reads the end of the file. Dropping the
//! stream before that is a reset, which the peer reads as `ConnectionReset`. Neither transport says so by itself:
//! a dropped QUIC stream finishes its write side as if all were well, and yamux reports a reset as the end of the
//! file. But both also refuse further writes from then on, at the latest with the message that carried the end. So
//! at the end of the file the write side is asked with an empty write whether it still works. Once this side has
//! been shut down it can no longer be asked, and an end is taken as it comes.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::io::{AsyncRead as _, AsyncWrite as _};
use libp2p::{PeerId, Stream, swarm::ConnectionId};
use peerup_model::{PathKind, Transport};
use peerup_paths::LimitKind;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf},
    time::Sleep,
};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::streams::{Conn, StreamGuard};

/// How long the end of a QUIC stream may be followed by the news that it was a reset. A peer that drops its stream
/// queues both within microseconds, yet now and then in two packets; a packet lost between them still deceives.
const QUIC_GRACE: Duration = Duration::from_millis(2);

/// Why a stream over a relay ended before its time. Found in the error of a read or write by downcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the relay {relay} ended the circuit: its limit {limit} is used up; a new connection starts with a fresh one"
)]
pub struct CircuitExhausted {
    /// The relay whose limit it is.
    pub relay: PeerId,
    /// Which limit.
    pub limit: LimitKind,
}

#[derive(Debug)]
enum ReadState {
    Open,
    Ending(Pin<Box<Sleep>>),
    Ended,
    Reset,
}

/// Which half of a stream waits.
#[derive(Debug, Clone, Copy)]
enum Direction {
    Read,
    Write,
}

/// A duplex stream to a peer. Dropping it before `shutdown` resets it.
pub struct PeerStream {
    stream: Stream,
    guard: StreamGuard,
    read: ReadState,
    write_closed: bool,
    /// The end of the connection, for a read and for a write that wait. Made when one has to wait for the first time.
    gone: [Option<Pin<Box<WaitForCancellationFutureOwned>>>; 2],
    // Who waits to write. The probe at the end of the file must leave this waker registered, not the reader's.
    writer: Option<Waker>,
    bytes_in: u64,
    bytes_out: u64,
}

impl PeerStream {
    pub(crate) fn new(stream: Stream, guard: StreamGuard) -> Self {
        Self {
            stream,
            guard,
            read: ReadState::Open,
            write_closed: false,
            gone: [None, None],
            writer: None,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// Sends what an optimistic negotiation has left to send, so that the peer learns of the stream at once and can
    /// start on its side. If the connection is busy, the first read or write sends it instead.
    pub(crate) fn announce(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.stream).poll_flush(&mut cx);
    }

    /// Who is at the other end, as authenticated by the handshake.
    pub fn peer(&self) -> PeerId {
        self.guard.conn().peer()
    }

    /// How the stream gets there.
    pub fn path(&self) -> PathKind {
        self.guard.conn().path()
    }

    /// Which connection carries the stream.
    pub fn connection(&self) -> ConnectionId {
        self.guard.conn().id()
    }

    /// What is known of that connection, its round trip above all.
    pub fn conn(&self) -> &Arc<Conn> {
        self.guard.conn()
    }

    /// Bytes read so far.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in
    }

    /// Bytes written so far.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out
    }

    /// Splits the stream for two tasks. It ends when both halves are dropped.
    pub fn into_split(self) -> (ReadHalf<Self>, WriteHalf<Self>) {
        tokio::io::split(self)
    }

    /// Ends the stream at once in both directions; the peer reads `ConnectionReset`.
    pub fn reset(self) {
        drop(self);
    }

    /// Reports the end, orderly or not.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let ReadState::Ending(grace) = &mut self.read {
            futures::ready!(grace.as_mut().poll(cx));
            self.read = if self.is_refused() {
                ReadState::Reset
            } else {
                ReadState::Ended
            };
        }
        Poll::Ready(match self.read {
            ReadState::Reset => Err(self.explained(io::ErrorKind::ConnectionReset.into())),
            _ => Ok(()),
        })
    }

    /// Turns waiting into an error once the connection has ended: the transport does not wake those who wait then.
    fn unless_gone<T>(
        &mut self,
        direction: Direction,
        polled: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            return polled;
        }
        let conn = self.guard.conn();
        let [read, write] = &mut self.gone;
        let gone = match direction {
            Direction::Read => read,
            Direction::Write => write,
        };
        let gone = gone.get_or_insert_with(|| Box::pin(conn.closed()));
        futures::ready!(gone.as_mut().poll(cx));
        Poll::Ready(Err(self.explained(io::ErrorKind::ConnectionReset.into())))
    }

    /// Names the limit of the relay where the circuit looks to have run into one.
    fn explained(&self, error: io::Error) -> io::Error {
        let conn = self.guard.conn();
        match (conn.exhausted_by(), conn.path()) {
            (Some(limit), PathKind::Relayed(relay)) => {
                // Told apart from a reset by whoever wants to say why.
                io::Error::new(io::ErrorKind::QuotaExceeded, CircuitExhausted { relay, limit })
            }
            _ => error,
        }
    }

    /// Whether the peer refuses further bytes, as it does after a reset and does not after an orderly end.
    fn is_refused(&mut self) -> bool {
        // Over QUIC a connection that ended is an error of the read itself, and an end is one of the peer's.
        let quic = self.path() == PathKind::Direct(Transport::Quic);
        if !quic && self.guard.conn().is_closed() {
            return true;
        }
        if self.write_closed {
            return false;
        }
        let writer = self.writer.clone();
        let mut cx = Context::from_waker(writer.as_ref().unwrap_or(Waker::noop()));
        matches!(
            Pin::new(&mut self.stream).poll_write(&mut cx, &[]),
            Poll::Ready(Err(_))
        )
    }
}

impl fmt::Debug for PeerStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerStream")
            .field("peer", &self.peer())
            .field("path", &self.path())
            .field("connection", &self.connection())
            .field("bytes_in", &self.bytes_in)
            .field("bytes_out", &self.bytes_out)
            .finish_non_exhaustive()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if !matches!(this.read, ReadState::Open) {
            return this.poll_end(cx);
        }
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf.initialize_unfilled());
        let read = futures::ready!(this.unless_gone(Direction::Read, polled, cx))
            .map_err(|error| this.explained(error))?;
        if read == 0 {
            let quic = this.path() == PathKind::Direct(Transport::Quic);
            this.read = match this.is_refused() {
                true => ReadState::Reset,
                false if quic && !this.write_closed => {
                    ReadState::Ending(Box::pin(tokio::time::sleep(QUIC_GRACE)))
                }
                false => ReadState::Ended,
            };
            return this.poll_end(cx);
        }
        buf.advance(read);
        this.bytes_in += read as u64;
        this.guard.conn().count_in(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(cx, buf) {
            Poll::Ready(Ok(written)) => {
                this.bytes_out += written as u64;
                this.guard.conn().count_out(written);
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(this.explained(as_reset(error)))),
            Poll::Pending => {
                if !this
                    .writer
                    .as_ref()
                    .is_some_and(|waker| waker.will_wake(cx.waker()))
                {
                    this.writer = Some(cx.waker().clone());
                }
                this.unless_gone(Direction::Write, Poll::Pending, cx)
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        this.unless_gone(Direction::Write, polled, cx).map_err(as_reset)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_close(cx);
        futures::ready!(this.unless_gone(Direction::Write, polled, cx)).map_err(as_reset)?;
        this.write_closed = true;
        Poll::Ready(Ok(()))
    }
}

/// Yamux reports writing to a stream that was reset as `WriteZero`; both transports shall sound alike.
fn as_reset(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WriteZero => io::Error::new(io::ErrorKind::ConnectionReset, error),
        _ => error,
    }
}
