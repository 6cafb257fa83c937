//! The daemon's Unix socket and cookie: who may have them, and when they are stale.
//!
//! There is no PID file. Whoever finds a socket dials it: an answer means that another daemon lives, none
//! means that it is stale. The cookie is written only once the socket is ours, so a second daemon never
//! destroys the first one's.

use std::{
    fmt,
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use data_encoding::HEXLOWER;
use peerup_api::{COOKIE_FILE, SOCKET_FILE};
use peerup_model::{ErrorCode, Failure};
use rustix::fs::{FlockOperation, flock};
use subtle::{Choice, ConstantTimeEq};
use tokio::net::UnixListener;

/// What a socket unit has to say.
const SOCKET_UNIT: &str = "let the socket unit have one ListenStream= with the path of peerup.sock beside the config, and \
                           SocketMode=0600; or stop the socket unit, and the daemon makes its own socket";
/// Bytes of randomness in the cookie.
const COOKIE_BYTES: usize = 32;
/// Held while a daemon lives, so that two that start at once cannot both take a stale socket over.
const LOCK_FILE: &str = ".daemon-lock";
/// What a daemon writes before it moves it to its place begins with one of these. Another daemon would hold the lock.
const TEMPORARY: [&str; 3] = [SOCKET_TEMPORARY, COOKIE_TEMPORARY, ".peers."];
const SOCKET_TEMPORARY: &str = ".daemon-socket-";
const COOKIE_TEMPORARY: &str = ".daemon-cookie-";

/// The file of a socket, known again by its inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let found = std::fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            inode: (found.dev(), found.ino()),
        })
    }

    /// Whether the path still leads to this socket.
    pub(crate) fn is_ours(&self) -> bool {
        Self::of(&self.path).is_ok_and(|now| now == *self)
    }

    /// Returns the path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// What a request must carry as its bearer token. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Cookie(Arc<CookieInner>);

struct CookieInner {
    file: PathBuf,
    /// What is accepted: one, and while a new one is being written both, so that whoever reads the file at any
    /// moment finds one that is good.
    accepted: RwLock<Vec<String>>,
    /// One rotation at a time.
    rotating: Mutex<()>,
}

impl Cookie {
    /// Makes a cookie and writes it to a file. Blocks on the disk.
    fn create(file: PathBuf) -> Result<Self, Failure> {
        let cookie = new_cookie()?;
        write_cookie(&file, &cookie).map_err(|error| unusable(&file, &error))?;
        Ok(Self(Arc::new(CookieInner {
            file,
            accepted: RwLock::new(vec![cookie]),
            rotating: Mutex::default(),
        })))
    }

    /// Returns whether a text is the cookie, in a time that does not depend on how much of it is right.
    pub(crate) fn is(&self, given: &str) -> bool {
        let accepted = self.0.accepted.read().unwrap_or_else(PoisonError::into_inner);
        let matched = accepted.iter().fold(Choice::from(0), |matched, cookie| {
            matched | given.as_bytes().ct_eq(cookie.as_bytes())
        });
        matched.into()
    }

    /// Writes another cookie; the one before is worth nothing afterwards. Where it cannot be written the old one
    /// stays. Blocks on the disk.
    pub(crate) fn rotate(&self) -> Result<(), Failure> {
        let _one_at_a_time = self.0.rotating.lock().unwrap_or_else(PoisonError::into_inner);
        let cookie = new_cookie()?;
        let accepted = || self.0.accepted.write().unwrap_or_else(PoisonError::into_inner);
        accepted().push(cookie.clone());
        let written = write_cookie(&self.0.file, &cookie);
        let mut accepted = accepted();
        match written {
            Ok(()) => accepted.retain(|known| *known == cookie),
            Err(_) => accepted.retain(|known| *known != cookie),
        }
        written.map_err(|error| unusable(&self.0.file, &error))
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cookie").finish_non_exhaustive()
    }
}

/// The socket and the cookie of a running daemon. Both are removed when it is dropped.
pub(crate) struct Endpoint {
    socket: PathBuf,
    cookie: Cookie,
    file: SocketFile,
    /// The service manager made the socket and keeps it.
    inherited: bool,
    /// The lock ends with the descriptor, also when the process is killed.
    _lock: std::fs::File,
}

impl Endpoint {
    /// Takes the socket of this folder over, or tells which daemon has it.
    pub(crate) async fn claim(folder: &Path) -> Result<(Self, UnixListener), Failure> {
        let socket = folder.join(SOCKET_FILE);
        let lock = take_lock(folder, &socket)?;
        let handed_down = peerup_ops::inherited_listener()
            .map_err(|error| Failure::new(ErrorCode::Failed, error.to_string()).with_hint(SOCKET_UNIT))?;
        if let Some(listener) = handed_down {
            return Self::adopt(folder, socket, lock, listener);
        }
        if peerup_api::connect_socket(&socket).await.is_ok() {
            return Err(second_daemon(&socket));
        }
        sweep(folder);
        match std::fs::symlink_metadata(&socket) {
            Ok(found) if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
                return Err(Failure::new(
                    ErrorCode::Conflict,
                    format!("{} exists and is no socket", socket.display()),
                )
                .with_hint(format!("look at it and move it away: ls -l {}", socket.display())));
            }
            Ok(_) => {
                tracing::info!(socket = %socket.display(), "removing a stale socket");
                std::fs::remove_file(&socket).map_err(|error| unusable(&socket, &error))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unusable(&socket, &error)),
        }
        let listener = bind(&socket).map_err(|error| unusable(&socket, &error))?;
        let endpoint = Self::with_cookie(folder, socket, lock, false)?;
        Ok((endpoint, listener))
    }

    /// Takes the socket that the service manager handed down. It has to be where commands look for it, and closed to
    /// other users.
    fn adopt(
        folder: &Path,
        socket: PathBuf,
        lock: std::fs::File,
        listener: std::os::unix::net::UnixListener,
    ) -> Result<(Self, UnixListener), Failure> {
        let refused = |what: String| Failure::new(ErrorCode::Conflict, what).with_hint(SOCKET_UNIT);
        let bound = listener.local_addr().ok();
        let bound = bound.as_ref().and_then(|address| address.as_pathname());
        let same = bound.is_some_and(|bound| {
            matches!((SocketFile::of(bound), SocketFile::of(&socket)), (Ok(one), Ok(other)) if one.inode == other.inode)
        });
        if !same {
            return Err(refused(format!(
                "the socket that was handed down is not {}",
                socket.display()
            )));
        }
        let mode = std::fs::metadata(&socket)
            .map_err(|error| unusable(&socket, &error))?
            .mode();
        if mode & 0o077 != 0 {
            return Err(refused(format!(
                "{} is open to other users (mode {:o})",
                socket.display(),
                mode & 0o777
            )));
        }
        let listener = UnixListener::from_std(listener).map_err(|error| unusable(&socket, &error))?;
        Ok((Self::with_cookie(folder, socket, lock, true)?, listener))
    }

    fn with_cookie(
        folder: &Path,
        socket: PathBuf,
        lock: std::fs::File,
        inherited: bool,
    ) -> Result<Self, Failure> {
        let file = SocketFile::of(&socket).map_err(|error| unusable(&socket, &error))?;
        let cookie = match Cookie::create(folder.join(COOKIE_FILE)) {
            Ok(cookie) => cookie,
            Err(failure) => {
                // Nobody could speak to it.
                if !inherited {
                    let _ = std::fs::remove_file(&socket);
                }
                return Err(failure);
            }
        };
        let endpoint = Self {
            socket,
            cookie,
            file,
            inherited,
            _lock: lock,
        };
        Ok(endpoint)
    }

    /// Returns what a request must carry as its bearer token.
    pub(crate) fn cookie(&self) -> Cookie {
        self.cookie.clone()
    }

    /// Returns the socket's file, to tell it from another one in its place.
    pub(crate) fn file(&self) -> SocketFile {
        self.file.clone()
    }

    /// Returns the socket's path.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // A socket of the service manager is there for the next start; one that is not ours is another daemon's.
        let socket = Some(&self.socket).filter(|_| !self.inherited && self.file.is_ours());
        for path in socket.into_iter().chain([&self.cookie.0.file]) {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "could not be removed");
            }
        }
    }
}

/// Removes a socket that nobody listens on, under the lock that a starting daemon takes. Returns whether there
/// was one; a socket with a daemon behind it and a file that is no socket stay.
pub(crate) async fn remove_stale(folder: &Path) -> Result<bool, Failure> {
    let socket = folder.join(SOCKET_FILE);
    let _lock = take_lock(folder, &socket)?;
    match peerup_api::connect_socket(&socket).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        _ => return Ok(false),
    }
    match std::fs::symlink_metadata(&socket) {
        Ok(found) if std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
            std::fs::remove_file(&socket).map_err(|error| unusable(&socket, &error))?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn take_lock(folder: &Path, socket: &Path) -> Result<std::fs::File, Failure> {
    let path = folder.join(LOCK_FILE);
    let lock = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| unusable(&path, &error))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(second_daemon(socket)),
        Err(error) => Err(unusable(&path, &error.into())),
    }
}

fn second_daemon(socket: &Path) -> Failure {
    Failure::new(
        ErrorCode::Conflict,
        format!("another daemon already answers on {}", socket.display()),
    )
    .with_hint("use it, or end it first with: peerup daemon stop")
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(ErrorCode::Failed, format!("{} cannot be used: {error}", path.display()))
        .with_hint("check the folder's owner, its rights and the free space: the daemon keeps its socket and cookie there")
}

/// Takes away what a daemon that was killed left behind on the way to its place.
fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if TEMPORARY.iter().any(|prefix| name.starts_with(prefix)) {
            let path = entry.path();
            // The socket is made in a folder, the others are files.
            let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
        }
    }
}

/// Binds in a folder that is ours alone and moves the socket to its place with mode 0600: the folder's other
/// users never find it open. The umask is left alone, since it is that of every thread of the process.
fn bind(socket: &Path) -> io::Result<UnixListener> {
    let private = tempfile::Builder::new()
        .prefix(SOCKET_TEMPORARY)
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir_in(socket.parent().unwrap_or(Path::new(".")))?;
    let made = private.path().join("socket");
    let (path, folder) = peerup_api::reachable_path(&made)?;
    let listener = UnixListener::bind(&path)?;
    drop(folder);
    std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&made, socket)?;
    Ok(listener)
}

fn new_cookie() -> Result<String, Failure> {
    let mut bytes = [0_u8; COOKIE_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::new(
            ErrorCode::Failed,
            format!("the system gives no randomness: {error}"),
        )
    })?;
    Ok(HEXLOWER.encode(&bytes))
}

fn write_cookie(path: &Path, cookie: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(COOKIE_TEMPORARY)
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)?;
    file.write_all(cookie.as_bytes())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn takes_a_stale_socket_over_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join(SOCKET_FILE);
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert!(socket.exists());

        let (endpoint, listener) = Endpoint::claim(folder.path()).await.unwrap();
        assert_eq!(mode(&socket), 0o600);
        assert_eq!(mode(&folder.path().join(COOKIE_FILE)), 0o600);
        let cookie = std::fs::read_to_string(folder.path().join(COOKIE_FILE)).unwrap();
        assert_eq!(cookie.len(), 64);
        assert!(endpoint.cookie().is(&cookie));
        assert!(!format!("{endpoint:?} {:?}", endpoint.cookie()).contains(&cookie));
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [COOKIE_FILE, LOCK_FILE, SOCKET_FILE].map(str::to_owned));

        drop((endpoint, listener));
        assert!(!socket.exists());
        assert!(!folder.path().join(COOKIE_FILE).exists());
    }

    #[test]
    fn a_rotated_cookie_is_good_and_the_one_before_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(COOKIE_FILE);
        let read = || std::fs::read_to_string(&file).unwrap();
        let cookie = Cookie::create(file.clone()).unwrap();
        let first = read();
        assert!(cookie.is(&first));
        for wrong in ["", " ", &first[1..], &format!("{first}0"), &"0".repeat(64)] {
            assert!(!cookie.is(wrong), "{wrong:?}");
        }

        cookie.rotate().unwrap();
        let second = read();
        assert!(cookie.is(&second) && !cookie.is(&first));
        assert_eq!(mode(&file), 0o600);

        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        cookie.rotate().unwrap_err();
        assert!(cookie.is(&second), "what cannot be written is not asked for");
        assert_eq!(cookie.0.accepted.read().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_on_is_stale() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join(SOCKET_FILE);
        assert!(!remove_stale(folder.path()).await.unwrap());

        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert!(remove_stale(folder.path()).await.unwrap());
        assert!(!socket.exists());

        let (_endpoint, _listener) = Endpoint::claim(folder.path()).await.unwrap();
        remove_stale(folder.path()).await.unwrap_err();
        assert!(socket.exists());
    }

    #[tokio::test]
    async fn a_second_daemon_touches_nothing_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let (endpoint, _listener) = Endpoint::claim(folder.path()).await.unwrap();

        let second = Endpoint::claim(folder.path()).await.unwrap_err();

        assert_eq!(second.code, ErrorCode::Conflict);
        let cookie = std::fs::read_to_string(folder.path().join(COOKIE_FILE)).unwrap();
        assert!(endpoint.cookie().is(&cookie));
        assert!(folder.path().join(SOCKET_FILE).exists());
    }

    #[tokio::test]
    async fn refuses_to_remove_a_file_that_is_no_socket() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(SOCKET_FILE), "precious").unwrap();

        let refused = Endpoint::claim(folder.path()).await.unwrap_err();

        assert!(refused.message.contains("no socket"), "{refused}");
        assert_eq!(
            std::fs::read_to_string(folder.path().join(SOCKET_FILE)).unwrap(),
            "precious"
        );
    }

    #[tokio::test]
    async fn a_path_longer_than_a_socket_address_works() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(90)).join("e".repeat(90));
        std::fs::create_dir_all(&deep).unwrap();
        let (_endpoint, _listener) = Endpoint::claim(&deep).await.unwrap();
        assert!(peerup_api::connect_socket(&deep.join(SOCKET_FILE)).await.is_ok());
    }
}
