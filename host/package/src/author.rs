//! Who signed a package: an author's Ed25519 key, its file, and what exactly is signed.
//!
//! The file has the form of a node's key file and the same rule: open to its owner only.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use data_encoding::BASE64_NOPAD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{disk::Disk, file};

/// Put before the file when it is hashed, so that no signature for anything else can pass for this one.
const DOMAIN: &[u8] = b"peerup plugin package signature 1\0";
/// The key file: a protobuf header, the seed, the public key.
const KEY_FILE_BYTES: usize = 68;
const KEY_FILE_HEADER: [u8; 4] = [0x08, 0x01, 0x12, 0x40];
const MAX_READ: u64 = 16 * 1024;
const ID_PREFIX: &str = "ed25519:";
/// The signature section: its version, the public key, the signature.
const SECTION_BYTES: usize = 1 + 32 + 64;
const SECTION_VERSION: u8 = 1;

/// An author by the public key, written `ed25519:` and 43 characters of base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuthorId([u8; 32]);

/// A text that is no author's key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no author key; one has the form ed25519: and 43 characters of base64")]
pub struct AuthorIdError(String);

impl fmt::Display for AuthorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ID_PREFIX}{}", BASE64_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for AuthorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AuthorId {
    type Err = AuthorIdError;

    fn from_str(text: &str) -> Result<Self, AuthorIdError> {
        let refused = || AuthorIdError(text.chars().take(80).collect());
        let encoded = text.strip_prefix(ID_PREFIX).ok_or_else(refused)?;
        let bytes = BASE64_NOPAD.decode(encoded.as_bytes()).map_err(|_| refused())?;
        bytes.try_into().map(Self).map_err(|_| refused())
    }
}

/// Why a signature section does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// It has another length.
    #[error("the signature has {0} bytes where {SECTION_BYTES} belong")]
    Length(usize),
    /// It is of a later form.
    #[error(
        "the signature is of version {0}, and this peerup reads version {SECTION_VERSION}; upgrade peerup"
    )]
    Version(u8),
    /// The bytes are no key.
    #[error("the author's key in the signature is none")]
    Key,
    /// The signature is another file's, or the file was changed.
    #[error("the signature does not fit: the file was changed after it was signed")]
    Mismatch,
}

/// Returns what is signed: the SHA-256 of the domain and of the file without its signature section.
fn signed_digest(unsigned_file: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    hash.update(unsigned_file);
    hash.finalize().into()
}

/// Checks the content of a signature section and returns who signed.
///
/// # Errors
/// As [`SignatureError`] tells.
pub(crate) fn verify(unsigned_file: &[u8], section: &[u8]) -> Result<AuthorId, SignatureError> {
    let wrong_length = || SignatureError::Length(section.len());
    let bytes: &[u8; SECTION_BYTES] = section.try_into().map_err(|_| wrong_length())?;
    let (version, rest) = bytes.split_first().ok_or_else(wrong_length)?;
    if *version != SECTION_VERSION {
        return Err(SignatureError::Version(*version));
    }
    let (key, signature) = rest.split_at_checked(32).ok_or_else(wrong_length)?;
    let key: [u8; 32] = key.try_into().map_err(|_| wrong_length())?;
    let signature = Signature::from_slice(signature).map_err(|_| SignatureError::Mismatch)?;
    let verifying = VerifyingKey::from_bytes(&key).map_err(|_| SignatureError::Key)?;
    verifying
        .verify_strict(&signed_digest(unsigned_file), &signature)
        .map_err(|_| SignatureError::Mismatch)?;
    Ok(AuthorId(key))
}

/// Why an author's key was not loaded or not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorKeyError {
    /// There is no such file.
    #[error("there is no key file {}; make one with: peerup plugin keygen {}", path.display(), path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Group or others may do something with the file.
    #[error("the key file {} is open to others (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds no Ed25519 key.
    #[error("the key file {} is damaged: {reason}; restore it from a backup", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Making one would overwrite.
    #[error("the key file {} exists already and is not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("cannot {doing} the key file {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// An author's secret key. Wiped when dropped.
pub struct AuthorKey(SigningKey);

impl fmt::Debug for AuthorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorKey({})", self.id())
    }
}

impl AuthorKey {
    /// Makes the key of a seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Returns who signs with it.
    pub fn id(&self) -> AuthorId {
        AuthorId(self.0.verifying_key().to_bytes())
    }

    /// Makes a new key and writes it where nothing is yet, readable by its owner only.
    ///
    /// # Errors
    /// `Exists` or `Io`. After an error no new file is there.
    pub fn create(path: &Path) -> Result<Self, AuthorKeyError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => AuthorKeyError::Exists {
                path: path.to_owned(),
            },
            _ => AuthorKeyError::Io {
                doing: "write",
                path: path.to_owned(),
                source,
            },
        };
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut seed[..]).map_err(|error| failed(io::Error::other(error)))?;
        let key = Self::from_seed(&seed);
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES));
        bytes.extend_from_slice(&KEY_FILE_HEADER);
        bytes.extend_from_slice(&seed[..]);
        bytes.extend_from_slice(&key.id().0);
        Disk::default().write_new(path, &bytes).map_err(failed)?;
        Ok(key)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// `Missing`, `Permissions` (not on Windows), `Corrupt` or `Io`.
    pub fn load(path: &Path) -> Result<Self, AuthorKeyError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => AuthorKeyError::Missing {
                path: path.to_owned(),
            },
            _ => AuthorKeyError::Io {
                doing: "read",
                path: path.to_owned(),
                source,
            },
        };
        check_permissions(path).map_err(failed)?.map_or(Ok(()), |mode| {
            Err(AuthorKeyError::Permissions {
                path: path.to_owned(),
                mode,
            })
        })?;
        let bytes = Zeroizing::new(file::read_bounded(path, MAX_READ).map_err(failed)?);
        let corrupt = |reason| AuthorKeyError::Corrupt {
            path: path.to_owned(),
            reason,
        };
        let body = bytes
            .strip_prefix(&KEY_FILE_HEADER)
            .filter(|body| body.len() == KEY_FILE_BYTES - KEY_FILE_HEADER.len())
            .ok_or_else(|| corrupt("it is no Ed25519 key of 68 bytes"))?;
        let (seed, public) = body.split_at_checked(32).unwrap_or((body, &[]));
        let seed: [u8; 32] = seed.try_into().map_err(|_| corrupt("it is cut short"))?;
        let key = Self::from_seed(&Zeroizing::new(seed));
        match key.id().0.as_slice() == public {
            true => Ok(key),
            false => Err(corrupt("its two halves do not belong together")),
        }
    }

    /// Returns the content of the signature section for a file.
    pub(crate) fn sign(&self, unsigned_file: &[u8]) -> Vec<u8> {
        let mut section = vec![SECTION_VERSION];
        section.extend_from_slice(&self.id().0);
        section.extend_from_slice(&self.0.sign(&signed_digest(unsigned_file)).to_bytes());
        section
    }
}

/// Returns the mode of a file that is open to others.
#[cfg(unix)]
fn check_permissions(path: &Path) -> io::Result<Option<u32>> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = std::fs::metadata(path)?;
    let mode = metadata.permissions().mode() & 0o7777;
    Ok(Some(mode).filter(|mode| metadata.is_file() && mode & 0o077 != 0))
}

#[cfg(not(unix))]
fn check_permissions(_path: &Path) -> io::Result<Option<u32>> {
    Ok(None)
}

macro_rules! as_text {
    ($name:ty) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
as_text!(AuthorId);
as_text!(crate::digest::Digest);

#[cfg(test)]
mod tests;
