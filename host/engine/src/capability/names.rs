//! Names of peers.

use wasmtime::component::Accessor;

use crate::{
    bindings::peerup::plugin::{names, types},
    error::HostError,
    state::{Capabilities, InstanceState},
    watched::observed,
};

impl names::Host for InstanceState {}

impl<T: Send + 'static> names::HostWithStore<T> for Capabilities {
    async fn resolve(
        accessor: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<names::Answer, types::Error>> {
        let resolved = async {
            let plugin = accessor.with(|mut access| {
                let state = access.get();
                state.access.resolve(&name)?;
                state.access.names_peer(&name)?;
                Ok::<_, HostError>(state.plugin.clone())
            })?;
            let (peer, source) = plugin.host.resolve(&name).await?;
            Ok(names::Answer {
                peer: peer.to_string(),
                source,
            })
        };
        Ok(observed(accessor, "names.resolve", || name.clone(), resolved).await)
    }
}
