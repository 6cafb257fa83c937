//! The two ends of a stream that goes through a plugin's memory: what it reads from, what it writes to.
//!
//! The reading end gives its source up while nothing was read, so that `send` can splice instead.

use std::{
    any::{Any, TypeId},
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use futures::FutureExt;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{sleep, timeout},
};
use wasmtime::{
    StoreContextMut,
    component::{Destination, Source as Bytes, StreamConsumer, StreamProducer, StreamResult},
};

use crate::{
    duplex::{Shared, WriteHalf},
    ending::{CLOSE_TIMEOUT, Ending},
    error::HostError,
    splice::{self, Done, Source},
    stats::Counters,
    throttle,
};

/// The most that one read brings into the plugin.
const READ_BYTES: usize = 64 << 10;

/// A wait between two portions of bytes.
#[derive(Default)]
struct Pause(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Pause {
    /// Counts bytes against the plugin's bandwidth and the limits that the stream shares with others. They have been
    /// read or written; the next ones wait.
    fn start(&mut self, counters: &Counters, stream: &Arc<Shared>, bytes: usize) {
        let wait = counters.pass(bytes);
        if wait.is_none() && !throttle::is_limiting(stream.throttles()) {
            return;
        }
        let stream = stream.clone();
        let mut pause = Box::pin(async move {
            stream.pass(bytes).await;
            if let Some(wait) = wait {
                sleep(wait).await;
            }
        });
        // The turn is taken now, not when the next bytes are wanted.
        if pause.as_mut().now_or_never().is_none() {
            self.0 = Some(pause);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.0 {
            ready!(pause.as_mut().poll(cx));
            self.0 = None;
        }
        Poll::Ready(())
    }
}

/// Reads a duplex for a plugin.
pub(super) struct Producer {
    source: Option<Source>,
    /// A limit holds the next bytes back until then.
    pause: Pause,
    counters: Arc<Counters>,
    activity: Arc<AtomicU64>,
}

impl Producer {
    pub(super) fn new(source: Source, counters: Arc<Counters>, activity: Arc<AtomicU64>) -> Self {
        Self {
            source: Some(source),
            pause: Pause::default(),
            counters,
            activity,
        }
    }

    fn end(&mut self, outcome: Result<(), HostError>) -> Poll<wasmtime::Result<StreamResult>> {
        if let Some(done) = self.source.take().and_then(|source| source.done) {
            // The plugin may have dropped the future.
            let _ = done.send(outcome);
        }
        Poll::Ready(Ok(StreamResult::Dropped))
    }
}

impl<D> StreamProducer<D> for Producer {
    type Item = u8;
    type Buffer = BytesMut;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        destination: Destination<'a, u8, BytesMut>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let this = &mut *self;
        let Some(source) = this.source.as_mut() else {
            return Poll::Ready(Ok(StreamResult::Dropped));
        };
        if destination.remaining(&mut store) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        if this.pause.poll(cx).is_pending() {
            return match finish {
                true => Poll::Ready(Ok(StreamResult::Cancelled)),
                false => Poll::Pending,
            };
        }
        let most = throttle::portion(source.reader.shared().throttles()).min(READ_BYTES);
        let mut destination = destination.as_direct(store, most);
        let room = destination.remaining();
        let most = room.len().min(most);
        let mut buffer = ReadBuf::new(room.get_mut(..most).unwrap_or_default());
        match Pin::new(&mut source.reader).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => this.end(Ok(())),
            Poll::Ready(Ok(())) => {
                let count = buffer.filled().len();
                if source.reader.shared().peer.is_some() {
                    this.counters.bytes_in.fetch_add(count as u64, Ordering::Relaxed);
                }
                this.activity.fetch_add(1, Ordering::Relaxed);
                let stream = source.reader.shared();
                this.pause.start(&this.counters, stream, count);
                destination.mark_written(count);
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Poll::Ready(Err(error)) => this.end(splice::told(Err(error))),
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn try_into(me: Pin<Box<Self>>, wanted: TypeId) -> Result<Box<dyn Any>, Pin<Box<Self>>> {
        if wanted != TypeId::of::<Source>() {
            return Err(me);
        }
        let mut producer = Pin::into_inner(me);
        match producer.source.take() {
            Some(source) => Ok(Box::new(source)),
            None => Err(Pin::new(producer)),
        }
    }
}

/// Writes a plugin's bytes to a duplex. Dropped when the plugin's end of the stream is, which is either the
/// end of the bytes or the end of the instance; the instance's ending tells which.
pub(super) struct Consumer {
    out: Option<(WriteHalf, Done)>,
    counters: Arc<Counters>,
    ending: Arc<Ending>,
    activity: Arc<AtomicU64>,
    /// A limit holds the next bytes back until then.
    pause: Pause,
    /// Bytes were taken and the transport has yet to take them from us.
    flushing: bool,
}

impl Consumer {
    pub(super) fn new(
        writer: WriteHalf,
        done: Done,
        counters: Arc<Counters>,
        ending: Arc<Ending>,
        activity: Arc<AtomicU64>,
    ) -> Self {
        Self {
            out: Some((writer, done)),
            counters,
            ending,
            activity,
            pause: Pause::default(),
            flushing: false,
        }
    }

    fn fail(&mut self, error: io::Error) -> Poll<wasmtime::Result<StreamResult>> {
        if let Some((writer, done)) = self.out.take() {
            writer.shared().reset();
            let _ = done.send(splice::told(Err(error)));
        }
        Poll::Ready(Ok(StreamResult::Dropped))
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>, finish: bool) -> Poll<wasmtime::Result<StreamResult>> {
        let Some((writer, _)) = self.out.as_mut() else {
            return Poll::Ready(Ok(StreamResult::Dropped));
        };
        match Pin::new(writer).poll_flush(cx) {
            Poll::Ready(Err(error)) => self.fail(error),
            Poll::Pending if !finish => {
                self.flushing = true;
                Poll::Pending
            }
            // The bytes are taken; what remains of the flush is done before the next ones or at the end.
            Poll::Ready(Ok(())) | Poll::Pending => {
                self.flushing = false;
                Poll::Ready(Ok(StreamResult::Completed))
            }
        }
    }
}

impl<D> StreamConsumer<D> for Consumer {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        bytes: Bytes<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let this = &mut *self;
        if this.flushing {
            return this.poll_flushed(cx, finish);
        }
        if this.pause.poll(cx).is_pending() {
            return match finish {
                true => Poll::Ready(Ok(StreamResult::Cancelled)),
                false => Poll::Pending,
            };
        }
        let Some((writer, _)) = this.out.as_mut() else {
            return Poll::Ready(Ok(StreamResult::Dropped));
        };
        let mut bytes = bytes.as_direct(store);
        if bytes.remaining().is_empty() {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let most = throttle::portion(writer.shared().throttles());
        let portion = bytes.remaining();
        let portion = portion.get(..most).unwrap_or(portion);
        match Pin::new(&mut *writer).poll_write(cx, portion) {
            Poll::Ready(Ok(0)) => this.fail(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(count)) => {
                bytes.mark_read(count);
                if writer.shared().peer.is_some() {
                    this.counters.bytes_out.fetch_add(count as u64, Ordering::Relaxed);
                }
                this.activity.fetch_add(1, Ordering::Relaxed);
                this.pause.start(&this.counters, writer.shared(), count);
                this.poll_flushed(cx, finish)
            }
            Poll::Ready(Err(error)) => this.fail(error),
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let Some((mut writer, done)) = self.out.take() else {
            return;
        };
        if self.ending.failed() {
            writer.shared().reset();
            return;
        }
        self.ending.finish(async move {
            let shut = timeout(CLOSE_TIMEOUT, writer.shutdown()).await;
            let outcome = shut.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            if outcome.is_err() {
                writer.shared().reset();
            }
            drop(writer);
            let _ = done.send(splice::told(outcome));
        });
    }
}
