//! Waiting until something in the author's folder has changed.

use std::{path::Path, time::Duration};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use peerup_model::Failure;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::command::failed;

/// How long it has to be quiet: an editor writes in several steps.
const QUIET: Duration = Duration::from_millis(200);
/// How long to wait for quiet at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// Folders in which building itself writes.
const SKIPPED: [&str; 5] = ["target", ".git", "build", "node_modules", "__pycache__"];

/// Watches a folder as long as it lives.
pub(super) struct Watch {
    changes: mpsc::Receiver<()>,
    /// The first and the last notice that nobody was told of yet.
    first: Option<Instant>,
    last: Option<Instant>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    pub(super) fn start(folder: &Path) -> Result<Self, Failure> {
        // One waiting notice says as much as many.
        let (sender, changes) = mpsc::channel(1);
        let root = folder.to_owned();
        let heard = move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| matters(&root, &event)) {
                let _ = sender.try_send(());
            }
        };
        let watch = |mut watcher: RecommendedWatcher| {
            watcher.watch(folder, RecursiveMode::Recursive)?;
            Ok(watcher)
        };
        let watcher = notify::recommended_watcher(heard).and_then(watch);
        let watcher =
            watcher.map_err(|error| failed(format!("{} cannot be watched: {error}", folder.display())))?;
        Ok(Self {
            changes,
            first: None,
            last: None,
            _watcher: watcher,
        })
    }

    /// Waits for a change, and until it is quiet after it. Cancel safe: a change that was noticed is remembered.
    pub(super) async fn changed(&mut self) {
        let end = loop {
            if let Some(first) = self.first {
                break first + PATIENCE;
            }
            self.notice().await;
        };
        while self
            .last
            .is_some_and(|last| Instant::now() < (last + QUIET).min(end))
        {
            let quiet = self.last.map_or(end, |last| (last + QUIET).min(end));
            tokio::select! {
                () = self.notice() => {}
                () = sleep_until(quiet) => break,
            }
        }
        (self.first, self.last) = (None, None);
    }

    /// Waits for the next notice and remembers it.
    async fn notice(&mut self) {
        if self.changes.recv().await.is_none() {
            // The watcher lives as long as this.
            std::future::pending::<()>().await;
        }
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
    }
}

/// Whether an event is about a file that the plugin is made of.
fn matters(root: &Path, event: &Event) -> bool {
    let written = event.kind.is_create() || event.kind.is_modify() || event.kind.is_remove();
    written && event.paths.iter().any(|path| is_source(root, path))
}

fn is_source(root: &Path, path: &Path) -> bool {
    let inside = path.strip_prefix(root).unwrap_or(path);
    let skipped = |part: &std::ffi::OsStr| SKIPPED.iter().any(|skipped| part == *skipped);
    let made = path
        .extension()
        .is_some_and(|extension| extension == "peerup" || extension == "wasm");
    !made && !inside.iter().any(skipped) && inside != Path::new("Cargo.lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_that_was_noticed_is_not_lost_when_the_wait_is_given_up() {
        let (sender, changes) = mpsc::channel(1);
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::start(folder.path()).unwrap();
        watch.changes = changes;
        sender.send(()).await.unwrap();
        tokio::select! {
            biased;
            () = watch.changed() => panic!("it was not quiet yet"),
            () = tokio::time::sleep(QUIET / 2) => {}
        }
        let told = tokio::time::timeout(QUIET * 2, watch.changed()).await;
        assert!(told.is_ok(), "the change was lost");
        let more = tokio::time::timeout(PATIENCE, watch.changed()).await;
        assert!(more.is_err(), "one change was told twice");
    }

    #[test]
    fn what_building_writes_is_no_change() {
        let root = Path::new("/home/ada/target/greeter");
        let is = |path: &str| is_source(root, &root.join(path));
        assert!(is("src/lib.rs") && is("plugin.toml") && is("Cargo.toml"));
        for written in [
            "target/release/x",
            "build/app.wasm",
            "Cargo.lock",
            ".git/index",
            "greeter-0.1.0.peerup",
        ] {
            assert!(!is(written), "{written}");
        }
    }
}
