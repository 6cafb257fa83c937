//! Listening on the addresses of the config, with an error that names the address that is taken.
//!
//! Used once, when the node starts.

use std::{io, net::SocketAddr};

use libp2p::{
    Multiaddr, Swarm,
    core::transport::{ListenerId, TransportError},
    multiaddr::Protocol,
};
use socket2::{Domain, Socket, Type};

use super::behaviour::NodeBehaviour;
use crate::error::{StartError, root_cause};

/// Starts to listen on one address.
pub(super) fn listen(swarm: &mut Swarm<NodeBehaviour>, address: Multiaddr) -> Result<ListenerId, StartError> {
    if is_taken(&address) {
        return Err(StartError::AddressInUse { address });
    }
    swarm.listen_on(address.clone()).map_err(|error| match error {
        TransportError::Other(error) if is_address_in_use(&error) => StartError::AddressInUse { address },
        error => StartError::Listen {
            reason: root_cause(&error),
            address,
        },
    })
}

/// Whether the address stands for every interface of its family.
pub(super) fn is_wildcard(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_unspecified(),
        Some(Protocol::Ip6(ip)) => ip.is_unspecified(),
        _ => false,
    }
}

/// Whether this is an IPv6 address and the machine has no IPv6.
pub(super) fn lacks_family(address: &Multiaddr) -> bool {
    let Some(Protocol::Ip6(ip)) = address.iter().next() else {
        return false;
    };
    /// EAFNOSUPPORT, which has no kind of its own.
    const NO_FAMILY: i32 = 97;
    try_bind(SocketAddr::new(ip.into(), 0)).is_err_and(|error| {
        error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(NO_FAMILY)
    })
}

fn is_address_in_use(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse || root_cause(error).contains("in use")
}

/// Whether a TCP port is taken. libp2p shares its ports for hole punching, so two nodes of one user would get the
/// same port without an error; a socket that does not share finds out.
fn is_taken(address: &Multiaddr) -> bool {
    let mut parts = address.iter();
    let ip = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return false,
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => {
            try_bind(SocketAddr::new(ip, port)).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
        }
        _ => false,
    }
}

/// Binds and lets go again. An IPv6 socket is for IPv6 only, as libp2p's are: the port on every IPv4 address
/// may well be our own.
fn try_bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}
