//! The exchange on `/peerup/core/reach/1.0.0`: two members tell each other how they can be reached.
//!
//! One frame each way, then the stream ends. It carries messages and decides nothing.

use std::{io, time::Duration};

use peerup_paths::{MAX_PATH_INFO, PathInfo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How long the exchange may take.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Tells what is known here, and returns what the other side knows of itself.
pub(super) async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    own: &PathInfo,
) -> io::Result<PathInfo> {
    within(async {
        send(&mut stream, own).await?;
        receive(&mut stream).await
    })
    .await
}

/// The same for the side that was asked.
pub(super) async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    own: &PathInfo,
) -> io::Result<PathInfo> {
    within(async {
        let theirs = receive(&mut stream).await?;
        send(&mut stream, own).await?;
        stream.shutdown().await?;
        Ok(theirs)
    })
    .await
}

async fn within<T>(exchange: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(EXCHANGE_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), info: &PathInfo) -> io::Result<()> {
    let bytes = info.encode();
    let length = u16::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    stream.write_u16(length).await?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}

async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<PathInfo> {
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_PATH_INFO {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the message is too long",
        ));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    PathInfo::decode(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use peerup_paths::{NatTable, PathNat};

    use super::*;

    fn info(wants_direct: bool, address: &str) -> PathInfo {
        PathInfo {
            wants_direct,
            nat: PathNat::from(&NatTable::new().verdict(std::time::Instant::now())),
            candidates: vec![address.parse().unwrap()],
        }
    }

    #[tokio::test]
    async fn each_side_gets_what_the_other_said() {
        let (near, far) = tokio::io::duplex(64);
        let (one, other) = (
            info(true, "/ip4/192.168.1.2/tcp/1"),
            info(false, "/ip4/203.0.113.9/tcp/2"),
        );
        let (asked, answered) = tokio::join!(ask(near, &one), answer(far, &other));
        assert_eq!(asked.unwrap(), other);
        assert_eq!(answered.unwrap(), one);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_too_much_or_nothing_is_left() {
        let (near, mut far) = tokio::io::duplex(4096);
        far.write_u16(u16::MAX).await.unwrap();
        assert_eq!(
            answer(near, &info(true, "/ip4/1.1.1.1/tcp/1"))
                .await
                .unwrap_err()
                .kind(),
            io::ErrorKind::InvalidData
        );
        let (near, _far) = tokio::io::duplex(4096);
        assert_eq!(
            ask(near, &info(true, "/ip4/1.1.1.1/tcp/1"))
                .await
                .unwrap_err()
                .kind(),
            io::ErrorKind::TimedOut
        );
    }
}
