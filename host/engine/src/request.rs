//! A stream that a peer opened, on its way to an instance.

use peerup_model::{Grants, ServiceName};

use crate::duplex::{Duplex, PeerRef};

/// A stream that a peer opened.
#[derive(Debug, Clone)]
pub struct InboundRequest {
    /// The protocol that it was opened on.
    pub protocol: String,
    /// The service and its `local_address`, where the protocol is that of a service. Grants connecting to
    /// that address, to this instance only.
    pub service: Option<(ServiceName, String)>,
    /// Who opened it: authenticated, and let in by the gate.
    pub peer: PeerRef,
    /// What this instance may do besides.
    pub extra_grants: Grants,
}

/// Resets a stream that no instance took.
pub(crate) struct Unheld(pub(crate) Option<Duplex>);

impl Unheld {
    /// Takes the stream; whoever has it answers for it now.
    pub(crate) fn take(&mut self) -> Option<Duplex> {
        self.0.take()
    }
}

impl Drop for Unheld {
    fn drop(&mut self) {
        if let Some(duplex) = self.0.take() {
            duplex.reset();
        }
    }
}
