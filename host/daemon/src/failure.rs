//! What the errors of files come to for people and programs: their kind, and the next step.
//!
//! One place, so that a command tells the same whether a daemon answers it or it reads the file itself.

use peerup_config::{AtRestError, ConfigError, EditError};
use peerup_model::{ErrorCode, Failure};
use peerup_trust::{IdentityError, KeyFileError};

/// What a person types before a command.
pub(crate) const PROGRAM: &str = "peerup";

/// What to do while a config waits.
const PENDING_HINT: &str =
    "keep it with: peerup config confirm; or take it back with: peerup config rollback";

/// Says why a config that no daemon has in force was not changed.
pub fn at_rest_failure(error: &AtRestError) -> Failure {
    match error {
        AtRestError::Edit(error) => edit_failure(error),
        AtRestError::Refused(refused) => peerup_ops::refused_failure(refused, PROGRAM),
        AtRestError::TimeOver => peerup_ops::time_over_failure(error, PROGRAM),
        AtRestError::Invalid(why) => Failure::new(ErrorCode::ConfigInvalid, why.clone()),
        AtRestError::NoGeneration(why) => peerup_ops::no_generation_failure(why, PROGRAM),
        error => Failure::new(ErrorCode::Failed, error.to_string())
            .with_hint("check the folder's owner, its mode and the free space"),
    }
}

/// Says why a config does not hold.
pub fn config_failure(error: &ConfigError) -> Failure {
    let (text, run) = next_line(&error.to_string());
    let failure = Failure::new(ErrorCode::ConfigInvalid, text);
    match error {
        ConfigError::Missing { .. } => failure.with_hint(run.unwrap_or_default()),
        ConfigError::Read { .. } => failure.with_hint("check the file's owner and mode"),
        ConfigError::Version { .. } => {
            failure.with_hint("upgrade peerup, or name another file with --config")
        }
        _ => failure.with_hint("correct it, then check it with: peerup config validate"),
    }
}

/// Says why a config was not edited.
pub fn edit_failure(error: &EditError) -> Failure {
    let failure = |code, hint: &str| Failure::new(code, error.to_string()).with_hint(hint);
    match error {
        EditError::Load(error) => config_failure(error),
        EditError::Value { .. } => failure(ErrorCode::Invalid, "give another value"),
        EditError::NotFound { .. } => {
            failure(ErrorCode::NotFound, "look at the file; names have no capitals")
        }
        EditError::Unsafe { by_hand, .. } => failure(ErrorCode::Failed, by_hand),
        EditError::Locked { .. } => failure(ErrorCode::Conflict, "try again when the other one is done"),
        EditError::Pending { .. } => failure(ErrorCode::Conflict, PENDING_HINT),
        EditError::Exists { .. } => failure(ErrorCode::Conflict, "choose another place, or move it away"),
        _ => failure(
            ErrorCode::Failed,
            "check the folder's owner, its mode and the free space",
        ),
    }
}

/// Says why there is no identity.
pub fn identity_failure(error: &IdentityError) -> Failure {
    let text = error.to_string();
    let failure = |text: &str, hint: &str| Failure::new(ErrorCode::ConfigInvalid, text).with_hint(hint);
    match error {
        IdentityError::Missing { .. } => failure(
            &text,
            "restore it from a backup, or make a new node with: peerup init --dir DIR",
        ),
        IdentityError::Permissions { .. } => match text.split_once("; run: ") {
            Some((what, run)) => failure(what, run),
            None => failure(&text, "chmod 600, on that file"),
        },
        IdentityError::Corrupt { .. } => match text.rsplit_once("; ") {
            Some((what, next)) => failure(what, next),
            None => failure(&text, "restore it from a backup"),
        },
        IdentityError::Exists { .. } => failure(&text, "choose another folder, or move it away"),
        _ => failure(&text, "check the file's owner, its mode and the free space"),
    }
}

/// Says why `authorized_keys` was not read or changed.
pub fn keys_failure(error: &KeyFileError) -> Failure {
    let failure = |code, hint: &str| Failure::new(code, error.to_string()).with_hint(hint);
    if error.is_already_authorized() {
        return failure(
            ErrorCode::Conflict,
            "see it with: peerup auth list; to change it, remove it first: peerup auth remove",
        );
    }
    match error {
        KeyFileError::Content { .. } | KeyFileError::NotUtf8 { .. } => failure(
            ErrorCode::ConfigInvalid,
            "correct that line, then check it with: peerup auth validate",
        ),
        KeyFileError::Missing { .. } => failure(ErrorCode::ConfigInvalid, "make one with: peerup auth add"),
        _ => failure(
            ErrorCode::Failed,
            "check the owner, the mode and the free space of its folder",
        ),
    }
}

/// Takes the line that says what to run off the end of a text.
fn next_line(text: &str) -> (String, Option<String>) {
    match text.split_once("\nrun ") {
        Some((what, run)) => (what.to_owned(), Some(format!("run {run}"))),
        None => (text.to_owned(), None),
    }
}
