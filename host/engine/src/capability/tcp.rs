//! TCP on the host's own network.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::timeout;
use wasmtime::component::{Accessor, Resource};

use crate::{
    access::Reach,
    bindings::peerup::plugin::{tcp, types},
    duplex::Duplex,
    error::HostError,
    handles::{DuplexHandle, ListenerHandle},
    sockets::{Sockets, StreamListener},
    state::{Capabilities, InstanceState},
    watched::observed,
};

/// How long looking a name up may take, and connecting after it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl tcp::Host for InstanceState {}

impl<T: Send + 'static> tcp::HostWithStore<T> for Capabilities {
    async fn connect(
        accessor: &Accessor<T, Self>,
        target: String,
    ) -> wasmtime::Result<Result<Resource<DuplexHandle>, types::Error>> {
        let connected = async {
            let addresses = super::looked_up(accessor, Reach::TcpConnect, &target, CONNECT_TIMEOUT).await?;
            let stream = connect(&*super::sockets(accessor), &target, addresses).await?;
            accessor.with(|mut access| access.get().hold(stream))
        };
        Ok(observed(accessor, "tcp.connect", || target.clone(), connected).await)
    }

    async fn listen(
        accessor: &Accessor<T, Self>,
        address: String,
    ) -> wasmtime::Result<Result<Resource<ListenerHandle>, types::Error>> {
        let bound = async {
            let addresses = super::looked_up(accessor, Reach::TcpListen, &address, CONNECT_TIMEOUT).await?;
            let listener = listen(&*super::sockets(accessor), &address, addresses).await?;
            accessor.with(|mut access| access.get().give(listener))
        };
        Ok(observed(accessor, "tcp.listen", || address.clone(), bound).await)
    }
}

impl tcp::HostListener for InstanceState {
    fn local_address(&mut self, listener: Resource<ListenerHandle>) -> wasmtime::Result<String> {
        Ok(self.table.get(&listener)?.listener.local_address().to_string())
    }

    fn drop(&mut self, listener: Resource<ListenerHandle>) -> wasmtime::Result<()> {
        self.table.delete(listener)?;
        Ok(())
    }
}

impl<T: Send + 'static> tcp::HostListenerWithStore<T> for Capabilities {
    async fn accept(
        accessor: &Accessor<T, Self>,
        listener: Resource<ListenerHandle>,
    ) -> wasmtime::Result<Result<Resource<DuplexHandle>, types::Error>> {
        let (handle, asked) = accessor.with(|mut access| {
            let held = access.get().table.get(&listener)?;
            wasmtime::error::Ok((held.listener.clone(), held.asked.clone()))
        })?;
        // Asked before and after the wait: the grant may be taken away meanwhile.
        let granted = || accessor.with(|mut access| access.get().access.address(Reach::TcpListen, &asked));
        let accepted = async {
            granted()?;
            let stream = accept(&*handle).await?;
            granted()?;
            accessor.with(|mut access| access.get().hold(stream))
        };
        let on = || handle.local_address().to_string();
        Ok(observed(accessor, "tcp.accept", on, accepted).await)
    }
}

async fn connect(
    sockets: &dyn Sockets,
    target: &str,
    addresses: Vec<SocketAddr>,
) -> Result<Duplex, HostError> {
    match timeout(CONNECT_TIMEOUT, sockets.connect(addresses)).await {
        Ok(raced) => raced.map_err(|error| connect_error(target, &error)),
        Err(_) => Err(HostError::TimedOut(format!(
            "{target} did not answer within {CONNECT_TIMEOUT:?}"
        ))),
    }
}

fn connect_error(target: &str, error: &io::Error) -> HostError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            HostError::Refused(format!("nothing listens on {target}; is the service running?"))
        }
        io::ErrorKind::TimedOut => HostError::TimedOut(format!("{target} did not answer")),
        _ => HostError::Unreachable(format!("{target} cannot be reached: {error}")),
    }
}

async fn listen(
    sockets: &dyn Sockets,
    address: &str,
    addresses: Vec<SocketAddr>,
) -> Result<ListenerHandle, HostError> {
    match sockets.listen(addresses).await {
        Ok(listener) => Ok(ListenerHandle {
            listener: Arc::from(listener),
            asked: address.into(),
        }),
        Err(error) => Err(listen_error(address, &error)),
    }
}

fn listen_error(address: &str, error: &io::Error) -> HostError {
    HostError::Refused(match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "the address {address} is taken by another program; choose another port, or 0 for a free one"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("the system does not let peerup listen on {address}; ports below 1024 need a privilege")
        }
        io::ErrorKind::AddrNotAvailable => format!("the address {address} is none of this machine's"),
        _ => format!("listening on {address} failed: {error}"),
    })
}

async fn accept(listener: &dyn StreamListener) -> Result<Duplex, HostError> {
    loop {
        match listener.accept().await {
            Ok(stream) => return Ok(stream),
            Err(error) => match error.kind() {
                // The caller went away between its SYN and our accept.
                io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted => {}
                _ => {
                    return Err(HostError::Limit(format!(
                        "accepting a connection failed: {error}"
                    )));
                }
            },
        }
    }
}
