//! One libp2p ping on one connection, now, rather than at the next turn of libp2p's own.

use std::{io, sync::Arc, time::Duration};

use peerup_model::LIBP2P_PING_PROTOCOL;
use rand::Rng;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use crate::streams::{Conn, StreamsHandle};

/// What a ping carries, and its answer has to repeat.
const PING_SIZE: usize = 32;
/// How long an answer is worth waiting for. The connection is given up before that.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Measures a round trip on this connection; none if the peer does not answer.
pub(super) async fn probe(streams: StreamsHandle, conn: Arc<Conn>) -> Option<Duration> {
    let exchange = async {
        let mut stream = streams
            .open_on(&conn, LIBP2P_PING_PROTOCOL)
            .await
            .map_err(io::Error::other)?;
        let mut sent = [0; PING_SIZE];
        rand::rng().fill_bytes(&mut sent);
        let start = Instant::now();
        stream.write_all(&sent).await?;
        stream.flush().await?;
        let mut answer = [0; PING_SIZE];
        stream.read_exact(&mut answer).await?;
        let round_trip = start.elapsed();
        stream.shutdown().await?;
        if answer == sent {
            Ok(round_trip)
        } else {
            Err(io::Error::from(io::ErrorKind::InvalidData))
        }
    };
    match tokio::time::timeout(PROBE_TIMEOUT, exchange).await {
        Ok(Ok(round_trip)) => Some(round_trip),
        Ok(Err(error)) => {
            tracing::debug!(peer = %conn.peer(), %error, "a probe failed");
            None
        }
        Err(_) => None,
    }
}
