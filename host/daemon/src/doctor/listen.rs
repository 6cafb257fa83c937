//! Whether the configured addresses can be listened on, or are by the running daemon.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use multiaddr::Multiaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use super::{
    lookup::{Layer, socket_address},
    report::{Check, State},
};

const NAME: &str = "listen";

/// What came of one configured address.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) address: String,
    pub(super) port: u16,
    /// None for an address that is no plain TCP or UDP one.
    pub(super) bound: Option<io::Result<()>>,
}

/// Tries to listen on each address, as no daemon does. Blocking for no longer than a system call.
pub(super) fn try_all(addresses: &[Multiaddr]) -> Vec<Finding> {
    let one = |address: &Multiaddr| {
        let socket = socket_address(address);
        Finding {
            address: address.to_string(),
            port: socket.map_or(0, |(socket, _)| socket.port()),
            bound: socket.map(|(socket, layer)| try_one(socket, layer)),
        }
    };
    addresses.iter().map(one).collect()
}

fn try_one(address: SocketAddr, layer: Layer) -> io::Result<()> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = match layer {
        Layer::Tcp => SocketType::STREAM,
        Layer::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        // As the daemon does: the same port of IPv4 is another listener.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if layer == Layer::Tcp {
        // Connections of a daemon that ended just now do not count.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    if layer == Layer::Tcp {
        listen(&socket, 1)?;
    }
    Ok(())
}

/// Says what the attempts mean.
pub(super) fn judge_free(findings: &[Finding]) -> Check {
    let mut state = State::Ok;
    let mut meaning = None;
    let mut next = None;
    let mut lines = Vec::new();
    for finding in findings {
        let (found, bad) = match &finding.bound {
            None => ("is tried by the daemon only".to_owned(), None),
            Some(Ok(())) => ("is free".to_owned(), None),
            Some(Err(error)) => (words(error), Some(remedy(error, finding.port))),
        };
        lines.push(format!("{} {found}", finding.address));
        if let Some((how_bad, why, how)) = bad.filter(|(how_bad, ..)| *how_bad > state) {
            (state, meaning, next) = (how_bad, Some(why), Some(how));
        }
    }
    Check {
        state,
        meaning: meaning.map(str::to_owned),
        next,
        ..Check::ok(NAME, lines.join("\n"))
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "is taken by another program".to_owned(),
        io::ErrorKind::AddrNotAvailable => "is no address of this machine".to_owned(),
        io::ErrorKind::PermissionDenied => "needs more rights".to_owned(),
        _ => format!("cannot be listened on: {error}"),
    }
}

fn remedy(error: &io::Error, port: u16) -> (State, &'static str, String) {
    match error.kind() {
        io::ErrorKind::AddrInUse => (
            State::Problem,
            "the daemon cannot listen there",
            format!(
                "ss -lntup | grep :{port}, then end that program or change the port in network.listen_addresses"
            ),
        ),
        io::ErrorKind::PermissionDenied => (
            State::Problem,
            "ports below 1024 are the system's",
            "choose a port above 1023 in network.listen_addresses, or in the daemon's unit: \
             AmbientCapabilities=CAP_NET_BIND_SERVICE"
                .to_owned(),
        ),
        io::ErrorKind::AddrNotAvailable => (
            State::Problem,
            "the daemon cannot listen there",
            "ip address, then correct network.listen_addresses".to_owned(),
        ),
        // A kernel without IPv6, as a rule: the other addresses do.
        _ => (
            State::Warning,
            "the daemon listens on its other addresses only",
            "take that address out of network.listen_addresses".to_owned(),
        ),
    }
}

/// Compares what is configured with what the running daemon says it listens on.
pub(super) fn judge_running(configured: &[Multiaddr], running: &[Multiaddr]) -> Check {
    let missing: Vec<String> = configured
        .iter()
        .filter(|wanted| !running.iter().any(|address| covers(wanted, address)))
        .map(ToString::to_string)
        .collect();
    if missing.is_empty() {
        let list: Vec<String> = running.iter().map(ToString::to_string).collect();
        return Check::ok(NAME, format!("the daemon listens on {}", list.join(", ")));
    }
    let found = format!("the daemon does not listen on {}", missing.join(", "));
    let check = match running.is_empty() {
        true => Check::problem(NAME, found),
        false => Check::warning(NAME, found),
    };
    check
        .meaning("peers do not reach this node there")
        .next("ss -lntup; see the daemon's log, then start it again")
}

/// Returns whether a running listener is one of those that a configured address stands for.
fn covers(wanted: &Multiaddr, address: &Multiaddr) -> bool {
    let (Some((wanted, layer)), Some((found, found_layer))) =
        (socket_address(wanted), socket_address(address))
    else {
        return wanted == address;
    };
    let same_ip =
        wanted.ip() == found.ip() || (wanted.ip().is_unspecified() && same_family(wanted.ip(), found.ip()));
    layer == found_layer && same_ip && (wanted.port() == 0 || wanted.port() == found.port())
}

fn same_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<Multiaddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn judged(kinds: &[Option<io::ErrorKind>]) -> Check {
        let findings: Vec<Finding> = kinds
            .iter()
            .map(|kind| Finding {
                address: "/ip4/0.0.0.0/tcp/4001".to_owned(),
                port: 4001,
                bound: Some(kind.map_or(Ok(()), |kind| Err(kind.into()))),
            })
            .collect();
        judge_free(&findings)
    }

    #[test]
    fn the_worst_address_decides() {
        assert_eq!(judged(&[None, None]).state, State::Ok);
        let check = judged(&[None, Some(io::ErrorKind::Unsupported)]);
        assert_eq!(check.state, State::Warning);
        let check = judged(&[
            Some(io::ErrorKind::Unsupported),
            Some(io::ErrorKind::AddrInUse),
            None,
        ]);
        assert_eq!(check.state, State::Problem);
        assert!(check.next.unwrap().starts_with("ss -lntup | grep :4001"));
    }

    #[test]
    fn a_port_that_is_taken_is_found_for_both_protocols() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for (port, text) in [
            (tcp.local_addr().unwrap().port(), "tcp"),
            (udp.local_addr().unwrap().port(), "udp"),
        ] {
            let found = try_all(&addresses(&[&format!("/ip4/127.0.0.1/{text}/{port}")]));
            assert_eq!(judge_free(&found).state, State::Problem, "{found:?}");
        }
        let found = try_all(&addresses(&[
            "/ip4/127.0.0.1/tcp/0",
            "/ip4/127.0.0.1/udp/0/quic-v1",
        ]));
        assert_eq!(judge_free(&found).state, State::Ok, "{found:?}");
    }

    #[test]
    fn a_listener_of_every_address_is_found_in_those_of_single_ones() {
        let configured = addresses(&["/ip4/0.0.0.0/tcp/1", "/ip4/127.0.0.1/udp/0/quic-v1"]);
        let running = addresses(&["/ip4/192.0.2.1/tcp/1", "/ip4/127.0.0.1/udp/9/quic-v1"]);
        assert_eq!(judge_running(&configured, &running).state, State::Ok);
        let other = addresses(&[
            "/ip4/192.0.2.1/tcp/2",
            "/ip6/::1/tcp/1",
            "/ip4/127.0.0.1/udp/9/quic-v1",
        ]);
        assert_eq!(judge_running(&configured, &other).state, State::Warning);
        assert_eq!(judge_running(&configured, &[]).state, State::Problem);
    }
}
