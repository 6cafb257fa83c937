//! The probe on the bindings of contract 0.1.0: its sources are those of `../../probe`, but for the calls that came
//! later.

#[path = "../../probe/src/calls.rs"]
mod calls;
#[path = "../../probe/src/guest.rs"]
mod guest;
mod newer;

/// What wit-bindgen makes of this version of the contract.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unimplemented,
    clippy::unwrap_used,
    reason = "generated code"
)]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit/0.1.0",
        inline: "
            package peerup:probe@0.1.0;
            world probe {
                include peerup:plugin/imports@0.1.0;
                export peerup:plugin/inbound@0.1.0;
                export peerup:plugin/command@0.1.0;
            }
        ",
        world: "probe",
        generate_all,
    });
}

use guest::Probe;

bindings::export!(Probe with_types_in bindings);
