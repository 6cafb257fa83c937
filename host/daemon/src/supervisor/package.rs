//! What plugins are loaded from, and where it is found.

use std::{borrow::Cow, fmt, path::PathBuf, sync::Arc};

use data_encoding::HEXLOWER;
use peerup_model::PluginName;
use peerup_package::Manifest;
use sha2::{Digest, Sha256};

use crate::sources;

/// One version of a plugin.
pub(crate) struct Package {
    /// What it says about itself.
    pub(crate) manifest: Manifest,
    /// The component, in binary form.
    pub(crate) wasm: Cow<'static, [u8]>,
    /// SHA-256 of the component, in hex.
    pub(crate) digest: String,
    /// The digest of the whole package, where it was installed.
    pub(crate) installed: Option<peerup_package::Digest>,
}

impl Package {
    /// Names a component and what it says about itself.
    pub(crate) fn new(manifest: Manifest, wasm: Cow<'static, [u8]>) -> Self {
        let digest = HEXLOWER.encode(&Sha256::digest(&wasm));
        Self {
            manifest,
            wasm,
            digest,
            installed: None,
        }
    }
}

impl fmt::Debug for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Package")
            .field("name", &self.manifest.name)
            .field("version", &self.manifest.version)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// What a generation is loaded from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// Whatever the library has under the plugin's name at that moment.
    Library,
    /// This very version.
    Given(Arc<Package>),
}

/// Where installed plugins are found by name. Asked on a thread that may block.
pub(crate) trait Library: Send + Sync + 'static {
    /// Finds a plugin, or says why there is none and what to do.
    fn find(&self, name: &PluginName) -> Result<Arc<Package>, String>;
}

/// The plugins that come with the binary and those that are installed beside the config in this folder, as the lock
/// file has them at that moment.
#[derive(Debug, Clone)]
pub(crate) struct Installed(pub(crate) PathBuf);

impl Library for Installed {
    fn find(&self, name: &PluginName) -> Result<Arc<Package>, String> {
        let sources = sources::sources(&self.0);
        let source = sources.find(name).map_err(|error| error.reason)?;
        let (manifest, wasm) = source.read().map_err(|error| error.reason)?;
        Ok(Arc::new(Package {
            installed: source.installed(),
            ..Package::new(manifest, wasm)
        }))
    }
}
