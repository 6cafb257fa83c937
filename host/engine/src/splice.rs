//! Tunnels that the host carries itself, without an instance.
//!
//! A plugin that hands the stream of one duplex to another gives both up; the bytes then flow here. Each
//! direction is a task of its own. Half-close is passed on; an error in either direction resets both
//! connections, so that nobody takes a torn transfer for a whole one.

use std::{
    cell::RefCell,
    future::poll_fn,
    io, mem,
    ops::{Deref, DerefMut},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures::FutureExt;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    select,
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

use crate::{
    duplex::{ReadHalf, Shared, WriteHalf},
    error::HostError,
    throttle,
};

/// Bytes read in one go.
const CHUNK_BYTES: usize = 64 << 10;
/// Buffers that a thread keeps for the next chunk.
const SPARE_BUFFERS: usize = 4;

/// Where the outcome of a direction is told to the plugin, if it still waits.
pub(crate) type Done = oneshot::Sender<Result<(), HostError>>;

/// How long a tunnel may stand still.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Without a byte in either direction.
    pub(crate) idle: Duration,
    /// With bytes that the receiving side does not take.
    pub(crate) write: Duration,
}

/// The incoming half of a duplex on its way from `receive` to `send`, and who waits for its end.
pub(crate) struct Source {
    pub(crate) reader: ReadHalf,
    pub(crate) done: Option<Done>,
}

/// What keeps count of one direction. Dropping it tells that the direction has ended.
pub(crate) trait Meter: Send {
    /// Names the tunnel in the log.
    fn id(&self) -> u64;
    /// Returns how long no byte has moved in either direction of the tunnel.
    fn quiet(&self) -> Duration;
    /// Counts bytes that were handed on, and tells how long to wait before the next ones.
    fn count(&self, bytes: usize) -> Option<Duration>;
}

#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error("the stream was reset")]
    Read(#[source] io::Error),
    #[error("the stream was reset")]
    Write(#[source] io::Error),
    #[error("no byte came or went for {0:?}")]
    Idle(Duration),
    #[error("the other side took no byte for {0:?}")]
    Stuck(Duration),
}

/// Carries one direction to its end and tells both plugins' futures.
pub(crate) async fn run(
    mut source: Source,
    mut sink: WriteHalf,
    sent: Done,
    direction: impl Meter,
    patience: Patience,
) {
    let outcome = copy(&mut source.reader, &mut sink, &direction, patience).await;
    if let Err(error) = &outcome {
        tracing::debug!(tunnel = direction.id(), %error, "a tunnel was reset");
        source.reader.shared().reset();
        sink.shared().reset();
    }
    let (received, handed_on) = verdicts(&outcome);
    // The halves and the entry go before anybody is told, so that who was told sees them gone.
    let done = source.done.take();
    drop((source, sink, direction));
    if let Some(done) = done {
        // A plugin that does not wait has dropped its future.
        let _ = done.send(received);
    }
    let _ = sent.send(handed_on);
}

fn verdicts(outcome: &Result<(), CopyError>) -> (Result<(), HostError>, Result<(), HostError>) {
    let joined = || {
        Err(HostError::Closed(
            "the stream joined to this one was reset".to_owned(),
        ))
    };
    match outcome {
        Ok(()) => (Ok(()), Ok(())),
        // A limit concerns whoever joined the two, whichever end of the splice it looks at.
        Err(CopyError::Read(error) | CopyError::Write(error))
            if error.kind() == io::ErrorKind::QuotaExceeded =>
        {
            let limit = || Err(HostError::Limit(error.to_string()));
            (limit(), limit())
        }
        Err(error @ CopyError::Read(_)) => (Err(HostError::Closed(error.to_string())), joined()),
        Err(error @ CopyError::Write(_)) => (joined(), Err(HostError::Closed(error.to_string()))),
        Err(error @ (CopyError::Idle(_) | CopyError::Stuck(_))) => {
            let timed_out = HostError::TimedOut(error.to_string());
            (Err(timed_out.clone()), Err(timed_out))
        }
    }
}

async fn copy(
    source: &mut ReadHalf,
    sink: &mut WriteHalf,
    direction: &impl Meter,
    patience: Patience,
) -> Result<(), CopyError> {
    let mut idle = pin!(sleep(patience.idle));
    let mut unflushed = false;
    loop {
        // A limit that comes or goes holds from the next chunk on.
        let limited = is_limited(source, sink);
        let most = if limited {
            portion(source, sink)
        } else {
            CHUNK_BYTES
        };
        let chunk = loop {
            select! {
                biased;
                chunk = next_chunk(source, sink, &mut unflushed, most) => break chunk?,
                () = &mut idle => {
                    let quiet = direction.quiet();
                    if quiet >= patience.idle {
                        return Err(CopyError::Idle(patience.idle));
                    }
                    idle.as_mut().reset(Instant::now() + (patience.idle - quiet));
                }
            }
        };
        let Some((mut chunk, count)) = chunk else { break };
        if limited {
            chunk.shrink_to(count);
            turn(
                source.shared().clone(),
                sink,
                count,
                &mut unflushed,
                patience.write,
            )
            .await?;
        }
        let mut rest = chunk.get(..count).unwrap_or_default();
        while !rest.is_empty() {
            let written = timeout(patience.write, sink.write(rest)).await;
            match written.map_err(|_| CopyError::Stuck(patience.write))? {
                Ok(0) => return Err(CopyError::Write(io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    if let Some(pause) = direction.count(written) {
                        paused(sink, pause, patience.write).await?;
                    }
                }
                Err(error) => return Err(CopyError::Write(error)),
            }
        }
        unflushed = true;
    }
    let ended = timeout(patience.write, sink.shutdown()).await;
    ended
        .map_err(|_| CopyError::Stuck(patience.write))?
        .map_err(CopyError::Write)
}

/// Whether the bytes from one to the other are held to a limit that they share with other streams.
fn is_limited(source: &ReadHalf, sink: &WriteHalf) -> bool {
    throttle::is_limiting(source.shared().throttles()) || throttle::is_limiting(sink.shared().throttles())
}

/// How many bytes one turn is for.
fn portion(source: &ReadHalf, sink: &WriteHalf) -> usize {
    let limits = source.shared().throttles().iter();
    throttle::portion(limits.chain(sink.shared().throttles()))
}

/// Waits for the turn of bytes that are to be handed on; what was written goes out before.
async fn turn(
    from: Arc<Shared>,
    sink: &mut WriteHalf,
    bytes: usize,
    unflushed: &mut bool,
    patience: Duration,
) -> Result<(), CopyError> {
    let to = sink.shared().clone();
    let passed = async {
        from.pass(bytes).await;
        to.pass(bytes).await;
    };
    let mut passed = pin!(passed);
    if (&mut passed).now_or_never().is_some() {
        return Ok(());
    }
    if mem::take(unflushed) {
        flush(sink, patience).await?;
    }
    passed.await;
    Ok(())
}

/// Waits out the plugin's bandwidth; what was written goes out before.
async fn paused(sink: &mut WriteHalf, pause: Duration, patience: Duration) -> Result<(), CopyError> {
    flush(sink, patience).await?;
    sleep(pause).await;
    Ok(())
}

async fn flush(sink: &mut WriteHalf, patience: Duration) -> Result<(), CopyError> {
    let flushed = timeout(patience, sink.flush()).await;
    flushed
        .map_err(|_| CopyError::Stuck(patience))?
        .map_err(CopyError::Write)
}

/// Waits for bytes, flushing what was written while there are none. A wait holds no buffer: ten thousand
/// idle tunnels share the few that the threads keep.
async fn next_chunk(
    source: &mut ReadHalf,
    sink: &mut WriteHalf,
    unflushed: &mut bool,
    most: usize,
) -> Result<Option<(Chunk, usize)>, CopyError> {
    poll_fn(|cx| {
        let mut chunk = Chunk::take();
        let room = chunk.len().min(most);
        let mut buffer = ReadBuf::new(chunk.get_mut(..room).unwrap_or_default());
        match Pin::new(&mut *source).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => {
                let count = buffer.filled().len();
                return Poll::Ready(Ok((count > 0).then_some((chunk, count))));
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(CopyError::Read(error))),
            Poll::Pending => {}
        }
        if *unflushed {
            match Pin::new(&mut *sink).poll_flush(cx) {
                Poll::Ready(Ok(())) => *unflushed = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(CopyError::Write(error))),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    })
    .await
}

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of [`CHUNK_BYTES`] that goes back to its thread.
struct Chunk(Box<[u8]>);

impl Chunk {
    fn take() -> Self {
        let spare = SPARE.with_borrow_mut(Vec::pop);
        Self(spare.unwrap_or_else(|| vec![0; CHUNK_BYTES].into_boxed_slice()))
    }

    /// Keeps so many bytes in a buffer of their size, and gives the large one back: what waits is small.
    fn shrink_to(&mut self, count: usize) {
        let kept = self.0.get(..count).unwrap_or_default().into();
        drop(Self(mem::replace(&mut self.0, kept)));
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Chunk {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let buffer = mem::take(&mut self.0);
        if buffer.len() < CHUNK_BYTES {
            return;
        }
        // The thread may be ending; then the buffer is freed.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE_BUFFERS {
                spare.push(buffer);
            }
        });
    }
}

/// Tells what a plugin's `send` of its own bytes came to.
pub(crate) fn told(outcome: io::Result<()>) -> Result<(), HostError> {
    outcome.map_err(|error| HostError::Closed(format!("the stream was reset: {error}")))
}

#[cfg(test)]
mod tests {
    use libp2p_identity::Keypair;
    use peerup_model::Transport;
    use tokio::{
        io::{AsyncReadExt, DuplexStream},
        runtime::Handle,
    };
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::{
        duplex::{Duplex, PathRef, PeerRef},
        stats::Counters,
        throttle::Throttle,
        tunnels::{Owner, Splices, done},
    };

    const HOUR: Duration = Duration::from_secs(3600);

    struct Tunneled {
        splices: Splices,
        counters: Arc<Counters>,
        /// The far ends: of the peer's stream, and of the local one.
        peer: DuplexStream,
        local: DuplexStream,
        /// What the futures of `receive` and `send` answer, for the direction from the peer.
        received: oneshot::Receiver<Result<(), HostError>>,
        sent: oneshot::Receiver<Result<(), HostError>>,
    }

    fn stream(near: DuplexStream) -> Duplex {
        let (reader, writer) = tokio::io::split(near);
        let id = Keypair::generate_ed25519().public().to_peer_id();
        let peer = PeerRef { id, name: None };
        Duplex::peer(
            Box::new(reader),
            Box::new(writer),
            peer,
            PathRef::Direct(Transport::Quic),
        )
    }

    /// Joins two streams in memory, each of which buffers 1 KiB.
    fn tunnel(idle: Duration, write: Duration) -> Tunneled {
        tunnel_within(idle, write, Vec::new())
    }

    /// The same, where the peer's stream is held to limits.
    fn tunnel_within(idle: Duration, write: Duration, limits: Vec<Arc<Throttle>>) -> Tunneled {
        let (peer, near_peer) = tokio::io::duplex(1024);
        let (local, near_local) = tokio::io::duplex(1024);
        let (one, two) = (stream(near_peer).with_throttles(limits), stream(near_local));
        let splices = Splices::new(TaskTracker::new(), Patience { idle, write });
        let counters = Counters::plain("chess".parse().unwrap());
        let owner = Owner {
            counters: counters.clone(),
            service: None,
            group: None,
            limit: 10,
        };
        let (received_tx, received) = done();
        let (sent_tx, sent) = done();
        let inwards = Source {
            reader: one.reader,
            done: Some(received_tx),
        };
        let outwards = Source {
            reader: two.reader,
            done: None,
        };
        let runtime = Handle::current();
        splices.join(inwards, two.writer, owner.clone(), sent_tx, &runtime);
        splices.join(outwards, one.writer, owner, done().0, &runtime);
        Tunneled {
            splices,
            counters,
            peer,
            local,
            received,
            sent,
        }
    }

    #[tokio::test]
    async fn bytes_and_ends_pass_both_ways_and_are_counted() {
        let mut tunnel = tunnel(HOUR, HOUR);
        assert_eq!(tunnel.splices.live(), 1);
        tunnel.peer.write_all(b"question").await.unwrap();
        tunnel.peer.shutdown().await.unwrap();
        let mut got = Vec::new();
        tunnel.local.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"question");
        assert_eq!(tunnel.received.await.unwrap(), Ok(()));
        assert_eq!(tunnel.sent.await.unwrap(), Ok(()));
        tunnel.local.write_all(b"answer").await.unwrap();
        let mut got = [0; 6];
        tunnel.peer.read_exact(&mut got).await.unwrap();
        let info = tunnel.splices.list().remove(0);
        assert_eq!((info.bytes_in, info.bytes_out), (8, 6));
        tunnel.local.shutdown().await.unwrap();
        tunnel.peer.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(tunnel.splices.drain(HOUR).await, 0);
        let stats = tunnel.counters.snapshot();
        assert_eq!((stats.bytes_in, stats.bytes_out, stats.spliced_live), (8, 6, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_without_a_byte_ends_and_one_byte_in_either_direction_keeps_it() {
        let mut tunnel = tunnel(HOUR, HOUR * 24);
        for turn in 0..4 {
            tokio::time::advance(HOUR / 4 * 3).await;
            let (from, to) = match turn % 2 {
                0 => (&mut tunnel.peer, &mut tunnel.local),
                _ => (&mut tunnel.local, &mut tunnel.peer),
            };
            from.write_all(b"x").await.unwrap();
            to.read_exact(&mut [0]).await.unwrap();
        }
        let last = Instant::now();
        let answer = tunnel.received.await.unwrap();
        assert!(matches!(answer, Err(HostError::TimedOut(_))), "{answer:?}");
        assert!(last.elapsed() >= HOUR && last.elapsed() < HOUR + Duration::from_secs(1));
        assert_eq!(tunnel.splices.drain(HOUR).await, 0);
        assert_eq!(tunnel.peer.read(&mut [0; 4]).await.unwrap(), 0);
        assert!(tunnel.local.write_all(b"x").await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_nobody_takes_end_the_tunnel() {
        let mut tunnel = tunnel(HOUR * 24, HOUR);
        let started = Instant::now();
        // More than both streams buffer, and nobody reads at the other end.
        let written = tunnel.peer.write_all(&[7; 256 << 10]).await;
        assert!(written.is_err());
        let answer = tunnel.sent.await.unwrap();
        assert!(matches!(answer, Err(HostError::TimedOut(_))), "{answer:?}");
        assert!(started.elapsed() >= HOUR && started.elapsed() < HOUR * 2);
        assert_eq!(tunnel.splices.drain(HOUR).await, 0);
    }

    #[tokio::test]
    async fn an_end_that_vanishes_ends_both_directions() {
        let mut tunnel = tunnel(HOUR, HOUR);
        drop(tunnel.local);
        tunnel.peer.read_to_end(&mut Vec::new()).await.unwrap();
        tunnel.peer.write_all(b"x").await.unwrap();
        let answer = tunnel.sent.await.unwrap();
        assert!(matches!(answer, Err(HostError::Closed(_))), "{answer:?}");
        assert_eq!(tunnel.splices.drain(HOUR).await, 0);
    }

    const RATE: u64 = 64 << 10;
    const BURST: usize = RATE as usize;

    /// Sends without an end, from the peer.
    fn sending(tunnel: &mut Tunneled) -> tokio::task::JoinHandle<()> {
        let mut peer = mem::replace(&mut tunnel.peer, tokio::io::duplex(1).0);
        tokio::spawn(async move { while peer.write_all(&[7; 512]).await.is_ok() {} })
    }

    /// Reads what comes without a wait.
    async fn at_once(local: &mut DuplexStream) -> usize {
        let (mut got, mut buffer) = (0, [0; 4096]);
        while let Ok(count) = timeout(Duration::from_millis(1), local.read(&mut buffer)).await {
            got += count.unwrap();
        }
        got
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_with_limits_passes_the_burst_of_the_narrowest_and_goes_on_at_its_rate() {
        let limits = [Some(RATE * 4), None, Some(RATE)].map(Throttle::new);
        let mut tunnel = tunnel_within(HOUR, HOUR, limits.to_vec());
        let sender = sending(&mut tunnel);
        let started = Instant::now();
        let burst = at_once(&mut tunnel.local).await;
        // A turn is for whole chunks: the one that reaches past the burst waits.
        assert!(burst <= BURST && burst + (4 << 10) > BURST, "{burst}");
        let mut rest = vec![0; 4 * BURST - burst];
        tunnel.local.read_exact(&mut rest).await.unwrap();
        let took = started.elapsed();
        assert!(
            took > Duration::from_millis(2800) && took < Duration::from_millis(3100),
            "{took:?}"
        );
        let [wide, none, narrow] = limits.map(|limit| limit.stats().waits > 0);
        assert_eq!((wide, none, narrow), (false, false, true));
        sender.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_changes_holds_for_an_open_tunnel_at_once_and_drops_nothing() {
        let limit = Throttle::new(None);
        let mut tunnel = tunnel_within(HOUR, HOUR, vec![limit.clone()]);
        let sender = sending(&mut tunnel);
        let mut much = vec![0; 16 * BURST];
        tunnel.local.read_exact(&mut much).await.unwrap();
        assert_eq!(limit.stats().waits, 0);
        limit.set(Some(RATE));
        at_once(&mut tunnel.local).await;
        assert!(limit.stats().waits > 0);
        limit.set(None);
        let freed = Instant::now();
        tunnel.local.read_exact(&mut much).await.unwrap();
        assert!(
            freed.elapsed() < Duration::from_millis(100),
            "{:?}",
            freed.elapsed()
        );
        assert_eq!(tunnel.splices.live(), 1);
        sender.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_that_waits_for_its_turn_is_closed_at_once() {
        let limit = Throttle::new(Some(RATE));
        let mut tunnel = tunnel_within(HOUR, HOUR, vec![limit.clone()]);
        throttle::pass(std::slice::from_ref(&limit), BURST * 1000).await;
        tunnel.peer.write_all(&[7; 64]).await.unwrap();
        assert_eq!(at_once(&mut tunnel.local).await, 0);
        tunnel.splices.close_all();
        let closing = Instant::now();
        assert_eq!(tunnel.splices.drain(HOUR).await, 0);
        assert!(
            closing.elapsed() < Duration::from_secs(1),
            "{:?}",
            closing.elapsed()
        );
    }
}
