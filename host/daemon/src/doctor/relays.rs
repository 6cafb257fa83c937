//! Whether each relay is reached over each of its addresses, and what it means where only UDP is not.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use libp2p_identity::PeerId;
use multiaddr::Protocol;
use peerup_config::RelayAddress;

use super::{
    lookup::{self, Found, Layer},
    quic,
    report::Check,
};

/// Relay addresses that are tried; more are left out and said to be.
const MAX_TARGETS: usize = 32;
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

/// How a relay is spoken to at one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    WebSocket,
    Quic,
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::WebSocket => "WebSocket",
            Self::Quic => "QUIC",
        }
    }
}

/// What came of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// It answered after this time.
    Answered(Duration),
    /// It did not.
    Not {
        /// Where it failed.
        at: Hop,
        /// In words.
        why: String,
    },
    /// It was not tried, for this reason.
    NotTried(String),
}

/// How far the way to a relay was open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hop {
    /// Its name was not found.
    Name,
    /// This machine has no way out.
    Network,
    /// Something on the way, or the relay itself.
    Relay,
}

/// One address of a relay, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) relay: PeerId,
    pub(super) address: String,
    pub(super) port: u16,
    /// None for one that this version cannot try.
    pub(super) transport: Option<Transport>,
    pub(super) reach: Reach,
}

/// Tries all addresses at once.
pub(super) async fn try_all(relays: &[RelayAddress], names: &Found, patience: Duration) -> Vec<Finding> {
    let tries = relays
        .iter()
        .take(MAX_TARGETS)
        .map(|relay| try_one(relay, names, patience));
    futures::future::join_all(tries).await
}

async fn try_one(relay: &RelayAddress, names: &Found, patience: Duration) -> Finding {
    let address = relay.dial_address();
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    let (transport, port) = transport(&parts).map_or((None, 0), |(kind, port)| (Some(kind), port));
    let reach = match (parts.first(), transport) {
        (Some(host), Some(transport)) => match lookup::addresses(host, names) {
            Ok(list) => reach(transport, &list, port, patience).await,
            Err(why) if matches!(host, Protocol::Dnsaddr(_)) => Reach::NotTried(why),
            Err(why) => Reach::Not { at: Hop::Name, why },
        },
        _ => Reach::NotTried("peerup doctor does not know this kind of address".to_owned()),
    };
    Finding {
        relay: relay.peer(),
        address: address.to_string(),
        port,
        transport,
        reach,
    }
}

fn transport(parts: &[Protocol<'_>]) -> Option<(Transport, u16)> {
    let (layer, port) = lookup::layer(parts.get(1)?)?;
    let has = |wanted: fn(&Protocol<'_>) -> bool| parts.iter().any(wanted);
    match layer {
        Layer::Udp if has(|part| matches!(part, Protocol::QuicV1 | Protocol::Quic)) => {
            Some((Transport::Quic, port))
        }
        Layer::Udp => None,
        Layer::Tcp if has(|part| matches!(part, Protocol::Ws(_) | Protocol::Wss(_))) => {
            Some((Transport::WebSocket, port))
        }
        Layer::Tcp => Some((Transport::Tcp, port)),
    }
}

/// Tries the addresses of one host at once: the first answer counts, else the last reason.
async fn reach(transport: Transport, hosts: &[IpAddr], port: u16, patience: Duration) -> Reach {
    let mut tries: FuturesUnordered<_> = hosts
        .iter()
        .take(MAX_ADDRESSES)
        .map(|host| knock(transport, SocketAddr::new(*host, port), patience))
        .collect();
    let mut last = Reach::Not {
        at: Hop::Name,
        why: "its name has no address".to_owned(),
    };
    while let Some(outcome) = tries.next().await {
        match outcome {
            Ok(time) => return Reach::Answered(time),
            Err(error) => last = failed(&error),
        }
    }
    last
}

fn failed(error: &io::Error) -> Reach {
    let at = match error.kind() {
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => Hop::Network,
        _ => Hop::Relay,
    };
    Reach::Not {
        at,
        why: lookup::in_words(error),
    }
}

async fn knock(transport: Transport, address: SocketAddr, patience: Duration) -> io::Result<Duration> {
    if transport == Transport::Quic {
        return quic::ask(address, patience).await;
    }
    let begun = tokio::time::Instant::now();
    match tokio::time::timeout(patience, tokio::net::TcpStream::connect(address)).await {
        Ok(connected) => connected.map(|_| begun.elapsed()),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Says what the findings mean: a check for each address, then one for UDP.
pub(super) fn judge(findings: &[Finding], configured: usize) -> Vec<Check> {
    if findings.is_empty() {
        return vec![
            Check::skipped("relay", "no relay is configured")
                .meaning("this node is reached only where a direct path to it is known")
                .next("peerup relay add ADDRESS"),
        ];
    }
    let mut checks: Vec<Check> = findings.iter().map(|finding| one(finding, findings)).collect();
    if configured > findings.len() {
        let more = configured - findings.len();
        checks.push(Check::skipped(
            "relay",
            format!("{more} more addresses were not tried"),
        ));
    }
    checks.push(udp(findings));
    checks
}

fn one(finding: &Finding, all: &[Finding]) -> Check {
    let name = "relay";
    let over = finding.transport.map_or("?", Transport::name);
    let what = format!("{} over {over}", finding.address);
    let (at, why) = match &finding.reach {
        Reach::Answered(time) => {
            return Check::ok(name, format!("{what}: answered in {} ms", time.as_millis()));
        }
        Reach::NotTried(why) => return Check::skipped(name, format!("{}: {why}", finding.address)),
        Reach::Not { at, why } => (*at, why),
    };
    let found = format!("{what}: {why}");
    if works(finding.relay, all) {
        return Check::warning(name, found)
            .meaning("the relay is reached over another of its addresses")
            .next("open the way to that port, or: peerup relay remove ADDRESS");
    }
    Check::problem(name, found)
        .meaning("this relay is not reached: peers do not find this node over it")
        .next(way_out(finding, at))
}

fn way_out(finding: &Finding, at: Hop) -> String {
    let kind = match finding.transport {
        Some(Transport::Quic) => "udp",
        _ => "tcp",
    };
    match at {
        Hop::Name => "correct the name: peerup relay list; or see to the resolver, as dns says".to_owned(),
        Hop::Network => "connect this machine to a network: ip route".to_owned(),
        Hop::Relay => format!(
            "on the relay: ss -lntup | grep :{port}, and let {port}/{kind} through its firewall",
            port = finding.port
        ),
    }
}

fn works(relay: PeerId, all: &[Finding]) -> bool {
    all.iter()
        .any(|other| other.relay == relay && matches!(other.reach, Reach::Answered(_)))
}

/// Compares TCP with QUIC at the same relay.
fn udp(findings: &[Finding]) -> Check {
    let name = "udp";
    let quic = |finding: &&Finding| finding.transport == Some(Transport::Quic);
    if !findings.iter().any(|finding| quic(&finding)) {
        return Check::skipped(name, "no relay has an address of QUIC, so UDP was not tried");
    }
    let answered = |finding: &&Finding| matches!(finding.reach, Reach::Answered(_));
    if let Some(good) = findings.iter().filter(quic).find(answered) {
        return Check::ok(name, format!("UDP passes: {} answered", good.address));
    }
    let silent = findings
        .iter()
        .filter(quic)
        .find_map(|finding| match &finding.reach {
            // A name that is not found says nothing about UDP.
            Reach::Not { at, why } if *at != Hop::Name && works(finding.relay, findings) => {
                Some((finding, why))
            }
            _ => None,
        });
    let Some((finding, why)) = silent else {
        return Check::skipped(
            name,
            "no relay with an address of QUIC answers over TCP, to compare with",
        );
    };
    Check::warning(
        name,
        format!(
            "UDP seems blocked: {}: {why}; the same relay answers over TCP",
            finding.address
        ),
    )
    .meaning("QUIC and hole punching do not work here; peerup goes on over TCP and the relay")
    .next(format!(
        "let UDP out to port {port} in this network's firewall; on the relay: ss -lnup | grep :{port}",
        port = finding.port
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::State;

    fn peer(number: u8) -> PeerId {
        let seed = [number; 32];
        libp2p_identity::Keypair::ed25519_from_bytes(seed)
            .unwrap()
            .public()
            .to_peer_id()
    }

    fn finding(relay: u8, transport: Transport, answers: bool) -> Finding {
        Finding {
            relay: peer(relay),
            address: "/ip4/192.0.2.1".to_owned(),
            port: 7777,
            transport: Some(transport),
            reach: match answers {
                true => Reach::Answered(Duration::from_millis(12)),
                false => Reach::Not {
                    at: Hop::Relay,
                    why: "no answer".to_owned(),
                },
            },
        }
    }

    fn states(findings: &[Finding]) -> Vec<State> {
        let checks = judge(findings, findings.len());
        checks.iter().map(|check| check.state).collect()
    }

    #[test]
    fn a_dead_relay_is_a_problem_whatever_another_one_does() {
        let findings = [
            finding(1, Transport::Tcp, true),
            finding(2, Transport::Tcp, false),
        ];
        assert_eq!(states(&findings), [State::Ok, State::Problem, State::Skipped]);
        let check = &judge(&findings, 2)[1];
        assert!(check.next.as_ref().unwrap().contains("ss -lntup | grep :7777"));
    }

    #[test]
    fn tcp_without_udp_at_one_relay_means_that_udp_is_blocked() {
        let findings = [
            finding(1, Transport::WebSocket, true),
            finding(1, Transport::Quic, false),
        ];
        assert_eq!(states(&findings), [State::Ok, State::Warning, State::Warning]);
        let last = judge(&findings, 2).pop().unwrap();
        assert!(last.found.contains("UDP seems blocked"), "{last:?}");
    }

    #[test]
    fn nothing_is_concluded_about_udp_from_a_dead_relay() {
        let findings = [
            finding(1, Transport::Tcp, false),
            finding(1, Transport::Quic, false),
            finding(2, Transport::Tcp, true),
        ];
        assert_eq!(judge(&findings, 3).pop().unwrap().state, State::Skipped);
    }

    #[test]
    fn a_name_that_is_not_found_says_nothing_about_udp() {
        let mut unnamed = finding(1, Transport::Quic, false);
        unnamed.reach = Reach::Not {
            at: Hop::Name,
            why: "no such name".to_owned(),
        };
        let findings = [finding(1, Transport::Tcp, true), unnamed.clone()];
        assert_eq!(states(&findings), [State::Ok, State::Warning, State::Skipped]);
        let check = judge(&[unnamed], 1).remove(0);
        assert!(check.next.unwrap().contains("name"));
    }

    #[test]
    fn a_machine_without_a_network_is_not_sent_to_the_relay() {
        let reach = failed(&io::ErrorKind::NetworkUnreachable.into());
        let lost = Finding {
            reach,
            ..finding(1, Transport::Tcp, false)
        };
        assert!(judge(&[lost], 1).remove(0).next.unwrap().contains("ip route"));
    }

    #[test]
    fn one_answer_over_quic_means_that_udp_passes() {
        let findings = [
            finding(1, Transport::Quic, true),
            finding(2, Transport::Quic, false),
        ];
        assert_eq!(judge(&findings, 2).pop().unwrap().state, State::Ok);
    }

    #[test]
    fn no_relay_is_no_problem_and_too_many_are_told() {
        assert_eq!(states(&[]), [State::Skipped]);
        let findings = [finding(1, Transport::Tcp, true)];
        let text = format!("{:?}", judge(&findings, 3));
        assert!(text.contains("2 more addresses"), "{text}");
    }

    #[test]
    fn the_transport_is_read_off_the_address() {
        let of = |text: &str| {
            let address: multiaddr::Multiaddr = text.parse().unwrap();
            let parts: Vec<Protocol<'_>> = address.iter().collect();
            transport(&parts)
        };
        assert_eq!(of("/ip4/192.0.2.1/tcp/1"), Some((Transport::Tcp, 1)));
        assert_eq!(of("/dns/a/tcp/2/tls/ws"), Some((Transport::WebSocket, 2)));
        assert_eq!(of("/dns4/a/tcp/3/wss"), Some((Transport::WebSocket, 3)));
        assert_eq!(of("/ip6/::1/udp/4/quic-v1"), Some((Transport::Quic, 4)));
        assert_eq!(of("/ip4/192.0.2.1/udp/5"), None);
        assert_eq!(of("/dnsaddr/a"), None);
    }
}
