//! A self-hosted circuit relay with admission.
//!
//! `server` runs a relay and is what tests and the demo start in their own process; `command` is the
//! command line around it. What the relay decides lies in pure modules: `lease`, `admission`, `limits`, `records`.

mod address;
mod admission;
mod admit;
mod arguments;
mod command;
mod dial_guard;
mod guard;
mod lease;
mod limits;
mod membership;
mod qr;
mod quiet;
mod records;
mod rules;
mod server;
mod swarm;
mod watch;

pub use admission::{
    AdmissionRefused, Admissions, ENROLMENT_WINDOW, Enrolments, MAX_ADMISSION_TTL, MAX_ADMISSIONS,
    MAX_ADMISSIONS_PER_MEMBER, MAX_ENROLMENTS_PER_WINDOW,
};
pub use arguments::{
    Arguments, AuthorizeArguments, Color, Command, ConfigCommand, DeauthorizeArguments, GlobalArguments,
    InitArguments, OutputArguments,
};
pub use command::run_command;
pub use lease::{Grant, LeaseLimits, LeaseRefused, Leases, Network};
pub use qr::qr_picture;
pub use server::{Relay, StartError, check};
