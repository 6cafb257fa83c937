//! Warms up TLS, which QUIC uses too.
//!
//! The first TLS handshake of a process costs around a hundred milliseconds, the later ones one and a half: the
//! cryptography library collects entropy and builds tables. A throw-away handshake over memory pays for that while
//! the node starts, so the first dial does not.

use futures::future::join;
use libp2p::{
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
    identity::Keypair,
    tls,
};
use tokio_util::compat::TokioAsyncReadCompatExt;

/// Holds one flight of the handshake with its certificate.
const PIPE: usize = 64 * 1024;

/// Runs a TLS handshake with itself. Blocks for as long as that takes; call it on a blocking thread.
pub(crate) fn warm_up() {
    let (near, far) = tokio::io::duplex(PIPE);
    let (Ok(client), Ok(server)) = (
        tls::Config::new(&Keypair::generate_ed25519()),
        tls::Config::new(&Keypair::generate_ed25519()),
    ) else {
        return;
    };
    let Some(info) = client.protocol_info().next() else {
        return;
    };
    futures::executor::block_on(async {
        let (client, server) = join(
            client.upgrade_outbound(near.compat(), info),
            server.upgrade_inbound(far.compat(), info),
        )
        .await;
        tracing::debug!(worked = client.is_ok() && server.is_ok(), "warmed up TLS");
    });
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_second_handshake_is_cheap() {
        let begin = Instant::now();
        warm_up();
        let first = begin.elapsed();
        let begin = Instant::now();
        warm_up();
        let second = begin.elapsed();
        // Other tests of this process may have paid already, so only the second is bounded.
        assert!(second.as_millis() < 60, "first {first:?}, second {second:?}");
    }
}
