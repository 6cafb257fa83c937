//! A self-hosted circuit relay with admission.

mod admission;
mod arguments;
mod guard;
mod lease;
mod qr;

pub use admission::{
    AdmissionRefused, Admissions, ENROLMENT_WINDOW, Enrolments, MAX_ADMISSION_TTL, MAX_ADMISSIONS,
    MAX_ADMISSIONS_PER_MEMBER, MAX_ENROLMENTS_PER_WINDOW,
};
pub use arguments::{
    Arguments, AuthorizeArguments, Color, Command, ConfigCommand, DeauthorizeArguments, GlobalArguments,
    InitArguments, OutputArguments,
};
pub use lease::{Grant, LeaseLimits, LeaseRefused, Leases, Network};
pub use qr::qr_picture;
