//! `config rollback`: back to the last config that a start was successful with.

use std::fs;
use std::io;
use std::path::Path;

use peerup_config::parse_relay;
use peerup_model::{ErrorCode, Failure};

use super::{config_failure, tell};
use crate::archive;

/// Puts the archive in the place of the config, which is kept beside it.
pub(super) fn rollback(config: &Path) -> Result<(), Failure> {
    let kept = archive::last_good(config);
    let good = fs::read_to_string(&kept).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            ErrorCode::NotFound,
            format!(
                "there is no {}: no start was successful with this config yet",
                kept.display()
            ),
        )
        .with_hint("mend the file by hand, then check it with `relay-server config validate`"),
        _ => failure("read", &kept, &error),
    })?;
    parse_relay(&good, config).map_err(|error| config_failure(&error))?;
    match fs::read_to_string(config) {
        Ok(now) if now == good => {
            tell(&format!("{} is that config already", config.display()));
            return Ok(());
        }
        Ok(now) => {
            let aside = archive::replaced(config);
            archive::write(&aside, &now).map_err(|error| failure("write", &aside, &error))?;
            tell(&format!("the config until now is kept as {}", aside.display()));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failure("read", config, &error)),
    }
    archive::write(config, &good).map_err(|error| failure("write", config, &error))?;
    tell(&format!(
        "{} is the last config that a start was successful with; `relay-server reload` or a restart puts it in force",
        config.display()
    ));
    Ok(())
}

fn failure(doing: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        ErrorCode::Failed,
        format!("cannot {doing} {}: {error}", path.display()),
    )
    .with_hint("check that you may read and write it and its folder")
}
