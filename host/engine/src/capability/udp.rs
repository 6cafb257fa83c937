//! UDP on the host's own network.

use std::{io, sync::Arc, time::Duration};

use tokio::time::sleep;
use wasmtime::component::{Accessor, Resource};

use crate::{
    access::Reach,
    bindings::peerup::plugin::{types, udp},
    clock,
    datagram::Socket,
    error::HostError,
    handles::SocketHandle,
    state::{Capabilities, Inner, InstanceState, MAX_SENDING},
    watched::observed,
};

/// How long looking a name up may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

impl udp::Host for InstanceState {}

impl<T: Send + 'static> udp::HostWithStore<T> for Capabilities {
    async fn bind(
        accessor: &Accessor<T, Self>,
        address: String,
    ) -> wasmtime::Result<Result<Resource<SocketHandle>, types::Error>> {
        let made = async {
            let addresses = super::looked_up(accessor, Reach::UdpBind, &address, LOOKUP_TIMEOUT).await?;
            let bound = Socket::bind(&*super::sockets(accessor), &address, addresses).await;
            hold(accessor, bound.map_err(|error| bind_error(&address, &error)))
        };
        Ok(observed(accessor, "udp.bind", || address.clone(), made).await)
    }

    async fn connect(
        accessor: &Accessor<T, Self>,
        target: String,
    ) -> wasmtime::Result<Result<Resource<SocketHandle>, types::Error>> {
        let made = async {
            let addresses = super::looked_up(accessor, Reach::UdpConnect, &target, LOOKUP_TIMEOUT).await?;
            let connected = Socket::connect(&*super::sockets(accessor), &target, addresses).await;
            let failed = |error| HostError::Unreachable(format!("{target} cannot be reached: {error}"));
            hold(accessor, connected.map_err(failed))
        };
        Ok(observed(accessor, "udp.connect", || target.clone(), made).await)
    }
}

impl udp::HostSocket for InstanceState {
    fn local_address(&mut self, socket: Resource<SocketHandle>) -> wasmtime::Result<String> {
        Ok(self.table.get(&socket)?.0.address.to_string())
    }

    fn drop(&mut self, socket: Resource<SocketHandle>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        Ok(())
    }
}

impl<T: Send + 'static> udp::HostSocketWithStore<T> for Capabilities {
    async fn send(
        accessor: &Accessor<T, Self>,
        socket: Resource<SocketHandle>,
        data: Vec<u8>,
        remote: Option<String>,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        let (socket, plugin, destination) = accessor.with(|mut access| {
            let state = access.get();
            let socket = state.table.get(&socket)?.0.clone();
            let granted = |address: &str| state.access.address(Reach::UdpConnect, address);
            let destination = socket
                .still_granted(&state.access)
                .and_then(|()| socket.destination(remote.as_deref(), granted));
            wasmtime::error::Ok((socket, state.plugin.clone(), destination))
        })?;
        let on = || match &destination {
            Ok(address) => address.to_string(),
            Err(_) => remote.clone().unwrap_or_default(),
        };
        let sent = async {
            let destination = destination.clone()?;
            crate::datagram::check_length(&data)?;
            let _place =
                plugin.sending.clone().try_acquire_owned().map_err(|_| {
                    HostError::Limit(format!("{MAX_SENDING} datagrams are on their way already"))
                })?;
            turn(&plugin, data.len()).await;
            socket.send(&data, destination).await?;
            plugin.counters.count_datagrams(1, 0, data.len());
            Ok(())
        };
        Ok(observed(accessor, "udp.send", on, sent).await)
    }

    async fn receive(
        accessor: &Accessor<T, Self>,
        socket: Resource<SocketHandle>,
        max: u32,
    ) -> wasmtime::Result<Result<Vec<udp::Datagram>, types::Error>> {
        let (socket, plugin) = accessor.with(|mut access| {
            let state = access.get();
            wasmtime::error::Ok((state.table.get(&socket)?.0.clone(), state.plugin.clone()))
        })?;
        // Asked before and after the wait: the grant may be taken away meanwhile.
        let granted = || accessor.with(|mut access| socket.still_granted(&access.get().access));
        let received = async {
            granted()?;
            let received = socket.receive(max).await?;
            granted()?;
            let bytes = received.iter().map(|datagram| datagram.data.len()).sum();
            plugin.counters.count_datagrams(received.len(), bytes, 0);
            if let Some(pause) = plugin.counters.pass(bytes) {
                sleep(pause).await;
            }
            let told = received.into_iter().map(|datagram| udp::Datagram {
                data: datagram.data,
                remote: datagram.remote.to_string(),
            });
            Ok(told.collect())
        };
        let on = || socket.address.to_string();
        Ok(observed(accessor, "udp.receive", on, received).await)
    }
}

/// Waits until the plugin may send a datagram of this size.
async fn turn(plugin: &Inner, bytes: usize) {
    let waits = [plugin.datagram_turn(clock::now()), plugin.counters.pass(bytes)];
    if let Some(wait) = waits.into_iter().flatten().max() {
        sleep(wait).await;
    }
}

fn hold<T: Send + 'static>(
    accessor: &Accessor<T, Capabilities>,
    made: Result<Socket, HostError>,
) -> Result<Resource<SocketHandle>, HostError> {
    accessor.with(|mut access| access.get().give(SocketHandle(Arc::new(made?))))
}

fn bind_error(address: &str, error: &io::Error) -> HostError {
    HostError::Refused(match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "the address {address} is taken by another program; choose another port, or 0 for a free one"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("the system does not let peerup bind {address}; ports below 1024 need a privilege")
        }
        io::ErrorKind::AddrNotAvailable => format!("the address {address} is none of this machine's"),
        _ => format!("binding {address} failed: {error}"),
    })
}
