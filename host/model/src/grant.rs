//! What a plugin may do: the operator's grants, their patterns, and the question whether one covers a call.
//!
//! The engine asks here and nowhere else. A grant names what it allows; there is no `true`.

mod address;
mod class;
mod directory;
mod protocol;
mod size;
#[cfg(test)]
mod tests;
mod variable;

pub use address::AddressPattern;
pub use class::{AddressClass, may_lead_to};
pub use directory::{DirectoryAccess, DirectoryGrant};
pub use protocol::ProtocolPattern;
pub use size::ByteSize;
pub use variable::VariableName;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
    /// A size without a unit, or with one that is none.
    #[error("{0:?} is not a size; write a whole number with a unit, such as 512KB, 64MB or 1GB")]
    Size(String),
    /// A size past what can be counted.
    #[error("{0:?} is more than can be counted")]
    SizeTooLarge(String),
    /// A directory that does not start at the root.
    #[error("the directory {0:?} is relative; write the whole path, starting with /")]
    RelativePath(String),
    /// A directory with `..` in it.
    #[error("the directory {0:?} leads upwards; write the path without ..")]
    UpwardPath(String),
    /// A directory that is too long or holds control characters.
    #[error("the directory {0:?} is longer than 1024 bytes or holds a control character")]
    Path(String),
    /// A text that is not the short form of a granted directory.
    #[error("the directory {0:?} needs the form PATH:ro or PATH:rw")]
    Directory(String),
    /// The root of the file system.
    #[error("the directory {0:?} grants every file of this machine; name the folder that the plugin needs")]
    EveryFile(String),
    /// A folder whose files are the kernel's.
    #[error("the directory {path:?} belongs to the kernel ({folder}) and is never granted")]
    KernelFolder {
        /// What was written.
        path: String,
        /// The folder of the kernel.
        folder: &'static str,
    },
    /// A name of an environment variable with characters that none has.
    #[error("{0:?} is not the name of an environment variable: letters, digits and _, one exact name")]
    Variable(String),
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
    /// UDP on the host's own network.
    #[serde(skip_serializing_if = "UdpGrants::is_empty")]
    pub udp: UdpGrants,
    /// Keys and values of its own on disk, up to this size; none is no store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<ByteSize>,
    /// Folders of the host that it may use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<DirectoryGrant>,
    /// Environment variables of the daemon that it may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<VariableName>,
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

/// UDP on the host's own network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UdpGrants {
    /// Addresses that it may bind a socket to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bind: Vec<AddressPattern>,
    /// Addresses that it may send to first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect: Vec<AddressPattern>,
}

impl UdpGrants {
    fn is_empty(&self) -> bool {
        self.bind.is_empty() && self.connect.is_empty()
    }
}

/// What a plugin may ask about names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameGrant {
    /// Ask who a name stands for.
    Resolve,
    /// See the operator's own names for peers, all of them.
    List,
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

    /// Returns whether this very protocol is granted, or is the plugin's own. A pattern is no reason to serve what a
    /// manifest names: the services that it stands for belong to the plugins that the config binds them to.
    pub fn names_protocol(&self, plugin: &str, protocol: &str) -> bool {
        is_own_protocol(plugin, protocol) || self.protocols.iter().any(|pattern| pattern.is_exactly(protocol))
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

    /// Returns whether binding a UDP socket to `address:port` is granted. Port 0 is as with listening.
    pub fn allows_udp_bind(&self, address: &str) -> bool {
        self.udp.bind.iter().any(|pattern| pattern.matches(address))
    }

    /// Returns whether sending UDP to `host:port` is granted.
    pub fn allows_udp_connect(&self, target: &str) -> bool {
        self.udp.connect.iter().any(|pattern| pattern.matches(target))
    }

    /// Returns whether a store is granted; how large it may be is [`Grants::store`].
    pub fn allows_store(&self) -> bool {
        self.store.is_some()
    }

    /// Returns whether seeing the operator's own names for peers is granted.
    pub fn allows_listing_names(&self) -> bool {
        self.names.contains(&NameGrant::List)
    }

    /// Returns whether reading this environment variable is granted.
    pub fn allows_variable(&self, name: &str) -> bool {
        self.environment.iter().any(|known| known.as_str() == name)
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
        sum.udp.bind.extend(other.udp.bind.iter().cloned());
        sum.udp.connect.extend(other.udp.connect.iter().cloned());
        sum.store = sum.store.max(other.store);
        sum.directories.extend(other.directories.iter().cloned());
        sum.environment.extend(other.environment.iter().cloned());
        sum.names.extend(other.names.iter().copied());
        sum.peers.extend(other.peers.iter().copied());
        sum
    }

    /// Returns whether these grants give every right that the others give.
    pub fn covers(&self, other: &Self) -> bool {
        other.beyond(self).is_empty()
    }

    /// Returns whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns what these grants give and `held` does not: the rights that an upgrade asks for on top. A right
    /// counts as held where one single entry of `held` covers it.
    #[must_use]
    pub fn beyond(&self, held: &Self) -> Self {
        Self {
            protocols: rest(&self.protocols, &held.protocols, ProtocolPattern::covers),
            tcp: TcpGrants {
                connect: rest(&self.tcp.connect, &held.tcp.connect, AddressPattern::covers),
                listen: rest(&self.tcp.listen, &held.tcp.listen, AddressPattern::covers),
            },
            udp: UdpGrants {
                bind: rest(&self.udp.bind, &held.udp.bind, AddressPattern::covers),
                connect: rest(&self.udp.connect, &held.udp.connect, AddressPattern::covers),
            },
            store: self.store.filter(|_| self.store > held.store),
            directories: rest(&self.directories, &held.directories, DirectoryGrant::covers),
            environment: rest(&self.environment, &held.environment, VariableName::eq),
            names: rest(&self.names, &held.names, NameGrant::eq),
            peers: rest(&self.peers, &held.peers, PeerGrant::eq),
        }
    }

    /// Returns one line for each kind of right, as it stands below `grants:` in the config with its keys joined
    /// by dots: `tcp.connect: ["db.lan:5432"]`.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut list = |key: &str, items: Vec<String>| {
            if !items.is_empty() {
                lines.push(format!("{key}: [{}]", items.join(", ")));
            }
        };
        list("protocols", quoted(&self.protocols));
        list("tcp.connect", quoted(&self.tcp.connect));
        list("tcp.listen", quoted(&self.tcp.listen));
        list("udp.bind", quoted(&self.udp.bind));
        list("udp.connect", quoted(&self.udp.connect));
        list(
            "directories",
            self.directories.iter().map(ToString::to_string).collect(),
        );
        list(
            "environment",
            self.environment.iter().map(ToString::to_string).collect(),
        );
        list(
            "names",
            self.names.iter().map(|grant| grant.word().to_owned()).collect(),
        );
        list(
            "peers",
            self.peers.iter().map(|grant| grant.word().to_owned()).collect(),
        );
        lines.extend(self.store.map(|size| format!("store: {size}")));
        lines
    }
}

impl NameGrant {
    fn word(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::List => "list",
        }
    }
}

impl PeerGrant {
    fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Addresses => "addresses",
        }
    }
}

/// Returns the wanted items that no held one covers.
fn rest<T: Clone>(wanted: &[T], held: &[T], covers: impl Fn(&T, &T) -> bool) -> Vec<T> {
    let missing = wanted
        .iter()
        .filter(|one| !held.iter().any(|other| covers(other, one)));
    missing.cloned().collect()
}

fn quoted<T: ToString>(items: &[T]) -> Vec<String> {
    items
        .iter()
        .map(|item| format!("{:?}", item.to_string()))
        .collect()
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
as_text!(ByteSize);
as_text!(VariableName);
