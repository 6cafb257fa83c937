//! The access policy: an immutable answer to "what is this peer, now?", swapped whole when something changes.
//!
//! Pure. The gate asks it for every connection, every handler asks again; time comes in as an argument.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use libp2p_identity::PeerId;
use peerup_model::ServiceName;

use crate::authorized_keys::{AuthorizedKeys, Entry, MemberRole};

/// What a member may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Whether the entry says `role=admin`.
    pub admin: bool,
    /// The services that it may use. None: all of them.
    pub services: Option<BTreeSet<ServiceName>>,
    /// From this moment on it is no member.
    pub expires: Option<Timestamp>,
}

impl Access {
    /// Returns whether the member may use this service, as far as the global list says.
    pub fn may_use(&self, service: &ServiceName) -> bool {
        self.services
            .as_ref()
            .is_none_or(|services| services.contains(service))
    }
}

impl From<&Entry> for Access {
    fn from(entry: &Entry) -> Self {
        Self {
            admin: entry.role == MemberRole::Admin,
            services: entry
                .services
                .as_ref()
                .map(|services| services.iter().cloned().collect()),
            expires: entry.expires,
        }
    }
}

/// What a peer is to this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It stands in `authorized_keys`.
    Member(Arc<Access>),
    /// A relay of the config: may carry circuits, may not use services.
    Infra,
    /// The one-time identity of a running invite: may speak the pairing protocol only.
    Pairing,
}

/// Who may connect. Cheap to query, never changed once built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessPolicy {
    members: HashMap<PeerId, Arc<Access>>,
    infra: HashSet<PeerId>,
    pairing: HashMap<PeerId, Timestamp>,
    gating: bool,
    /// What a stranger gets with the gating off.
    open: Arc<Access>,
}

impl Default for AccessPolicy {
    /// Lets nobody in.
    fn default() -> Self {
        Self {
            members: HashMap::new(),
            infra: HashSet::new(),
            pairing: HashMap::new(),
            gating: true,
            open: Arc::default(),
        }
    }
}

impl AccessPolicy {
    /// Creates a policy that lets in who stands in the document, expired entries left out by the time of the
    /// question.
    pub fn new(keys: &AuthorizedKeys) -> Self {
        let members = keys.entries().map(|entry| (entry.peer, Arc::new(entry.into())));
        Self {
            members: members.collect(),
            ..Self::default()
        }
    }

    /// Adds relays.
    #[must_use]
    pub fn with_infra(mut self, relays: impl IntoIterator<Item = PeerId>) -> Self {
        self.infra.extend(relays);
        self
    }

    /// Adds one-time identities, each with the end of its invite.
    #[must_use]
    pub fn with_pairing(mut self, identities: impl IntoIterator<Item = (PeerId, Timestamp)>) -> Self {
        self.pairing.extend(identities);
        self
    }

    /// Sets whether the gate is on, which it is unless said otherwise. With the gate off, a peer that stands
    /// nowhere counts as a member without limits; one that stands somewhere keeps what stands there.
    #[must_use]
    pub fn with_gating(mut self, gating: bool) -> Self {
        self.gating = gating;
        self
    }

    /// Returns whether strangers are kept out.
    pub fn gating(&self) -> bool {
        self.gating
    }

    /// Returns what the peer is at this moment; none means that it may not connect. Where it is several
    /// things at once, member comes before infra and infra before pairing.
    pub fn role(&self, peer: &PeerId, now: Timestamp) -> Option<Role> {
        let listed = self.members.get(peer);
        if let Some(access) = listed.filter(|access| access.expires.is_none_or(|end| now < end)) {
            return Some(Role::Member(Arc::clone(access)));
        }
        if self.infra.contains(peer) {
            return Some(Role::Infra);
        }
        let invited = self.pairing.get(peer);
        if invited.is_some_and(|end| now < *end) {
            return Some(Role::Pairing);
        }
        let stranger = listed.is_none() && invited.is_none();
        (stranger && !self.gating).then(|| Role::Member(Arc::clone(&self.open)))
    }

    /// Returns what the peer may do as a member at this moment; none where it is no member.
    pub fn member(&self, peer: &PeerId, now: Timestamp) -> Option<Arc<Access>> {
        match self.role(peer, now) {
            Some(Role::Member(access)) => Some(access),
            _ => None,
        }
    }

    /// Returns whether the peer is a relay of the config, whatever else it is.
    pub fn is_infra(&self, peer: &PeerId) -> bool {
        self.infra.contains(peer)
    }

    /// Returns the next moment after `now` at which some peer loses its role, so that the gate can wake then.
    pub fn next_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        let members = self.members.values().filter_map(|access| access.expires);
        let pairing = self.pairing.values().copied();
        members.chain(pairing).filter(|end| *end > now).min()
    }
}

#[cfg(test)]
mod tests;
