//! The two trivial stream upgrades: offering a list of protocols, asking for one.
//!
//! Used by the handler only.

use std::{convert::Infallible, future::Ready, iter, option, sync::Arc};

use libp2p::{InboundUpgrade, OutboundUpgrade, Stream, StreamProtocol, core::upgrade::UpgradeInfo};

/// Asked for after the wanted protocol where the answer matters. The negotiation runs optimistically on the last
/// protocol of a list, so with this one behind it the wanted one is waited for. Nobody serves it.
const NEVER: StreamProtocol = StreamProtocol::new("/peerup/unsupported");

/// Offers protocols to the remote.
#[derive(Debug, Clone)]
pub struct Offer {
    pub(super) protocols: Arc<[StreamProtocol]>,
}

/// Iterates over a shared list without copying it.
#[derive(Debug)]
pub struct SharedList {
    list: Arc<[StreamProtocol]>,
    next: usize,
}

impl Iterator for SharedList {
    type Item = StreamProtocol;

    fn next(&mut self) -> Option<StreamProtocol> {
        let item = self.list.get(self.next).cloned();
        self.next += 1;
        item
    }
}

impl UpgradeInfo for Offer {
    type Info = StreamProtocol;
    type InfoIter = SharedList;

    fn protocol_info(&self) -> SharedList {
        SharedList {
            list: self.protocols.clone(),
            next: 0,
        }
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        std::future::ready(Ok((stream, protocol)))
    }
}

/// Asks the remote for one protocol.
#[derive(Debug)]
pub struct Ask {
    pub(super) protocol: StreamProtocol,
    /// Whether to wait for the answer. Otherwise the first write carries the question and no round trip is spent.
    pub(super) wait: bool,
}

impl UpgradeInfo for Ask {
    type Info = StreamProtocol;
    type InfoIter = iter::Chain<iter::Once<StreamProtocol>, option::IntoIter<StreamProtocol>>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once(self.protocol.clone()).chain(self.wait.then_some(NEVER))
    }
}

impl OutboundUpgrade<Stream> for Ask {
    /// None if the remote does not serve the protocol.
    type Output = Option<Stream>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        std::future::ready(Ok((protocol != NEVER).then_some(stream)))
    }
}
