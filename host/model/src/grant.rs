//! What a plugin may do: the operator's grants, their patterns, and the question whether one covers a call.
//!
//! The engine asks here and nowhere else. A grant names what it allows; there is no `true`.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::protocol::{ADMIT_PROTOCOL, INVITE_PROTOCOL, KAD_PROTOCOL, NAMES_PROTOCOL};

/// Why the text of a grant was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// An address without a port, or with one that is no number, range or `*`.
    #[error("the address {0:?} needs the form host:port, host:first-last or host:*")]
    Address(String),
    /// A host of `*`, which would grant everything.
    #[error("the address {0:?} grants every host; name the hosts")]
    EveryHost(String),
    /// A protocol that does not start with a slash, or has a star where none may be.
    #[error(
        "the protocol {0:?} is not valid: an id such as /peerup/web/1.0.0, or /peerup/*/1.0.0 for every service"
    )]
    Protocol(String),
}

/// Everything that one plugin may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Protocols it may open to peers and serve, besides its own `/peerup/p/<plugin>/...`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<ProtocolPattern>,
    /// TCP on the host's own network.
    #[serde(skip_serializing_if = "TcpGrants::is_empty")]
    pub tcp: TcpGrants,
    /// What it may ask about names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NameGrant>,
    /// What it may see of peers and of the ways to them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<PeerGrant>,
}

/// TCP on the host's own network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TcpGrants {
    /// Addresses it may connect to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect: Vec<AddressPattern>,
    /// Addresses it may listen on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<AddressPattern>,
}

impl TcpGrants {
    fn is_empty(&self) -> bool {
        self.connect.is_empty() && self.listen.is_empty()
    }
}

/// What a plugin may ask about names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameGrant {
    /// Ask who a name stands for.
    Resolve,
}

/// What a plugin may see of peers and of the ways to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerGrant {
    /// See who is connected, over which paths, and with which round trips.
    Read,
    /// See the addresses of their connections too. Grants nothing without `read`.
    Addresses,
}

impl Grants {
    /// Returns whether the plugin of this name may speak this protocol, opening or serving.
    pub fn allows_protocol(&self, plugin: &str, protocol: &str) -> bool {
        is_own_protocol(plugin, protocol) || self.protocols.iter().any(|pattern| pattern.matches(protocol))
    }

    /// Returns whether connecting to `host:port` is granted.
    pub fn allows_connect(&self, target: &str) -> bool {
        self.tcp.connect.iter().any(|pattern| pattern.matches(target))
    }

    /// Returns whether listening on `host:port` is granted. Port 0 asks for any port and is covered by
    /// a pattern with `:*` or `:0`.
    pub fn allows_listen(&self, address: &str) -> bool {
        self.tcp.listen.iter().any(|pattern| pattern.matches(address))
    }

    /// Returns whether asking who a name stands for is granted.
    pub fn allows_resolve(&self) -> bool {
        self.names.contains(&NameGrant::Resolve)
    }

    /// Returns whether seeing peers and the paths to them is granted.
    pub fn allows_reading_peers(&self) -> bool {
        self.peers.contains(&PeerGrant::Read)
    }

    /// Returns whether seeing the addresses of peers' connections is granted.
    pub fn allows_peer_addresses(&self) -> bool {
        self.allows_reading_peers() && self.peers.contains(&PeerGrant::Addresses)
    }

    /// Returns these grants with others added: what one command run was given on top by the operator.
    #[must_use]
    pub fn extended_with(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.protocols.extend(other.protocols.iter().cloned());
        sum.tcp.connect.extend(other.tcp.connect.iter().cloned());
        sum.tcp.listen.extend(other.tcp.listen.iter().cloned());
        sum.names.extend(other.names.iter().copied());
        sum.peers.extend(other.peers.iter().copied());
        sum
    }
}

/// Returns whether the protocol is `/peerup/p/<plugin>/<name>/<version>` of that very plugin.
fn is_own_protocol(plugin: &str, protocol: &str) -> bool {
    let Some(rest) = protocol
        .strip_prefix("/peerup/p/")
        .and_then(|rest| rest.strip_prefix(plugin))
    else {
        return false;
    };
    let Some(rest) = rest.strip_prefix('/') else {
        return false;
    };
    let mut parts = rest.split('/');
    let named = parts.next().is_some_and(|part| !part.is_empty());
    let versioned = parts.next().is_some_and(|part| !part.is_empty());
    named && versioned && parts.next().is_none()
}

/// A protocol id, or `/peerup/*/1.0.0` for every service. Never covers a protocol of the core, nor
/// another plugin's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolPattern(String);

impl ProtocolPattern {
    /// Returns whether it covers this protocol id.
    pub fn matches(&self, protocol: &str) -> bool {
        if [ADMIT_PROTOCOL, INVITE_PROTOCOL, KAD_PROTOCOL, NAMES_PROTOCOL].contains(&protocol) {
            return false;
        }
        match self.0.split_once('*') {
            None => self.0 == protocol,
            Some((head, tail)) => {
                let middle = protocol
                    .strip_prefix(head)
                    .and_then(|rest| rest.strip_suffix(tail));
                middle.is_some_and(|name| name.parse::<crate::ServiceName>().is_ok())
            }
        }
    }
}

impl FromStr for ProtocolPattern {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let refused = || GrantError::Protocol(text.to_owned());
        if !text.starts_with('/') || text.len() > 140 || text.contains(char::is_whitespace) {
            return Err(refused());
        }
        if text.contains('*') && text != "/peerup/*/1.0.0" {
            return Err(refused());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ProtocolPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ports {
    Any,
    Range(u16, u16),
}

/// `host:port`, `host:first-last` or `host:*`. The host is compared as text without regard to case, or
/// as an address where both sides are one; nothing is looked up. IPv6 addresses stand in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressPattern {
    host: String,
    ports: Ports,
}

impl AddressPattern {
    /// Returns whether it covers this `host:port`.
    pub fn matches(&self, target: &str) -> bool {
        let Some((host, port)) = split_host_port(target) else {
            return false;
        };
        let Ok(port) = port.parse::<u16>() else {
            return false;
        };
        let port_fits = match self.ports {
            Ports::Any => true,
            Ports::Range(first, last) => (first..=last).contains(&port),
        };
        port_fits && same_host(&self.host, host)
    }
}

fn same_host(one: &str, other: &str) -> bool {
    match (one.parse::<IpAddr>(), other.parse::<IpAddr>()) {
        (Ok(one), Ok(other)) => one == other,
        (Err(_), Err(_)) => one.eq_ignore_ascii_case(other),
        _ => false,
    }
}

/// Splits `host:port` or `[v6]:port`; the brackets are left out.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(rest) => Some((rest.strip_suffix(']')?, port)),
        None if host.contains(':') || host.is_empty() => None,
        None => Some((host, port)),
    }
}

impl FromStr for AddressPattern {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let refused = || GrantError::Address(text.to_owned());
        let (host, ports) = split_host_port(text).ok_or_else(refused)?;
        if host == "*" {
            return Err(GrantError::EveryHost(text.to_owned()));
        }
        if host.contains('*') || host.contains(char::is_whitespace) {
            return Err(refused());
        }
        let ports = match ports.split_once('-') {
            None if ports == "*" => Ports::Any,
            None => {
                let port = ports.parse().map_err(|_| refused())?;
                Ports::Range(port, port)
            }
            Some((first, last)) => {
                let first = first.parse().map_err(|_| refused())?;
                let last = last.parse().map_err(|_| refused())?;
                if first > last {
                    return Err(refused());
                }
                Ports::Range(first, last)
            }
        };
        Ok(Self {
            host: host.to_owned(),
            ports,
        })
    }
}

impl fmt::Display for AddressPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:", self.host)?;
        } else {
            write!(f, "{}:", self.host)?;
        }
        match self.ports {
            Ports::Any => f.write_str("*"),
            Ports::Range(first, last) if first == last => write!(f, "{first}"),
            Ports::Range(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
as_text!(ProtocolPattern);
as_text!(AddressPattern);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> AddressPattern {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_covers_its_host_and_ports_only() {
        assert!(address("localhost:80").matches("LOCALHOST:80"));
        assert!(!address("localhost:80").matches("localhost:81"));
        assert!(!address("localhost:80").matches("127.0.0.1:80"));
        assert!(!address("localhost:80").matches("localhost.evil.example:80"));
        assert!(address("127.0.0.1:*").matches("127.0.0.1:0"));
        assert!(address("[::1]:8000-8010").matches("[0:0::1]:8005"));
        assert!(!address("[::1]:8000-8010").matches("[::1]:8011"));
        assert!(!address("10.0.0.1:80").matches("10.0.0.1:80:80"));
    }

    #[test]
    fn refuses_grants_that_say_too_much_or_nothing() {
        assert_eq!(
            "*:80".parse::<AddressPattern>(),
            Err(GrantError::EveryHost("*:80".into()))
        );
        for bad in [
            "",
            "localhost",
            "localhost:",
            "a*b:80",
            "::1:80",
            "h:9-1",
            "h:70000",
            ":80",
        ] {
            assert!(bad.parse::<AddressPattern>().is_err(), "{bad}");
        }
        for bad in ["", "peerup", "*", "/*", "/peerup/*/2.0.0", "/a b"] {
            assert!(bad.parse::<ProtocolPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_service_is_not_the_core() {
        let grants = Grants {
            protocols: vec!["/peerup/*/1.0.0".parse().unwrap()],
            ..Grants::default()
        };
        assert!(grants.allows_protocol("x", "/peerup/web/1.0.0"));
        for core in [
            ADMIT_PROTOCOL,
            INVITE_PROTOCOL,
            KAD_PROTOCOL,
            NAMES_PROTOCOL,
            "/peerup/p/y/z/1.0.0",
            "/peerup//1.0.0",
        ] {
            assert!(!grants.allows_protocol("x", core), "{core}");
        }
        let asked = Grants {
            protocols: vec![INVITE_PROTOCOL.parse().unwrap()],
            ..Grants::default()
        };
        assert!(!asked.allows_protocol("x", INVITE_PROTOCOL));
    }

    #[test]
    fn a_plugin_speaks_its_own_protocols_without_asking() {
        let none = Grants::default();
        assert!(none.allows_protocol("chess", "/peerup/p/chess/game/1"));
        for other in [
            "/peerup/p/chess2/game/1",
            "/peerup/p/chess/game",
            "/peerup/p/chess/game/1/2",
            "/peerup/p/chess//1",
        ] {
            assert!(!none.allows_protocol("chess", other), "{other}");
        }
    }

    #[test]
    fn peers_are_seen_by_grant_and_their_addresses_only_with_both() {
        let may = |peers: &[PeerGrant]| {
            let grants = Grants {
                peers: peers.to_vec(),
                ..Grants::default()
            };
            (grants.allows_reading_peers(), grants.allows_peer_addresses())
        };
        assert_eq!(may(&[]), (false, false));
        assert_eq!(may(&[PeerGrant::Read]), (true, false));
        assert_eq!(may(&[PeerGrant::Addresses]), (false, false));
        assert_eq!(may(&[PeerGrant::Read, PeerGrant::Addresses]), (true, true));
    }

    #[test]
    fn one_run_can_be_given_sight_of_peers_on_top() {
        let given = Grants {
            peers: vec![PeerGrant::Read],
            ..Grants::default()
        };
        assert!(Grants::default().extended_with(&given).allows_reading_peers());
    }

    proptest! {
        #[test]
        fn addresses_survive_a_round_trip(host in "[a-z0-9.-]{1,20}", first in any::<u16>(), last in any::<u16>()) {
            let (first, last) = (first.min(last), first.max(last));
            let text = format!("{host}:{first}-{last}");
            let pattern = address(&text);
            prop_assert_eq!(address(&pattern.to_string()), pattern);
        }

        #[test]
        fn parsing_never_panics(text in ".{0,60}") {
            let _ = text.parse::<AddressPattern>();
            let _ = text.parse::<ProtocolPattern>();
            let _ = address("localhost:80").matches(&text);
        }
    }
}
