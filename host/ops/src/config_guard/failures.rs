//! What a refusal of the guard comes to for people and programs: its kind, and the next step.

use peerup_config::{AtRestError, Refused};
use peerup_model::{ErrorCode, Failure};

/// Says why an order to the guard was not taken. `program` is what a person types before `config`.
pub fn refused_failure(refused: &Refused, program: &str) -> Failure {
    let failure = |code| Failure::new(code, peerup_config::refusal(refused));
    let look = format!("see how it stands with: {program} config status");
    match refused {
        Refused::Pending(_) => failure(ErrorCode::Conflict).with_hint(format!(
            "keep it with: {program} config confirm; or take it back with: {program} config rollback"
        )),
        Refused::Busy => failure(ErrorCode::Conflict).with_hint(look),
        Refused::NothingPending => failure(ErrorCode::NotFound).with_hint(look),
    }
}

/// Says that there is no such last good config.
pub fn no_generation_failure(why: &str, program: &str) -> Failure {
    Failure::new(ErrorCode::NotFound, why)
        .with_hint(format!("see which there are with: {program} config status"))
}

/// Says that what waited had no time left when it was confirmed, and went back.
pub fn time_over_failure(error: &AtRestError, program: &str) -> Failure {
    Failure::new(ErrorCode::CheckFailed, error.to_string()).with_hint(format!(
        "apply it again with a longer --confirm-timeout; see how it stands with: {program} config status"
    ))
}
