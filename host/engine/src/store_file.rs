//! The file with one plugin's keys and values, and the registry of those that are open.
//!
//! One file a plugin, opened once for all its versions and instances. Whatever touches the disk runs on threads
//! that may block. A file that is damaged is put aside and a new one begun: a plugin without its memory is better
//! than a daemon without the plugin.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{SystemTime, UNIX_EPOCH},
};

use peerup_model::PluginName;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};
use tokio::sync::{Mutex, Semaphore};

use crate::error::HostError;

/// The longest key, in bytes.
const MAX_KEY_BYTES: usize = 512;
/// The longest value.
const MAX_VALUE_BYTES: usize = 1 << 20;
/// The most changes of one batch.
const MAX_CHANGES: usize = 1000;
/// The most keys of one answer.
const MAX_KEYS: usize = 1000;
/// Calls of one plugin that may be on the disk at once. The others wait without a thread.
const MAX_AT_ONCE: usize = 4;
/// What the file keeps in memory of itself.
const CACHE_BYTES: usize = 1 << 20;

const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
/// One entry: the bytes of all keys and values together.
const SIZE: TableDefinition<'_, &str, u64> = TableDefinition::new("size");
const SIZE_KEY: &str = "bytes";

/// A key with its new value, or none to delete it.
pub(crate) type Change = (String, Option<Vec<u8>>);
/// A key and the value that it has to have for a batch to be made.
pub(crate) type Condition = (String, Option<Vec<u8>>);

/// The stores of an engine's plugins.
#[derive(Debug)]
pub(crate) struct Stores {
    folder: Option<PathBuf>,
    open: Mutex<HashMap<PluginName, Weak<StoreFile>>>,
}

impl Stores {
    pub(crate) fn new(folder: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            folder,
            open: Mutex::default(),
        })
    }

    /// Opens the file of a plugin, or joins who has it open.
    pub(crate) async fn open(&self, plugin: &PluginName) -> Result<Arc<StoreFile>, HostError> {
        let Some(folder) = self.folder.clone() else {
            return Err(HostError::Unreachable(
                "this host keeps no stores: it was given no folder for them".to_owned(),
            ));
        };
        // Held over the opening: the second of two callers must find what the first one opened.
        let mut open = self.open.lock().await;
        if let Some(file) = open.get(plugin).and_then(Weak::upgrade) {
            return Ok(file);
        }
        let path = folder.join(format!("{plugin}.redb"));
        let name = plugin.clone();
        let opened = tokio::task::spawn_blocking(move || open_or_begin(&folder, &path, &name)).await;
        let database = opened
            .map_err(|error| failed(plugin, &error))?
            .map_err(|error| failed(plugin, &error))?;
        let file = Arc::new(StoreFile {
            plugin: plugin.clone(),
            database: Arc::new(database),
            readers: Arc::new(Semaphore::new(MAX_AT_ONCE)),
            writer: Arc::new(Semaphore::new(1)),
        });
        open.retain(|_, known| known.strong_count() > 0);
        open.insert(plugin.clone(), Arc::downgrade(&file));
        Ok(file)
    }
}

/// One plugin's open file.
pub(crate) struct StoreFile {
    plugin: PluginName,
    database: Arc<Database>,
    readers: Arc<Semaphore>,
    writer: Arc<Semaphore>,
}

impl std::fmt::Debug for StoreFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreFile")
            .field("plugin", &self.plugin)
            .finish_non_exhaustive()
    }
}

impl StoreFile {
    pub(crate) async fn get(&self, key: String) -> Result<Option<Vec<u8>>, HostError> {
        check_key(&key)?;
        self.blocking(&self.readers, move |database| {
            let reading = database.begin_read()?;
            let values = reading.open_table(VALUES)?;
            let value = values.get(key.as_str())?;
            Ok(value.map(|value| value.value().to_vec()))
        })
        .await
    }

    /// Makes all changes or none. Answers whether the condition held, and the bytes that there are now.
    pub(crate) async fn apply(
        &self,
        condition: Option<Condition>,
        changes: Vec<Change>,
        limit: u64,
    ) -> Result<(bool, u64), HostError> {
        if changes.len() > MAX_CHANGES {
            return Err(HostError::Limit(format!(
                "a batch has at most {MAX_CHANGES} changes, not {}",
                changes.len()
            )));
        }
        let keys = changes.iter().map(|(key, _)| key);
        for key in keys.chain(condition.iter().map(|(key, _)| key)) {
            check_key(key)?;
        }
        let values = changes.iter().filter_map(|(_, value)| value.as_ref());
        if let Some(long) = values.map(Vec::len).find(|length| *length > MAX_VALUE_BYTES) {
            return Err(HostError::Limit(format!(
                "a value has at most {MAX_VALUE_BYTES} bytes, not {long}"
            )));
        }
        let outcome = self
            .blocking(&self.writer, move |database| {
                write(database, condition, changes, limit)
            })
            .await?;
        match outcome {
            Written::Done(bytes) => Ok((true, bytes)),
            Written::Unexpected(bytes) => Ok((false, bytes)),
            Written::TooLarge(bytes) => {
                let plugin = &self.plugin;
                Err(HostError::Limit(format!(
                    "the store would hold {bytes} bytes, and {limit} are granted; see plugins.{plugin}.grants.store"
                )))
            }
        }
    }

    pub(crate) async fn keys(
        &self,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<Vec<String>, HostError> {
        let limit = usize::try_from(limit).unwrap_or(MAX_KEYS).min(MAX_KEYS);
        self.blocking(&self.readers, move |database| {
            let reading = database.begin_read()?;
            let values = reading.open_table(VALUES)?;
            let from = after.as_deref().unwrap_or_default().max(prefix.as_str());
            let mut keys = Vec::new();
            for entry in values.range(from..)? {
                let (key, _) = entry?;
                let key = key.value();
                if keys.len() >= limit || !key.starts_with(&prefix) {
                    break;
                }
                if after.as_deref() != Some(key) {
                    keys.push(key.to_owned());
                }
            }
            Ok(keys)
        })
        .await
    }

    /// Runs work on a thread that may block, a bounded number at once.
    async fn blocking<T: Send + 'static>(
        &self,
        turns: &Arc<Semaphore>,
        work: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, HostError> {
        let turn = turns.clone().acquire_owned().await;
        let turn = turn.map_err(|error| failed(&self.plugin, &error))?;
        let database = self.database.clone();
        let done = tokio::task::spawn_blocking(move || {
            // Held until the work is done, whoever still waits for it.
            let _turn = turn;
            work(&database)
        });
        let done = done.await.map_err(|error| failed(&self.plugin, &error))?;
        done.map_err(|error| failed(&self.plugin, &error))
    }
}

/// What became of a batch, with the bytes of all keys and values.
enum Written {
    Done(u64),
    Unexpected(u64),
    TooLarge(u64),
}

fn write(
    database: &Database,
    condition: Option<Condition>,
    changes: Vec<Change>,
    limit: u64,
) -> Result<Written, redb::Error> {
    let writing = database.begin_write()?;
    let (before, after) = {
        let mut values = writing.open_table(VALUES)?;
        let mut sizes = writing.open_table(SIZE)?;
        let before = sizes.get(SIZE_KEY)?.map_or(0, |bytes| bytes.value());
        if let Some((key, expected)) = condition {
            let found = values.get(key.as_str())?;
            let is_so = found.as_ref().map(|found| found.value()) == expected.as_deref();
            if !is_so {
                return Ok(Written::Unexpected(before));
            }
        }
        let mut after = before;
        for (key, value) in changes {
            let old = match &value {
                Some(value) => values.insert(key.as_str(), value.as_slice())?,
                None => values.remove(key.as_str())?,
            };
            let old = old.map_or(0, |old| bytes_of(&key, old.value()));
            let new = value.map_or(0, |value| bytes_of(&key, &value));
            after = (after + new).saturating_sub(old);
        }
        sizes.insert(SIZE_KEY, after)?;
        (before, after)
    };
    // What is too large already may become smaller: the grant may have been cut down.
    if after > limit && after > before {
        writing.abort()?;
        return Ok(Written::TooLarge(after));
    }
    writing.commit()?;
    Ok(Written::Done(after))
}

fn bytes_of(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

fn check_key(key: &str) -> Result<(), HostError> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(HostError::Invalid(format!(
            "a key has 1 to {MAX_KEY_BYTES} bytes, not {}",
            key.len()
        )));
    }
    Ok(())
}

fn failed(plugin: &PluginName, error: &dyn std::error::Error) -> HostError {
    tracing::error!(%plugin, %error, "the store of a plugin failed");
    HostError::Closed(format!("the store of the plugin {plugin} failed: {error}"))
}

/// Opens the file, or begins a new one where there is none or the old one is damaged.
fn open_or_begin(folder: &Path, path: &Path, plugin: &PluginName) -> Result<Database, DatabaseError> {
    if !folder.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    match open_file(path) {
        Err(error) if is_damage(&error) => {
            let aside = set_aside(path)?;
            tracing::error!(
                %plugin, %error, kept = %aside.display(),
                "the store of a plugin is damaged: the file was put aside, and an empty store was begun"
            );
            open_file(path)
        }
        outcome => outcome,
    }
}

fn open_file(path: &Path) -> Result<Database, DatabaseError> {
    // The library checks what it reads, but not against every byte that a disk can make up.
    let opened = std::panic::catch_unwind(|| {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        let writing = database.begin_write().map_err(|error| match error {
            redb::TransactionError::Storage(error) => DatabaseError::Storage(error),
            other => DatabaseError::Storage(StorageError::Corrupted(other.to_string())),
        })?;
        for opened in [
            writing.open_table(VALUES).map(drop),
            writing.open_table(SIZE).map(drop),
        ] {
            // A disk that is full is not damage: what is there stays there.
            opened.map_err(|error| match error {
                redb::TableError::Storage(error) => DatabaseError::Storage(error),
                other => DatabaseError::Storage(StorageError::Corrupted(other.to_string())),
            })?;
        }
        writing.commit().map_err(|error| match error {
            redb::CommitError::Storage(error) => DatabaseError::Storage(error),
            other => DatabaseError::Storage(StorageError::Corrupted(other.to_string())),
        })?;
        Ok(database)
    });
    let panicked = || DatabaseError::Storage(StorageError::Corrupted("it cannot be read".to_owned()));
    opened.unwrap_or_else(|_| Err(panicked()))
}

fn is_damage(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::Storage(StorageError::Corrupted(_)) | DatabaseError::RepairAborted => true,
        DatabaseError::Storage(StorageError::Io(error)) => {
            matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            )
        }
        DatabaseError::UpgradeRequired(_) => true,
        _ => false,
    }
}

fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let aside = path.with_extension(format!("damaged-{}.redb", now.as_millis()));
    fs::rename(path, &aside)?;
    Ok(aside)
}
