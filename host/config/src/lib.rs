//! Schema, loading, validation and editing of the YAML configuration.
//!
//! One serde schema holds every key; what it does not know is refused with the line and the nearest key. A
//! load either gives a config with every default filled in, or tells all that is wrong. Edits keep the file's
//! comments and order, and nothing is written that does not read back as the change that was meant.

mod access;
mod atomic;
mod document;
mod edit;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod keys;
mod listed;
mod load;
mod node;
mod patch;
mod paths;
mod plugins;
mod position;
mod proxies;
mod raw;
mod relay;
mod section;
mod template;
mod values;

pub use access::ServiceAccess;
pub use atomic::create_config;
pub use edit::{ConfigEditor, ConfigFile, Edited};
pub use error::{ConfigError, EditError, FindError, Problem};
pub use listed::{AllowedPeer, AllowedPeerError};
pub use load::{
    CONFIG_VERSION, Loaded, MAX_CONFIG_BYTES, SearchPlaces, find_config, load_node, load_relay, parse_node,
    parse_relay,
};
pub use node::{
    DEFAULT_SERVICE_PLUGIN, DaemonConfig, DiscoveryConfig, NetworkConfig, NodeConfig, SecurityConfig,
    ServiceEntry, TunnelConfig,
};
pub use paths::{PathConflict, PathDecision, PathQuery, PathRule, PathsConfig};
pub use plugins::{PluginEntry, PluginLimits, default_plugins};
pub use proxies::{MAX_PROXIES, ProxyEntry};
pub use relay::{Enrollment, RelayConfig, RelayResources};
pub use section::{GrantEntry, PluginSection};
pub use template::{NodeTemplate, RelayTemplate, render_node_config, render_relay_config};
pub use values::{HostPortError, RelayAddress, RelayAddressError, check_host_port};
