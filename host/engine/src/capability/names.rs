//! Names of peers.

use wasmtime::component::Accessor;

use crate::{
    bindings::peerup::plugin::{names, types},
    error::HostError,
    state::{Capabilities, InstanceState},
};

impl names::Host for InstanceState {}

impl<T: Send + 'static> names::HostWithStore<T> for Capabilities {
    async fn resolve(
        accessor: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<names::Answer, types::Error>> {
        let checked: Result<_, HostError> = accessor.with(|mut access| {
            let state = access.get();
            state.access.resolve(&name)?;
            state.access.names_peer(&name)?;
            Ok(state.plugin.clone())
        });
        let plugin = match checked {
            Ok(plugin) => plugin,
            Err(error) => return Ok(Err(error.into())),
        };
        let answer = plugin.host.resolve(&name).await;
        Ok(answer
            .map(|(peer, source)| names::Answer {
                peer: peer.to_string(),
                source,
            })
            .map_err(types::Error::from))
    }
}
