//! Reads single values of the config - durations, sizes, counts, addresses, ids - and keeps every problem
//! with its key, so that one run tells them all.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};
use peerup_model::ByteSize;

use crate::{
    document::{Node, Step, dotted},
    error::Problem,
};

/// Longest text of a `host:port`: a DNS name has at most 253 characters.
const MAX_HOST: usize = 253;

/// Collects problems while a file is resolved.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    root: &'a Node,
    /// Folder of the file; relative paths start here.
    folder: &'a Path,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
}

/// Builds a path into the file from keys (text) and items (numbers).
macro_rules! at {
    ($($step:expr),* $(,)?) => { &[$($crate::document::Step::from($step)),*] };
}
pub(crate) use at;

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<&String> for Step {
    fn from(key: &String) -> Self {
        Self::Key(key.clone())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Item(index)
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(root: &'a Node, folder: &'a Path) -> Self {
        Self {
            root,
            folder,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(crate) fn problem(&mut self, path: &[Step], message: impl Into<String>) {
        self.problems
            .push(Problem::at(self.root.position_of(path), dotted(path), message));
    }

    pub(crate) fn warning(&mut self, path: &[Step], message: impl Into<String>) {
        self.warnings
            .push(Problem::at(self.root.position_of(path), dotted(path), message));
    }

    /// Takes a checked value, or notes why it is none.
    pub(crate) fn take<T>(&mut self, path: &[Step], found: Result<T, String>) -> Option<T> {
        match found {
            Ok(value) => Some(value),
            Err(message) => {
                self.problem(path, message);
                None
            }
        }
    }

    /// Reads each item of a list; bad ones are noted and left out.
    pub(crate) fn list<T>(
        &mut self,
        path: &[Step],
        items: &[String],
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let mut path = path.to_vec();
            path.push(Step::Item(index));
            values.extend(self.take(&path, read(item)));
        }
        values
    }

    /// Reads a duration that must be longer than nothing.
    pub(crate) fn duration(&mut self, path: &[Step], text: Option<String>, default: Duration) -> Duration {
        let Some(text) = text else { return default };
        let found = duration(&text).and_then(|value| match value {
            Duration::ZERO => Err("has to be longer than 0".to_owned()),
            value => Ok(value),
        });
        self.take(path, found).unwrap_or(default)
    }

    /// Reads a count within bounds.
    pub(crate) fn count(&mut self, path: &[Step], text: Option<String>, default: u32, most: u32) -> u32 {
        let Some(text) = text else { return default };
        let found = match text.parse::<u32>() {
            Ok(value) if (1..=most).contains(&value) => Ok(value),
            _ => Err(format!("{text:?} is not a number from 1 to {most}")),
        };
        self.take(path, found).unwrap_or(default)
    }

    /// Reads a path; a relative one starts at the config's folder.
    pub(crate) fn file(&mut self, path: &[Step], text: Option<String>, default: &str) -> PathBuf {
        let text = text.unwrap_or_else(|| default.to_owned());
        if text.is_empty() || text.contains('\0') {
            self.problem(path, "the path is empty or not valid");
        }
        self.folder.join(text)
    }

    /// The same for a file that need not be named.
    pub(crate) fn optional_file(&mut self, path: &[Step], text: Option<String>) -> Option<PathBuf> {
        text.map(|text| self.file(path, Some(text), ""))
    }
}

/// Reads a duration such as `10m`, `1h30m` or `0`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let refused =
        || format!("{text:?} is not a duration; write a number with a unit, such as 30s, 10m or 24h");
    let value = humantime::parse_duration(text.trim()).map_err(|_| refused())?;
    // Far above every sensible setting, and far below where adding it to a clock overflows.
    if value > Duration::from_secs(100 * 365 * 24 * 3600) {
        return Err(format!("{text:?} is longer than 100 years"));
    }
    Ok(value)
}

/// Reads a size in bytes such as `64MB`, `64MiB` or `1GB`. Every unit is a power of 1024.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    parsed::<ByteSize>(text).map(ByteSize::bytes)
}

/// Least bytes a second: below, a single datagram would not pass, and a turn of a stream would take seconds.
const LEAST_RATE: u64 = 64 * 1024;

/// Reads bytes a second, or `unlimited`.
pub(crate) fn rate(text: &str) -> Result<Option<u64>, String> {
    if text == "unlimited" {
        return Ok(None);
    }
    match size(text)? {
        bytes @ LEAST_RATE.. => Ok(Some(bytes)),
        _ => Err(format!(
            "{text:?} is less than 64KB a second; write at least that, or unlimited"
        )),
    }
}

/// Reads a peer id in any form that libp2p reads.
pub(crate) fn peer_id(text: &str) -> Result<PeerId, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("{text:?} is not a peer id; `peerup whoami` prints one, such as 12D3KooW..."))
}

/// Reads a name or anything else that checks itself.
pub(crate) fn parsed<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// Reads an address without a peer id: what a node listens on or announces.
pub(crate) fn bare_address(text: &str) -> Result<Multiaddr, String> {
    let address = multiaddr(text)?;
    if address.iter().any(|part| matches!(part, Protocol::P2p(_))) {
        return Err(format!(
            "{text:?} must not end in /p2p/...: the peer id is this node's own"
        ));
    }
    Ok(address)
}

fn multiaddr(text: &str) -> Result<Multiaddr, String> {
    let refused = |error: &dyn std::fmt::Display| {
        format!("{text:?} is not a multiaddr such as /ip4/192.0.2.1/tcp/4001: {error}")
    };
    let address: Multiaddr = text.trim().parse().map_err(|error| refused(&error))?;
    match address.iter().next() {
        Some(
            Protocol::Ip4(_)
            | Protocol::Ip6(_)
            | Protocol::Dns(_)
            | Protocol::Dns4(_)
            | Protocol::Dns6(_)
            | Protocol::Dnsaddr(_)
            | Protocol::Memory(_),
        ) => Ok(address),
        _ => Err(refused(&"it has to start with an IP address or a DNS name")),
    }
}

/// A relay's full address, ending in `/p2p/` and its peer id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayAddress {
    address: Multiaddr,
    peer: PeerId,
}

impl RelayAddress {
    /// Returns the whole address with `/p2p/` and the relay's id.
    pub fn address(&self) -> &Multiaddr {
        &self.address
    }

    /// Returns the address to dial, without `/p2p/`.
    pub fn dial_address(&self) -> Multiaddr {
        self.address
            .iter()
            .filter(|part| !matches!(part, Protocol::P2p(_)))
            .collect()
    }

    /// Returns the relay's peer id.
    pub fn peer(&self) -> PeerId {
        self.peer
    }
}

impl std::fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

/// Why a relay's address was refused; the text says what it needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RelayAddressError(String);

impl FromStr for RelayAddress {
    type Err = RelayAddressError;

    fn from_str(text: &str) -> Result<Self, RelayAddressError> {
        let address = multiaddr(text).map_err(RelayAddressError)?;
        let refused = |why: &str| Err(RelayAddressError(format!("{text:?} {why}")));
        if address.iter().any(|part| matches!(part, Protocol::P2pCircuit)) {
            return refused("leads over another relay; name the relay's own address");
        }
        let mut peers = address.iter().filter_map(|part| match part {
            Protocol::P2p(peer) => Some(peer),
            _ => None,
        });
        let (first, second) = (peers.next(), peers.next());
        let last = address.iter().last();
        match (first, second, last) {
            (Some(peer), None, Some(Protocol::P2p(_))) => Ok(Self { peer, address }),
            _ => {
                refused("has to end in /p2p/ and the relay's peer id; `relay-server info` prints it in full")
            }
        }
    }
}

/// Checks a `host:port` that can be dialled. The host is a name, an IPv4 address or an IPv6 address in
/// brackets; the port is not 0.
///
/// # Errors
/// Says in words what is wrong with it.
pub fn check_host_port(text: &str) -> Result<(), HostPortError> {
    let refused = |why| HostPortError {
        text: text.chars().take(MAX_HOST).collect(),
        why,
    };
    let (host, port) = text
        .rsplit_once(':')
        .ok_or_else(|| refused("it has no port; write host:port, such as localhost:80"))?;
    match port.parse::<u16>() {
        Ok(1..) if !port.starts_with('+') => {}
        _ => return Err(refused("the port is not a number from 1 to 65535")),
    }
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').map(str::parse::<std::net::Ipv6Addr>);
        return match address {
            Some(Ok(_)) => Ok(()),
            _ => Err(refused("what stands in brackets is not an IPv6 address")),
        };
    }
    if host.contains(':') {
        return Err(refused("an IPv6 address stands in brackets, such as [::1]:80"));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || host.len() > MAX_HOST || !host.chars().all(fits) {
        return Err(refused("the host is neither a name nor an address"));
    }
    Ok(())
}

/// Why a `host:port` was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} cannot be dialled: {why}")]
pub struct HostPortError {
    text: String,
    why: &'static str,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_powers_of_1024_and_need_a_unit() {
        assert_eq!(size("64MB"), Ok(64 << 20));
        assert_eq!(size("64 mib"), Ok(64 << 20));
        assert_eq!(size("1GB"), Ok(1 << 30));
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("5B"), Ok(5));
        for bad in [
            "",
            "MB",
            "64",
            "-1MB",
            "1.5GB",
            "1XB",
            "99999999999999TB",
            "9999999999999999999999B",
            "1 M B",
            "١MB",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_need_a_unit_but_for_zero() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for bad in ["", "24", "-1s", "1 fortnight", "500years", "1h extra"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn takes_hosts_and_ports_that_can_be_dialled() {
        for good in [
            "localhost:80",
            "127.0.0.1:1",
            "[::1]:65535",
            "my_host.lan:8080",
            "xn--p1ai:443",
        ] {
            assert!(check_host_port(good).is_ok(), "{good}");
        }
        let long = format!("{}:80", "a".repeat(254));
        for bad in [
            "",
            ":",
            ":80",
            "localhost",
            "localhost:",
            "localhost:0",
            "localhost:65536",
            "localhost:+80",
            "::1:80",
            "[::1]",
            "[::1:80",
            "[x]:80",
            "a b:80",
            "http://h:80",
            "h:80/x",
            &long,
        ] {
            assert!(check_host_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_relay_address_ends_in_its_peer() {
        let peer = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let full = format!("/dns6/r.example/tcp/443/wss/p2p/{peer}");
        let relay: RelayAddress = full.parse().unwrap();
        assert_eq!(relay.to_string(), full);
        assert_eq!(relay.peer().to_string(), peer);
        assert_eq!(relay.dial_address().to_string(), "/dns6/r.example/tcp/443/wss");
        for bad in [
            format!("/p2p/{peer}"),
            "/ip4/1.2.3.4/tcp/1".to_owned(),
            format!("/ip4/1.2.3.4/tcp/1/p2p/{peer}/p2p-circuit"),
            format!("/ip4/1.2.3.4/p2p/{peer}/tcp/1"),
            format!("/ip4/1.2.3.4/tcp/1/p2p/{peer}/p2p-circuit/p2p/{peer}"),
            String::new(),
        ] {
            assert!(bad.parse::<RelayAddress>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn reading_a_value_never_panics(text in ".{0,40}") {
            let _ = (size(&text), duration(&text), peer_id(&text), bare_address(&text), check_host_port(&text));
            let _ = text.parse::<RelayAddress>();
        }

        #[test]
        fn sizes_are_exact(number in 0_u64..=u64::MAX >> 40) {
            prop_assert_eq!(size(&format!("{number}TiB")), Ok(number << 40));
        }
    }
}
