//! Accepts connections within bounds; on a Unix socket from this process's own user and root alone.
//!
//! The socket's mode keeps others out already; the kernel's word for who asks is the second lock.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How long to wait after a connection could not be accepted, such as without a free descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is accepted at most, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct AcceptBounds {
    /// Connections at once; more wait in the system's queue.
    pub connections: usize,
    /// How long those that are open may go on once the end was asked for.
    pub last_answers: Duration,
}

/// Hands each connection of this process's own user and of root to `serve`, in a task of its own, until `stop` is
/// cancelled. What runs then has the time of `bounds` to end. `name` is what the log calls the socket.
pub async fn accept_own<F: Future<Output = ()> + Send + 'static>(
    listener: UnixListener,
    name: &'static str,
    bounds: AcceptBounds,
    stop: CancellationToken,
    serve: impl Fn(UnixStream) -> F,
) {
    let serve = |(stream, _)| match is_ours(&stream) {
        true => Some(serve(stream)),
        false => {
            tracing::warn!("a connection of another user to {name} was refused");
            None
        }
    };
    accept_bounded(|| listener.accept(), name, bounds, stop, serve).await;
}

/// Hands each connection to `serve`, which may refuse it, as [`accept_own`] does.
pub(crate) async fn accept_bounded<
    S,
    A: Future<Output = io::Result<S>>,
    F: Future<Output = ()> + Send + 'static,
>(
    accept: impl Fn() -> A,
    name: &'static str,
    bounds: AcceptBounds,
    stop: CancellationToken,
    serve: impl Fn(S) -> Option<F>,
) {
    let slots = Arc::new(Semaphore::new(bounds.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepting = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, accept().await)
        };
        let (slot, accepted) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accepting => accepted,
        };
        match accepted {
            Ok(stream) => {
                if let Some(serving) = serve(stream) {
                    connections.spawn(async move {
                        serving.await;
                        drop(slot);
                    });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "{name} did not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let answered = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(bounds.last_answers, answered).await;
}

fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| may_ask(peer.uid(), own))
}

fn may_ask(asking: u32, own: u32) -> bool {
    asking == own || asking == 0
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Gives each byte back. Room for one connection; the last answers have all the time that they need.
    fn served(folder: &Path) -> (PathBuf, CancellationToken, tokio::task::JoinHandle<()>) {
        let path = folder.join("x.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let stop = CancellationToken::new();
        let bounds = AcceptBounds {
            connections: 1,
            last_answers: Duration::from_secs(3600),
        };
        let echo = |mut stream: UnixStream| async move {
            while let Ok(byte) = stream.read_u8().await {
                let _ = stream.write_u8(byte).await;
            }
        };
        let task = tokio::spawn(accept_own(listener, "the socket", bounds, stop.clone(), echo));
        (path, stop, task)
    }

    #[test]
    fn only_its_own_user_and_root_may_ask() {
        assert!(may_ask(1000, 1000) && may_ask(0, 1000));
        assert!(!may_ask(1001, 1000) && !may_ask(1000, 0));
    }

    #[tokio::test]
    async fn one_more_than_there_is_room_for_waits_its_turn() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _stop, _task) = served(folder.path());
        let mut first = UnixStream::connect(&path).await.unwrap();
        first.write_u8(1).await.unwrap();
        assert_eq!(first.read_u8().await.unwrap(), 1);
        let mut second = UnixStream::connect(&path).await.unwrap();
        second.write_u8(2).await.unwrap();
        // The first is served while the second waits.
        first.write_u8(3).await.unwrap();
        assert_eq!(first.read_u8().await.unwrap(), 3);
        assert!(second.try_read(&mut [0]).is_err());
        drop(first);
        assert_eq!(second.read_u8().await.unwrap(), 2);
    }

    #[tokio::test]
    async fn what_runs_at_the_end_is_answered_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let (path, stop, task) = served(folder.path());
        let mut open = UnixStream::connect(&path).await.unwrap();
        open.write_u8(1).await.unwrap();
        assert_eq!(open.read_u8().await.unwrap(), 1);
        stop.cancel();
        // A timer that starts with the end, and is over before this one, would cut the answer off.
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        open.write_u8(2).await.unwrap();
        assert_eq!(open.read_u8().await.unwrap(), 2);
        let mut late = UnixStream::connect(&path).await.unwrap();
        drop(open);
        task.await.unwrap();
        assert!(late.read_u8().await.is_err());
    }
}
