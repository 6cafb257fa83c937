//! What a peerup plugin is written with.
//!
//! A plugin is a WebAssembly component that the host runs in a sandbox with exactly the rights that the
//! operator granted. It implements any of [`Inbound`] (a peer opened a stream), [`Command`] (a word on the command
//! line), [`Service`] (runs as long as the plugin is enabled) and [`Resolver`] (knows who names stand for), and
//! names them in [`register!`].
//!
//! ```no_run
//! use peerup_plugin_sdk::{Duplex, Error, Inbound, Request, join, tcp};
//!
//! /// Connects each stream of a service to the address it stands for.
//! struct Proxy;
//!
//! impl Inbound for Proxy {
//!     async fn handle(request: Request, connection: Duplex) -> Result<(), Error> {
//!         let service = request.service.ok_or_else(|| Error::invalid("only services are served"))?;
//!         join(connection, tcp::connect(&service.local_address).await?);
//!         Ok(())
//!     }
//! }
//!
//! peerup_plugin_sdk::register!(Proxy: inbound);
//! # fn main() {}
//! ```
//!
//! Build it as a `cdylib` with `cargo build --release --target wasm32-wasip2`.
//!
//! Code runs on one thread. Everything that waits is `async`; while it waits, the plugin's other tasks go on.
//! A panic ends the instance, which for [`Inbound`] is one stream and for [`Command`] one run.

#[doc(hidden)]
pub mod bindings;
mod duplex;
mod error;
pub mod events;
pub mod life;
pub mod log;
pub mod name_list;
pub mod names;
pub mod output;
mod peer;
pub mod peers;
mod plugin;
pub mod settings;
pub mod store;
pub mod streams;
mod task;
pub mod tcp;
pub mod time;
pub mod udp;

pub use duplex::{Duplex, Incoming, Joined, Outgoing, copy, join};
pub use error::Error;
pub use peer::{Path, PathPolicy, Peer, Transport};
#[doc(hidden)]
pub use plugin::Registered;
pub use plugin::{
    Answer, Arguments, Command, Fact, Inbound, Question, Request, Resolved, Resolver, Service,
    ServiceBinding, TaskCommand,
};
pub use task::{Task, spawn};
