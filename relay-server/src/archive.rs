//! The last config that a start was successful with, and the way back to it.
//!
//! Lies beside the config as `.<name>.last-good.yaml`, mode 0600. It is written once a relay listens with what it read,
//! never for a config that is only valid.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Returns the archive of a config.
pub(crate) fn last_good(config: &Path) -> PathBuf {
    beside(config, "last-good")
}

/// Returns where `config rollback` keeps the config that it replaces.
pub(crate) fn replaced(config: &Path) -> PathBuf {
    beside(config, "before-rollback")
}

fn beside(config: &Path, what: &str) -> PathBuf {
    let stem = config.file_stem().unwrap_or_default().to_string_lossy();
    config.with_file_name(format!(".{stem}.{what}.yaml"))
}

/// Keeps the text of a config that a start was successful with.
pub(crate) fn keep(config: &Path, text: &str) -> io::Result<()> {
    let path = last_good(config);
    match fs::read_to_string(&path) {
        Ok(kept) if kept == text => Ok(()),
        _ => write(&path, text),
    }
}

/// Writes a file whole or not at all, for its owner only.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .prefix(".config-")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_lies_beside_the_config_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("relay-server.yaml");
        keep(&config, "version: 1\n").unwrap();
        let archive = folder.path().join(".relay-server.last-good.yaml");
        assert_eq!(fs::read_to_string(&archive).unwrap(), "version: 1\n");
        assert_eq!(
            fs::metadata(&archive).unwrap().permissions().mode() & 0o777,
            0o600
        );
        keep(&config, "version: 1\nenrollment: closed\n").unwrap();
        assert!(fs::read_to_string(&archive).unwrap().contains("closed"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
