//! Granted directories: a folder of the host, and what the plugin sees it as.

use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::GrantError;

/// The longest path that is read.
const MAX_PATH_BYTES: usize = 1024;
/// Folders of the kernel, whose files are not what a grant of files means.
const KERNEL_FOLDERS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// What a plugin may do in a granted directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DirectoryAccess {
    /// List and read. The default.
    #[default]
    #[serde(rename = "ro")]
    Read,
    /// Make, change and delete files too.
    #[serde(rename = "rw")]
    Write,
}

impl fmt::Display for DirectoryAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "ro",
            Self::Write => "rw",
        })
    }
}

/// A folder of the host that a plugin may use, with everything below it.
///
/// In the config a map, or in short `PATH:ro` or `PATH:rw`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "RawDirectory")]
pub struct DirectoryGrant {
    path: String,
    guest: String,
    access: DirectoryAccess,
}

/// How a granted directory stands in the config.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDirectory {
    path: String,
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    guest: Option<String>,
    #[serde(default)]
    access: DirectoryAccess,
}

impl<'de> Deserialize<'de> for DirectoryGrant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = DirectoryGrant;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("path, as and access, or in short PATH:ro or PATH:rw")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<DirectoryGrant, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DirectoryGrant, A::Error> {
                let raw = RawDirectory::deserialize(MapAccessDeserializer::new(map))?;
                raw.try_into().map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

impl FromStr for DirectoryGrant {
    type Err = GrantError;

    /// Reads the short form.
    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (path, access) = match text.rsplit_once(':') {
            Some((path, "ro")) => (path, DirectoryAccess::Read),
            Some((path, "rw")) => (path, DirectoryAccess::Write),
            _ => return Err(GrantError::Directory(text.to_owned())),
        };
        Self::new(path, None, access)
    }
}

impl DirectoryGrant {
    /// Creates the grant of a folder. `guest` is the path that the plugin sees, the same one where this is none.
    ///
    /// # Errors
    /// A path that is relative, leads upwards, is the root, or is one of the kernel's.
    pub fn new(path: &str, guest: Option<&str>, access: DirectoryAccess) -> Result<Self, GrantError> {
        let host = plain(path)?;
        if host == "/" {
            return Err(GrantError::EveryFile(path.to_owned()));
        }
        for kernel in KERNEL_FOLDERS {
            if is_within(&host, kernel) {
                return Err(GrantError::KernelFolder {
                    path: path.to_owned(),
                    folder: kernel,
                });
            }
        }
        let guest = match guest {
            Some(guest) => plain(guest)?,
            None => host.clone(),
        };
        Ok(Self {
            path: host,
            guest,
            access,
        })
    }

    /// The folder on the host: absolute, without `.` and `..`. Symbolic links in it are not followed here.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path that the plugin sees.
    pub fn guest(&self) -> &str {
        &self.guest
    }

    /// What the plugin may do there.
    pub fn access(&self) -> DirectoryAccess {
        self.access
    }

    /// Returns whether it gives every right that the other one gives. Where the plugin sees the folder is no
    /// right.
    pub fn covers(&self, other: &Self) -> bool {
        self.access >= other.access && is_within(&other.path, &self.path)
    }
}

impl TryFrom<RawDirectory> for DirectoryGrant {
    type Error = GrantError;

    fn try_from(raw: RawDirectory) -> Result<Self, GrantError> {
        Self::new(&raw.path, raw.guest.as_deref(), raw.access)
    }
}

impl From<DirectoryGrant> for RawDirectory {
    fn from(grant: DirectoryGrant) -> Self {
        Self {
            guest: (grant.guest != grant.path).then_some(grant.guest),
            path: grant.path,
            access: grant.access,
        }
    }
}

impl fmt::Display for DirectoryGrant {
    /// Writes it as it stands in the list of the config, in flow style.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{path: {:?}, ", self.path)?;
        if self.guest != self.path {
            write!(f, "as: {:?}, ", self.guest)?;
        }
        write!(f, "access: {}}}", self.access)
    }
}

/// Returns whether a plain path is this folder or below it.
fn is_within(path: &str, folder: &str) -> bool {
    match path.strip_prefix(folder) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || folder == "/",
        None => false,
    }
}

/// Returns the path without doubled slashes and `.`, or why it names no folder.
fn plain(path: &str) -> Result<String, GrantError> {
    let shown = || path.chars().take(80).collect::<String>();
    if !path.starts_with('/') {
        return Err(GrantError::RelativePath(shown()));
    }
    if path.len() > MAX_PATH_BYTES || path.contains(char::is_control) {
        return Err(GrantError::Path(shown()));
    }
    let mut plain = String::with_capacity(path.len());
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(GrantError::UpwardPath(shown())),
            part => {
                plain.push('/');
                plain.push_str(part);
            }
        }
    }
    if plain.is_empty() {
        plain.push('/');
    }
    Ok(plain)
}
