//! Making calls of the host so that whoever watches sees them.

use std::sync::Arc;

use wasmtime::component::Accessor;

use crate::{
    bindings::peerup::plugin::types,
    call::{CallObserver, HostCall},
    error::HostError,
    state::{Capabilities, InstanceState},
};

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
