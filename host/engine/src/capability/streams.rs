//! Byte streams to and from peers: the handle, its two halves on their way through a plugin, and `open`.

use peerup_model::PathPolicy;
use wasmtime::{
    AsContextMut,
    component::{Access, Accessor, FutureReader, Resource, StreamReader},
};

use crate::{
    bindings::peerup::plugin::{streams, types},
    capability::pump::{Consumer, Producer},
    error::HostError,
    handles::DuplexHandle,
    records::{path_variant, peer_record},
    splice::Source,
    state::{Capabilities, InstanceState},
    tunnels,
    watched::observed,
};

type Ended = FutureReader<Result<(), types::Error>>;

/// A future that already knows its answer.
fn at_once(store: impl AsContextMut<Data: 'static>, error: HostError) -> wasmtime::Result<Ended> {
    let answer = Err(types::Error::from(error));
    FutureReader::new(store, async move { wasmtime::error::Ok(answer) })
}

/// A future that answers once a half has ended.
fn once_done(
    store: impl AsContextMut<Data: 'static>,
    ended: tokio::sync::oneshot::Receiver<Result<(), HostError>>,
) -> wasmtime::Result<Ended> {
    FutureReader::new(store, async move {
        let gone = || {
            Err(HostError::Closed(
                "the stream was dropped before its end".to_owned(),
            ))
        };
        let outcome = ended.await.unwrap_or_else(|_| gone());
        wasmtime::error::Ok(outcome.map_err(types::Error::from))
    })
}

impl streams::Host for InstanceState {}

impl<T: Send + 'static> streams::HostWithStore<T> for Capabilities {
    async fn open(
        accessor: &Accessor<T, Self>,
        peer: String,
        protocol: String,
        policy: streams::PathPolicy,
    ) -> wasmtime::Result<Result<Resource<DuplexHandle>, types::Error>> {
        let policy = match policy {
            streams::PathPolicy::PreferDirect => PathPolicy::PreferDirect,
            streams::PathPolicy::DirectOnly => PathPolicy::DirectOnly,
            streams::PathPolicy::RelayOnly => PathPolicy::RelayOnly,
        };
        let opened = async {
            let plugin = accessor.with(|mut access| {
                let state = access.get();
                state.access.protocol("opening", &protocol)?;
                state.access.names_peer(&peer)?;
                Ok::<_, HostError>(state.plugin.clone())
            })?;
            let name = &plugin.manifest.name;
            let duplex = plugin.host.open(name, &peer, &protocol, policy).await?;
            accessor.with(|mut access| access.get().hold(duplex))
        };
        let on = || format!("{peer} {protocol}");
        Ok(observed(accessor, "streams.open", on, opened).await)
    }
}

impl streams::HostDuplex for InstanceState {
    fn reset(&mut self, duplex: Resource<DuplexHandle>) -> wasmtime::Result<()> {
        self.told("streams.reset", String::new);
        let handle = self.table.get_mut(&duplex)?;
        handle.shared.reset();
        // Only the drop of both halves lets the reset go out.
        handle.reader = None;
        handle.writer = None;
        Ok(())
    }

    fn peer(&mut self, duplex: Resource<DuplexHandle>) -> wasmtime::Result<Option<types::Peer>> {
        Ok(self.table.get(&duplex)?.shared.peer.as_ref().map(peer_record))
    }

    fn path(&mut self, duplex: Resource<DuplexHandle>) -> wasmtime::Result<Option<types::Path>> {
        Ok(self.table.get(&duplex)?.shared.path.as_ref().map(path_variant))
    }

    fn drop(&mut self, duplex: Resource<DuplexHandle>) -> wasmtime::Result<()> {
        self.table.delete(duplex)?;
        Ok(())
    }
}

impl<T: Send + 'static> streams::HostDuplexWithStore<T> for Capabilities {
    fn receive(
        mut access: Access<'_, T, Self>,
        duplex: Resource<DuplexHandle>,
    ) -> wasmtime::Result<(StreamReader<u8>, Ended)> {
        let state = access.get();
        state.told("streams.receive", String::new);
        let counters = state.owner.counters.clone();
        let activity = state.ending.activity();
        let Some(reader) = state.table.get_mut(&duplex)?.reader.take() else {
            let ended = StreamReader::new(&mut access, std::iter::empty())?;
            let error = HostError::Invalid("the incoming bytes of this stream were taken already".to_owned());
            return Ok((ended, at_once(&mut access, error)?));
        };
        let (done, ended) = tunnels::done();
        let source = Source {
            reader,
            done: Some(done),
        };
        let stream = StreamReader::new(&mut access, Producer::new(source, counters, activity))?;
        Ok((stream, once_done(&mut access, ended)?))
    }

    fn send(
        mut access: Access<'_, T, Self>,
        duplex: Resource<DuplexHandle>,
        mut data: StreamReader<u8>,
    ) -> wasmtime::Result<Ended> {
        let state = access.get();
        state.told("streams.send", String::new);
        let (owner, ending) = (state.owner.clone(), state.ending.clone());
        let activity = ending.activity();
        let splices = state.plugin.splices.clone();
        let runtime = state.runtime.clone();
        let Some(writer) = state.table.get_mut(&duplex)?.writer.take() else {
            data.close(&mut access)?;
            let error = HostError::Invalid("the outgoing bytes of this stream were set already".to_owned());
            return at_once(&mut access, error);
        };
        let (done, ended) = tunnels::done();
        match data.try_into::<Source>(&mut access) {
            Ok(source) => splices.join(source, writer, owner, done, &runtime),
            Err(data) => {
                let consumer = Consumer::new(writer, done, owner.counters, ending, activity);
                data.pipe(&mut access, consumer)?;
            }
        }
        once_done(&mut access, ended)
    }
}
