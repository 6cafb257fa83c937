//! The operator's own names for peers.

use wasmtime::component::Accessor;

use crate::{
    bindings::peerup::plugin::{name_list, types},
    state::{Capabilities, InstanceState},
};

impl name_list::Host for InstanceState {}

impl<T: Send + 'static> name_list::HostWithStore<T> for Capabilities {
    async fn find(
        accessor: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Option<String>, types::Error>> {
        let found = accessor.with(|mut access| {
            let state = access.get();
            state.access.find_name(&name)?;
            state.plugin.host.find_name(&name)
        });
        Ok(found
            .map(|peer| peer.map(|peer| peer.to_string()))
            .map_err(types::Error::from))
    }

    async fn entries(
        accessor: &Accessor<T, Self>,
    ) -> wasmtime::Result<Result<Vec<(String, String)>, types::Error>> {
        let listed = accessor.with(|mut access| {
            let state = access.get();
            state.access.list_names()?;
            state.plugin.host.names()
        });
        let told = listed.map(|names| {
            let names = names.into_iter();
            names.map(|(name, peer)| (name, peer.to_string())).collect()
        });
        Ok(told.map_err(types::Error::from))
    }
}
