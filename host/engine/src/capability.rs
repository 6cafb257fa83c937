//! What a plugin can import, one module for each interface of the contract. Every check of a grant is in
//! `access`, none here.

mod log;
mod names;
mod output;
mod pump;
mod settings;
mod streams;
mod tcp;

#[allow(
    unreachable_pub,
    reason = "the generated bindings re-export them, in a private module"
)]
pub use streams::DuplexHandle;
pub(crate) use streams::peer_record;
#[allow(
    unreachable_pub,
    reason = "the generated bindings re-export them, in a private module"
)]
pub use tcp::ListenerHandle;
