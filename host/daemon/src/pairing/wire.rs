//! Frames on a stream: a two-byte length and at most 512 bytes, each read bounded in time.

use std::{io, time::Duration};

use peerup_net::PeerStream;
use peerup_trust::{encode_frame, frame_length};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The whole pairing, from the first frame to the last.
pub(super) const PAIRING_TIME: Duration = Duration::from_secs(30);

/// Sends one frame.
pub(super) async fn send(stream: &mut PeerStream, payload: &[u8]) -> io::Result<()> {
    let frame = encode_frame(payload).map_err(io::Error::other)?;
    stream.write_all(&frame).await?;
    stream.flush().await
}

/// Receives one frame. An announced length over the limit is an error before anything is allocated.
pub(super) async fn receive(stream: &mut PeerStream) -> io::Result<Vec<u8>> {
    let mut header = [0_u8; 2];
    stream.read_exact(&mut header).await?;
    let length = frame_length(header).map_err(io::Error::other)?;
    let mut payload = vec![0_u8; length];
    stream.read_exact(&mut payload).await?;
    Ok(payload)
}
