//! The client of the daemon API: one connection for each request, the cookie read afresh when it was rotated.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, client::conn::http1::SendRequest, header,
};
use hyper_util::rt::TokioIo;
use peerup_model::{ErrorCode, Failure};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};

use crate::{
    socket::{self, COOKIE_FILE, SOCKET_FILE},
    types::{Answer, ErrorBody},
};

/// How often a cookie is read again that was rotated while a request was under way.
const READ_AGAIN: usize = 3;

/// The longest answer that is not a stream.
const MAX_ANSWER: usize = 16 << 20;
/// The longest line of a stream.
const MAX_LINE: usize = 1 << 20;
/// How long a daemon may take to accept a request and begin its answer, where the caller says nothing else.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a request to the daemon failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No daemon answers: there is no socket, or nobody listens on it.
    #[error("no daemon is running for {folder}")]
    NoDaemon {
        /// The config's folder.
        folder: PathBuf,
    },
    /// The socket belongs to somebody else.
    #[error("the daemon's socket or cookie in {folder} cannot be used: {source}")]
    NotOurs {
        /// The config's folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon answered with an error.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// The connection broke before the answer was whole.
    #[error("the daemon went away before it answered: {0}")]
    Broken(String),
    /// The answer is not what this version understands.
    #[error("the daemon's answer cannot be read: {0}")]
    Unreadable(String),
    /// It took too long.
    #[error("the daemon did not answer within {0:?}")]
    TimedOut(Duration),
}

impl ClientError {
    /// Returns this error as the failure that the command line reports.
    pub fn into_failure(self) -> Failure {
        match self {
            Self::Refused(failure) => failure,
            Self::NoDaemon { .. } => {
                Failure::new(ErrorCode::NoDaemon, self.to_string()).with_hint("start it with: peerup daemon")
            }
            Self::NotOurs { .. } => Failure::new(ErrorCode::Denied, self.to_string())
                .with_hint("run the command as the user who runs the daemon"),
            Self::Broken(_) | Self::Unreadable(_) => Failure::new(ErrorCode::Failed, self.to_string())
                .with_hint("see the daemon's log; is it of the same version?"),
            Self::TimedOut(_) => Failure::new(ErrorCode::TimedOut, self.to_string()),
        }
    }
}

/// Makes connections to an API in this very process.
#[derive(Clone)]
pub struct InProcess(Arc<dyn Fn() -> DuplexStream + Send + Sync>);

impl InProcess {
    /// Takes what returns the near end of a new connection each time.
    pub fn new(connect: impl Fn() -> DuplexStream + Send + Sync + 'static) -> Self {
        Self(Arc::new(connect))
    }
}

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InProcess")
    }
}

/// Speaks to the daemon of one config folder, or to a node in this process.
#[derive(Debug, Clone)]
pub struct Client {
    target: Target,
}

#[derive(Debug, Clone)]
enum Target {
    Folder(PathBuf),
    InProcess(InProcess),
}

impl Client {
    /// Creates a client for the daemon whose config lies in this folder. Connects nowhere yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            target: Target::Folder(folder.into()),
        }
    }

    /// Creates a client for a node in this process.
    pub fn in_process(connections: InProcess) -> Self {
        Self {
            target: Target::InProcess(connections),
        }
    }

    /// Returns whether somebody answers: for a folder, whether its socket has a listener.
    pub async fn is_alive(&self) -> bool {
        match &self.target {
            Target::Folder(folder) => socket::connect(&folder.join(SOCKET_FILE)).await.is_ok(),
            Target::InProcess(_) => true,
        }
    }

    /// Sends `GET path` and returns the answer's `data`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.request(Method::GET, path, None, Some(ANSWER_TIMEOUT)).await
    }

    /// Sends `GET path` and waits for the answer as long as it takes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn wait<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.request(Method::GET, path, None, None).await
    }

    /// Sends `POST path` with a JSON body and returns the answer's `data`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.request(Method::POST, path, Some(to_json(body)?), Some(ANSWER_TIMEOUT))
            .await
    }

    /// Sends `PUT path` with a JSON body and returns the answer's `data`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.request(Method::PUT, path, Some(to_json(body)?), Some(ANSWER_TIMEOUT))
            .await
    }

    /// Sends `DELETE path`, with a JSON body where one is given, and returns the answer's `data`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let body = body.map(to_json).transpose()?;
        self.request(Method::DELETE, path, body, Some(ANSWER_TIMEOUT))
            .await
    }

    /// Sends `POST path` and returns the lines of its NDJSON answer as they come.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post_lines(&self, path: &str, body: &impl Serialize) -> Result<EventLines, ClientError> {
        let response = self.send(Method::POST, path, Some(to_json(body)?)).await?;
        if response.status() != StatusCode::OK {
            return Err(read_failure(response).await);
        }
        Ok(EventLines {
            body: response.into_body(),
            buffer: BytesMut::new(),
        })
    }

    /// Sends `GET path` and returns the lines of its NDJSON answer as they come.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get_lines(&self, path: &str) -> Result<EventLines, ClientError> {
        let response = self.send(Method::GET, path, None).await?;
        if response.status() != StatusCode::OK {
            return Err(read_failure(response).await);
        }
        Ok(EventLines {
            body: response.into_body(),
            buffer: BytesMut::new(),
        })
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        deadline: Option<Duration>,
    ) -> Result<T, ClientError> {
        let exchange = async {
            let response = self.send(method, path, body).await?;
            if response.status() != StatusCode::OK {
                return Err(read_failure(response).await);
            }
            let whole = read_body(response).await?;
            let answer: Answer<T> =
                serde_json::from_slice(&whole).map_err(|error| ClientError::Unreadable(error.to_string()))?;
            Ok(answer.data)
        };
        match deadline {
            None => exchange.await,
            Some(limit) => tokio::time::timeout(limit, exchange)
                .await
                .unwrap_or(Err(ClientError::TimedOut(limit))),
        }
    }

    /// Sends one request; a cookie that was rotated in between is read again, a few times where it changes each time.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Response<Incoming>, ClientError> {
        let (mut response, mut refused) = self.send_once(&method, path, body.clone()).await?;
        for _ in 0..READ_AGAIN {
            if response.status() != StatusCode::UNAUTHORIZED {
                break;
            }
            let (next, cookie) = self.send_once(&method, path, body.clone()).await?;
            response = next;
            // One that has not changed is not this daemon's.
            if cookie == refused {
                break;
            }
            refused = cookie;
        }
        Ok(response)
    }

    async fn send_once(
        &self,
        method: &Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<(Response<Incoming>, String), ClientError> {
        let (mut sender, cookie) = self.connect().await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "peerup")
            .header(header::AUTHORIZATION, format!("Bearer {cookie}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| ClientError::Broken(error.to_string()))?;
        let sent = sender.send_request(request).await;
        sent.map(|response| (response, cookie))
            .map_err(|error| ClientError::Broken(error.to_string()))
    }

    async fn connect(&self) -> Result<(SendRequest<Full<Bytes>>, String), ClientError> {
        match &self.target {
            Target::InProcess(connections) => Ok((handshake((connections.0)()).await?, String::new())),
            Target::Folder(folder) => {
                let failed = |source: io::Error| connect_error(folder, source);
                let stream = socket::connect(&folder.join(SOCKET_FILE)).await.map_err(failed)?;
                let cookie = std::fs::read_to_string(folder.join(COOKIE_FILE)).map_err(failed)?;
                Ok((handshake(stream).await?, cookie.trim().to_owned()))
            }
        }
    }
}

async fn handshake(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<SendRequest<Full<Bytes>>, ClientError> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io))
        .await
        .map_err(|error| ClientError::Broken(error.to_string()))?;
    // The connection's task ends with the response's body, which it feeds, or with the sender.
    tokio::spawn(connection);
    Ok(sender)
}

fn connect_error(folder: &Path, source: io::Error) -> ClientError {
    let folder = folder.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput => {
            ClientError::NotOurs { folder, source }
        }
        _ => ClientError::NoDaemon { folder },
    }
}

/// Lines of an NDJSON answer.
#[derive(Debug)]
pub struct EventLines {
    body: Incoming,
    buffer: BytesMut,
}

impl EventLines {
    /// Waits for the next line and reads it as JSON; none at the end. A line `{"error": ...}` is returned
    /// as the error it tells.
    ///
    /// # Errors
    /// See [`ClientError`]. Cancel safe: what was read stays in the buffer.
    pub async fn next(&mut self) -> Result<Option<serde_json::Value>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return parse_line(&line).map(Some);
            }
            if self.buffer.len() > MAX_LINE {
                return Err(ClientError::Unreadable(format!(
                    "a line of more than {MAX_LINE} bytes"
                )));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(ClientError::Broken(error.to_string())),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

fn parse_line(line: &[u8]) -> Result<serde_json::Value, ClientError> {
    let value: serde_json::Value =
        serde_json::from_slice(line).map_err(|error| ClientError::Unreadable(error.to_string()))?;
    let failure = value
        .as_object()
        .filter(|object| object.len() == 1)
        .and_then(|object| object.get("error"));
    if let Some(failure) = failure.filter(|failure| failure.get("code").is_some()) {
        let failure: Failure = serde_json::from_value(failure.clone())
            .map_err(|error| ClientError::Unreadable(error.to_string()))?;
        return Err(failure.into());
    }
    Ok(value)
}

fn to_json(body: &impl Serialize) -> Result<Bytes, ClientError> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(|error| ClientError::Unreadable(error.to_string()))
}

async fn read_body(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let whole = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    whole
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| ClientError::Broken(error.to_string()))
}

async fn read_failure(response: Response<Incoming>) -> ClientError {
    let status = response.status();
    match read_body(response).await {
        Err(error) => error,
        Ok(whole) => match serde_json::from_slice::<ErrorBody>(&whole) {
            Ok(body) => body.error.into(),
            Err(_) => ClientError::Unreadable(format!("HTTP status {status}")),
        },
    }
}
