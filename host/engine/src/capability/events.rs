//! What happens to peers, as it happens.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::{
    Mutex,
    broadcast::{Receiver, error::RecvError},
};
use wasmtime::component::{Accessor, Resource};

use crate::{
    bindings::peerup::plugin::{events, types},
    error::HostError,
    event::{PeerEvent, PeerEventKind},
    handles::SubscriptionHandle,
    records::{path_variant, peer_record},
    state::{Capabilities, InstanceState},
    watched::observed,
};

impl events::Host for InstanceState {}

impl<T: Send + 'static> events::HostWithStore<T> for Capabilities {
    async fn subscribe(
        accessor: &Accessor<T, Self>,
    ) -> wasmtime::Result<Result<Resource<SubscriptionHandle>, types::Error>> {
        let subscribe = |state: &mut InstanceState| {
            state.access.subscribe()?;
            let events = state.plugin.host.subscribe()?;
            let handle = SubscriptionHandle {
                events: Arc::new(Mutex::new(events)),
            };
            state.give(handle)
        };
        Ok(accessor.with(|mut access| access.get().decided("events.subscribe", String::new, subscribe)))
    }
}

impl events::HostSubscription for InstanceState {
    fn drop(&mut self, subscription: Resource<SubscriptionHandle>) -> wasmtime::Result<()> {
        self.table.delete(subscription)?;
        Ok(())
    }
}

impl<T: Send + 'static> events::HostSubscriptionWithStore<T> for Capabilities {
    async fn next(
        accessor: &Accessor<T, Self>,
        subscription: Resource<SubscriptionHandle>,
    ) -> wasmtime::Result<Result<events::Event, types::Error>> {
        let events = accessor.with(|mut access| {
            let held = access.get().table.get(&subscription)?;
            wasmtime::error::Ok(held.events.clone())
        })?;
        let waited = async { next(&mut *events.lock().await).await };
        Ok(observed(accessor, "events.next", String::new, waited).await)
    }
}

/// Waits for the next event; where some were left out, that is the next one.
async fn next(events: &mut Receiver<PeerEvent>) -> Result<events::Event, HostError> {
    match events.recv().await {
        Ok(event) => Ok(events::Event {
            kind: match event.kind {
                PeerEventKind::Connected => "peer-connected",
                PeerEventKind::Disconnected => "peer-disconnected",
                PeerEventKind::PathChanged => "path-changed",
                PeerEventKind::Missed => "missed",
            }
            .to_owned(),
            peer: event.peer.as_ref().map(peer_record),
            path: event.path.as_ref().map(path_variant),
            at: millis(event.at),
        }),
        Err(RecvError::Lagged(_)) => Ok(events::Event {
            kind: "missed".to_owned(),
            peer: None,
            path: None,
            at: millis(SystemTime::now()),
        }),
        Err(RecvError::Closed) => Err(HostError::Closed("the node is shutting down".to_owned())),
    }
}

fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
