//! What a plugin holds in its table: a duplex, a listener, a socket. The generated bindings know these types.

use std::sync::Arc;

use tokio::sync::{Mutex, broadcast};

use crate::{
    datagram::Socket,
    duplex::{Duplex, ReadHalf, Shared, WriteHalf},
    ending::Ending,
    event::PeerEvent,
    sockets::StreamListener,
};

/// A duplex in a plugin's table. What the plugin never took out of it goes to the instance's ending.
#[allow(
    unreachable_pub,
    reason = "the generated bindings re-export it, in a private module"
)]
pub struct DuplexHandle {
    pub(crate) reader: Option<ReadHalf>,
    pub(crate) writer: Option<WriteHalf>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) ending: Arc<Ending>,
}

impl DuplexHandle {
    pub(crate) fn new(duplex: Duplex, ending: Arc<Ending>) -> Self {
        Self {
            reader: Some(duplex.reader),
            writer: Some(duplex.writer),
            shared: duplex.shared,
            ending,
        }
    }
}

impl Drop for DuplexHandle {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.ending.leave(writer, self.reader.take());
        }
    }
}

/// A listener in a plugin's table.
#[allow(
    unreachable_pub,
    reason = "the generated bindings re-export it, in a private module"
)]
pub struct ListenerHandle {
    pub(crate) listener: Arc<dyn StreamListener>,
    /// The address as the plugin asked for it, and as it was granted.
    pub(crate) asked: Arc<str>,
}

/// A subscription to what happens to peers, in a plugin's table.
#[allow(
    unreachable_pub,
    reason = "the generated bindings re-export it, in a private module"
)]
pub struct SubscriptionHandle {
    /// Locked over the wait for the next event, so that two calls at once take turns.
    pub(crate) events: Arc<Mutex<broadcast::Receiver<PeerEvent>>>,
}

/// A UDP socket in a plugin's table.
#[allow(
    unreachable_pub,
    reason = "the generated bindings re-export it, in a private module"
)]
pub struct SocketHandle(pub(crate) Arc<Socket>);
