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
    task::Poll,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    select,
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

use crate::{
    duplex::{ReadHalf, WriteHalf},
    error::HostError,
    tunnels::{Direction, Tunnel},
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
    direction: Direction,
    patience: Patience,
) {
    let outcome = copy(&mut source.reader, &mut sink, &direction, patience).await;
    if let Err(error) = &outcome {
        tracing::debug!(tunnel = direction.tunnel().id, %error, "a tunnel was reset");
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
    direction: &Direction,
    patience: Patience,
) -> Result<(), CopyError> {
    let tunnel: &Tunnel = direction.tunnel();
    let mut idle = pin!(sleep(patience.idle));
    let mut unflushed = false;
    loop {
        let chunk = loop {
            select! {
                biased;
                chunk = next_chunk(source, sink, &mut unflushed) => break chunk?,
                () = &mut idle => {
                    let quiet = tunnel.quiet();
                    if quiet >= patience.idle {
                        return Err(CopyError::Idle(patience.idle));
                    }
                    idle.as_mut().reset(Instant::now() + (patience.idle - quiet));
                }
            }
        };
        let Some((chunk, count)) = chunk else { break };
        let mut rest = chunk.get(..count).unwrap_or_default();
        while !rest.is_empty() {
            let written = timeout(patience.write, sink.write(rest)).await;
            match written.map_err(|_| CopyError::Stuck(patience.write))? {
                Ok(0) => return Err(CopyError::Write(io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    direction.count(written);
                    rest = rest.get(written..).unwrap_or_default();
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

/// Waits for bytes, flushing what was written while there are none. A wait holds no buffer: ten thousand
/// idle tunnels share the few that the threads keep.
async fn next_chunk(
    source: &mut ReadHalf,
    sink: &mut WriteHalf,
    unflushed: &mut bool,
) -> Result<Option<(Chunk, usize)>, CopyError> {
    poll_fn(|cx| {
        let mut chunk = Chunk::take();
        let mut buffer = ReadBuf::new(&mut chunk);
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
