//! Schema, loading, validation and editing of the YAML configuration.
//!
//! One serde schema holds every key; what it does not know is refused with the line and the nearest key. A
//! load either gives a config with every default filled in, or tells all that is wrong. Edits keep the file's
//! comments and order, and nothing is written that does not read back as the change that was meant.
//!
//! [`ConfigGuard`] decides what becomes of a config that is applied, and [`Vault`] carries it out: a config that nobody
//! confirms, or with which nothing starts, goes back by itself.

mod access;
mod alerts;
mod at_rest;
mod atomic;
mod bandwidth;
mod blank;
mod clock;
mod disk;
mod document;
mod edit;
mod error;
mod find;
mod flatten;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod keys;
mod listed;
mod load;
mod node;
mod operate;
mod patch;
mod paths;
mod pending;
mod plan;
mod plugins;
mod position;
mod proxies;
mod raw;
mod relay;
mod schema;
mod section;
mod template;
mod values;
mod vault;

pub use access::ServiceAccess;
pub use alerts::{
    AlertCondition, AlertRule, AlertTarget, AlertWay, AlertsConfig, BandwidthOf, MAX_ALERT_RULES,
    MAX_ALERT_TARGETS,
};
pub use at_rest::{AtRest, AtRestError, Trial, pick_generation, refusal};
pub use atomic::{Lock, create_config};
pub use bandwidth::{BandwidthConfig, Rate};
pub use clock::{boot_id, now};
pub use disk::{Disk, RealDisk};
pub use edit::{ConfigEditor, ConfigFile, Edited};
pub use error::{ConfigError, EditError, FindError, Problem};
pub use find::{SearchPlaces, find_config, is_kept, last_good_node, last_good_relay};
pub use guard::{
    Action, Application, ConfigGuard, Confirmer, Event, Found, GuardState, Refused, RevertReason, Waiting,
};
pub use keys::ReloadClass;
pub use listed::{AllowedPeer, AllowedPeerError};
pub use load::{
    CONFIG_VERSION, Loaded, MAX_CONFIG_BYTES, load_node, load_relay, open_to_others, parse_node, parse_relay,
    read_node, read_relay,
};
pub use node::{
    DEFAULT_SERVICE_PLUGIN, DaemonConfig, DiscoveryConfig, NetworkConfig, NodeConfig, SecurityConfig,
    ServiceEntry, TunnelConfig,
};
pub use operate::{LogConfig, MetricsConfig};
pub use paths::{PathConflict, PathDecision, PathQuery, PathRule, PathsConfig};
pub use pending::{ConfirmCheck, ConfirmCheckError, MAX_CHECKS, Pending};
pub use plan::{Change, Drops, Effects, Lost, Plan, plan, plan_relay};
pub use plugins::{PluginEntry, PluginLimits, default_plugins};
pub use proxies::{MAX_PROXIES, ProxyEntry};
pub use relay::{Enrollment, RelayConfig, RelayResources};
pub use schema::{node_json_schema, relay_json_schema};
pub use section::{GrantEntry, PluginSection};
pub use template::{NodeTemplate, RelayTemplate, render_node_config, render_relay_config};
pub use values::{HostPortError, RelayAddress, RelayAddressError, check_host_port};
pub use vault::{GENERATIONS_KEPT, Generation, Vault, carry_out_all};
