//! The daemon's own files: where they are, and that no plugin gets at them.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use peerup_config::NodeConfig;
use peerup_model::PluginName;
use peerup_package::PluginFolder;

/// Where the stores of plugins are kept, beside the config.
pub(crate) const DATA_FOLDER: &str = "plugin-data";

/// Returns where a plugin keeps what it stores.
pub fn store_path(folder: &Path, name: &PluginName) -> PathBuf {
    folder.join(DATA_FOLDER).join(format!("{name}.redb"))
}

/// The daemon's own files, which no granted directory may hold: config, keys, socket, and compiled plugins, which run as they
/// are read.
#[derive(Debug)]
pub(crate) struct OwnFiles {
    config: PathBuf,
    folder: PathBuf,
    /// Those of the config of the start. Some of them are used until the end, whatever a later config says.
    at_start: Vec<PathBuf>,
    now: Mutex<Vec<PathBuf>>,
}

impl OwnFiles {
    /// The files of a node whose config has this path and is this one.
    pub(crate) fn new(path: &Path, folder: &Path, config: &NodeConfig) -> Self {
        let at_start = own_files(path, folder, config);
        Self {
            config: path.to_owned(),
            folder: folder.to_owned(),
            now: Mutex::new(at_start.clone()),
            at_start,
        }
    }

    /// Takes another config, and returns all files where they are others than before.
    pub(crate) fn take(&self, config: &NodeConfig) -> Option<Vec<PathBuf>> {
        let mut files = self.at_start.clone();
        let more = own_files(&self.config, &self.folder, config);
        files.extend(more.into_iter().filter(|path| !self.at_start.contains(path)));
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        (*now != files).then(|| {
            now.clone_from(&files);
            files
        })
    }

    /// Those of the start.
    pub(crate) fn at_start(&self) -> &[PathBuf] {
        &self.at_start
    }
}

fn own_files(path: &Path, folder: &Path, config: &NodeConfig) -> Vec<PathBuf> {
    let own = [
        path.to_owned(),
        config.key_file.clone(),
        config.security.authorized_keys_file.clone(),
        folder.join(peerup_api::SOCKET_FILE),
        folder.join(crate::audit::AUDIT_FILE),
        folder.join(DATA_FOLDER),
        PluginFolder::new(folder).lock_path(),
        folder.join("plugins"),
        cache_dir(config, folder),
    ];
    own.into_iter().chain(crate::extra_keys::paths(config)).collect()
}

/// Returns where compiled plugins are kept: the config's choice, else the user's cache folder, else beside
/// the config.
pub(crate) fn cache_dir(config: &NodeConfig, folder: &Path) -> PathBuf {
    if let Some(chosen) = &config.daemon.cache_dir {
        return chosen.clone();
    }
    let home = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    match home.filter(|path| path.is_absolute()) {
        Some(cache) => cache.join("peerup").join("plugins"),
        None => folder.join(".plugin-cache"),
    }
}
