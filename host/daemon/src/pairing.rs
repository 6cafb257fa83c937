//! Pairing with the gate closed: invites that this node handed out, and joining with somebody else's.
//!
//! The inviter lets in exactly one identity, which only the holder of the code can derive; the relay lets it
//! open one circuit, to the inviter. Both sides prove that they know the token before anything is written.

mod inviter;
mod joiner;
mod relays;
mod wire;

use peerup_model::PeerName;
use peerup_trust::Paired;

pub(crate) use inviter::{cancel, create, handle_joiner, outcome};
pub(crate) use joiner::join;
pub use joiner::read_code;

/// What to call the other side: what it calls itself, unless that would pass for somebody's peer id.
fn name_for(paired: &Paired) -> PeerName {
    let own = paired.name.clone();
    own.filter(|name| !crate::names::reads_like_peer_id(name))
        .unwrap_or_else(|| crate::name_from_id(&paired.peer))
}
