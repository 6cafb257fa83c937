//! `host:port` patterns: what a plugin may connect to, listen on and bind.

use std::{fmt, net::IpAddr, str::FromStr};

use super::GrantError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ports {
    Any,
    Range(u16, u16),
}

impl Ports {
    fn bounds(self) -> (u16, u16) {
        match self {
            Self::Any => (0, u16::MAX),
            Self::Range(first, last) => (first, last),
        }
    }
}

/// `host:port`, `host:first-last` or `host:*`. The host is compared as text without regard to case, or
/// as an address where both sides are one; nothing is looked up. IPv6 addresses stand in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressPattern {
    host: String,
    ports: Ports,
}

impl AddressPattern {
    /// Returns whether it covers everything that the other one covers.
    pub fn covers(&self, other: &Self) -> bool {
        let (first, last) = other.ports.bounds();
        let (own_first, own_last) = self.ports.bounds();
        own_first <= first && last <= own_last && same_host(&self.host, &other.host)
    }

    /// Returns whether it covers this `host:port`.
    pub fn matches(&self, target: &str) -> bool {
        let Some((host, port)) = split_host_port(target) else {
            return false;
        };
        let Ok(port) = port.parse::<u16>() else {
            return false;
        };
        let (first, last) = self.ports.bounds();
        (first..=last).contains(&port) && same_host(&self.host, host)
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
