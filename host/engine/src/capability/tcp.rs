//! TCP on the host's own network.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    time::{sleep, timeout},
};
use wasmtime::component::{Accessor, Resource};

use crate::{
    access::Reach,
    bindings::peerup::plugin::{tcp, types},
    duplex::Duplex,
    error::HostError,
    handles::{DuplexHandle, ListenerHandle},
    state::{Capabilities, InstanceState},
};

/// How long looking a name up may take, and connecting after it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one address has before the next is tried beside it (RFC 8305, section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

impl tcp::Host for InstanceState {}

impl<T: Send + 'static> tcp::HostWithStore<T> for Capabilities {
    async fn connect(
        accessor: &Accessor<T, Self>,
        target: String,
    ) -> wasmtime::Result<Result<Resource<DuplexHandle>, types::Error>> {
        let connected = async {
            let addresses = super::looked_up(accessor, Reach::TcpConnect, &target, CONNECT_TIMEOUT).await?;
            connect(&target, addresses).await
        };
        let connected = connected.await;
        let held =
            accessor.with(|mut access| connected.and_then(|stream| access.get().hold(Duplex::tcp(stream))));
        Ok(held.map_err(types::Error::from))
    }

    async fn listen(
        accessor: &Accessor<T, Self>,
        address: String,
    ) -> wasmtime::Result<Result<Resource<ListenerHandle>, types::Error>> {
        let bound = async {
            let addresses = super::looked_up(accessor, Reach::TcpListen, &address, CONNECT_TIMEOUT).await?;
            listen(&address, &addresses).await
        };
        let bound = bound.await;
        let held = accessor.with(|mut access| access.get().give(bound?));
        Ok(held.map_err(types::Error::from))
    }
}

impl tcp::HostListener for InstanceState {
    fn local_address(&mut self, listener: Resource<ListenerHandle>) -> wasmtime::Result<String> {
        Ok(self.table.get(&listener)?.address.to_string())
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
        let handle = accessor.with(|mut access| {
            access
                .get()
                .table
                .get(&listener)
                .map(|held| held.listener.clone())
        })?;
        let accepted = accept(&handle).await;
        let held =
            accessor.with(|mut access| accepted.and_then(|stream| access.get().hold(Duplex::tcp(stream))));
        Ok(held.map_err(types::Error::from))
    }
}

async fn connect(target: &str, addresses: Vec<SocketAddr>) -> Result<TcpStream, HostError> {
    match timeout(CONNECT_TIMEOUT, race(addresses)).await {
        Ok(raced) => raced.map_err(|error| connect_error(target, &error)),
        Err(_) => Err(HostError::TimedOut(format!(
            "{target} did not answer within {CONNECT_TIMEOUT:?}"
        ))),
    }
}

/// Connects to the first address that answers; the next is tried once the one before has failed or is slow.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut running = FuturesUnordered::new();
    running.extend(waiting.next().map(TcpStream::connect));
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        let more = waiting.len() > 0;
        select! {
            biased;
            answered = running.next() => match answered {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => {
                    last = error;
                    running.extend(waiting.next().map(TcpStream::connect));
                }
                None => return Err(last),
            },
            () = sleep(NEXT_ADDRESS_AFTER), if more => running.extend(waiting.next().map(TcpStream::connect)),
        }
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

async fn listen(address: &str, addresses: &[SocketAddr]) -> Result<ListenerHandle, HostError> {
    let bound = async {
        let listener = TcpListener::bind(addresses).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    match bound.await {
        Ok((listener, address)) => Ok(ListenerHandle {
            listener: Arc::new(listener),
            address,
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

async fn accept(listener: &TcpListener) -> Result<TcpStream, HostError> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Ok(stream),
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
