//! Names in the config's addresses: which there are, and what the system's resolver makes of them.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use multiaddr::{Multiaddr, Protocol};
use peerup_config::NodeConfig;

use super::report::Check;

/// Names looked up at once; more are left out.
const MAX_NAMES: usize = 32;

/// What depends on a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    /// A service of this node, or an address that it announces.
    Other,
    /// A relay.
    Relay,
}

/// What each name stands for, or why that is not known.
pub(super) type Found = BTreeMap<String, (Use, Result<Vec<IpAddr>, String>)>;

/// Returns the names in a config.
pub(super) fn names(config: &NodeConfig) -> BTreeMap<String, Use> {
    let external = config.network.external_addresses.iter();
    let services = config.services.values().filter(|service| service.enabled);
    let mut names: BTreeMap<String, Use> = external
        .filter_map(name_in)
        .chain(services.filter_map(|service| host_in(&service.local_address)))
        .map(|name| (name, Use::Other))
        .collect();
    let relays = config.relays.iter().map(|relay| relay.address());
    names.extend(relays.filter_map(name_in).map(|name| (name, Use::Relay)));
    names.into_iter().take(MAX_NAMES).collect()
}

fn name_in(address: &Multiaddr) -> Option<String> {
    match address.iter().next()? {
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => Some(name.into_owned()),
        _ => None,
    }
}

/// Returns the name in `host:port`, where it is one that somebody has to know.
fn host_in(address: &str) -> Option<String> {
    let (host, _) = address.rsplit_once(':')?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let known = bare.parse::<IpAddr>().is_ok() || bare == "localhost";
    (!known).then(|| bare.to_owned())
}

/// Looks all of them up at once.
pub(super) async fn look_up(names: BTreeMap<String, Use>, patience: Duration) -> Found {
    let lookups = names.into_iter().map(|(name, used)| async move {
        let found = one(&name, patience).await;
        (name, (used, found))
    });
    futures::future::join_all(lookups).await.into_iter().collect()
}

async fn one(name: &str, patience: Duration) -> Result<Vec<IpAddr>, String> {
    match tokio::time::timeout(patience, tokio::net::lookup_host((name, 0))).await {
        Err(_) => Err(format!("no answer within {} s", patience.as_secs())),
        Ok(Err(error)) => Err(without_preamble(&error.to_string())),
        Ok(Ok(found)) => {
            let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            addresses.dedup();
            Ok(addresses)
        }
    }
}

/// Takes off what the standard library says before each reason of the resolver.
fn without_preamble(text: &str) -> String {
    let reason = text.strip_prefix("failed to lookup address information: ");
    reason.unwrap_or(text).to_owned()
}

/// Returns whether the system knows whom to ask for names.
pub(super) fn has_resolver(root: &Path) -> bool {
    let text = std::fs::read_to_string(root.join("etc/resolv.conf")).unwrap_or_default();
    text.lines()
        .any(|line| line.trim_start().starts_with("nameserver"))
}

/// Says what the lookups mean.
pub(super) fn judge(found: &Found, resolver: bool) -> Check {
    let name = "dns";
    if found.is_empty() {
        return Check::skipped(name, "no configured address has a name");
    }
    let lines = found.iter().map(|(name, (_, found))| match found {
        Ok(addresses) => {
            let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("{name} is {}", list.join(", "))
        }
        Err(error) => format!("{name}: {error}"),
    });
    let mut lines: Vec<String> = lines.collect();
    let failed = found.iter().filter(|(_, (_, found))| found.is_err());
    let worst = failed.max_by_key(|(_, (used, _))| *used);
    let Some((first, (used, _))) = worst else {
        return Check::ok(name, lines.join("\n"));
    };
    let mut next = format!("getent ahosts {first}");
    if !resolver {
        lines.push("/etc/resolv.conf names no nameserver".to_owned());
        next.push_str("; give this machine a nameserver");
    }
    let found = lines.join("\n");
    match used {
        Use::Relay => Check::problem(name, found).meaning("a relay is not found by its name"),
        Use::Other => Check::warning(name, found).meaning("what has that name is not found"),
    }
    .next(next)
}

/// Picks the addresses of a host out of the lookups.
pub(super) fn addresses(host: &Protocol<'_>, found: &Found) -> Result<Vec<IpAddr>, String> {
    let named = |name: &str| match found.get(name) {
        Some((_, result)) => result.clone(),
        None => Err("it was not looked up".to_owned()),
    };
    let some = |list: Vec<IpAddr>, kind: &str| match list.is_empty() {
        true => Err(format!("its name has no address of {kind}")),
        false => Ok(list),
    };
    match host {
        Protocol::Ip4(ip) => Ok(vec![(*ip).into()]),
        Protocol::Ip6(ip) => Ok(vec![(*ip).into()]),
        Protocol::Dns(name) => named(name),
        Protocol::Dns4(name) => {
            named(name).and_then(|list| some(list.into_iter().filter(IpAddr::is_ipv4).collect(), "IPv4"))
        }
        Protocol::Dns6(name) => {
            named(name).and_then(|list| some(list.into_iter().filter(IpAddr::is_ipv6).collect(), "IPv6"))
        }
        _ => Err("only the daemon looks such an address up".to_owned()),
    }
}

/// Returns an error in words, short where it is a usual one.
pub(super) fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        io::ErrorKind::ConnectionRefused => "refused: nobody listens there".to_owned(),
        io::ErrorKind::NetworkUnreachable => "this machine has no way into that network".to_owned(),
        io::ErrorKind::HostUnreachable => "no way to that host".to_owned(),
        _ => error.to_string(),
    }
}

/// Returns the part of an address that a socket binds or connects to: address, port, and whether it is UDP.
pub(super) fn socket_address(address: &Multiaddr) -> Option<(SocketAddr, Layer)> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    let (layer, port) = layer(&parts.next()?)?;
    Some((SocketAddr::new(ip, port), layer))
}

/// Returns protocol and port of the second part of an address.
pub(super) fn layer(part: &Protocol<'_>) -> Option<(Layer, u16)> {
    match part {
        Protocol::Tcp(port) => Some((Layer::Tcp, *port)),
        Protocol::Udp(port) => Some((Layer::Udp, *port)),
        _ => None,
    }
}

/// What an address is carried by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Layer {
    Tcp,
    Udp,
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::doctor::report::State;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn found(entries: &[(&str, Use, bool)]) -> Found {
        let one = |&(name, used, good): &(&str, Use, bool)| {
            let result = match good {
                true => Ok(vec![LOOPBACK]),
                false => Err("no such name".to_owned()),
            };
            (name.to_owned(), (used, result))
        };
        entries.iter().map(one).collect()
    }

    #[test]
    fn only_names_that_somebody_has_to_know_count() {
        assert_eq!(host_in("nas.lan:80").as_deref(), Some("nas.lan"));
        for address in ["localhost:80", "127.0.0.1:80", "[::1]:80"] {
            assert_eq!(host_in(address), None, "{address}");
        }
        let address: Multiaddr = "/dns4/relay.example/tcp/1".parse().unwrap();
        assert_eq!(name_in(&address).as_deref(), Some("relay.example"));
        assert_eq!(name_in(&"/ip4/192.0.2.1/tcp/1".parse().unwrap()), None);
    }

    #[test]
    fn a_relay_without_an_address_is_a_problem_and_a_service_without_one_is_not() {
        assert_eq!(judge(&found(&[]), true).state, State::Skipped);
        let good = ("a", Use::Relay, true);
        assert_eq!(judge(&found(&[good]), true).state, State::Ok);
        let service = ("b", Use::Other, false);
        assert_eq!(judge(&found(&[good, service]), true).state, State::Warning);
        let relay = ("c", Use::Relay, false);
        let check = judge(&found(&[good, service, relay]), false);
        assert_eq!(check.state, State::Problem);
        assert!(check.found.contains("/etc/resolv.conf"));
        assert!(check.next.unwrap().starts_with("getent ahosts c"));
    }

    #[test]
    fn a_name_of_one_family_gives_addresses_of_that_family() {
        let found = found(&[("a", Use::Relay, true)]);
        assert_eq!(addresses(&Protocol::Dns("a".into()), &found), Ok(vec![LOOPBACK]));
        assert_eq!(addresses(&Protocol::Dns4("a".into()), &found), Ok(vec![LOOPBACK]));
        assert!(addresses(&Protocol::Dns6("a".into()), &found).is_err());
        assert!(addresses(&Protocol::Dnsaddr("a".into()), &found).is_err());
    }
}
