//! The names this crate uses from the trust crate.
pub use shim::*;
mod shim {
    use jiff::Timestamp;
    use libp2p::PeerId;
    use peerup_model::ServiceName;
    use std::{collections::HashMap, sync::Arc};
    #[derive(Debug, Clone, Default)]
    pub struct AccessPolicy(pub HashMap<PeerId, Role>);
    #[derive(Debug, Clone)]
    pub struct Access {
        pub services: Option<Vec<ServiceName>>,
    }
    #[derive(Debug, Clone)]
    pub enum Role {
        Member(Arc<Access>),
        Infra,
        Pairing,
    }
    impl Access {
        pub fn may_use(&self, s: &ServiceName) -> bool {
            self.services.as_ref().is_none_or(|l| l.contains(s))
        }
    }
    impl AccessPolicy {
        pub fn role(&self, p: &PeerId, _: Timestamp) -> Option<Role> {
            self.0.get(p).cloned()
        }
        pub fn next_expiry(&self, _: Timestamp) -> Option<Timestamp> {
            None
        }
    }
}
