//! How the host tells an instance about its life. Needs no grant.

use wasmtime::component::Accessor;

use crate::{
    bindings::peerup::plugin::life,
    state::{Capabilities, InstanceState},
};

impl life::Host for InstanceState {}

impl<T: Send + 'static> life::HostWithStore<T> for Capabilities {
    async fn stopping(accessor: &Accessor<T, Self>) -> wasmtime::Result<()> {
        let stopping = accessor.with(|mut access| access.get().stopping.clone());
        stopping.cancelled().await;
        accessor.with(|mut access| access.get().told("life.stopping", String::new));
        Ok(())
    }

    async fn settings_changed(accessor: &Accessor<T, Self>) -> wasmtime::Result<()> {
        let mut seen = accessor.with(|mut access| access.get().settings_seen.clone());
        // The sender lives as long as the plugin, which this instance holds.
        if seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        accessor.with(|mut access| {
            let state = access.get();
            state.settings_seen = seen;
            state.told("life.settings-changed", String::new);
        });
        Ok(())
    }
}
