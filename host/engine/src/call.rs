//! Whoever watches the calls that plugins make of the host: a trace for authors, faults for tests.
//!
//! Where nobody watches, a call costs one question more.

use std::fmt;

use peerup_model::PluginName;

use crate::{audit::RunKind, error::HostError};

/// One call of the contract's imports. Calls of WASI are not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCall {
    /// Whose.
    pub plugin: PluginName,
    /// What kind of run makes it.
    pub run: RunKind,
    /// Interface and function, such as `tcp.connect`.
    pub call: &'static str,
    /// What it is about: an address, a name, a key. Empty where there is nothing to say.
    pub on: String,
}

/// Sees the calls of all plugins of an engine. Must not block.
pub trait CallObserver: fmt::Debug + Send + Sync + 'static {
    /// Whether anybody wants to see this plugin's calls now.
    fn watches(&self, _plugin: &PluginName) -> bool {
        true
    }

    /// Looks at a call before it is made; an error is what the plugin gets instead. Calls that cannot fail are made
    /// whatever this says.
    ///
    /// # Errors
    /// What the plugin is to be told.
    fn before(&self, _call: &HostCall) -> Result<(), HostError> {
        Ok(())
    }

    /// Looks at what a call came to.
    fn after(&self, call: &HostCall, outcome: Result<(), &HostError>);
}
