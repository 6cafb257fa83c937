//! What keeps one client from hurting the others, and its going away from leaving things half done.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::Method,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use peerup_api::MAX_BODY;
use peerup_model::{ErrorCode, Failure};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{LAST_ANSWERS, answer::Refusal};
use crate::app::App;

/// How long a client may read nothing of what waits for it.
const STALL_TIME: Duration = Duration::from_secs(120);
/// How long a client may take to send a request's body.
const BODY_TIME: Duration = Duration::from_secs(30);
/// Of a body that is too long so much is read and thrown away, so that the client gets to read why it is refused.
const MAX_DISCARDED: usize = 16 * MAX_BODY;

/// Reads the body, whatever the endpoint makes of it: whoever is answered before it has sent everything would
/// find a broken connection.
pub(super) async fn whole_body(request: Request<Body>, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let message = match tokio::time::timeout(BODY_TIME, read(body)).await {
        Ok(Ok(Some(body))) => return next.run(Request::from_parts(parts, body.into())).await,
        Ok(Ok(None)) => "the body is longer than 1 MiB".to_owned(),
        Ok(Err(error)) => format!("the body breaks off: {error}"),
        Err(_) => format!("the body did not come within {BODY_TIME:?}"),
    };
    Refusal(Failure::new(ErrorCode::Invalid, message)).into_response()
}

/// Returns the body; none for one that is too long.
async fn read(mut body: Body) -> Result<Option<Bytes>, axum::Error> {
    let (mut whole, mut length) = (Vec::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > MAX_DISCARDED {
            break;
        }
        match length <= MAX_BODY {
            true => whole.extend_from_slice(&data),
            false => whole = Vec::new(),
        }
    }
    Ok((length <= MAX_BODY).then(|| whole.into()))
}

/// Who carries changes on.
#[derive(Debug, Clone)]
pub(super) struct Keeper {
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Keeper {
    pub(super) fn new(app: &App) -> Self {
        Self {
            tasks: app.tasks.clone(),
            shutdown: app.shutdown.clone(),
        }
    }
}

/// Carries every change through to its end, whether or not the client stays to hear of it.
pub(super) async fn to_the_end(State(keeper): State<Keeper>, request: Request<Body>, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let shutdown = keeper.shutdown;
    let running = keeper.tasks.spawn(async move {
        tokio::select! {
            biased;
            response = next.run(request) => Some(response),
            () = async {
                shutdown.cancelled().await;
                tokio::time::sleep(LAST_ANSWERS).await;
            } => None,
        }
    });
    let failure = match running.await {
        Ok(Some(response)) => return response,
        Ok(None) => Failure::new(ErrorCode::Interrupted, "the daemon is ending"),
        Err(error) => Failure::new(ErrorCode::Failed, format!("the request ended early: {error}"))
            .with_hint("see the daemon's log"),
    };
    Refusal(failure).into_response()
}

/// A connection that breaks where the other end takes nothing for [`STALL_TIME`].
#[derive(Debug)]
pub(super) struct Stalling<T> {
    io: T,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T> Stalling<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, stalled: None }
    }

    fn watch<R>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL_TIME)));
        match stalled.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client reads nothing",
            ))),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stalling<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stalling<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{Router, middleware, routing::get};
    use serde_json::Value;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
        sync::{Notify, mpsc},
        task::JoinHandle,
        time::Instant,
    };

    use super::*;
    use crate::http::{
        HEAD_TIME,
        answer::{Format, JsonBody},
        serve_connection,
    };

    /// An API with an endpoint that takes a body, one that streams without end, and one that tells a little each
    /// minute; and a client's end of a connection to it.
    fn served() -> (DuplexStream, JoinHandle<()>) {
        async fn endless() -> Response {
            let (sender, lines) = mpsc::channel(4);
            tokio::spawn(
                async move { while sender.send(Bytes::from_static(&[b'x'; 1024])).await.is_ok() {} },
            );
            Format::Json.stream(lines)
        }
        async fn rare() -> Response {
            let (sender, lines) = mpsc::channel(4);
            tokio::spawn(async move {
                while sender.send(Bytes::from_static(b"line\n")).await.is_ok() {
                    tokio::time::sleep(STALL_TIME * 2).await;
                }
            });
            Format::Json.stream(lines)
        }
        async fn body(JsonBody(value): JsonBody<Value>) -> Response {
            Format::Json.answer(value)
        }
        let routes = get(endless).post(body);
        let router = Router::new()
            .route("/", routes)
            .route("/rare", get(rare))
            .layer(middleware::from_fn(whole_body));
        let (near, far) = tokio::io::duplex(4096);
        (near, tokio::spawn(serve_connection(far, router)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_comes_byte_by_byte_is_cut_off() {
        let (mut client, served) = served();
        let started = Instant::now();
        while client.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        served.await.unwrap();
        assert!(started.elapsed() <= HEAD_TIME + Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_closed() {
        let (client, served) = served();
        let started = Instant::now();
        served.await.unwrap();
        assert!(started.elapsed() <= HEAD_TIME + Duration::from_secs(2));
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_byte_by_byte_is_answered_with_an_error() {
        let (client, served) = served();
        let (mut reader, mut writer) = tokio::io::split(client);
        let writing = tokio::spawn(async move {
            let head = b"POST / HTTP/1.1\r\nHost: peerup\r\nContent-Length: 900000\r\n\r\n[";
            writer.write_all(head).await.unwrap();
            while writer.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let started = Instant::now();
        let mut answer = String::new();
        reader.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("did not come within"), "{answer}");
        assert!(started.elapsed() <= BODY_TIME + Duration::from_secs(5));
        served.await.unwrap();
        writing.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_request_began_is_done_when_its_client_is_gone() {
        let (began, may_end, done) = (
            Arc::new(Notify::new()),
            Arc::new(Notify::new()),
            Arc::new(Notify::new()),
        );
        let signals = (began.clone(), may_end.clone(), done.clone());
        let change = move || {
            let (began, may_end, done) = signals.clone();
            async move {
                began.notify_one();
                may_end.notified().await;
                done.notify_one();
                "done"
            }
        };
        let keeper = Keeper {
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        };
        let router = Router::new()
            .route("/", axum::routing::post(change))
            .layer(middleware::from_fn_with_state(keeper, to_the_end));
        let (mut client, far) = tokio::io::duplex(4096);
        let served = tokio::spawn(serve_connection(far, router));
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: peerup\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
        began.notified().await;
        drop(client);
        served.await.unwrap();

        may_end.notify_one();
        done.notified().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_hangs_or_panics_is_answered_for() {
        async fn send(router: Router, shutdown: Option<CancellationToken>) -> String {
            let (mut client, far) = tokio::io::duplex(4096);
            tokio::spawn(serve_connection(far, router));
            client
                .write_all(
                    b"POST / HTTP/1.1\r\nHost: peerup\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                )
                .await
                .unwrap();
            if let Some(shutdown) = shutdown {
                shutdown.cancel();
            }
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            answer
        }
        async fn hangs() -> String {
            std::future::pending().await
        }
        async fn panics() -> String {
            panic!("a fault of ours")
        }
        let keeper = Keeper {
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        };
        let keeping = || middleware::from_fn_with_state(keeper.clone(), to_the_end);
        let router = Router::new()
            .route("/", axum::routing::post(panics))
            .layer(keeping());
        let answer = send(router, None).await;
        assert!(
            answer.starts_with("HTTP/1.1 500") && answer.contains("\"failed\""),
            "{answer}"
        );
        let router = Router::new()
            .route("/", axum::routing::post(hangs))
            .layer(keeping());
        let answer = send(router, Some(keeper.shutdown.clone())).await;
        assert!(answer.contains("\"interrupted\""), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_of_a_stream_is_cut_off() {
        let (mut client, served) = served();
        let started = Instant::now();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: peerup\r\n\r\n")
            .await
            .unwrap();
        served.await.unwrap();
        assert!(started.elapsed() >= STALL_TIME);
        assert!(started.elapsed() <= STALL_TIME + Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_slowly_and_a_stream_that_is_silent_go_on() {
        let (mut client, served_slowly) = served();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: peerup\r\n\r\n")
            .await
            .unwrap();
        let mut buffer = [0; 512];
        for _ in 0..200 {
            tokio::time::sleep(STALL_TIME / 3).await;
            client.read_exact(&mut buffer).await.unwrap();
        }
        assert!(!served_slowly.is_finished());

        let (mut client, served_rarely) = served();
        client
            .write_all(b"GET /rare HTTP/1.1\r\nHost: peerup\r\n\r\n")
            .await
            .unwrap();
        let mut seen = String::new();
        while seen.matches("line").count() < 20 {
            let read = client.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0, "{seen}");
            seen.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        assert!(!served_rarely.is_finished());
    }
}
