//! The audit log: what plugins were allowed, denied and suffered, as JSON lines in `audit.jsonl` beside the config.
//!
//! Whoever has something to say hands an [`AuditEvent`] to the [`Audit`] handle, which never waits: a bounded queue
//! and a rate stand before one thread that owns the file. A disk that is full or gone stops nothing; what could not
//! be written is counted and told with the next line that can.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Instant,
};

use jiff::Timestamp;
use peerup_engine::AuditKind;
use peerup_ops::RotatedFile;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::events::Events;

/// The file beside the config.
pub(crate) const AUDIT_FILE: &str = "audit.jsonl";
/// The size at which a file is set aside, in bytes.
const MAX_FILE_BYTES: u64 = 5 << 20;
/// Files that are kept, the one that is written to among them.
const KEPT_FILES: u32 = 3;
/// Events that wait for the disk; more are counted and dropped.
const QUEUE: usize = 1024;
/// Plugins with an allowance of their own; more share one.
const MAX_ALLOWANCES: usize = 64;
/// Events of one plugin that may come at once.
const BURST: f64 = 500.0;
/// Events of one plugin a second that are written in the long run: it can be denied in a loop.
const PER_SECOND: f64 = 1.0;
/// The longest text in an event, in bytes.
const MAX_TEXT_BYTES: usize = 2048;

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct AuditEvent {
    /// When, RFC 3339.
    time: String,
    /// Which plugin; none for what is about all of them or the log itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<String>,
    /// What happened, one word: `activated`, `trap`, `denied`.
    event: &'static str,
    /// The rest, by event.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    detail: serde_json::Value,
}

impl AuditEvent {
    /// Makes an event of now.
    pub(crate) fn new(plugin: Option<&str>, event: &'static str, detail: serde_json::Value) -> Self {
        Self {
            time: Timestamp::now().to_string(),
            plugin: plugin.map(str::to_owned),
            event,
            detail: bounded(detail),
        }
    }
}

/// Cuts long texts of a detail, which may hold a plugin's words.
fn bounded(detail: serde_json::Value) -> serde_json::Value {
    match detail {
        serde_json::Value::String(mut text) => {
            let mut end = text.len().min(MAX_TEXT_BYTES);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            serde_json::Value::String(text)
        }
        serde_json::Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| (key, bounded(value)))
            .collect(),
        other => other,
    }
}

/// The way to the audit log. Cheap to clone; the file is closed when the last one is dropped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Audit {
    file: Option<Arc<Shared>>,
    events: Option<Arc<Events>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Option<SyncSender<AuditEvent>>>,
    allowances: Mutex<HashMap<Option<String>, Allowance>>,
    dropped: Arc<AtomicU64>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Audit {
    /// Writes to this file from now on. A file that cannot be written is told once and tried again with each event.
    pub(crate) fn open(path: PathBuf) -> Self {
        let (sender, events) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = dropped.clone();
        let thread = std::thread::Builder::new().name("audit".to_owned());
        let writer = thread.spawn(move || write_all(&events, AuditFile::new(path), &counted));
        match writer {
            Ok(writer) => Self {
                file: Some(Arc::new(Shared {
                    queue: Mutex::new(Some(sender)),
                    allowances: Mutex::default(),
                    dropped,
                    writer: Mutex::new(Some(writer)),
                })),
                events: None,
            },
            Err(error) => {
                tracing::warn!(%error, "there is no audit log: its thread cannot be started");
                Self::default()
            }
        }
    }

    /// Tells what is recorded to those who follow the events of the node, too.
    #[must_use]
    pub(crate) fn heard_by(mut self, events: Arc<Events>) -> Self {
        self.events = Some(events);
        self
    }

    /// Takes an event. Never blocks; past the rate and the queue events are counted and dropped.
    pub(crate) fn record(&self, event: AuditEvent) {
        let Some(shared) = &self.file else {
            self.tell(&event);
            return;
        };
        let admitted = admit(
            &mut lock(&shared.allowances),
            event.plugin.clone(),
            Instant::now(),
        );
        if admitted {
            self.tell(&event);
        }
        let sent = admitted
            && lock(&shared.queue)
                .as_ref()
                .is_some_and(|queue| queue.try_send(event).is_ok());
        if !sent {
            shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tell(&self, event: &AuditEvent) {
        if let Some(events) = &self.events {
            events.tell_plugin(event.plugin.as_deref(), event.event, &event.detail);
        }
    }

    /// Takes what the engine tells of grants used, denials and limits met, until the node ends.
    pub(crate) async fn take(
        self,
        mut told: mpsc::Receiver<peerup_engine::AuditEvent>,
        shutdown: CancellationToken,
    ) {
        loop {
            let event = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                event = told.recv() => event,
            };
            let Some(event) = event else { return };
            self.record_told(&event);
        }
        while let Ok(event) = told.try_recv() {
            self.record_told(&event);
        }
    }

    fn record_told(&self, event: &peerup_engine::AuditEvent) {
        if let Some((word, detail)) = described(&event.what) {
            self.record(AuditEvent::new(Some(event.plugin.as_str()), word, detail));
        }
    }

    /// How many events were dropped and not yet told in the file.
    pub(crate) fn dropped(&self) -> u64 {
        let shared = self.file.as_ref();
        shared.map_or(0, |shared| shared.dropped.load(Ordering::Relaxed))
    }

    /// Waits until what was recorded is written. Blocks on the disk; later events are dropped.
    pub(crate) fn close(&self) {
        let Some(shared) = &self.file else { return };
        lock(&shared.queue).take();
        if let Some(writer) = lock(&shared.writer).take() {
            // A writer that panicked has nothing left to wait for.
            let _ = writer.join();
        }
    }
}

/// What the engine tells, as a word and the rest. Traps are the supervisor's to tell.
fn described(what: &AuditKind) -> Option<(&'static str, serde_json::Value)> {
    Some(match what {
        AuditKind::GrantUsed { grant, on, run } => (
            "grant-used",
            serde_json::json!({ "grant": grant, "on": on, "run": run.to_string() }),
        ),
        AuditKind::Denied { text, left_out } => (
            "denied",
            serde_json::json!({ "reason": text, "left_out": left_out }),
        ),
        AuditKind::LimitHit { limit, left_out } => (
            "limit",
            serde_json::json!({ "limit": limit, "left_out": left_out }),
        ),
        _ => return None,
    })
}

/// Each plugin has an allowance of its own, so that one that is denied in a loop drowns nobody else's events.
fn admit(allowances: &mut HashMap<Option<String>, Allowance>, plugin: Option<String>, now: Instant) -> bool {
    let key = match allowances.len() < MAX_ALLOWANCES || allowances.contains_key(&plugin) {
        true => plugin,
        false => None,
    };
    allowances
        .entry(key)
        .or_insert_with(|| Allowance::new(now))
        .admit(now)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many more events may come.
#[derive(Debug)]
struct Allowance {
    left: f64,
    refilled: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            refilled: now,
        }
    }

    fn admit(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.left = (self.left + passed * PER_SECOND).min(BURST);
        let is_room = self.left >= 1.0;
        if is_room {
            self.left -= 1.0;
        }
        is_room
    }
}

fn write_all(events: &Receiver<AuditEvent>, mut file: AuditFile, dropped: &AtomicU64) {
    for event in events {
        let missing = dropped.swap(0, Ordering::Relaxed);
        let mut written = Ok(());
        if missing > 0 {
            let note = AuditEvent::new(None, "dropped", serde_json::json!({ "events": missing }));
            written = file.write(&note);
        }
        if written.is_err() {
            dropped.fetch_add(missing + 1, Ordering::Relaxed);
        } else if file.write(&event).is_err() {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The file, and whether it was told that it cannot be written.
#[derive(Debug)]
struct AuditFile {
    file: RotatedFile,
    told: bool,
}

impl AuditFile {
    fn new(path: PathBuf) -> Self {
        Self {
            file: RotatedFile::new(path, MAX_FILE_BYTES, KEPT_FILES),
            told: false,
        }
    }

    fn write(&mut self, event: &AuditEvent) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        let outcome = self.file.write_line(&line);
        let path = self.file.path().display();
        match &outcome {
            Ok(()) => {
                if std::mem::take(&mut self.told) {
                    tracing::info!(%path, "the audit log is written again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!(
                        %path, %error,
                        "the audit log cannot be written; events are counted and dropped until it can"
                    );
                }
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use super::*;

    fn event(text: &str) -> AuditEvent {
        AuditEvent::new(Some("chess"), "trap", serde_json::json!({ "reason": text }))
    }

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn an_event_is_one_line_of_json_in_a_file_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(AUDIT_FILE);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let audit = Audit::open(path.clone());
        audit.record(event("one\ntwo"));
        audit.close();
        let written = lines(&path);
        assert_eq!(written.len(), 1);
        assert_eq!(written[0]["plugin"], "chess");
        assert_eq!(written[0]["event"], "trap");
        assert_eq!(written[0]["detail"]["reason"], "one\ntwo");
        assert!(written[0]["time"].as_str().unwrap().parse::<Timestamp>().is_ok());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_full_disk_stops_nothing_and_what_is_missing_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(AUDIT_FILE);
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let mut file = AuditFile::new(path.clone());
        assert!(file.write(&event("lost")).is_err());
        fs::remove_file(&path).unwrap();

        let (sender, events) = sync_channel(8);
        let dropped = AtomicU64::new(3);
        sender.send(event("kept")).unwrap();
        drop(sender);
        write_all(&events, file, &dropped);
        let events = lines(&path);
        assert_eq!(events[0]["event"], "dropped");
        assert_eq!(events[0]["detail"]["events"], 3);
        assert_eq!(events[1]["detail"]["reason"], "kept");
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path().join("gone").join(AUDIT_FILE));
        for _ in 0..10 {
            audit.record(event("lost"));
        }
        audit.close();
        assert_eq!(audit.dropped(), 10);
    }

    #[test]
    fn a_flood_is_cut_to_its_rate() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let admitted = (0..10_000).filter(|_| allowance.admit(start)).count();
        assert_eq!(admitted, 500);
        let later = start + std::time::Duration::from_secs(2);
        let admitted = (0..10_000).filter(|_| allowance.admit(later)).count();
        assert_eq!(admitted, 2);
    }

    #[test]
    fn a_plugin_that_is_denied_in_a_loop_drowns_nobody_else() {
        let now = Instant::now();
        let mut allowances = HashMap::new();
        let mut flood = |plugin: &str, times: usize| {
            let admitted = |_: &usize| admit(&mut allowances, Some(plugin.to_owned()), now);
            (0..times).filter(admitted).count()
        };
        assert_eq!(flood("noisy", 10_000), 500);
        assert_eq!(flood("quiet", 10), 10);
        for number in 0..1000 {
            flood(&format!("p{number}"), 1);
        }
        assert!(allowances.len() <= MAX_ALLOWANCES + 1);
    }

    #[test]
    fn a_plugins_words_are_bounded() {
        let event = event(&"ä".repeat(5000));
        assert!(event.detail["reason"].as_str().unwrap().len() <= MAX_TEXT_BYTES);
    }
}
