//! What the errors of files and of a start come to for people and programs: their kind, and the next step.

use std::io;
use std::path::Path;

use libp2p::multiaddr::Protocol;
use multiaddr::Multiaddr;
use peerup_config::{ConfigError, EditError};
use peerup_model::{ErrorCode, Failure};
use peerup_trust::{IdentityError, KeyFileError};

use crate::server::StartError;

/// What a person types before a command.
pub(crate) const PROGRAM: &str = "relay-server";

/// Says what is wrong with a config, and the next step.
pub(crate) fn config_failure(error: &ConfigError) -> Failure {
    let failure = Failure::new(ErrorCode::ConfigInvalid, error.to_string());
    match error {
        ConfigError::Missing { .. } => {
            failure.with_hint("make one with `relay-server init --dir DIR`, or name another with --config")
        }
        _ => failure.with_hint("mend the file, then check it with `relay-server config validate`"),
    }
}

/// Says why the files of a config were not changed, and the next step.
pub(crate) fn edit_failure(error: &EditError) -> Failure {
    let failure = |code, hint: &str| Failure::new(code, error.to_string()).with_hint(hint);
    match error {
        EditError::Load(error) => config_failure(error),
        EditError::Locked { .. } => failure(ErrorCode::Conflict, "try again when the other one is done"),
        _ => failure(
            ErrorCode::Failed,
            "check the folder's owner, its mode and the free space",
        ),
    }
}

/// Says what is wrong with the key file, and the next step.
pub(crate) fn identity_failure(error: &IdentityError) -> Failure {
    let failure = Failure::new(ErrorCode::Failed, error.to_string());
    match error {
        IdentityError::Permissions { .. } => {
            failure.with_hint("then start again: nobody else may read the key")
        }
        IdentityError::Missing { .. } => failure
            .with_hint("make config and key with `relay-server init --dir DIR`, or mend identity.key_file"),
        IdentityError::Read { .. } => failure.with_hint("run as the user who owns the file"),
        _ => failure,
    }
}

/// Says what is wrong with the list of authorised peers, and the next step.
pub(crate) fn keys_failure(error: &KeyFileError) -> Failure {
    let message = error.to_string();
    match error {
        KeyFileError::NotUtf8 { .. } | KeyFileError::Content { .. } => {
            Failure::new(ErrorCode::ConfigInvalid, message)
                .with_hint("mend or remove that line; each is `PEER_ID [key=value ...] [# comment]`")
        }
        _ => Failure::new(ErrorCode::Failed, message)
            .with_hint("check that the file is there and that you may read and write it and its folder"),
    }
}

/// Says that the list of authorised peers was not read again, and which keys of the config changed all the same.
pub(crate) fn list_failure(error: &KeyFileError, live: &[&str]) -> Failure {
    let mut message = list_problem(error);
    if !live.is_empty() {
        message.push_str(&format!("; the config is in force: {}", live.join(", ")));
    }
    let next = keys_failure(error).hint.unwrap_or_default();
    Failure::new(ErrorCode::ConfigInvalid, message)
        .with_hint(format!("{next}; it is read as soon as it has changed"))
}

/// Says that the list of authorised peers was not read again.
pub(crate) fn list_problem(error: &KeyFileError) -> String {
    format!(
        "the list of authorized peers was not read again: {error}; the peers authorized before stay in force"
    )
}

/// Says what a start failed on, and the next step.
pub(crate) fn start_failure(error: &StartError, config: &Path) -> Failure {
    let failure = |code| Failure::new(code, error.to_string());
    match error {
        StartError::Key(error) => identity_failure(error),
        StartError::AsnTable(_) => failure(ErrorCode::ConfigInvalid).with_hint(
            "mend the table, or take resources.asn_table out: then there is no limit for each AS number",
        ),
        StartError::AuthorizedKeys(error) => keys_failure(error),
        StartError::Listen { address, source } => {
            let config = config.display();
            match port(address).filter(|_| source.kind() == io::ErrorKind::AddrInUse) {
                Some(port) => failure(ErrorCode::Conflict).with_hint(format!(
                    "see who holds it with `ss -ltnup 'sport = :{port}'`, or change network.listen_addresses in {config}"
                )),
                None => failure(ErrorCode::Failed)
                    .with_hint(format!("change network.listen_addresses in {config}")),
            }
        }
        _ => failure(ErrorCode::Failed),
    }
}

fn port(address: &Multiaddr) -> Option<u16> {
    address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    })
}
