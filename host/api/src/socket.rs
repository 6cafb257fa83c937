//! Where the daemon's socket lies and how to reach it whatever the length of its path.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::net::UnixStream;

/// The socket's name in the config file's folder.
pub const SOCKET_FILE: &str = "peerup.sock";
/// The cookie's name in the config file's folder: 32 random bytes in hex.
pub const COOKIE_FILE: &str = ".daemon-cookie";

/// How often a queue that is full is tried again: for 10 seconds.
const QUEUE_TRIES: u32 = 500;
const QUEUE_PAUSE: Duration = Duration::from_millis(20);

/// What `sockaddr_un` holds on every Unix we run on, less the final zero.
const MAX_SOCKET_PATH: usize = 103;

/// Returns a path to the socket that fits into a socket address, and a handle that must live as long as
/// the path is in use. A longer path is reached through an open descriptor of its folder.
///
/// # Errors
/// The folder cannot be opened, or the path is too long and the system has no `/proc/self/fd`.
pub fn reachable_path(socket: &Path) -> io::Result<(PathBuf, Option<std::fs::File>)> {
    if socket.as_os_str().len() <= MAX_SOCKET_PATH {
        return Ok((socket.to_owned(), None));
    }
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let folder = std::fs::File::open(folder)?;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&folder);
    let through = PathBuf::from(format!("/proc/self/fd/{descriptor}"));
    if !through.exists() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "the path {} is too long for a Unix socket; use a shorter folder",
                socket.display()
            ),
        ));
    }
    Ok((through.join(name), Some(folder)))
}

/// Connects to the socket. Waits a while for room in a queue that is full.
///
/// # Errors
/// Nobody listens there, or it does not exist.
pub async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let (path, folder) = reachable_path(socket)?;
    let mut tries = 0;
    let stream = loop {
        match UnixStream::connect(&path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < QUEUE_TRIES => {
                tries += 1;
                tokio::time::sleep(QUEUE_PAUSE).await;
            }
            outcome => break outcome,
        }
    };
    drop(folder);
    stream
}
