//! Composition root of a node: configuration in, network, plugins and API joined, run, and drained in order.
//!
//! [`Daemon::start`] wires everything; [`Daemon::run`] returns when the node was told to end; nothing it
//! started is left behind. The command line drives it in three ways: as the daemon with its Unix socket, as
//! a temporary node in its own process, and over [`Daemon::client`] in both cases with the same requests.

mod access;
mod alert_watch;
mod alerts;
mod app;
mod audit;
mod config_guard;
mod daemon;
mod describe;
mod dispatch;
mod doctor;
mod endpoint;
mod event_sources;
mod events;
mod extra_keys;
mod failure;
mod forward;
mod http;
mod invites;
mod last_seen;
mod log_ring;
mod meters;
mod metrics;
mod names;
mod network;
mod own_files;
mod pairing;
mod path_rules;
mod place_keeper;
mod places;
mod plugin_calls;
mod plugin_logs;
mod plugins;
mod proxies;
mod proxy_keeper;
mod resolver_cache;
mod resolvers;
mod services;
mod sources;
mod standing;
mod status;
mod supervisor;
mod throttles;
mod trial_cell;
mod trials;
mod watch;
mod why;

pub use daemon::{Daemon, DaemonOptions, Mode};
pub use describe::{describe_entry, describe_services, read_auth_request};
pub use doctor::{Check, DoctorOptions, Report, State, doctor};
pub use failure::{at_rest_failure, config_failure, edit_failure, identity_failure, keys_failure};
pub use log_ring::DaemonLog;
pub use metrics::METRICS;
pub use names::{Source, check_chosen, name_of, resolve};
pub use own_files::store_path;
pub use pairing::read_code;
pub use sources::{bundled_manifests, is_bundled};
pub use standing::describe_proxy;
pub use trials::confirm_in;

use libp2p_identity::PeerId;
use peerup_config::NodeConfig;
use peerup_engine::{HostError, PluginError};
use peerup_model::{ErrorCode, Failure, PeerName};

/// Characters of a peer id that make up a name where nobody gave one; the end differs, the beginning not.
const NAME_FROM_ID: usize = 8;

/// Returns what this node calls itself: the config's name, else the machine's, else a part of the peer id.
pub fn own_name(config: &NodeConfig, own: &PeerId) -> PeerName {
    if let Some(name) = &config.name {
        return name.clone();
    }
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let first = host.split('.').next().unwrap_or_default();
    PeerName::filtered(first).unwrap_or_else(|| name_from_id(own))
}

/// Returns a name made of a peer id.
pub(crate) fn name_from_id(peer: &PeerId) -> PeerName {
    let id = peer.to_base58();
    let tail: String = id
        .chars()
        .skip(id.chars().count().saturating_sub(NAME_FROM_ID))
        .collect();
    PeerName::filtered(&format!("peer-{tail}")).expect("base58 characters in lower case make a name")
}

/// Says what became of a plugin's call.
pub(crate) fn plugin_failure(error: &PluginError) -> Failure {
    let code = match error {
        PluginError::Guest(guest) => match guest {
            HostError::Denied(_) => ErrorCode::Denied,
            HostError::NotFound(_) => ErrorCode::NotFound,
            HostError::Unreachable(_) | HostError::Refused(_) => ErrorCode::Unreachable,
            HostError::TimedOut(_) => ErrorCode::TimedOut,
            HostError::Invalid(_) => ErrorCode::Invalid,
            HostError::Limit(_) => ErrorCode::Conflict,
            HostError::Closed(_) => ErrorCode::Failed,
        },
        _ => ErrorCode::Failed,
    };
    let failure = Failure::new(code, error.to_string());
    match code {
        ErrorCode::Denied => failure.with_hint(
            "where a peer refuses, each side has to authorize the other: peerup auth add; where the plugin may not, see \
             its grants: peerup plugin inspect",
        ),
        ErrorCode::Unreachable | ErrorCode::TimedOut => {
            failure.with_hint("see what stands in the way with: peerup why PEER")
        }
        _ => failure,
    }
}
