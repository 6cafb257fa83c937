//! Who we are at a registry, from docker's config file. Blocking.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use data_encoding::BASE64;
use serde::Deserialize;

const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// A user with a password or token.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Why docker's config file was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Its text does not hold.
    #[error("{} does not hold: {reason}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    auths: std::collections::BTreeMap<String, Login>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Login {
    auth: String,
}

/// Returns the login for a registry (host and port) that `docker login` wrote into this file, if there is one. A
/// file that does not exist has none. Logins that a credential helper keeps are not seen.
///
/// # Errors
/// The file cannot be read, or does not hold.
pub fn docker_credentials(path: &Path, registry: &str) -> Result<Option<Credentials>, CredentialsError> {
    let form = |reason: String| CredentialsError::Form {
        path: path.to_owned(),
        reason,
    };
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(CredentialsError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    let config: Config = serde_json::from_slice(&bytes).map_err(|error| form(error.to_string()))?;
    let host = |key: &str| {
        let bare = key.trim_start_matches("https://").trim_start_matches("http://");
        bare.split('/').next().unwrap_or_default().to_owned()
    };
    let found = config
        .auths
        .iter()
        .find(|(key, login)| host(key) == registry && !login.auth.is_empty());
    let Some((_, login)) = found else {
        return Ok(None);
    };
    let broken = || form(format!("the login for {registry} is no user:password in base64"));
    let decoded = BASE64
        .decode(login.auth.trim().as_bytes())
        .map_err(|_| broken())?;
    let decoded = String::from_utf8(decoded).map_err(|_| broken())?;
    let (user, password) = decoded.split_once(':').ok_or_else(broken)?;
    Ok(Some(Credentials {
        user: user.to_owned(),
        password: password.to_owned(),
    }))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MAX_CONFIG_BYTES + 1)
        .read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_CONFIG_BYTES {
        true => Err(io::Error::other("it is too long")),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_found_by_its_host_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        assert_eq!(docker_credentials(&path, "ghcr.io").unwrap(), None);
        let auth = BASE64.encode(b"me:se:cret");
        let text = format!(
            "{{\"auths\":{{\"https://ghcr.io/v1/\":{{\"auth\":\"{auth}\"}},\"other.example\":{{}},\"bad.example\":{{\"auth\":\"!\"}}}}}}"
        );
        fs::write(&path, text).unwrap();
        let found = docker_credentials(&path, "ghcr.io").unwrap().unwrap();
        assert_eq!((found.user.as_str(), found.password.as_str()), ("me", "se:cret"));
        assert!(!format!("{found:?}").contains("cret"));
        assert_eq!(docker_credentials(&path, "other.example").unwrap(), None);
        assert!(docker_credentials(&path, "bad.example").is_err());
        fs::write(&path, "nonsense").unwrap();
        assert!(docker_credentials(&path, "ghcr.io").is_err());
    }
}
