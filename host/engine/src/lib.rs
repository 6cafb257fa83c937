//! WebAssembly engine: plugins, instances, limits, capabilities, splices.
//!
//! Policy runs in the sandbox, bytes flow in the host: a plugin decides which two streams belong together,
//! hands them over and ends, and the host carries the tunnel natively. Each inbound stream gets a fresh
//! instance, each command run one of its own. Grants are checked in one place, below the bindings. This
//! crate knows nothing of libp2p: whoever uses it implements [`Host`] and hands in [`Duplex`]es.

mod access;
mod bindings;
mod cache;
mod capability;
mod command;
mod describe;
mod duplex;
mod ending;
mod engine;
mod error;
mod event;
mod guest_log;
mod handles;
mod host;
mod instance;
mod limits;
mod pace;
mod plugin;
mod records;
mod splice;
mod state;
mod stats;
mod ticker;
mod tunnels;

pub use command::CommandRun;
pub use describe::{ConnectionDetails, PeerDetails, PeerRole};
pub use duplex::{BoxRead, BoxWrite, Duplex, PathRef, PeerRef};
pub use engine::{CONTRACT_VERSION, Engine, EngineConfig};
pub use error::{EngineError, HostError, LoadError, PluginError};
pub use event::CommandEvent;
pub use guest_log::{LogLevel, LogLine};
pub use host::Host;
pub use limits::Limits;
pub use plugin::{Exports, InboundRequest, Plugin, PluginSpec};
pub use stats::PluginStats;
pub use tunnels::{SpliceInfo, SpliceTotals, Splices, TunnelGroup};
