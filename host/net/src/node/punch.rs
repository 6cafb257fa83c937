//! The messages of hole punching: libp2p's DCUtR, spoken over a relayed connection.
//!
//! The side that the circuit came in at starts: both tell their addresses, it measures the round trip, says when, and
//! both dial at the same moment. libp2p has a behaviour for this, with three attempts in a row and never one more,
//! with candidates that are fixed when the circuit comes up, and with the relayed connection pinned for ever. Here the
//! node's task decides when; this file only carries the messages. It dials nobody.
//!
//! Spec: <https://github.com/libp2p/specs/blob/master/relay/DCUtR.md>.

use std::{io, time::Duration};

use libp2p::Multiaddr;
use peerup_paths::{MAX_CANDIDATE, MAX_CANDIDATES, is_candidate};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::Instant,
};

use crate::address::{ip_of, is_circuit};

/// Bytes of one message, as libp2p bounds it.
const MAX_MESSAGE: usize = 4096;
/// How long the whole exchange may take.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait between saying when and dialling: half of a round trip over a poor relay.
const MAX_WAIT: Duration = Duration::from_secs(2);

#[derive(Clone, PartialEq, Message)]
struct HolePunch {
    #[prost(enumeration = "Kind", required, tag = "1")]
    kind: i32,
    #[prost(bytes = "vec", repeated, tag = "2")]
    addresses: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum Kind {
    Connect = 100,
    Sync = 300,
}

/// Tells the own addresses, says when, and returns the other side's addresses at the moment to dial them.
pub(super) async fn initiate(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    own: &[Multiaddr],
) -> io::Result<Vec<Multiaddr>> {
    let exchange = async {
        send(&mut stream, Kind::Connect, own).await?;
        let sent = Instant::now();
        let theirs = receive(&mut stream, Kind::Connect).await?;
        let round_trip = sent.elapsed();
        send(&mut stream, Kind::Sync, &[]).await?;
        tokio::time::sleep((round_trip / 2).min(MAX_WAIT)).await;
        Ok(theirs)
    };
    within(exchange).await
}

/// Answers with the own addresses, and returns the other side's at the moment to dial them.
pub(super) async fn respond(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    own: &[Multiaddr],
) -> io::Result<Vec<Multiaddr>> {
    let exchange = async {
        let theirs = receive(&mut stream, Kind::Connect).await?;
        send(&mut stream, Kind::Connect, own).await?;
        receive(&mut stream, Kind::Sync).await?;
        Ok(theirs)
    };
    within(exchange).await
}

async fn within<T>(exchange: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(EXCHANGE_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), kind: Kind, own: &[Multiaddr]) -> io::Result<()> {
    let message = HolePunch {
        kind: kind.into(),
        addresses: own.iter().take(MAX_CANDIDATES).map(Multiaddr::to_vec).collect(),
    };
    stream
        .write_all(&message.encode_length_delimited_to_vec())
        .await?;
    stream.flush().await
}

async fn receive(stream: &mut (impl AsyncRead + Unpin), wanted: Kind) -> io::Result<Vec<Multiaddr>> {
    let length = read_length(stream).await?;
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    let message = HolePunch::decode(bytes.as_slice()).map_err(invalid)?;
    if message.kind != i32::from(wanted) {
        return Err(invalid("a message out of turn"));
    }
    Ok(candidates(message.addresses))
}

/// Reads the varint in front of a message.
async fn read_length(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
    let mut length = 0_usize;
    for shift in [0, 7] {
        let byte = stream.read_u8().await?;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return match length {
                0..=MAX_MESSAGE => Ok(length),
                _ => Err(invalid("a message that is too long")),
            };
        }
    }
    Err(invalid("a message that is too long"))
}

/// Keeps what can be dialled. A peer that names others' addresses gets a few packets sent there, no more.
fn candidates(raw: Vec<Vec<u8>>) -> Vec<Multiaddr> {
    raw.into_iter()
        .take(MAX_CANDIDATES)
        .filter(|bytes| bytes.len() <= MAX_CANDIDATE)
        .filter_map(|bytes| Multiaddr::try_from(bytes).ok())
        .filter(|address| is_candidate(address) || is_loopback(address))
        .collect()
}

/// Whether it is a direct address of the machine itself.
pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    !is_circuit(address) && ip_of(address).is_some_and(|ip| ip.is_loopback())
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn both_sides_learn_the_others_addresses_half_a_round_trip_apart() {
        let (near, far) = tokio::io::duplex(4096);
        let (one, other) = (
            address("/ip4/203.0.113.1/udp/1/quic-v1"),
            address("/ip4/203.0.113.2/tcp/2"),
        );
        let own = [one.clone(), address("/p2p-circuit")];
        let others = [other.clone()];
        let (started, answered) = tokio::join!(initiate(near, &own), respond(far, &others));
        assert_eq!(started.unwrap(), [other]);
        assert_eq!(answered.unwrap(), [one]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_or_talkative_peer_ends_the_exchange() {
        let (near, _far) = tokio::io::duplex(4096);
        let silent = initiate(near, &[]).await.unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);

        let (near, mut far) = tokio::io::duplex(4096);
        far.write_all(&[0xff, 0x7f]).await.unwrap();
        let long = respond(near, &[]).await.unwrap_err();
        assert_eq!(long.kind(), io::ErrorKind::InvalidData);

        let (near, mut far) = tokio::io::duplex(4096);
        send(&mut far, Kind::Sync, &[]).await.unwrap();
        let early = respond(near, &[]).await.unwrap_err();
        assert!(early.to_string().contains("out of turn"), "{early}");
    }

    #[test]
    fn the_bytes_are_those_of_the_spec() {
        let message = HolePunch {
            kind: Kind::Connect.into(),
            addresses: vec![vec![4, 127, 0, 0, 1]],
        };
        // Field 1, varint 100; field 2, five bytes.
        assert_eq!(
            message.encode_length_delimited_to_vec(),
            [9, 8, 100, 18, 5, 4, 127, 0, 0, 1]
        );
    }

    proptest! {
        #[test]
        fn whatever_a_peer_sends_is_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            if let Ok(found) = runtime.block_on(receive(&mut bytes.as_slice(), Kind::Connect)) {
                prop_assert!(found.len() <= MAX_CANDIDATES);
                prop_assert!(found.iter().all(|found| is_candidate(found) || is_loopback(found)));
            }
        }
    }
}
