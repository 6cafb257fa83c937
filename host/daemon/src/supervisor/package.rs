//! What plugins are loaded from, and where it is found.

use std::{borrow::Cow, fmt, sync::Arc};

use data_encoding::HEXLOWER;
use peerup_engine::Manifest;
use peerup_model::PluginName;
use sha2::{Digest, Sha256};

/// One version of a plugin.
pub(crate) struct Package {
    /// What it says about itself.
    pub(crate) manifest: Manifest,
    /// The component, in binary form.
    pub(crate) wasm: Cow<'static, [u8]>,
    /// SHA-256 of the component, in hex.
    pub(crate) digest: String,
}

impl Package {
    /// Names a component and what it says about itself.
    pub(crate) fn new(manifest: Manifest, wasm: Cow<'static, [u8]>) -> Self {
        let digest = HEXLOWER.encode(&Sha256::digest(&wasm));
        Self {
            manifest,
            wasm,
            digest,
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

/// The plugins that come with the binary.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bundle(pub(crate) &'static [peerup_bundle::Bundled]);

impl Library for Bundle {
    fn find(&self, name: &PluginName) -> Result<Arc<Package>, String> {
        let bundled = self.0.iter().find(|bundled| bundled.name == name.as_str());
        let Some(bundled) = bundled else {
            let known: Vec<&str> = self.0.iter().map(|bundled| bundled.name).collect();
            return Err(format!(
                "there is no such plugin; there are: {}",
                known.join(", ")
            ));
        };
        let manifest = Manifest::parse(bundled.manifest).map_err(|error| error.to_string())?;
        Ok(Arc::new(Package::new(manifest, bundled.wasm.into())))
    }
}
