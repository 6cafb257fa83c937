//! The names this crate uses from the trust crate.
#![allow(missing_docs)]
pub use shim::*;
mod shim {
    use jiff::Timestamp;
    use libp2p::PeerId;
    use peerup_model::ServiceName;
    use std::{collections::HashMap, sync::Arc};
    #[derive(Debug, Clone, Default)]
    pub struct AccessPolicy {
        members: HashMap<PeerId, Arc<Access>>,
        infra: Vec<PeerId>,
        pairing: HashMap<PeerId, Timestamp>,
    }
    #[derive(Debug, Clone, Default)]
    pub struct Access {
        pub services: Option<Vec<ServiceName>>,
    }
    #[derive(Debug, Clone)]
    pub enum Role {
        Member(Arc<Access>),
        Infra,
        Pairing,
    }
    pub struct Entry(PeerId);
    impl Entry {
        pub fn new(p: PeerId) -> Self {
            Self(p)
        }
    }
    #[derive(Default)]
    pub struct AuthorizedKeys(HashMap<PeerId, Arc<Access>>);
    impl AuthorizedKeys {
        pub fn set(&mut self, e: Entry) -> Result<(), ()> {
            self.0.insert(e.0, Arc::default());
            Ok(())
        }
        pub fn parse(t: &str) -> Result<Self, String> {
            let mut s = Self::default();
            for l in t.lines() {
                let (p, r) = l.split_once(" services=").unwrap();
                s.0.insert(
                    p.parse().unwrap(),
                    Arc::new(Access {
                        services: Some(r.split(',').map(|x| x.parse().unwrap()).collect()),
                    }),
                );
            }
            Ok(s)
        }
    }
    impl Access {
        pub fn may_use(&self, s: &ServiceName) -> bool {
            self.services.as_ref().is_none_or(|l| l.contains(s))
        }
    }
    impl AccessPolicy {
        pub fn new(k: &AuthorizedKeys) -> Self {
            Self {
                members: k.0.clone(),
                ..Default::default()
            }
        }
        pub fn with_infra(mut self, r: impl IntoIterator<Item = PeerId>) -> Self {
            self.infra.extend(r);
            self
        }
        pub fn with_pairing(mut self, r: impl IntoIterator<Item = (PeerId, Timestamp)>) -> Self {
            self.pairing.extend(r);
            self
        }
        pub fn role(&self, p: &PeerId, now: Timestamp) -> Option<Role> {
            if let Some(a) = self.members.get(p) {
                return Some(Role::Member(a.clone()));
            }
            if self.infra.contains(p) {
                return Some(Role::Infra);
            }
            self.pairing
                .get(p)
                .is_some_and(|e| now < *e)
                .then_some(Role::Pairing)
        }
        pub fn next_expiry(&self, now: Timestamp) -> Option<Timestamp> {
            self.pairing.values().copied().filter(|e| *e > now).min()
        }
    }
}
