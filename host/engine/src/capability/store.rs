//! Keys and values that outlive the instance.

use std::sync::Arc;

use wasmtime::component::Accessor;

use crate::{
    bindings::peerup::plugin::{store, types},
    error::HostError,
    state::{Capabilities, InstanceState, MAX_WRITES},
    store_file::{Change, StoreFile},
    watched::observed,
};

impl store::Host for InstanceState {}

impl<T: Send + 'static> store::HostWithStore<T> for Capabilities {
    async fn get(
        accessor: &Accessor<T, Self>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, types::Error>> {
        let value = async {
            let (file, _) = opened(accessor, "get").await?;
            file.get(key.clone()).await
        };
        Ok(observed(accessor, "store.get", || key.clone(), value).await)
    }

    async fn apply(
        accessor: &Accessor<T, Self>,
        changes: Vec<Change>,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        let changed = keys_of(&changes);
        let applied = async {
            let _turn = turn(accessor)?;
            let (file, limit) = opened(accessor, "apply").await?;
            noted(accessor, file.apply(None, changes, limit).await).map(drop)
        };
        Ok(observed(accessor, "store.apply", || changed, applied).await)
    }

    async fn apply_if(
        accessor: &Accessor<T, Self>,
        key: String,
        expected: Option<Vec<u8>>,
        changes: Vec<Change>,
    ) -> wasmtime::Result<Result<bool, types::Error>> {
        let applied = async {
            let _turn = turn(accessor)?;
            let (file, limit) = opened(accessor, "apply-if").await?;
            let condition = Some((key.clone(), expected));
            noted(accessor, file.apply(condition, changes, limit).await)
        };
        Ok(observed(accessor, "store.apply-if", || key.clone(), applied).await)
    }

    async fn keys(
        accessor: &Accessor<T, Self>,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<String>, types::Error>> {
        let keys = async {
            let (file, _) = opened(accessor, "keys").await?;
            file.keys(prefix.clone(), after, limit).await
        };
        Ok(observed(accessor, "store.keys", || prefix.clone(), keys).await)
    }
}

/// The keys that are changed, for whoever watches; the first few of many.
fn keys_of(changes: &[Change]) -> String {
    const SHOWN: usize = 4;
    let mut keys: Vec<&str> = changes.iter().take(SHOWN).map(|(key, _)| key.as_str()).collect();
    if changes.len() > SHOWN {
        keys.push("...");
    }
    keys.join(" ")
}

/// A place among the changes of this plugin that are under way. Each holds up to 4 MiB of the host's memory.
fn turn<T: Send + 'static>(
    accessor: &Accessor<T, Capabilities>,
) -> Result<tokio::sync::OwnedSemaphorePermit, HostError> {
    let writes = accessor.with(|mut access| access.get().plugin.writes.clone());
    writes.try_acquire_owned().map_err(|_| {
        HostError::Limit(format!(
            "{MAX_WRITES} changes of the store are under way; wait for one of them first"
        ))
    })
}

/// Asks for the grant and opens the plugin's file, with the size that was granted.
async fn opened<T: Send + 'static>(
    accessor: &Accessor<T, Capabilities>,
    doing: &str,
) -> Result<(Arc<StoreFile>, u64), HostError> {
    let (plugin, limit) = accessor.with(|mut access| {
        let state = access.get();
        let limit = state.access.store(doing)?;
        Ok::<_, HostError>((state.plugin.clone(), limit))
    })?;
    Ok((plugin.store().await?, limit))
}

/// Notes the size after a change, and a limit that was met.
fn noted<T: Send + 'static>(
    accessor: &Accessor<T, Capabilities>,
    outcome: Result<(bool, u64), HostError>,
) -> Result<bool, HostError> {
    let plugin = accessor.with(|mut access| access.get().plugin.clone());
    match &outcome {
        Ok((_, bytes)) => plugin.counters.count_store(*bytes),
        Err(HostError::Limit(_)) => plugin.counters.auditor.limit("store"),
        Err(_) => {}
    }
    outcome.map(|(applied, _)| applied)
}
