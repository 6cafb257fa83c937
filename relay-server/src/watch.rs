//! Watches the list of authorised peers, and tells when another hand has changed it.
//!
//! A look at the file's metadata a few times a second: editors replace the file, tools append to it, and network
//! file systems tell nobody, but all of them leave another time, size or inode. Owns nothing but its
//! last look; the server decides what to do with a change.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

/// How often the file is looked at: a removed peer is to be gone within a second.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// What tells one state of a file from the next. All absent for a file that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FileStamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
    changed: (i64, i64),
}

impl FileStamp {
    /// Takes the stamp of a file, following links.
    pub(crate) async fn of(path: &PathBuf) -> Self {
        use std::os::unix::fs::MetadataExt;
        match tokio::fs::metadata(path).await {
            Ok(meta) => Self {
                modified: meta.modified().ok(),
                length: meta.len(),
                inode: meta.ino(),
                changed: (meta.ctime(), meta.ctime_nsec()),
            },
            Err(_) => Self::default(),
        }
    }
}

/// Sends a note for each change of the file since `seen`, until nobody listens. Changes that come while a
/// note waits are one note.
pub(crate) async fn watch_file(path: PathBuf, mut seen: FileStamp, changed: mpsc::Sender<()>) {
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = changed.closed() => return,
            _ = ticks.tick() => {}
        }
        let now = FileStamp::of(&path).await;
        if now != seen {
            seen = now;
            // A full queue holds a note already, and its reader reads the file afterwards.
            let _ = changed.try_send(());
        }
    }
}
