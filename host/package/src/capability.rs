//! The capabilities that a plugin can ask for: a closed list, and the form of their values.

use std::{fmt, str::FromStr};

use peerup_model::{AddressPattern, ProtocolPattern};

/// A longest value of a capability.
const MAX_VALUE_BYTES: usize = 300;

/// A capability by its name in `plugin.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CapabilityName {
    /// `protocols`: open and serve protocols besides its own; ids or `/peerup/*/1.0.0`.
    Protocols,
    /// `tcp.connect`: connect to `host:port`.
    TcpConnect,
    /// `tcp.listen`: listen on `address:port`.
    TcpListen,
    /// `udp.bind`: a UDP socket on `address:port`.
    UdpBind,
    /// `udp.connect`: send UDP to `host:port`.
    UdpConnect,
    /// `store`: keep data, one size such as `10MB`.
    Store,
    /// `directories`: folders of this machine, `/path:ro` or `/path:rw`.
    Directories,
    /// `names.resolve`: ask who a name stands for.
    NamesResolve,
    /// `names.list`: see the operator's own names.
    NamesList,
    /// `peers.read`: see who is connected, and how.
    PeersRead,
    /// `peers.addresses`: see their addresses too.
    PeersAddresses,
    /// `environment`: variables of the daemon's environment, by key.
    Environment,
}

/// How the rights of a capability stand in the operator's config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A list of values under these keys.
    Values(&'static [&'static str]),
    /// One value under this key.
    One(&'static str),
    /// A word in the list under this key.
    Word(&'static str, &'static str),
}

impl CapabilityName {
    /// Every capability, in the order in which they are shown and written.
    pub const ALL: [Self; 12] = [
        Self::Protocols,
        Self::TcpConnect,
        Self::TcpListen,
        Self::UdpBind,
        Self::UdpConnect,
        Self::Store,
        Self::Directories,
        Self::NamesResolve,
        Self::NamesList,
        Self::PeersRead,
        Self::PeersAddresses,
        Self::Environment,
    ];

    /// Returns the name as it stands in `plugin.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Protocols => "protocols",
            Self::TcpConnect => "tcp.connect",
            Self::TcpListen => "tcp.listen",
            Self::UdpBind => "udp.bind",
            Self::UdpConnect => "udp.connect",
            Self::Store => "store",
            Self::Directories => "directories",
            Self::NamesResolve => "names.resolve",
            Self::NamesList => "names.list",
            Self::PeersRead => "peers.read",
            Self::PeersAddresses => "peers.addresses",
            Self::Environment => "environment",
        }
    }

    /// Returns whether its rights are values, such as addresses; else it is granted as a whole.
    pub fn takes_values(self) -> bool {
        !matches!(self.form(), Form::Word(..))
    }

    pub(crate) fn form(self) -> Form {
        match self {
            Self::Protocols => Form::Values(&["protocols"]),
            Self::TcpConnect => Form::Values(&["tcp", "connect"]),
            Self::TcpListen => Form::Values(&["tcp", "listen"]),
            Self::UdpBind => Form::Values(&["udp", "bind"]),
            Self::UdpConnect => Form::Values(&["udp", "connect"]),
            Self::Store => Form::One("store"),
            Self::Directories => Form::Values(&["directories"]),
            Self::NamesResolve => Form::Word("names", "resolve"),
            Self::NamesList => Form::Word("names", "list"),
            Self::PeersRead => Form::Word("peers", "read"),
            Self::PeersAddresses => Form::Word("peers", "addresses"),
            Self::Environment => Form::Values(&["environment"]),
        }
    }

    /// Returns what a value of it looks like, for messages.
    pub fn example(self) -> &'static str {
        match self {
            Self::Protocols => "/peerup/chess/1.0.0",
            Self::TcpConnect | Self::UdpConnect => "localhost:8080",
            Self::TcpListen | Self::UdpBind => "127.0.0.1:8080",
            Self::Store => "10MB",
            Self::Directories => "/srv/files:ro",
            Self::Environment => "LANG",
            Self::NamesResolve | Self::NamesList | Self::PeersRead | Self::PeersAddresses => "",
        }
    }

    /// Checks the form of one value.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn check_value(self, value: &str) -> Result<(), String> {
        if value.is_empty() || value.len() > MAX_VALUE_BYTES || value.contains(char::is_control) {
            return Err(format!(
                "a value is empty, longer than {MAX_VALUE_BYTES} bytes, or more than one line"
            ));
        }
        match self {
            Self::Protocols => value
                .parse::<ProtocolPattern>()
                .map(drop)
                .map_err(|e| e.to_string()),
            Self::TcpConnect | Self::TcpListen | Self::UdpBind | Self::UdpConnect => value
                .parse::<AddressPattern>()
                .map(drop)
                .map_err(|error| error.to_string()),
            Self::Store => size(value)
                .map(drop)
                .ok_or_else(|| format!("{value:?} is not a size; write one such as 512KB or 10MB")),
            Self::Directories => {
                let path = value.strip_suffix(":ro").or(value.strip_suffix(":rw"));
                let safe = path.is_some_and(|path| {
                    path.starts_with('/') && !path.split('/').any(|part| part == ".." || part == ".")
                });
                match safe {
                    true => Ok(()),
                    false => Err(format!(
                        "{value:?} is no folder; write an absolute path with :ro or :rw, such as /srv/files:ro"
                    )),
                }
            }
            Self::Environment => {
                let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
                match value.chars().all(letter) && !value.starts_with(|c: char| c.is_ascii_digit()) {
                    true => Ok(()),
                    false => Err(format!("{value:?} is no name of a variable")),
                }
            }
            Self::NamesResolve | Self::NamesList | Self::PeersRead | Self::PeersAddresses => {
                Err(format!("{self} takes no values; it is granted as a whole"))
            }
        }
    }

    /// Returns whether holding one value gives everything that the other would.
    pub(crate) fn covers(self, held: &str, wanted: &str) -> bool {
        if held == wanted {
            return true;
        }
        match self {
            Self::Protocols => held
                .parse::<ProtocolPattern>()
                .is_ok_and(|pattern| !wanted.contains('*') && pattern.matches(wanted)),
            Self::TcpConnect | Self::TcpListen | Self::UdpBind | Self::UdpConnect => {
                addresses_cover(held, wanted)
            }
            Self::Store => size(held)
                .zip(size(wanted))
                .is_some_and(|(held, wanted)| held >= wanted),
            Self::Directories => directory_covers(held, wanted),
            Self::NamesResolve
            | Self::NamesList
            | Self::PeersRead
            | Self::PeersAddresses
            | Self::Environment => false,
        }
    }
}

impl fmt::Display for CapabilityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no capability of that name. The text proposes the nearest one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}: {1}")]
pub struct UnknownCapability(String, String);

impl FromStr for CapabilityName {
    type Err = UnknownCapability;

    fn from_str(text: &str) -> Result<Self, UnknownCapability> {
        let names = Self::ALL.map(Self::as_str);
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == text)
            .ok_or_else(|| {
                let shown: String = text.chars().take(40).collect();
                UnknownCapability(
                    shown,
                    crate::problem::unknown("capability", text, names.into_iter()),
                )
            })
    }
}

impl serde::Serialize for CapabilityName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Reads a size such as `10MB`, in powers of 1024 like the config's.
pub(crate) fn size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Splits an address pattern into host and first and last port.
pub(crate) fn address(text: &str) -> Option<(String, u16, u16)> {
    text.parse::<AddressPattern>().ok()?;
    let (host, ports) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = match host.parse::<std::net::IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => host.to_ascii_lowercase(),
    };
    let (first, last) = match ports.split_once('-') {
        _ if ports == "*" => (0, u16::MAX),
        Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
        None => (ports.parse().ok()?, ports.parse().ok()?),
    };
    Some((host, first, last))
}

fn addresses_cover(held: &str, wanted: &str) -> bool {
    let Some(((host, first, last), (other, from, to))) = address(held).zip(address(wanted)) else {
        return false;
    };
    host == other && first <= from && to <= last
}

fn directory_covers(held: &str, wanted: &str) -> bool {
    let split = |text: &str| {
        let (path, mode) = text.rsplit_once(':')?;
        Some((path.trim_end_matches('/').to_owned(), mode == "rw"))
    };
    let Some(((held, held_rw), (wanted, wanted_rw))) = split(held).zip(split(wanted)) else {
        return false;
    };
    let below = wanted
        .strip_prefix(&held)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    below && (held_rw || !wanted_rw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_and_others_get_the_nearest() {
        for name in CapabilityName::ALL {
            assert_eq!(name.as_str().parse(), Ok(name));
        }
        let error = "tcp.conect".parse::<CapabilityName>().unwrap_err().to_string();
        assert!(error.contains("did you mean `tcp.connect`"), "{error}");
    }

    #[test]
    fn a_value_covers_what_it_gives_and_no_more() {
        use CapabilityName::{Directories, Environment, Protocols, Store, TcpConnect};
        for (name, held, wanted, covers) in [
            (TcpConnect, "localhost:*", "LOCALHOST:80", true),
            (TcpConnect, "localhost:80", "localhost:*", false),
            (TcpConnect, "localhost:80-90", "localhost:85-90", true),
            (TcpConnect, "localhost:80-90", "localhost:85-91", false),
            (TcpConnect, "[::1]:80", "[0:0::1]:80", true),
            (TcpConnect, "localhost:80", "127.0.0.1:80", false),
            (Protocols, "/peerup/*/1.0.0", "/peerup/web/1.0.0", true),
            (Protocols, "/peerup/web/1.0.0", "/peerup/*/1.0.0", false),
            (Protocols, "/peerup/*/1.0.0", "/peerup/admit/1.0.0", false),
            (Store, "10MB", "10240KB", true),
            (Store, "10MB", "11MB", false),
            (Directories, "/srv:rw", "/srv/files:ro", true),
            (Directories, "/srv:ro", "/srv:rw", false),
            (Directories, "/srv:rw", "/srv2:ro", false),
            (Environment, "LANG", "LANGUAGE", false),
        ] {
            assert_eq!(name.covers(held, wanted), covers, "{name} {held} {wanted}");
        }
    }

    #[test]
    fn values_have_the_form_of_their_capability() {
        use CapabilityName::{Directories, Environment, PeersRead, Protocols, Store, UdpBind};
        for (name, bad) in [
            (Protocols, "web"),
            (UdpBind, "*:80"),
            (Store, "much"),
            (Store, "10"),
            (Directories, "files:ro"),
            (Directories, "/files"),
            (Directories, "/srv/../etc:ro"),
            (Environment, "A B"),
            (PeersRead, "all"),
        ] {
            assert!(name.check_value(bad).is_err(), "{name} {bad}");
        }
        for name in CapabilityName::ALL.into_iter().filter(|name| name.takes_values()) {
            assert_eq!(name.check_value(name.example()), Ok(()), "{name}");
        }
    }
}
