//! The relay's admin socket: a Unix socket beside the config, for the operator's commands to a running relay.
//!
//! A connection carries one request, a line of JSON, and one answer. The socket has mode 0600, and who is asking is
//! compared with the kernel's word: the user who runs the relay, or root. Everything is bounded in size and time.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use peerup_api::ConfigApplyRequest;
use peerup_config::{MAX_CONFIG_BYTES, Plan, parse_relay, plan_relay};
use peerup_model::{ErrorCode, Failure};
use peerup_ops::{AcceptBounds, Guarded, accept_own};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::failure::config_failure;
use crate::keeper::ConfigKeeper;
use crate::snapshot::RelaySnapshot;

/// The longest request, in bytes: a config, every byte of it escaped, and a little more.
const MAX_REQUEST: u64 = 6 * MAX_CONFIG_BYTES + (4 << 10);
/// The longest answer, in bytes: a relay with ten thousand peers.
const MAX_ANSWER: u64 = 8 << 20;
/// Connections at once. A request that is under way at the end is not worth waiting for.
const BOUNDS: AcceptBounds = AcceptBounds {
    connections: 16,
    last_answers: Duration::ZERO,
};
/// How long a connection may take in all.
const EXCHANGE_TIME: Duration = Duration::from_secs(30);

/// What an operator asks of a running relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum AdminRequest {
    /// Say that somebody is there.
    Ping,
    /// Describe the relay.
    Status,
    /// Read config and list again.
    Reload,
    /// Close the connections of a peer: its id, or the beginning of one that is connected.
    Disconnect {
        /// The peer.
        peer: String,
    },
    /// Say how the config stands, with the last good ones.
    ConfigStatus,
    /// Say what this config would change of what is in force.
    ConfigPlan {
        /// Its text.
        config: String,
    },
    /// Put this config in the place of the one in use, and in force.
    ConfigApply {
        /// Its text.
        config: String,
        /// After how many milliseconds it reverts unless somebody confirms it; none applies it for good.
        #[serde(default)]
        confirm_timeout_ms: Option<u64>,
        /// Who asks, in words.
        #[serde(default)]
        by: Option<String>,
    },
    /// Keep the config that waits.
    ConfigConfirm,
    /// Take back what waits, or bring a last good config back.
    ConfigRollback {
        /// Which of the last good ones.
        #[serde(default)]
        generation: Option<usize>,
    },
}

/// The answer: one of the two.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AdminAnswer {
    Data(serde_json::Value),
    Error(Failure),
}

/// What `status` tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StatusAnswer {
    /// `ok`, or `degraded` where a check does not pass, a listener has closed or there is a problem.
    pub(crate) status: String,
    pub(crate) peer_id: String,
    pub(crate) version: String,
    pub(crate) uptime_seconds: u64,
    pub(crate) connected_peers: usize,
    pub(crate) members: usize,
    pub(crate) guests: usize,
    pub(crate) reservations: usize,
    pub(crate) max_reservations: u32,
    pub(crate) circuits: u64,
    pub(crate) max_circuits: u32,
    pub(crate) listeners: usize,
    pub(crate) asn_prefixes: usize,
    /// Keys of the config that changed and wait for the next start.
    pub(crate) waits_for_restart: Vec<String>,
    /// What of the relay's files does not load or is not in force, a sentence each.
    #[serde(default)]
    pub(crate) problems: Vec<String>,
    pub(crate) peers: Vec<PeerAnswer>,
}

/// One connected peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PeerAnswer {
    pub(crate) peer_id: String,
    pub(crate) connections: usize,
    pub(crate) address: String,
    pub(crate) age_seconds: u64,
}

impl StatusAnswer {
    fn of(relay: RelaySnapshot, problems: Vec<String>) -> Self {
        let status = match problems.is_empty() {
            true => relay.health(),
            false => "degraded",
        };
        Self {
            status: status.to_owned(),
            peer_id: relay.peer_id.to_base58(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: relay.uptime.as_secs(),
            connected_peers: relay.peers.len(),
            members: relay.members,
            guests: relay.guests,
            reservations: relay.reservations,
            max_reservations: relay.limits.max_reservations,
            circuits: relay.circuits,
            max_circuits: relay.limits.max_circuits,
            listeners: relay.listeners,
            asn_prefixes: relay.asn_prefixes,
            waits_for_restart: relay
                .waits_for_restart
                .iter()
                .map(|key| (*key).to_owned())
                .collect(),
            problems,
            peers: relay
                .peers
                .iter()
                .map(|peer| PeerAnswer {
                    peer_id: peer.peer.to_base58(),
                    connections: peer.connections,
                    address: peer.address.to_string(),
                    age_seconds: peer.age.as_secs(),
                })
                .collect(),
        }
    }
}

/// Returns where the socket of the relay with this config is.
pub(crate) fn socket_path(config: &Path) -> PathBuf {
    config.with_extension("sock")
}

/// A socket that is this relay's. Its file is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    path: PathBuf,
    inode: (u64, u64),
    listener: Option<UnixListener>,
}

impl AdminSocket {
    /// Takes the socket of this config over, unless another relay answers on it.
    pub(crate) async fn claim(config: &Path) -> Result<Self, Failure> {
        let path = socket_path(config);
        let failed = |error: io::Error| {
            Failure::new(
                ErrorCode::Failed,
                format!("{} cannot be used: {error}", path.display()),
            )
            .with_hint(
                "the relay keeps its admin socket beside the config: check the folder's owner and rights",
            )
        };
        if UnixStream::connect(&path).await.is_ok() {
            let message = format!("another relay-server already answers on {}", path.display());
            return Err(Failure::new(ErrorCode::Conflict, message)
                .with_hint("use it, or end it first; two relays with one identity break each other"));
        }
        match fs::symlink_metadata(&path) {
            Ok(found) if !found.file_type().is_socket() => {
                let message = format!("{} exists and is no socket", path.display());
                return Err(
                    Failure::new(ErrorCode::Conflict, message).with_hint("look at it and move it away")
                );
            }
            Ok(_) => fs::remove_file(&path).map_err(failed)?,
            Err(_) => {}
        }
        let listener = bind(&path).map_err(failed)?;
        let found = fs::symlink_metadata(&path).map_err(failed)?;
        Ok(Self {
            inode: (found.dev(), found.ino()),
            path,
            listener: Some(listener),
        })
    }

    /// Whether the path still leads to this socket.
    pub(crate) fn is_ours(path: &Path, inode: (u64, u64)) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == inode)
    }

    /// Returns what tells this socket from another in its place.
    pub(crate) fn identity(&self) -> (PathBuf, (u64, u64)) {
        (self.path.clone(), self.inode)
    }

    /// Returns the listener; none after the first call.
    pub(crate) fn listener(&mut self) -> Option<UnixListener> {
        self.listener.take()
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if Self::is_ours(&self.path, self.inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "could not be removed");
        }
    }
}

/// Binds in a folder that is ours alone and moves the socket to its place with mode 0600: nobody else ever finds it
/// open.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let private = tempfile::Builder::new()
        .prefix(".s-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(folder.unwrap_or(Path::new(".")))?;
    let made = private.path().join("s");
    let listener = UnixListener::bind(&made)?;
    fs::set_permissions(&made, fs::Permissions::from_mode(0o600))?;
    fs::rename(&made, path)?;
    Ok(listener)
}

/// Serves until `stop` is cancelled.
pub(crate) async fn serve(listener: UnixListener, keeper: Arc<ConfigKeeper>, stop: CancellationToken) {
    let serve = move |stream| {
        let keeper = keeper.clone();
        async move {
            match timeout(EXCHANGE_TIME, exchange(stream, &keeper)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "an admin request broke off"),
                Err(_) => tracing::debug!("an admin request took too long"),
            }
        }
    };
    accept_own(listener, "the admin socket", BOUNDS, stop, serve).await;
}

async fn exchange(stream: UnixStream, keeper: &Arc<ConfigKeeper>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(MAX_REQUEST))
        .read_line(&mut line)
        .await?;
    let answered = match serde_json::from_str::<AdminRequest>(&line) {
        Ok(request) => answer(request, keeper).await,
        Err(error) => Err(Failure::new(
            ErrorCode::Invalid,
            format!("this is no request of this release: {error}"),
        )),
    };
    let answer = match answered {
        Ok(data) => AdminAnswer::Data(data),
        Err(failure) => AdminAnswer::Error(failure),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    writer.write_all(&text).await?;
    writer.shutdown().await
}

async fn answer(request: AdminRequest, keeper: &Arc<ConfigKeeper>) -> Result<serde_json::Value, Failure> {
    let control = keeper.control();
    match request {
        AdminRequest::Ping => {
            control.health().await.map_err(failed)?;
            Ok(serde_json::json!({ "status": "ok" }))
        }
        AdminRequest::Status => {
            let snapshot = control.snapshot().await.map_err(failed)?;
            let problems = keeper.problems(&snapshot);
            serde_json::to_value(StatusAnswer::of(snapshot, problems)).map_err(failed)
        }
        AdminRequest::Reload => {
            let reloaded = keeper.reload().await?;
            Ok(serde_json::json!({
                "status": "reloaded", "live": reloaded.live, "waits_for_restart": reloaded.waits_for_restart,
            }))
        }
        AdminRequest::Disconnect { peer } => {
            let snapshot = control.snapshot().await.map_err(failed)?;
            let connected: Vec<PeerId> = snapshot.peers.iter().map(|one| one.peer).collect();
            let peer = named(&peer, &connected)?;
            let connections = control.disconnect(peer).await.map_err(failed)?;
            Ok(serde_json::json!({
                "status": "disconnected", "peer_id": peer.to_base58(), "connections": connections,
            }))
        }
        request => answer_config(request, keeper).await,
    }
}

async fn answer_config(
    request: AdminRequest,
    keeper: &Arc<ConfigKeeper>,
) -> Result<serde_json::Value, Failure> {
    let outcome = match request {
        AdminRequest::ConfigApply {
            config,
            confirm_timeout_ms,
            by,
        } => {
            let request = ConfigApplyRequest {
                config,
                confirm_timeout_ms,
                confirm_if: Vec::new(),
                by,
            };
            peerup_ops::apply_config(keeper, request).await?
        }
        AdminRequest::ConfigConfirm => peerup_ops::confirm_config(keeper).await?,
        AdminRequest::ConfigRollback { generation } => {
            peerup_ops::roll_back_config(keeper, generation).await?
        }
        AdminRequest::ConfigPlan { config } => {
            let loaded =
                parse_relay(&config, keeper.config_file()).map_err(|error| config_failure(&error))?;
            let plan = plan_relay(&keeper.in_force(), &loaded.config);
            let waits = keeper.would_wait(&loaded.config);
            return planned(&plan, waits).map_err(failed);
        }
        _ => {
            let status = peerup_ops::config_status(keeper).await?;
            return serde_json::to_value(status).map_err(failed);
        }
    };
    serde_json::to_value(outcome).map_err(failed)
}

/// Returns a plan as `config plan` tells it: with the keys that wait for the next start, which may be no change any more.
pub(crate) fn planned(plan: &Plan, waits_for_restart: Vec<String>) -> serde_json::Result<serde_json::Value> {
    let mut value = serde_json::to_value(plan)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("waits_for_restart".to_owned(), waits_for_restart.into());
    }
    Ok(value)
}

fn named(text: &str, connected: &[PeerId]) -> Result<PeerId, Failure> {
    let found = crate::peer_name::named(text, connected)?;
    found.filter(|peer| connected.contains(peer)).ok_or_else(|| {
        Failure::new(ErrorCode::NotFound, format!("{text} is not connected"))
            .with_hint("`relay-server status` shows who is")
    })
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(ErrorCode::Failed, error.to_string())
}

/// Says that no relay answers on this socket, and why.
pub(crate) fn not_answering(path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new(
        ErrorCode::NoDaemon,
        format!("no relay answers on {}: {error}", path.display()),
    );
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            failure.with_hint("run this as the user who runs the relay, or as root")
        }
        _ => failure.with_hint("start it with `relay-server`, or name its config with --config"),
    }
}

/// Whether a relay with this config listens on its socket.
///
/// # Errors
/// There may be one that this user may not ask.
pub(crate) async fn knock(config: &Path) -> io::Result<bool> {
    match UnixStream::connect(socket_path(config)).await {
        Ok(_) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Sends a request to the relay with this config, and returns the answer's data.
pub(crate) async fn ask(config: &Path, request: &AdminRequest) -> Result<serde_json::Value, Failure> {
    let path = socket_path(config);
    let mut stream = UnixStream::connect(&path)
        .await
        .map_err(|error| not_answering(&path, &error))?;
    let exchanged = async {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut text = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut text).await?;
        serde_json::from_slice::<AdminAnswer>(&text).map_err(io::Error::from)
    };
    match timeout(EXCHANGE_TIME, exchanged).await {
        Ok(Ok(AdminAnswer::Data(data))) => Ok(data),
        Ok(Ok(AdminAnswer::Error(failure))) => Err(failure),
        Ok(Err(error)) => Err(failed(format!("the relay's answer cannot be read: {error}"))),
        Err(_) => Err(Failure::new(
            ErrorCode::TimedOut,
            format!("the relay did not answer within {} s", EXCHANGE_TIME.as_secs()),
        )
        .with_hint("see its log; its watchdog restarts one that stands still")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_lines_that_people_can_write() {
        let disconnect = AdminRequest::Disconnect {
            peer: "12D3KooW".to_owned(),
        };
        let text = r#"{"command":"disconnect","peer":"12D3KooW"}"#;
        assert_eq!(serde_json::to_string(&disconnect).unwrap(), text);
        assert_eq!(serde_json::from_str::<AdminRequest>(text).unwrap(), disconnect);
        for bad in [
            "",
            "{}",
            r#"{"command":"dance"}"#,
            r#"{"command":"disconnect"}"#,
            "[]",
        ] {
            assert!(serde_json::from_str::<AdminRequest>(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_stale_socket_is_taken_over_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("relay-server.yaml");
        let path = socket_path(&config);
        drop(UnixListener::bind(&path).unwrap());

        let first = AdminSocket::claim(&config).await.unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = AdminSocket::claim(&config).await.unwrap_err();
        assert_eq!(second.code, ErrorCode::Conflict);
        assert!(path.exists());

        drop(first);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        let refused = AdminSocket::claim(&config).await.unwrap_err();
        assert!(refused.message.contains("no socket"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
