//! Peers and the ways to them, at a pace that spares the host.

use std::sync::{Arc, PoisonError};

use wasmtime::component::Accessor;

use crate::{
    access::Access,
    bindings::peerup::plugin::{peers, types},
    clock,
    error::HostError,
    records::details_record,
    state::{Capabilities, Inner, InstanceState},
    watched::observed,
};

/// The most peers that one call tells of: what a plugin's memory holds many times over.
const MAX_PEERS: usize = 1024;

impl peers::Host for InstanceState {}

impl<T: Send + 'static> peers::HostWithStore<T> for Capabilities {
    async fn describe(
        accessor: &Accessor<T, Self>,
        peer: String,
    ) -> wasmtime::Result<Result<peers::Details, types::Error>> {
        let described = async {
            let (plugin, addresses) = checked(accessor, |access| {
                access.describe_peer(&peer)?;
                access.names_peer(&peer)
            })?;
            turn(&plugin).await?;
            let details = plugin.host.describe(&peer).await?;
            Ok(details_record(&details, addresses))
        };
        Ok(observed(accessor, "peers.describe", || peer.clone(), described).await)
    }

    async fn connected(
        accessor: &Accessor<T, Self>,
    ) -> wasmtime::Result<Result<Vec<peers::Details>, types::Error>> {
        let listed = async {
            let (plugin, addresses) = checked(accessor, Access::list_peers)?;
            turn(&plugin).await?;
            let all = plugin.host.connected().await?;
            let first = all.iter().take(MAX_PEERS);
            Ok(first.map(|details| details_record(details, addresses)).collect())
        };
        Ok(observed(accessor, "peers.connected", String::new, listed).await)
    }
}

/// Asks for the grant; tells the plugin, and whether it sees addresses.
fn checked<T: Send + 'static>(
    accessor: &Accessor<T, Capabilities>,
    check: impl FnOnce(&Access) -> Result<(), HostError>,
) -> Result<(Arc<Inner>, bool), HostError> {
    accessor.with(|mut access| {
        let state = access.get();
        check(&state.access)?;
        Ok((state.plugin.clone(), state.access.sees_addresses()))
    })
}

/// Waits until the plugin may ask.
async fn turn(plugin: &Inner) -> Result<(), HostError> {
    let wait = plugin
        .peer_pace
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take(clock::now());
    let wait = wait.ok_or_else(|| {
        let name = &plugin.manifest.name;
        HostError::Limit(format!(
            "the plugin {name} asks about peers more often than a hundred times a second"
        ))
    })?;
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    Ok(())
}
