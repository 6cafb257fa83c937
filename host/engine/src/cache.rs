//! Compiled plugins on disk, so that a start does not compile.
//!
//! Native code is run as it is read, so a file counts only where the directory is ours alone, and where the
//! checksum at its end fits: a torn file is compiled anew. A cache that does not work costs time and
//! nothing else.

use std::{
    fs::{self, DirBuilder, File},
    hash::{Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use wasmtime::{Engine, component::Component};

/// The checksum at the end of each file.
const TRAILER_BYTES: usize = 32;
/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 256 << 20;

pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The name of a plugin's file: the component, and everything about this engine that decides what it
    /// compiles to.
    pub(crate) fn key(engine: &Engine, wasm: &[u8]) -> String {
        let mut digest = Digester(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut digest);
        digest.0.update(Sha256::digest(wasm));
        let name: String = digest
            .0
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{name}.cwasm")
    }

    /// Reads what was stored under a key, if it is whole and ours.
    pub(crate) fn load(&self, engine: &Engine, key: &str) -> Option<Component> {
        let bytes = match self.read(key) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(folder = %self.folder.display(), %error, "a compiled plugin is not used");
                return None;
            }
        };
        // SAFETY: the bytes are what `serialize` gave to this process or an earlier one of this user: they
        // carry its checksum, and lie in a directory that nobody else can write to.
        #[allow(unsafe_code, reason = "reading compiled code back has no safe form")]
        let component = unsafe { Component::deserialize(engine, bytes) };
        component
            .inspect_err(|error| tracing::debug!(%error, "a compiled plugin is from another engine"))
            .ok()
    }

    /// Keeps a compiled plugin.
    pub(crate) fn store(&self, key: &str, compiled: &[u8]) {
        if let Err(error) = self.write(key, compiled) {
            tracing::warn!(folder = %self.folder.display(), %error, "a compiled plugin is not kept");
        }
    }

    fn read(&self, key: &str) -> io::Result<Vec<u8>> {
        let folder = fs::symlink_metadata(&self.folder)?;
        check_owner(&self.folder, &folder)?;
        let path = self.folder.join(key);
        let mut file = File::open(&path)?;
        let metadata = file.metadata()?;
        check_owner(&path, &metadata)?;
        if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
            return Err(io::Error::other(format!(
                "{} is no file of a fit size",
                path.display()
            )));
        }
        let mut bytes = Vec::new();
        Read::by_ref(&mut file)
            .take(MAX_FILE_BYTES)
            .read_to_end(&mut bytes)?;
        let body = bytes.len().saturating_sub(TRAILER_BYTES);
        let (compiled, trailer) = bytes.split_at(body);
        if Sha256::digest(compiled)[..] != *trailer {
            return Err(io::Error::other(format!("{} is damaged", path.display())));
        }
        bytes.truncate(body);
        Ok(bytes)
    }

    fn write(&self, key: &str, compiled: &[u8]) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)?;
        check_owner(&self.folder, &fs::symlink_metadata(&self.folder)?)?;
        // Temporary files are made with mode 0600.
        let mut file = tempfile::Builder::new()
            .prefix(".new-")
            .tempfile_in(&self.folder)?;
        file.write_all(compiled)?;
        file.write_all(&Sha256::digest(compiled))?;
        file.as_file().sync_all()?;
        file.persist(self.folder.join(key)).map_err(|error| error.error)?;
        Ok(())
    }
}

/// Refuses what somebody else could have written.
fn check_owner(path: &Path, metadata: &fs::Metadata) -> io::Result<()> {
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if ours && metadata.mode() & 0o022 == 0 && !metadata.is_symlink() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{} can be written to by others; chmod it to 0700 and own it",
        path.display()
    )))
}

/// Feeds what is hashed to SHA-256; the standard hasher may change with the toolchain.
struct Digester(Sha256);

impl Hasher for Digester {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}
