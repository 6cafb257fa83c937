//! Which protocols this node serves, and to whom it shows them.
//!
//! Owned by the daemon, which registers services and plugins; read by every connection. It serves nothing itself.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use futures::task::AtomicWaker;
use libp2p::StreamProtocol;
use peerup_model::{INVITE_PROTOCOL, ServiceName};
use peerup_trust::Role;

use crate::wakers::Wakers;

/// The most protocols one node serves. Every connected member gets the list in one identify message of 4 KiB.
pub const MAX_PROTOCOLS: usize = 64;

/// Who gets to see a protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every member.
    Members,
    /// Members who may use this service.
    Service(ServiceName),
    /// Relays and members.
    MembersAndInfra,
}

/// Why a protocol was not registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Somebody serves it already.
    #[error("the protocol {0} is served already")]
    Taken(String),
    /// It does not start with a slash.
    #[error("{0:?} is not a protocol id: it must start with a slash")]
    Form(String),
    /// There are [`MAX_PROTOCOLS`] already.
    #[error("a node serves at most {MAX_PROTOCOLS} protocols")]
    Full,
}

#[derive(Debug, Clone)]
struct Entry {
    protocol: StreamProtocol,
    audience: Audience,
}

/// The protocols that this node serves. Clones are handles to the same table; changes reach live connections.
///
/// A pairing identity sees the invite protocol if it is registered (for any audience), and nothing else.
#[derive(Debug, Clone, Default)]
pub struct ProtocolTable {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    entries: ArcSwap<Vec<Entry>>,
    wakers: Wakers,
    writing: Mutex<()>,
}

impl ProtocolTable {
    /// Makes an empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts to serve a protocol. The invite protocol is shown to pairing identities only.
    pub fn register(&self, protocol: &str, audience: Audience) -> Result<(), RegisterError> {
        let id = StreamProtocol::try_from_owned(protocol.to_owned())
            .map_err(|_| RegisterError::Form(protocol.to_owned()))?;
        self.change(|entries| {
            if entries.iter().any(|entry| entry.protocol == id) {
                return Err(RegisterError::Taken(protocol.to_owned()));
            }
            if entries.len() >= MAX_PROTOCOLS {
                return Err(RegisterError::Full);
            }
            entries.push(Entry {
                protocol: id,
                audience,
            });
            Ok(())
        })
    }

    /// Starts to serve a TCP-like service under its standard protocol id.
    pub fn register_service(&self, service: &ServiceName) -> Result<(), RegisterError> {
        self.register(
            &peerup_model::service_protocol(service),
            Audience::Service(service.clone()),
        )
    }

    /// Stops serving a protocol to new streams. Says whether it was served.
    pub fn unregister(&self, protocol: &str) -> bool {
        self.change(|entries| {
            let before = entries.len();
            entries.retain(|entry| entry.protocol.as_ref() != protocol);
            entries.len() != before
        })
    }

    /// The protocols that a peer of this role sees.
    pub fn for_role(&self, role: &Role) -> Arc<[StreamProtocol]> {
        let entries = self.shared.entries.load();
        entries
            .iter()
            .filter(|entry| visible(entry, role))
            .map(|entry| entry.protocol.clone())
            .collect()
    }

    /// Whether a peer of this role sees the protocol.
    pub fn allows(&self, role: &Role, protocol: &str) -> bool {
        self.shared
            .entries
            .load()
            .iter()
            .any(|entry| entry.protocol.as_ref() == protocol && visible(entry, role))
    }

    pub(crate) fn subscribe(&self) -> Arc<AtomicWaker> {
        self.shared.wakers.subscribe()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.shared.wakers.generation()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Entry>) -> T) -> T {
        let result = {
            let _writing = self.shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut entries = self.shared.entries.load().as_ref().clone();
            let result = change(&mut entries);
            self.shared.entries.store(Arc::new(entries));
            result
        };
        self.shared.wakers.changed();
        result
    }
}

fn visible(entry: &Entry, role: &Role) -> bool {
    let invite = entry.protocol.as_ref() == INVITE_PROTOCOL;
    match role {
        Role::Pairing => invite,
        _ if invite => false,
        Role::Infra => entry.audience == Audience::MembersAndInfra,
        Role::Member(access) => match &entry.audience {
            Audience::Members | Audience::MembersAndInfra => true,
            Audience::Service(service) => access.may_use(service),
        },
    }
}
