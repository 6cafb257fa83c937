//! Both directions of one connection, as the host holds them.
//!
//! A [`Duplex`] is handed in by whoever has a stream (the daemon, the TCP capability) and is taken apart
//! into halves that the bindings and the splices drive. Each half notices a reset of the whole. Nothing
//! here decides when to close or to reset.

use std::{
    fmt,
    future::Future,
    io,
    net::Shutdown,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use libp2p_identity::PeerId;
use peerup_model::{PeerName, Transport};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    select,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::throttle::{self, Throttle};

/// Who is at the other end of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRef {
    /// Its authenticated id.
    pub id: PeerId,
    /// What the operator's config calls it.
    pub name: Option<PeerName>,
}

impl fmt::Display for PeerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => fmt::Display::fmt(name, f),
            None => fmt::Display::fmt(&self.id, f),
        }
    }
}

/// The way that a stream takes, with the name of the relay where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRef {
    /// Straight to the peer.
    Direct(Transport),
    /// Over this relay, which sees ciphertext only.
    Relayed(PeerRef),
}

/// The end of a stream that bytes are read from, boxed.
pub type BoxRead = Box<dyn AsyncRead + Send + Unpin>;
/// The end of a stream that bytes are written to, boxed.
pub type BoxWrite = Box<dyn AsyncWrite + Send + Unpin>;

/// Both directions of one connection: a substream to a peer, or a TCP connection.
///
/// Dropping it drops both halves without a shutdown; [`Duplex::reset`] ends it so that the other side
/// sees a reset.
pub struct Duplex {
    pub(crate) reader: ReadHalf,
    pub(crate) writer: WriteHalf,
    pub(crate) shared: Arc<Shared>,
}

impl Duplex {
    /// Wraps a TCP connection and switches Nagle's algorithm off. A reset is sent as RST.
    pub fn tcp(stream: TcpStream) -> Self {
        // Without it a keystroke waits for the acknowledgement of the one before; a socket that cannot do it works on.
        let _ = stream.set_nodelay(true);
        let stream = Arc::new(stream);
        let shared = Shared::new(None, None, Arc::downgrade(&stream));
        Self::of(
            Box::new(TcpReader(stream.clone())),
            Box::new(TcpWriter(stream)),
            shared,
        )
    }

    /// Wraps a connection to nobody that the host knows: what a socket that is not the system's makes. A reset drops both
    /// halves without a shutdown, as for [`Duplex::peer`].
    pub fn plain(reader: BoxRead, writer: BoxWrite) -> Self {
        Self::of(reader, writer, Shared::new(None, None, Weak::new()))
    }

    /// Wraps a substream to a peer. A reset drops both halves without a shutdown; where that is not what
    /// resets the substream, add [`Duplex::on_reset`].
    pub fn peer(reader: BoxRead, writer: BoxWrite, peer: PeerRef, path: PathRef) -> Self {
        Self::of(reader, writer, Shared::new(Some(peer), Some(path), Weak::new()))
    }

    /// Notes which protocol the stream speaks, for whoever looks at the tunnel that it becomes.
    #[must_use]
    pub fn with_protocol(self, protocol: &str) -> Self {
        // Set once: a second name for the same stream would be a mistake of the caller and changes nothing.
        let _ = self.shared.protocol.set(protocol.to_owned());
        self
    }

    /// Adds limits that its bytes share with other streams, both directions together. The narrowest holds.
    #[must_use]
    pub fn with_throttles(self, throttles: Vec<Arc<Throttle>>) -> Self {
        // Set once, by whoever made the stream.
        let _ = self.shared.throttles.set(throttles);
        self
    }

    /// Adds something that is dropped once both halves are gone: a permit, a counter.
    #[must_use]
    pub fn with_guard(mut self, guard: Box<dyn Send>) -> Self {
        let guard = Arc::new(Guard(Mutex::new(guard)));
        self.reader.guard = Some(guard.clone());
        self.writer.guard = Some(guard);
        self
    }

    /// Adds what is called once when the stream is reset, before its halves are dropped.
    #[must_use]
    pub fn on_reset(self, hook: Box<dyn FnOnce() + Send>) -> Self {
        *self.shared.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(hook);
        self
    }

    /// Who is at the other end; none for a TCP connection.
    pub fn peer_ref(&self) -> Option<&PeerRef> {
        self.shared.peer.as_ref()
    }

    /// Ends both directions; the other side sees a reset, not an end.
    pub fn reset(self) {
        self.shared.reset();
    }

    fn of(reader: BoxRead, writer: BoxWrite, shared: Arc<Shared>) -> Self {
        Self {
            reader: ReadHalf {
                io: reader,
                life: Life::new(&shared),
                guard: None,
            },
            writer: WriteHalf {
                io: writer,
                life: Life::new(&shared),
                guard: None,
            },
            shared,
        }
    }
}

impl fmt::Debug for Duplex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Duplex")
            .field("peer", &self.shared.peer)
            .field("path", &self.shared.path)
            .finish_non_exhaustive()
    }
}

/// What the two halves of a duplex have in common.
pub(crate) struct Shared {
    /// Unique in this process; tells the two ends of a tunnel apart.
    pub(crate) id: u64,
    pub(crate) peer: Option<PeerRef>,
    pub(crate) path: Option<PathRef>,
    pub(crate) protocol: OnceLock<String>,
    throttles: OnceLock<Vec<Arc<Throttle>>>,
    reset: CancellationToken,
    /// Weak, so that the socket closes with its halves however long a plugin keeps the handle.
    tcp: Weak<TcpStream>,
    hook: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Shared {
    fn new(peer: Option<PeerRef>, path: Option<PathRef>, tcp: Weak<TcpStream>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            peer,
            path,
            protocol: OnceLock::new(),
            throttles: OnceLock::new(),
            reset: CancellationToken::new(),
            tcp,
            hook: Mutex::new(None),
        })
    }

    /// The limits that its bytes share with other streams.
    pub(crate) fn throttles(&self) -> &[Arc<Throttle>] {
        self.throttles.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// Waits until so many bytes may pass, or until it is reset: the half that is used next tells that.
    pub(crate) async fn pass(&self, bytes: usize) {
        let throttles = self.throttles();
        if throttle::is_limiting(throttles) {
            select! {
                biased;
                () = self.reset.cancelled() => {}
                () = throttle::pass(throttles, bytes) => {}
            }
        }
    }

    /// Marks the connection as reset. Its halves fail from now on, and the drop of the last one sends it.
    pub(crate) fn reset(&self) {
        if let Some(tcp) = self.tcp.upgrade() {
            // Only an expired linger makes the kernel send RST on close.
            let _ = SockRef::from(&*tcp).set_linger(Some(Duration::ZERO));
        }
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(hook) = hook {
            hook();
        }
        self.reset.cancel();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

struct Guard(#[expect(dead_code, reason = "held for its drop only")] Mutex<Box<dyn Send>>);

/// The part of a half that watches for a reset of the whole.
struct Life {
    shared: Arc<Shared>,
    /// Made the first time that a half has to wait.
    cancelled: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Life {
    fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            cancelled: None,
        }
    }

    fn check<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            return outcome;
        }
        let token = &self.shared.reset;
        let cancelled = self
            .cancelled
            .get_or_insert_with(|| Box::pin(token.clone().cancelled_owned()));
        ready!(cancelled.as_mut().poll(cx));
        Poll::Ready(Err(reset_error()))
    }

    fn is_reset(&self) -> bool {
        self.shared.reset.is_cancelled()
    }
}

fn reset_error() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the stream was reset")
}

/// The incoming direction of a duplex.
pub(crate) struct ReadHalf {
    io: BoxRead,
    life: Life,
    guard: Option<Arc<Guard>>,
}

impl ReadHalf {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.life.shared
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.life.is_reset() {
            return Poll::Ready(Err(reset_error()));
        }
        let outcome = Pin::new(&mut self.io).poll_read(cx, buffer);
        self.life.check(cx, outcome)
    }
}

/// The outgoing direction of a duplex.
pub(crate) struct WriteHalf {
    io: BoxWrite,
    life: Life,
    guard: Option<Arc<Guard>>,
}

impl WriteHalf {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.life.shared
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.life.is_reset() {
            return Poll::Ready(Err(reset_error()));
        }
        let outcome = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.life.check(cx, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.life.is_reset() {
            return Poll::Ready(Err(reset_error()));
        }
        let outcome = Pin::new(&mut self.io).poll_flush(cx);
        self.life.check(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.life.is_reset() {
            return Poll::Ready(Err(reset_error()));
        }
        let outcome = Pin::new(&mut self.io).poll_shutdown(cx);
        self.life.check(cx, outcome)
    }
}

/// The reading side of a TCP connection. Tokio's own split half is not used, because its write half sends
/// an end when it is dropped, and a reset must not look like one.
struct TcpReader(Arc<TcpStream>);

impl AsyncRead for TcpReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

struct TcpWriter(Arc<TcpStream>);

impl AsyncWrite for TcpWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match SockRef::from(&*self.0).shutdown(Shutdown::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            outcome => outcome,
        })
    }
}
