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
        let find = |state: &mut InstanceState| {
            state.access.find_name(&name)?;
            state.plugin.host.find_name(&name)
        };
        let found = accessor.with(|mut access| access.get().decided("name-list.find", || name.clone(), find));
        Ok(found.map(|peer| peer.map(|peer| peer.to_string())))
    }

    async fn entries(
        accessor: &Accessor<T, Self>,
    ) -> wasmtime::Result<Result<Vec<(String, String)>, types::Error>> {
        let list = |state: &mut InstanceState| {
            state.access.list_names()?;
            state.plugin.host.names()
        };
        let listed = accessor.with(|mut access| access.get().decided("name-list.entries", String::new, list));
        Ok(listed.map(|names| {
            let names = names.into_iter();
            names.map(|(name, peer)| (name, peer.to_string())).collect()
        }))
    }
}
