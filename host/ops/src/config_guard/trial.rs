//! Reads how long a change waits to be confirmed, and for what.

use std::time::Duration;

use peerup_config::{ConfirmCheck, ConfirmCheckError, MAX_CHECKS, Trial};
use peerup_model::{ErrorCode, Failure};

/// How long checks have where nobody says.
const DEFAULT_CHECK_TIME: Duration = Duration::from_secs(60);
/// The shortest time to confirm: a person has to type it.
const SHORTEST_TIME: Duration = Duration::from_secs(1);
/// The longest: past that nobody remembers.
const LONGEST_TIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// Reads how long a change waits, and for what; none makes it for good. `by` is who asks.
///
/// # Errors
/// A text is no check, there are too many, or the time is too short or too long: exit code 2.
pub fn read_trial(
    timeout: Option<Duration>,
    confirm_if: &[String],
    by: String,
) -> Result<Option<Trial>, Failure> {
    let usage = |message: String| Failure::new(ErrorCode::Invalid, message);
    let checks = confirm_if
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|error: ConfirmCheckError| usage(error.to_string()))
        })
        .collect::<Result<Vec<ConfirmCheck>, Failure>>()?;
    if checks.len() > MAX_CHECKS {
        return Err(usage(format!("at most {MAX_CHECKS} checks")));
    }
    let timeout = match timeout {
        Some(time) => time,
        None if checks.is_empty() => return Ok(None),
        None => DEFAULT_CHECK_TIME,
    };
    if !(SHORTEST_TIME..=LONGEST_TIME).contains(&timeout) {
        return Err(usage("the time to confirm is between 1s and 7days".to_owned()));
    }
    Ok(Some(Trial { by, timeout, checks }))
}
