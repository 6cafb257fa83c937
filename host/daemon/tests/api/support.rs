//! A daemon in this process, and requests to its socket that a well-behaved client would not send.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use peerup_api::{COOKIE_FILE, Client, SOCKET_FILE};
use peerup_daemon::{Daemon, DaemonOptions, Mode};
use serde_json::Value;
use tokio::net::UnixStream;

/// Nothing takes longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Node {
    folder: tempfile::TempDir,
    pub(crate) daemon: Daemon,
}

/// What a request came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: StatusCode,
    pub(crate) kind: String,
    pub(crate) body: Bytes,
}

impl Outcome {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

impl Node {
    /// Starts a daemon on loopback that looks for nobody.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = "version: 1\nname: home\nnetwork:\n  listen_addresses:\n    - /ip4/127.0.0.1/tcp/0\n  upnp: false\n\
                    discovery:\n  mdns: false\n  dht: false\ndaemon:\n  cache_dir: cache\n";
        let config = folder.path().join("config.yaml");
        std::fs::write(&config, text).unwrap();
        peerup_trust::create_identity(folder.path().join("identity.key")).unwrap();
        let mode = Mode::Daemon;
        let daemon = Daemon::start(DaemonOptions {
            config,
            mode,
            log: Default::default(),
        })
        .await
        .unwrap();
        Self { folder, daemon }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn cookie(&self) -> String {
        std::fs::read_to_string(self.file(COOKIE_FILE)).unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.folder.path())
    }

    pub(crate) async fn connect(&self) -> UnixStream {
        peerup_api::connect_socket(&self.file(SOCKET_FILE)).await.unwrap()
    }

    /// Returns a request that carries what it has to.
    pub(crate) fn request(&self, method: &str, target: &str) -> hyper::http::request::Builder {
        Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(target)
            .header("host", "localhost")
            .header("authorization", format!("Bearer {}", self.cookie()))
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn begin(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let shown = format!("{} {}", request.method(), request.uri());
        let answered = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(self.connect().await)).await?;
            tokio::spawn(connection);
            sender.send_request(request).await
        };
        tokio::time::timeout(DEADLINE, answered)
            .await
            .unwrap_or_else(|_| panic!("{shown} hangs"))
            .unwrap_or_else(|error| panic!("{shown} breaks the connection: {error}"))
    }

    /// Sends a request and reads its answer: of a stream, which may go on, and of text no more than
    /// the head.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Outcome {
        let shown = format!("{} {}", request.method(), request.uri());
        let response = self.begin(request).await;
        let (status, kind) = (response.status(), kind_of(&response));
        let whole = Limited::new(response.into_body(), 16 << 20).collect();
        let body = match (status, kind.as_str()) {
            (StatusCode::OK, "application/x-ndjson" | "text/plain; charset=utf-8") => Bytes::new(),
            _ => tokio::time::timeout(DEADLINE, whole)
                .await
                .unwrap_or_else(|_| panic!("the answer to {shown} does not end"))
                .unwrap_or_else(|error| panic!("the answer to {shown} breaks off: {error}"))
                .to_bytes(),
        };
        Outcome { status, kind, body }
    }

    pub(crate) async fn call(&self, method: &str, target: &str, body: impl Into<Bytes>) -> Outcome {
        let request = self.request(method, target).body(Full::new(body.into())).unwrap();
        self.send(request).await
    }
}

fn kind_of(response: &Response<Incoming>) -> String {
    let kind = response.headers().get("content-type");
    kind.and_then(|kind| kind.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}
