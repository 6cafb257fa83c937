//! A socket that the service manager opened and handed down, as `sd_listen_fds(3)` has it.

use std::{
    io,
    os::{
        fd::{FromRawFd, OwnedFd, RawFd},
        unix::net::UnixListener,
    },
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::net::{AddressFamily, SocketType, sockopt};

/// Why a socket that was handed down cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActivationError {
    /// The variables do not make sense.
    #[error("LISTEN_FDS or LISTEN_PID cannot be used: {0}")]
    Environment(#[source] io::Error),
    /// There is more than one.
    #[error("{0} sockets were handed down, one is expected")]
    TooMany(usize),
    /// It is no Unix stream socket that listens.
    #[error("the socket that was handed down is no listening Unix stream socket")]
    WrongKind,
    /// It cannot be put into use.
    #[error("the socket that was handed down cannot be used: {0}")]
    Unusable(#[source] io::Error),
}

/// Takes the listening Unix socket that the service manager handed down. None where there is none, and after the
/// first call.
///
/// # Errors
/// More than one, or something that is no listening Unix stream socket.
pub fn inherited_listener() -> Result<Option<UnixListener>, ActivationError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(None);
    }
    let mut fds = sd_notify::listen_fds().map_err(ActivationError::Environment)?;
    let count = fds.len();
    match (fds.next(), count) {
        (None, _) => Ok(None),
        (Some(fd), 1) => listener(adopt(fd)).map(Some),
        (Some(_), count) => Err(ActivationError::TooMany(count)),
    }
}

#[allow(
    unsafe_code,
    reason = "a descriptor that came with the process has no safe form"
)]
fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: the service manager opened it for this process (LISTEN_PID was compared), nothing else here knows its
    // number, and `TAKEN` keeps it from being taken twice.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn listener(fd: OwnedFd) -> Result<UnixListener, ActivationError> {
    let fits = sockopt::socket_domain(&fd).is_ok_and(|domain| domain == AddressFamily::UNIX)
        && sockopt::socket_type(&fd).is_ok_and(|kind| kind == SocketType::STREAM)
        && sockopt::socket_acceptconn(&fd).is_ok_and(|listens| listens);
    if !fits {
        return Err(ActivationError::WrongKind);
    }
    let listener = UnixListener::from(fd);
    listener
        .set_nonblocking(true)
        .map_err(ActivationError::Unusable)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn takes_a_listening_unix_socket_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let bound = UnixListener::bind(folder.path().join("s")).unwrap();
        assert!(listener(bound.into()).is_ok());

        let (one, _other) = UnixStream::pair().unwrap();
        assert!(matches!(listener(one.into()), Err(ActivationError::WrongKind)));
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(matches!(listener(tcp.into()), Err(ActivationError::WrongKind)));
    }
}
