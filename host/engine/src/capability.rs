//! What a plugin can import, one module for each interface of the contract. Every check of a grant is in
//! `access`, none here.

mod events;
mod life;
mod log;
mod name_list;
mod names;
pub(crate) mod output;
mod peers;
mod pump;
mod settings;
mod store;
mod streams;
mod tcp;
mod udp;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::timeout;
use wasmtime::component::Accessor;

use crate::{access::Reach, error::HostError, sockets::Sockets, state::Capabilities};

/// What makes sockets for this plugin.
fn sockets<T: Send + 'static>(accessor: &Accessor<T, Capabilities>) -> Arc<dyn Sockets> {
    accessor.with(|mut access| access.get().plugin.sockets.clone())
}

/// Asks for the grant of `host:port`, looks it up, and asks again whether it may lead to what was found.
async fn looked_up<T: Send + 'static>(
    accessor: &Accessor<T, Capabilities>,
    reach: Reach,
    target: &str,
    patience: Duration,
) -> Result<Vec<SocketAddr>, HostError> {
    let lookup = accessor.with(|mut access| {
        let state = access.get();
        state.access.address(reach, target)?;
        Ok::<_, HostError>(state.plugin.lookup.clone())
    })?;
    let allowed = |address| accessor.with(|mut access| access.get().access.leads_to(reach, target, address));
    let found = timeout(patience, lookup.addresses(target, allowed)).await;
    found.map_err(|_| HostError::TimedOut(format!("looking {target} up took longer than {patience:?}")))?
}
