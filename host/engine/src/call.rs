//! Whoever watches the calls that plugins make of the host: a trace for authors, faults for tests.
//!
//! Where nobody watches, a call costs one question more.

use std::{fmt, sync::Arc};

use peerup_model::PluginName;
use wasmtime::component::Accessor;

use crate::{
    audit::RunKind,
    bindings::peerup::plugin::types,
    error::HostError,
    state::{Capabilities, InstanceState},
};

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

/// Makes a call, seen by whoever watches.
pub(crate) async fn observed<T: Send + 'static, R>(
    accessor: &Accessor<T, Capabilities>,
    name: &'static str,
    on: impl FnOnce() -> String,
    work: impl Future<Output = Result<R, HostError>>,
) -> Result<R, types::Error> {
    let watched = accessor.with(|mut access| access.get().watched(name, on));
    let outcome = match watched {
        None => work.await,
        Some((observer, call)) => {
            let outcome = match observer.before(&call) {
                Ok(()) => work.await,
                Err(error) => Err(error),
            };
            observer.after(&call, outcome.as_ref().map(drop));
            outcome
        }
    };
    outcome.map_err(types::Error::from)
}

impl InstanceState {
    /// Who watches, and the call as it is told; none where nobody does.
    fn watched(
        &self,
        name: &'static str,
        on: impl FnOnce() -> String,
    ) -> Option<(Arc<dyn CallObserver>, HostCall)> {
        let observer = self.plugin.observer.as_ref()?;
        if !observer.watches(&self.plugin.manifest.name) {
            return None;
        }
        let observer = observer.clone();
        let call = HostCall {
            plugin: self.plugin.manifest.name.clone(),
            run: self.access.run(),
            call: name,
            on: on(),
        };
        Some((observer, call))
    }

    /// Tells a call that cannot fail.
    pub(crate) fn told(&self, name: &'static str, on: impl FnOnce() -> String) {
        if let Some((observer, call)) = self.watched(name, on) {
            observer.after(&call, Ok(()));
        }
    }

    /// Tells a call that waits for nothing, and what it came to.
    pub(crate) fn decided<R>(
        &mut self,
        name: &'static str,
        on: impl FnOnce() -> String,
        work: impl FnOnce(&mut Self) -> Result<R, HostError>,
    ) -> Result<R, types::Error> {
        let Some((observer, call)) = self.watched(name, on) else {
            return work(self).map_err(types::Error::from);
        };
        let outcome = match observer.before(&call) {
            Ok(()) => work(self),
            Err(error) => Err(error),
        };
        observer.after(&call, outcome.as_ref().map(drop));
        outcome.map_err(types::Error::from)
    }
}
