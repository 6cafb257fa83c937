//! What a scenario is run against.

use std::{path::PathBuf, sync::Arc};

use peerup_package::Manifest;

/// The plugin that is looked at.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What it says about itself.
    pub manifest: Manifest,
    /// The component.
    pub wasm: Arc<[u8]>,
    /// Where it is kept once it was compiled; none compiles it for each scenario.
    pub cache: Option<PathBuf>,
}
