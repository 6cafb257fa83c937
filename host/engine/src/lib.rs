//! WebAssembly engine: plugins, instances, limits, capabilities, splices.
//!
//! Policy runs in the sandbox, bytes flow in the host: a plugin decides which two streams belong together,
//! hands them over and ends, and the host carries the tunnel natively. Each inbound stream gets a fresh
//! instance, each command run one of its own. Grants are checked in one place, below the bindings. This
//! crate knows nothing of libp2p: whoever uses it implements [`Host`] and hands in [`Duplex`]es.

mod access;
mod answering;
mod audit;
mod bindings;
mod budget;
mod cache;
mod call;
mod capability;
mod clock;
mod command;
mod datagram;
mod describe;
mod directories;
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
mod lookup;
mod pace;
mod plugin;
mod preflight;
mod records;
mod request;
mod sockets;
mod splice;
mod state;
mod stats;
mod store_file;
mod throttle;
mod ticker;
mod tunnels;
mod watched;

pub use audit::{AuditEvent, AuditKind, RunKind};
pub use call::{CallObserver, HostCall};
pub use clock::GuestClock;
pub use command::CommandRun;
pub use describe::{ConnectionDetails, PeerDetails, PeerRole};
pub use duplex::{BoxRead, BoxWrite, Duplex, PathRef, PeerRef};
pub use engine::{Engine, EngineConfig};
pub use error::{EngineError, HostError, LoadError, PluginError};
pub use event::{CommandEvent, PeerEvent, PeerEventKind};
pub use guest_log::{LogLevel, LogLine};
pub use host::Host;
pub use limits::Limits;
pub use lookup::AddressLookup;
pub use plugin::{Exports, Plugin, PluginSpec, ResolverAnswer};
pub use preflight::{CONTRACT_VERSION, SERVED_VERSIONS};
pub use request::InboundRequest;
pub use sockets::{DatagramSocket, Sockets, StreamListener, SystemSockets};
pub use stats::PluginStats;
pub use throttle::{Throttle, ThrottleStats};
pub use tunnels::{SpliceInfo, SpliceTotals, Splices, TunnelGroup};
