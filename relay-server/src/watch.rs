//! Watches the list of authorised peers, and tells when another hand has changed it.
//!
//! A look at the file's metadata a few times a second: editors replace the file, tools append to it, and network
//! file systems tell nobody, but all of them leave another time, size or inode. Owns nothing but its
//! last look; the server decides what to do with a change.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How often the file is looked at: a removed peer is to be gone within a second.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// How long a changed file has to stay the same before the change is told: an editor that empties a file and
/// then writes it must not lock everybody out in between.
const SETTLE_TIME: Duration = Duration::from_millis(50);
/// Looks at a file that keeps changing before it is read all the same.
const SETTLE_LOOKS: usize = 6;

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
            seen = settled(&path, now).await;
            // A full queue holds a note already, and its reader reads the file afterwards.
            let _ = changed.try_send(());
        }
    }
}

/// Waits until two looks in a row find the same file, and returns its stamp.
async fn settled(path: &PathBuf, mut last: FileStamp) -> FileStamp {
    for _ in 0..SETTLE_LOOKS {
        sleep(SETTLE_TIME).await;
        let now = FileStamp::of(path).await;
        if now == last {
            break;
        }
        last = now;
    }
    last
}
