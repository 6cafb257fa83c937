//! The node's three files: config, identity key, `authorized_keys`. Do they load, and who else may touch them?
//!
//! Blocking. Never makes a file and never changes what is in one. Modes are mended on the opened file, and only
//! where it belongs to the owner of the config's folder: whoever owns that folder must not have root close a
//! file of somebody else through a link.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use jiff::Timestamp;
use libp2p_identity::PeerId;
use peerup_config::{CONFIG_VERSION, ConfigError, Loaded, NodeConfig};
use peerup_model::Failure;
use peerup_trust::{AuthorizedKeys, IdentityError, KeyFile, KeyFileError, load_identity, shell_word};
use rustix::fs::{Mode, OFlags};

use super::report::{Check, counted};
use crate::failure;

/// Problems of a config that are listed; the rest is counted.
const MAX_LISTED: usize = 20;
const PRIVATE: u32 = 0o600;
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;

/// Who owns a file, and what others may do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) mode: u32,
    pub(super) owner: u32,
    /// The owner of the config's folder: the user that the daemon runs as, as a rule.
    pub(super) folder_owner: u32,
}

impl Access {
    fn of(file: &Metadata, folder: &Metadata) -> Self {
        Self {
            mode: file.mode() & 0o7777,
            owner: file.uid(),
            folder_owner: folder.uid(),
        }
    }

    fn read(path: &Path, folder: &Path) -> io::Result<Self> {
        Ok(Self::of(&fs::metadata(path)?, &fs::metadata(folder)?))
    }
}

/// Looks at the config itself.
pub(super) fn config(path: &Path, loaded: &Result<Loaded<NodeConfig>, ConfigError>) -> Check {
    match loaded {
        Ok(loaded) if loaded.warnings.is_empty() => Check::ok(
            "config",
            format!("{} loads, version {CONFIG_VERSION}", path.display()),
        ),
        Ok(loaded) => Check::warning("config", listed(path, &loaded.warnings))
            .meaning("it loads; these lines have no effect or are unwise")
            .next(format!("edit {}", shell_word(path))),
        Err(error) => {
            let check = match error {
                ConfigError::Invalid { problems, .. } => Check::problem("config", listed(path, problems))
                    .next("correct these lines, then: peerup config validate"),
                _ => failed("config", &failure::config_failure(error)),
            };
            match peerup_config::last_good_node(path) {
                None => check.meaning("the node does not start with it"),
                Some(_) => check
                    .meaning(
                        "the node starts with the last good one instead, and changes by commands are refused",
                    )
                    .next("correct it, or take the last good one: peerup config rollback"),
            }
        }
    }
}

/// Tells that there is no config.
pub(super) fn no_config(failure: &Failure) -> Check {
    failed("config", failure).meaning("this machine is no peerup node yet, or its config lies elsewhere")
}

fn failed(name: &'static str, failure: &Failure) -> Check {
    let check = Check::problem(name, failure.message.clone());
    match &failure.hint {
        Some(hint) => check.next(hint.clone()),
        None => check,
    }
}

fn listed(path: &Path, problems: &[peerup_config::Problem]) -> String {
    let lines = problems.iter().take(MAX_LISTED).map(|problem| {
        let key = match problem.key.as_str() {
            "" => String::new(),
            key => format!("{key}: "),
        };
        format!("{}:{}: {key}{}", path.display(), problem.line, problem.message)
    });
    let mut lines: Vec<String> = lines.collect();
    if problems.len() > MAX_LISTED {
        lines.push(format!("and {} more", problems.len() - MAX_LISTED));
    }
    lines.join("\n")
}

/// Looks at who may read and write a file that is no secret, and closes it to others where asked.
pub(super) fn mode(name: &'static str, path: &Path, folder: &Path, mend: bool) -> Check {
    let before = match Access::read(path, folder) {
        Ok(access) => access,
        Err(error) => return Check::skipped(name, format!("{} is not there: {error}", path.display())),
    };
    let check = judge_mode(name, path, before);
    if !mend || before.mode & OTHERS == 0 {
        return check;
    }
    match close(path, folder) {
        Err(error) => check.fixed(Some(format!("not mended: {error}"))),
        Ok(()) => match Access::read(path, folder) {
            Ok(after) => judge_mode(name, path, after).fixed(Some(closed(path, before))),
            Err(_) => check,
        },
    }
}

fn closed(path: &Path, before: Access) -> String {
    format!(
        "mode {:04o} of {} changed to {PRIVATE:04o}",
        before.mode,
        path.display()
    )
}

pub(super) fn judge_mode(name: &'static str, path: &Path, access: Access) -> Check {
    let found = format!("{} has mode {:04o}", path.display(), access.mode);
    let chmod = format!("chmod 600 {}", shell_word(path));
    if access.mode & OTHERS_WRITE != 0 {
        return Check::problem(name, found)
            .meaning("other users of this machine can change who may connect and what is offered")
            .next(chmod);
    }
    if access.owner != access.folder_owner && access.owner != 0 {
        return foreign(name, path, access);
    }
    if access.mode & OTHERS != 0 {
        return Check::warning(name, found)
            .meaning("other users of this machine can read it")
            .next(chmod);
    }
    Check::ok(name, found)
}

fn foreign(name: &'static str, path: &Path, access: Access) -> Check {
    let Access {
        owner, folder_owner, ..
    } = access;
    Check::warning(
        name,
        format!(
            "{} belongs to user {owner}, and the config's folder to user {folder_owner}",
            path.display()
        ),
    )
    .meaning("a daemon that runs as one of them may not read what the other wrote")
    .next(format!("chown {folder_owner} {}", shell_word(path)))
}

/// Closes a file to everybody but its owner.
fn close(path: &Path, folder: &Path) -> io::Result<()> {
    let file = open_own(path, folder)?;
    file.set_permissions(fs::Permissions::from_mode(PRIVATE))
}

/// Opens a regular file that belongs to the owner of the config's folder.
fn open_own(path: &Path, folder: &Path) -> io::Result<File> {
    // Opening a pipe would wait for its other end.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let (found, folder) = (file.metadata()?, fs::metadata(folder)?);
    if !found.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if found.uid() != folder.uid() {
        return Err(io::Error::other(
            "it does not belong to the owner of the config's folder",
        ));
    }
    Ok(file)
}

/// Looks at the identity key. Never makes one.
pub(super) fn identity(path: &Path, folder: &Path, mend: bool) -> Check {
    let before = load(path);
    let Err(IdentityError::Permissions { mode, .. }) = before else {
        return judge_identity(path, &before, Access::read(path, folder).ok());
    };
    if !mend {
        return judge_identity(path, &before, None);
    }
    match close(path, folder) {
        Err(error) => judge_identity(path, &before, None).fixed(Some(format!("not mended: {error}"))),
        Ok(()) => {
            let done = format!("mode {mode:04o} of {} changed to {PRIVATE:04o}", path.display());
            judge_identity(path, &load(path), Access::read(path, folder).ok()).fixed(Some(done))
        }
    }
}

fn load(path: &Path) -> Result<PeerId, IdentityError> {
    load_identity(path).map(|keypair| keypair.public().to_peer_id())
}

pub(super) fn judge_identity(
    path: &Path,
    loaded: &Result<PeerId, IdentityError>,
    access: Option<Access>,
) -> Check {
    let name = "identity";
    match loaded {
        Ok(peer) => match access {
            Some(access) if access.owner != access.folder_owner => foreign(name, path, access),
            _ => Check::ok(name, format!("{} holds the key of {peer}", path.display())),
        },
        Err(error) => {
            let meaning = match error {
                IdentityError::Permissions { .. } => {
                    "whoever reads it can be this node; the node refuses to start"
                }
                IdentityError::Missing { .. } => {
                    "without its key this node would be another one to all its peers"
                }
                _ => "the node does not start without its key",
            };
            failed(name, &failure::identity_failure(error)).meaning(meaning)
        }
    }
}

/// Looks at who may connect.
pub(super) fn authorized_keys(path: &Path, now: Timestamp) -> Check {
    judge_keys(path, &KeyFile::new(path).load(), now)
}

pub(super) fn judge_keys(path: &Path, keys: &Result<AuthorizedKeys, KeyFileError>, now: Timestamp) -> Check {
    let name = "authorized_keys";
    let keys = match keys {
        Ok(keys) => keys,
        Err(error @ KeyFileError::Missing { .. }) => {
            return Check::warning(name, error.to_string())
                .meaning("nobody may connect")
                .next("peerup invite");
        }
        Err(error) => {
            return failed(name, &failure::keys_failure(error))
                .meaning("one bad line could be a limit, so none of the lines is used");
        }
    };
    let entries = keys.entries().count();
    let expired: Vec<&PeerId> = keys
        .entries()
        .filter(|entry| entry.is_expired(now))
        .map(|entry| &entry.peer)
        .collect();
    let found = format!("{} lets in {}", path.display(), counted(entries, "peer"));
    if let Some(first) = expired.first() {
        return Check::warning(name, format!("{found}, {} of them expired", expired.len()))
            .meaning("an expired entry lets nobody in")
            .next(format!("peerup auth remove {first}"));
    }
    match entries {
        0 => Check::ok(name, found).meaning("nobody may connect until a peer is added or paired"),
        _ => Check::ok(name, found),
    }
}

#[cfg(test)]
mod tests;
