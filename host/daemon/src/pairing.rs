//! Pairing with the gate closed: invites that this node handed out, and joining with somebody else's.
//!
//! The inviter lets in exactly one identity, which only the holder of the code can derive; the relay lets it
//! open one circuit, to the inviter. Both sides prove that they know the token before anything is written.

mod inviter;
mod joiner;
mod relays;
mod wire;

pub(crate) use inviter::{Invites, cancel, create, handle_joiner, outcome};
pub(crate) use joiner::join;
