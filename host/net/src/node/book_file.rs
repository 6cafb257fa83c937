//! The address book on disk: `peers.json` in the config folder, mode 0600.
//!
//! [`encode`] and [`decode`] are pure; [`load`] and [`save`] block, so an async caller goes through its blocking pool.
//! The book is a help, never a condition: a file that cannot be used is moved aside and the node starts without.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use libp2p::PeerId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::book::{ADDRESSES_PER_PEER, Book, Entry, MAX_ADDRESS, MAX_NETWORK, PEERS, is_private};
use crate::{address::with_peer, snapshot::AddressSource};

/// The version that this code writes, and the only one that it reads.
const VERSION: u64 = 1;
/// The largest file that is read, and never exceeded when writing.
const MAX_FILE: usize = 1024 * 1024;

/// Why bytes are no address book.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(super) enum DecodeError {
    /// More than [`MAX_FILE`] bytes.
    #[error("it is larger than {MAX_FILE} bytes")]
    TooLarge,
    /// No JSON, or of another shape.
    #[error("it is damaged")]
    Damaged(#[from] serde_json::Error),
    /// Written by a later version.
    #[error("it has version {0}, and only version {VERSION} is known")]
    Version(u64),
}

/// One address in the file. Unknown fields are ignored.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    address: String,
    source: AddressSource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_ok: Option<u64>,
    last_seen: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network: Option<String>,
}

/// The file. Records stay values at first, so that one that makes no sense costs only itself.
#[derive(Debug, Deserialize)]
struct Shape {
    version: u64,
    #[serde(default)]
    peers: serde_json::Map<String, serde_json::Value>,
}

/// The bytes of the file, `now` in Unix seconds: the peers seen last, as many as fit.
pub(super) fn encode(book: &Book, now: u64) -> Vec<u8> {
    let mut text = format!("{{\"version\":{VERSION},\"peers\":{{");
    let end = "\n}}\n";
    let mut separator = "\n";
    for (peer, entries) in book.worth_saving(now) {
        let records: Vec<Record> = entries.into_iter().map(Record::from).collect();
        let Ok(records) = serde_json::to_string(&records) else {
            continue;
        };
        let line = format!("{separator}\"{peer}\":{records}");
        if text.len() + line.len() + end.len() > MAX_FILE {
            break;
        }
        text.push_str(&line);
        separator = ",\n";
    }
    text.push_str(end);
    text.into_bytes()
}

/// The entries in the bytes of a file, `now` in Unix seconds.
///
/// Gives [`PEERS`] peers and [`ADDRESSES_PER_PEER`] addresses of each at most. Records that make no sense are left
/// out, and times that lie ahead, because the clock was wrong then or is now, become `now`.
///
/// # Errors
/// The bytes are no address book at all.
pub(super) fn decode(bytes: &[u8], now: u64) -> Result<Vec<(PeerId, Entry)>, DecodeError> {
    if bytes.len() > MAX_FILE {
        return Err(DecodeError::TooLarge);
    }
    let shape: Shape = serde_json::from_slice(bytes)?;
    if shape.version != VERSION {
        return Err(DecodeError::Version(shape.version));
    }
    let mut entries = Vec::new();
    let peers = shape.peers.into_iter().filter_map(|(peer, records)| {
        let peer: PeerId = peer.parse().ok()?;
        let serde_json::Value::Array(records) = records else {
            return None;
        };
        Some((peer, records))
    });
    for (peer, records) in peers.take(PEERS) {
        let kept = records
            .into_iter()
            .filter_map(|record| serde_json::from_value::<Record>(record).ok())
            .filter_map(|record| record.entry(peer, now))
            .take(ADDRESSES_PER_PEER);
        entries.extend(kept.map(|entry| (peer, entry)));
    }
    Ok(entries)
}

/// Reads the file; a missing one has no entries. One that is damaged or too large is moved to `<path>.bad`, and a
/// warning says so.
pub(super) fn load(path: &Path, now: u64) -> Vec<(PeerId, Entry)> {
    let bytes = match read_bounded(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the address book cannot be read; starting without it");
            return Vec::new();
        }
    };
    decode(&bytes, now).unwrap_or_else(|error| {
        let aside = aside(path);
        let error = std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        match fs::rename(path, &aside) {
            Ok(()) => tracing::warn!(
                path = %path.display(), aside = %aside.display(), error,
                "the address book cannot be used; it was moved aside, and a new one is begun"
            ),
            Err(failure) => tracing::warn!(
                path = %path.display(), error, %failure,
                "the address book cannot be used, nor moved aside; it will be overwritten"
            ),
        }
        Vec::new()
    })
}

/// Replaces the file: whole or not at all, on disk when this returns, readable by its owner only.
///
/// # Errors
/// The folder is missing or cannot be written. The old file is untouched then.
pub(super) fn save(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The builder opens with O_EXCL and mode 0600 under a random name; dropping it removes the file.
    let mut temporary = tempfile::Builder::new()
        .prefix(".peers.")
        .suffix(".tmp")
        .rand_bytes(12)
        .tempfile_in(folder)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|failure| failure.error)?;
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Reads one byte more than is allowed, so that the decoder sees that it is too much. What is no regular file is
/// refused before it is opened, because opening a pipe would wait.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        let reason = "it is not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FILE).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".bad");
    name.into()
}

impl From<&Entry> for Record {
    fn from(entry: &Entry) -> Self {
        Self {
            address: entry.address.to_string(),
            source: entry.source,
            last_ok: entry.last_ok,
            last_seen: entry.last_seen,
            network: entry.network.clone(),
        }
    }
}

impl Record {
    fn entry(self, peer: PeerId, now: u64) -> Option<Entry> {
        let network = self.network.filter(|name| name.len() <= MAX_NETWORK);
        // A multiaddr's text is longer than its bytes, but never this much.
        if self.address.len() > 4 * MAX_ADDRESS {
            return None;
        }
        let address = with_peer(&self.address.parse().ok()?, peer);
        (address.len() <= MAX_ADDRESS).then(|| Entry {
            network: network.filter(|_| is_private(&address)),
            address,
            source: self.source,
            last_ok: self.last_ok.map(|at| at.min(now)),
            last_seen: self.last_seen.min(now),
            given: false,
        })
    }
}

#[cfg(test)]
mod tests;
