//! The identity file: this machine's Ed25519 key, as the libp2p `PrivateKey` protobuf, for its owner only.
//!
//! Blocking. Never writes over a file that exists, whatever is in it.

use std::{
    io,
    path::{Path, PathBuf},
};

use libp2p_identity::Keypair;
use zeroize::Zeroizing;

use crate::{
    file,
    random::{RandomError, random_bytes},
    text::{plain, shell_word},
};

/// Length of the file: four bytes of protobuf header, the seed, the public key.
pub const IDENTITY_FILE_BYTES: usize = 68;

/// More than any key file that other tools write, so that the message can name the length that was found.
const MAX_READ: u64 = 16 * 1024;

/// Why an identity was not loaded or not created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There is no such file.
    #[error("there is no key file at {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is there and cannot be read. Never a reason for a new key.
    #[error("the key file {} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Group or others may do something with the file.
    #[error(
        "the key file {} is open to others (mode {mode:04o}); run: {}",
        path.display(),
        chmod_command(path)
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds no Ed25519 key of libp2p.
    #[error(
        "the key file {} is damaged: {reason}; restore it from a backup, or move it away to get a new identity",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Creating would overwrite.
    #[error("the key file {} exists already and is not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("the key file {} cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The system gives no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Returns the command that closes a file to everybody but its owner.
fn chmod_command(path: &Path) -> String {
    format!("chmod 600 {}", shell_word(path))
}

/// Loads the identity.
///
/// # Errors
/// `Missing`, `Permissions` (not on Windows), `Read` or `Corrupt`.
pub fn load_identity(path: impl AsRef<Path>) -> Result<Keypair, IdentityError> {
    let path = path.as_ref();
    check_permissions(path)?;
    let bytes = file::read_bounded(path, MAX_READ).map_err(|source| read_error(path, source))?;
    decode(&bytes).map_err(|reason| IdentityError::Corrupt {
        path: path.to_owned(),
        reason,
    })
}

/// Creates a new identity at a path where nothing is yet. The file appears complete, with mode 0600.
///
/// # Errors
/// `Exists`, `Write` or `Random`. After an error no new file is there.
pub fn create_identity(path: impl AsRef<Path>) -> Result<Keypair, IdentityError> {
    let path = path.as_ref();
    let keypair = keypair_from_seed(random_bytes::<32>()?);
    let write = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => IdentityError::Exists {
            path: path.to_owned(),
        },
        _ => IdentityError::Write {
            path: path.to_owned(),
            source,
        },
    };
    let encoded = keypair
        .to_protobuf_encoding()
        .map_err(|failure| write(io::Error::other(failure)))?;
    file::write_new(path, &Zeroizing::new(encoded)).map_err(write)?;
    Ok(keypair)
}

/// Loads the identity, or creates one where the file does not exist. Any other trouble with the file is an
/// error, because a new key would silently make this another machine.
///
/// # Errors
/// As [`load_identity`] and [`create_identity`].
pub fn load_or_create_identity(path: impl AsRef<Path>) -> Result<Keypair, IdentityError> {
    let path = path.as_ref();
    match load_identity(path) {
        Err(IdentityError::Missing { .. }) => {}
        other => return other,
    }
    match create_identity(path) {
        // Another process was faster: its key is the identity now.
        Err(IdentityError::Exists { .. }) => load_identity(path),
        other => other,
    }
}

/// Makes a keypair out of a seed.
pub(crate) fn keypair_from_seed(mut seed: Zeroizing<[u8; 32]>) -> Keypair {
    Keypair::ed25519_from_bytes(&mut seed[..]).expect("32 bytes are a seed, whatever they are")
}

fn decode(bytes: &[u8]) -> Result<Keypair, String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    if bytes.len() != IDENTITY_FILE_BYTES {
        let length = bytes.len();
        return Err(format!(
            "it has {length} bytes where an Ed25519 key has {IDENTITY_FILE_BYTES}"
        ));
    }
    Keypair::from_protobuf_encoding(bytes).map_err(|failure| plain(&failure.to_string(), 200))
}

fn read_error(path: &Path, source: io::Error) -> IdentityError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => IdentityError::Missing { path },
        io::ErrorKind::InvalidData => IdentityError::Corrupt {
            path,
            reason: source.to_string(),
        },
        _ => IdentityError::Read { path, source },
    }
}

#[cfg(unix)]
fn check_permissions(path: &Path) -> Result<(), IdentityError> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = std::fs::metadata(path).map_err(|source| read_error(path, source))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.is_file() && mode & 0o077 != 0 {
        return Err(IdentityError::Permissions {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_permissions(_path: &Path) -> Result<(), IdentityError> {
    Ok(())
}

#[cfg(test)]
mod tests;
