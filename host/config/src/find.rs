//! Finds a config file, and what is kept of one that is gone.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    error::FindError,
    load::{parse_node, parse_relay},
    node::NodeConfig,
    relay::RelayConfig,
    vault::Vault,
};

/// Where a config is looked for when nobody names one. Filled from the environment by the caller.
#[derive(Debug, Clone, Default)]
pub struct SearchPlaces {
    /// The working directory: `peerup.yaml` in it.
    pub working_dir: PathBuf,
    /// The home folder, `HOME`: `.config/peerup/config.yaml` in it, unless the next is set.
    pub home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`: `peerup/config.yaml` in it. A relative one is not used, as its specification says.
    pub xdg_config_home: Option<PathBuf>,
    /// `/etc`, or another folder in tests: `peerup/config.yaml` in it.
    pub system: Option<PathBuf>,
}

impl SearchPlaces {
    /// Returns the files in the order in which they are looked for.
    pub fn candidates(&self) -> Vec<PathBuf> {
        let mut files = vec![self.working_dir.join("peerup.yaml")];
        files.extend(self.user_folder().map(|folder| folder.join("config.yaml")));
        files.extend(
            self.system
                .as_ref()
                .map(|etc| etc.join("peerup").join("config.yaml")),
        );
        files
    }

    /// Returns the user's own config folder, `~/.config/peerup` as a rule: where `init` writes.
    pub fn user_folder(&self) -> Option<PathBuf> {
        let given = self.xdg_config_home.as_ref().filter(|path| path.is_absolute());
        let home = self.home.as_ref().filter(|path| !path.as_os_str().is_empty());
        match (given, home) {
            (Some(folder), _) => Some(folder.join("peerup")),
            (None, Some(home)) => Some(home.join(".config").join("peerup")),
            (None, None) => None,
        }
    }
}

/// Finds the config: what `--config` names, else what `PEERUP_CONFIG` names, else the first of the usual
/// places that has one. A file that is named and missing is an error, never a reason to look elsewhere. One that is gone
/// while a last good one of it is kept counts as found: there is a way back to it.
///
/// # Errors
/// None found, a named one missing, or a place that cannot be looked at.
pub fn find_config(
    flag: Option<&Path>,
    env: Option<&str>,
    places: &SearchPlaces,
) -> Result<PathBuf, FindError> {
    let env = env.filter(|value| !value.is_empty()).map(Path::new);
    let named = flag
        .map(|path| (path, "--config"))
        .or(env.map(|path| (path, "PEERUP_CONFIG")));
    if let Some((path, origin)) = named {
        let path = places.working_dir.join(path);
        return match exists(&path)? || is_kept(&path) {
            true => Ok(path),
            false => Err(FindError::Named { path, origin }),
        };
    }
    let searched = places.candidates();
    for path in &searched {
        if exists(path)? {
            return Ok(path.clone());
        }
    }
    match searched.iter().find(|path| is_kept(path)) {
        Some(path) => Ok(path.clone()),
        None => Err(FindError::Nowhere { searched }),
    }
}

/// Whether a last good config is kept of this file, be it there or gone.
pub fn is_kept(path: &Path) -> bool {
    !Vault::new(path).generations().is_empty()
}

fn exists(path: &Path) -> Result<bool, FindError> {
    match path.try_exists() {
        Ok(found) => Ok(found),
        // A file stands where a folder of the path would be.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(source) => Err(FindError::Unreadable {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Reads the config that a node ran with last; none where none is kept.
pub fn last_good_node(path: &Path) -> Option<NodeConfig> {
    let vault = Vault::new(path);
    let newest = vault.generations().into_iter().next()?;
    Some(parse_node(&newest.text, path).ok()?.config)
}

/// Reads the config that a relay server ran with last; none where none is kept.
pub fn last_good_relay(path: &Path) -> Option<RelayConfig> {
    let newest = Vault::new(path).generations().into_iter().next()?;
    Some(parse_relay(&newest.text, path).ok()?.config)
}
