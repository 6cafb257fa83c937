//! Frames on a stream: a two-byte length and at most 512 bytes, each read bounded in time.

use std::{io, time::Duration};

use peerup_net::PeerStream;
use peerup_trust::{encode_frame, frame_length};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The whole pairing as the joiner sees it, from the first frame to the last.
pub(super) const PAIRING_TIME: Duration = Duration::from_secs(30);
/// One frame, or one answer of a relay's: two of them and the relays fit into [`PAIRING_TIME`].
const FRAME_TIME: Duration = Duration::from_secs(10);

/// Sends one frame.
pub(super) async fn send(stream: &mut PeerStream, payload: &[u8]) -> io::Result<()> {
    let frame = encode_frame(payload).map_err(io::Error::other)?;
    in_time(async {
        stream.write_all(&frame).await?;
        stream.flush().await
    })
    .await
}

/// Receives one frame. An announced length over the limit is an error before anything is allocated.
pub(super) async fn receive(stream: &mut PeerStream) -> io::Result<Vec<u8>> {
    in_time(async {
        let mut header = [0_u8; 2];
        stream.read_exact(&mut header).await?;
        let length = frame_length(header).map_err(io::Error::other)?;
        let mut payload = vec![0_u8; length];
        stream.read_exact(&mut payload).await?;
        Ok(payload)
    })
    .await
}

async fn in_time<T>(exchange: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(FRAME_TIME, exchange)
        .await
        .unwrap_or_else(|_| {
            let text = "the other side did not go on within 10 seconds";
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
}
