//! Listening on the addresses of the config, with an error that names the address that is taken.
//!
//! Used once, when the node starts.

use std::net::{SocketAddr, TcpListener};

use libp2p::{
    Multiaddr, Swarm,
    core::transport::{ListenerId, TransportError},
    multiaddr::Protocol,
};

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

fn is_address_in_use(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::AddrInUse || root_cause(error).contains("in use")
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
        Some(Protocol::Tcp(port)) if port != 0 => TcpListener::bind(SocketAddr::new(ip, port))
            .is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse),
        _ => false,
    }
}
