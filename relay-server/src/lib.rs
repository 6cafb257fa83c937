//! A self-hosted circuit relay with admission.
//!
//! `server` runs a relay and is what tests and the demo start in their own process; `command` is the
//! command line around it. What the relay decides lies in pure modules: `lease`, `asn`, `admission`, `limits`,
//! `records`, `reload`.

mod address;
mod admin;
mod admission;
mod admit;
mod arguments;
mod asn;
mod command;
mod control;
mod dial_guard;
mod failure;
mod guard;
mod health;
mod keeper;
mod lease;
mod limits;
mod membership;
mod metrics;
mod peer_name;
mod qr;
mod quiet;
mod records;
mod reload;
mod rules;
mod server;
mod snapshot;
mod swarm;
mod watch;

pub use admission::{
    AdmissionRefused, Admissions, ENROLMENT_WINDOW, Enrolments, MAX_ADMISSION_TTL, MAX_ADMISSIONS,
    MAX_ADMISSIONS_PER_MEMBER, MAX_ENROLMENTS_PER_WINDOW,
};
pub use arguments::{
    Arguments, AuthorizeArguments, Color, Command, ConfigApplyArguments, ConfigCommand, DeauthorizeArguments,
    DisconnectArguments, GlobalArguments, InitArguments, OutputArguments, SetupArguments,
};
pub use asn::{AsnError, AsnTable, LineError};
pub use command::{log_config, run_command};
pub use control::{Ended, RelayControl, ReloadError};
pub use lease::{Grant, LeaseLimits, LeaseRefused, Leases, Network, Origin};
pub use metrics::METRICS;
pub use qr::qr_picture;
pub use reload::Reloaded;
pub use server::{Relay, StartError, check};
pub use snapshot::{ConnectedPeer, RelaySnapshot};
