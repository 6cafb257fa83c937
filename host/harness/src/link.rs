//! Streams in memory with a delay: what one side writes, the other reads so much later by the clock of the runtime.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use peerup_engine::{BoxRead, BoxWrite};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::{CancellationToken, PollSender, WaitForCancellationFutureOwned};

/// Chunks under way in one direction; a writer waits then.
const MAX_CHUNKS: usize = 64;
/// The longest chunk.
const MAX_CHUNK_BYTES: usize = 16 << 10;

/// One end of a stream.
pub(crate) struct End {
    pub(crate) reader: BoxRead,
    pub(crate) writer: BoxWrite,
    /// Ends both directions for both sides; they see a reset.
    pub(crate) reset: Reset,
}

/// What resets a stream, and whether the network under it was cut.
#[derive(Debug, Clone)]
pub(crate) struct Reset(Arc<CancellationToken>);

impl Reset {
    pub(crate) fn now(&self) {
        self.0.cancel();
    }
}

/// Makes a stream whose bytes take `delay`. It is reset when `cut` is cancelled.
pub(crate) fn pair(delay: Duration, cut: &CancellationToken) -> (End, End) {
    let token = Arc::new(cut.child_token());
    let (left_out, right_in) = direction(delay, &token);
    let (right_out, left_in) = direction(delay, &token);
    let end = |reader: Reader, writer: Writer| End {
        reader: Box::new(reader),
        writer: Box::new(writer),
        reset: Reset(token.clone()),
    };
    (end(left_in, left_out), end(right_in, right_out))
}

fn direction(delay: Duration, token: &Arc<CancellationToken>) -> (Writer, Reader) {
    let (sender, receiver) = mpsc::channel(MAX_CHUNKS);
    let gone = || Gone {
        token: token.clone(),
        waiting: None,
    };
    let writer = Writer {
        sender: PollSender::new(sender),
        delay,
        ended: false,
        gone: gone(),
    };
    let reader = Reader {
        receiver,
        next: None,
        ended: false,
        gone: gone(),
    };
    (writer, reader)
}

/// Bytes under way, or the end; and when they are there.
struct Parcel {
    due: Instant,
    bytes: Option<Bytes>,
}

/// Notices a reset of the whole.
struct Gone {
    token: Arc<CancellationToken>,
    waiting: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Gone {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let token = &self.token;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin((**token).clone().cancelled_owned()));
        match waiting.as_mut().poll(cx) {
            Poll::Ready(()) => Err(reset()),
            Poll::Pending => Ok(()),
        }
    }
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the stream was reset")
}

struct Writer {
    sender: PollSender<Parcel>,
    delay: Duration,
    ended: bool,
    gone: Gone,
}

impl Writer {
    fn put(&mut self, cx: &mut Context<'_>, bytes: Option<Bytes>) -> Poll<io::Result<()>> {
        self.gone.check(cx)?;
        let closed = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the other side has gone");
        ready!(self.sender.poll_reserve(cx)).map_err(closed)?;
        let due = Instant::now() + self.delay;
        Poll::Ready(self.sender.send_item(Parcel { due, bytes }).map_err(closed))
    }
}

impl AsyncWrite for Writer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let chunk = data.get(..data.len().min(MAX_CHUNK_BYTES)).unwrap_or(data);
        ready!(self.put(cx, Some(Bytes::copy_from_slice(chunk))))?;
        Poll::Ready(Ok(chunk.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            ready!(self.put(cx, None))?;
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

struct Reader {
    receiver: mpsc::Receiver<Parcel>,
    /// What comes next, and the wait for it.
    next: Option<(Option<Bytes>, Pin<Box<Sleep>>)>,
    ended: bool,
    gone: Gone,
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        self.gone.check(cx)?;
        let this = &mut *self;
        if this.next.is_none() {
            // A writer that went without an end took the stream with it.
            let parcel = ready!(this.receiver.poll_recv(cx)).ok_or_else(reset)?;
            this.next = Some((parcel.bytes, Box::pin(sleep_until(parcel.due))));
        }
        let Some((bytes, due)) = &mut this.next else {
            return Poll::Pending;
        };
        ready!(due.as_mut().poll(cx));
        match bytes {
            None => {
                this.ended = true;
                this.next = None;
            }
            Some(bytes) => {
                let count = bytes.len().min(buffer.remaining());
                buffer.put_slice(bytes.get(..count).unwrap_or_default());
                bytes.advance(count);
                if bytes.is_empty() {
                    this.next = None;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_and_the_end_take_the_delay() {
        let (mut left, mut right) = pair(Duration::from_secs(3600), &CancellationToken::new());
        let start = Instant::now();
        left.writer.write_all(b"hello").await.unwrap();
        left.writer.shutdown().await.unwrap();
        let mut text = String::new();
        right.reader.read_to_string(&mut text).await.unwrap();
        assert_eq!((text.as_str(), start.elapsed().as_secs()), ("hello", 3600));
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_goes_without_an_end_and_a_cut_network_are_resets() {
        let (left, mut right) = pair(Duration::ZERO, &CancellationToken::new());
        drop(left);
        let error = right.reader.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

        let cut = CancellationToken::new();
        let (_left, mut right) = pair(Duration::ZERO, &cut);
        cut.cancel();
        let error = right.reader.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
