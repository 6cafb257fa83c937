//! Bytes and streams by service, peer and path, counted where streams pass from the node to plugins.

use std::{
    collections::HashMap,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use libp2p_identity::PeerId;
use peerup_model::{PathKind, ServiceName, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Accounts with a name of their own; what is more shares one. A peer cannot make new ones at will: it is a member, and
/// the service is one that the config has, or that this node's operator asks for.
const MAX_ACCOUNTS: usize = 1024;
/// What a label says that stands for the rest.
const OTHER: &str = "other";
/// What the label says where there is no service.
const NO_SERVICE: &str = "-";

/// Who opened a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opener {
    /// The peer did.
    Peer,
    /// This node did.
    Node,
}

/// What is counted together. None for the rest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    service: Option<ServiceName>,
    peer: PeerId,
    path: &'static str,
}

/// One set of counters.
#[derive(Debug, Default)]
pub(crate) struct Account {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    by_peer: AtomicU64,
    by_node: AtomicU64,
    open: AtomicUsize,
}

/// One set of counters at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountView {
    pub(crate) service: String,
    pub(crate) peer: String,
    pub(crate) path: &'static str,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) by_peer: u64,
    pub(crate) by_node: u64,
    pub(crate) open: usize,
}

/// All accounts of a node.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    accounts: Mutex<HashMap<Option<Key>, Arc<Account>>>,
}

/// Returns what a metric calls a path.
pub(crate) fn path_label(path: PathKind) -> &'static str {
    match path {
        PathKind::Direct(Transport::Quic) => "quic",
        PathKind::Direct(Transport::Tcp) => "tcp",
        PathKind::Direct(Transport::Websocket) => "websocket",
        PathKind::Relayed(_) => "relay",
    }
}

impl Traffic {
    /// Counts a new stream, and everything that it carries from now on.
    pub(crate) fn meter<S>(
        &self,
        stream: S,
        service: Option<ServiceName>,
        (peer, path): (PeerId, PathKind),
        opener: Opener,
    ) -> Metered<S> {
        let account = self.account(Key {
            service,
            peer,
            path: path_label(path),
        });
        match opener {
            Opener::Peer => &account.by_peer,
            Opener::Node => &account.by_node,
        }
        .fetch_add(1, Ordering::Relaxed);
        account.open.fetch_add(1, Ordering::Relaxed);
        Metered { stream, account }
    }

    fn account(&self, key: Key) -> Arc<Account> {
        // A panic while the lock is held leaves a map that is whole.
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Some(key);
        let known = accounts.contains_key(&key) || accounts.len() < MAX_ACCOUNTS;
        accounts.entry(key.filter(|_| known)).or_default().clone()
    }

    pub(crate) fn view(&self) -> Vec<AccountView> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let view = |(key, account): (&Option<Key>, &Arc<Account>)| {
            let (service, peer, path) = match key {
                None => (OTHER.to_owned(), OTHER.to_owned(), OTHER),
                Some(key) => {
                    let service = key.service.as_ref();
                    let service = service.map_or_else(|| NO_SERVICE.to_owned(), ToString::to_string);
                    (service, key.peer.to_base58(), key.path)
                }
            };
            AccountView {
                service,
                peer,
                path,
                bytes_in: account.bytes_in.load(Ordering::Relaxed),
                bytes_out: account.bytes_out.load(Ordering::Relaxed),
                by_peer: account.by_peer.load(Ordering::Relaxed),
                by_node: account.by_node.load(Ordering::Relaxed),
                open: account.open.load(Ordering::Relaxed),
            }
        };
        accounts.iter().map(view).collect()
    }
}

/// A stream whose bytes are counted.
#[derive(Debug)]
pub(crate) struct Metered<S> {
    stream: S,
    account: Arc<Account>,
}

impl<S> Drop for Metered<S> {
    fn drop(&mut self) {
        self.account.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().len() - before;
        self.account.bytes_in.fetch_add(read as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Metered<S> {
    fn written(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = &polled {
            self.account
                .bytes_out
                .fetch_add(*written as u64, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use libp2p_identity::Keypair;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn peer() -> PeerId {
        Keypair::generate_ed25519().public().to_peer_id()
    }

    #[tokio::test]
    async fn bytes_go_to_the_account_of_their_service_peer_and_path() {
        let traffic = Traffic::default();
        let (near, mut far) = tokio::io::duplex(1024);
        let path = PathKind::Direct(Transport::Quic);
        let (peer, web) = (peer(), "web".parse().ok());
        let mut stream = traffic.meter(near, web, (peer, path), Opener::Peer);
        far.write_all(b"question").await.unwrap();
        stream.read_exact(&mut [0; 8]).await.unwrap();
        stream.write_all(b"answer").await.unwrap();
        let expected = AccountView {
            service: "web".to_owned(),
            peer: peer.to_base58(),
            path: "quic",
            bytes_in: 8,
            bytes_out: 6,
            by_peer: 1,
            by_node: 0,
            open: 1,
        };
        assert_eq!(traffic.view(), std::slice::from_ref(&expected));
        drop(stream);
        assert_eq!(traffic.view(), [AccountView { open: 0, ..expected }]);
    }

    #[test]
    fn accounts_are_bounded_and_the_rest_is_counted_together() {
        let traffic = Traffic::default();
        let path = PathKind::Direct(Transport::Tcp);
        let first = peer();
        for number in 0..MAX_ACCOUNTS + 50 {
            let peer = if number == 0 { first } else { peer() };
            drop(traffic.meter((), None, (peer, path), Opener::Node));
        }
        // One that is known keeps its own.
        drop(traffic.meter((), None, (first, path), Opener::Node));
        let view = traffic.view();
        assert_eq!(view.len(), MAX_ACCOUNTS + 1);
        let of = |peer: &str| view.iter().find(|one| one.peer == peer).unwrap().by_node;
        assert_eq!(of(OTHER), 50);
        assert_eq!(of(&first.to_base58()), 2);
    }
}
