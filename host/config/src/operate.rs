//! What a config says of operating the process: its log, its metrics, its health endpoint. The same for nodes and
//! relays.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use crate::{
    raw::{RawHealth, RawLog, RawMetrics},
    values::{self, Reader, at},
};

const DEFAULT_MAX_SIZE: u64 = 10 << 20;
const DEFAULT_KEEP: u32 = 5;
/// Below this a file holds a few lines.
const LEAST_SIZE: u64 = 64 << 10;
const MAX_KEEP: u32 = 1000;
const HEALTH_PORT: u16 = 9090;
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Where and how much a process logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The file to log to; none is standard error.
    pub file: Option<PathBuf>,
    /// `error`, `warn`, `info`, `debug` or `trace`; none is the usual level. The command line goes before it.
    pub level: Option<String>,
    /// The size at which a file is set aside, in bytes.
    pub max_size: u64,
    /// Files that are kept, the one that is written to among them.
    pub keep: u32,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            file: None,
            level: None,
            max_size: DEFAULT_MAX_SIZE,
            keep: DEFAULT_KEEP,
        }
    }
}

/// Where a node answers scrapes besides its API socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MetricsConfig {
    /// The address; none is nowhere.
    pub listen: Option<SocketAddr>,
}

pub(crate) fn log_config(raw: Option<RawLog>, reader: &mut Reader<'_>) -> LogConfig {
    let raw = raw.unwrap_or_default();
    let default = LogConfig::default();
    let level = raw.level.and_then(|level| {
        let known = match LEVELS.contains(&level.as_str()) {
            true => Ok(level),
            false => Err(format!("{level:?} is none of {}", LEVELS.join(", "))),
        };
        reader.take(at!["log", "level"], known)
    });
    let max_size = raw.max_size.and_then(|text| {
        let size = values::size(&text).and_then(|size| match size {
            LEAST_SIZE.. => Ok(size),
            _ => Err(format!("{text:?} is less than 64KB")),
        });
        reader.take(at!["log", "max_size"], size)
    });
    LogConfig {
        file: reader.optional_file(at!["log", "file"], raw.file),
        level,
        max_size: max_size.unwrap_or(default.max_size),
        keep: reader.count(at!["log", "keep"], raw.keep, default.keep, MAX_KEEP),
    }
}

pub(crate) fn metrics_config(raw: Option<RawMetrics>, reader: &mut Reader<'_>) -> MetricsConfig {
    let listen = raw.unwrap_or_default().listen;
    MetricsConfig {
        listen: listen.and_then(|text| listen_address(at!["metrics", "listen"], &text, reader)),
    }
}

/// Returns where the health endpoint listens; none where it is off.
pub(crate) fn health_config(raw: Option<RawHealth>, reader: &mut Reader<'_>) -> Option<SocketAddr> {
    let raw = raw.unwrap_or_default();
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, HEALTH_PORT));
    let address = match raw.listen_address {
        Some(text) => listen_address(at!["health", "listen_address"], &text, reader),
        None => Some(default),
    };
    address.filter(|_| raw.enabled.unwrap_or(false))
}

fn listen_address(path: &[crate::document::Step], text: &str, reader: &mut Reader<'_>) -> Option<SocketAddr> {
    let parsed = text.parse::<SocketAddr>().map_err(|_| {
        format!("{text:?} is not an IP address with a port, such as 127.0.0.1:9091 or [::1]:9091")
    });
    let address = reader.take(path, parsed)?;
    if !address.ip().is_loopback() {
        reader.warning(
            path,
            "whoever reaches this address reads it without a password; 127.0.0.1 keeps it to this machine",
        );
    }
    Some(address)
}
