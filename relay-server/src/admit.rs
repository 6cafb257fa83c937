//! The relay's side of the admit protocol: one request, one answer, on a stream of its own.
//!
//! Runs as a task for each stream, within a deadline; the streams behaviour bounds how many there are.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libp2p::PeerId;
use peerup_net::{InboundStream, PeerStream};
use peerup_trust::{AdmitRequest, AdmitResponse, encode_frame, frame_length};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::admission::MAX_ADMISSION_TTL;
use crate::membership::{Membership, Refused};

/// How long the whole exchange may take.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(15);
/// How far the member's clock may be ahead when it asks for the longest admission.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(600);

/// Reads one request, does what it asks, answers, and ends the stream.
pub(crate) async fn answer_admit(membership: Arc<Membership>, inbound: InboundStream) {
    let InboundStream { peer, mut stream, .. } = inbound;
    match timeout(EXCHANGE_TIMEOUT, exchange(&membership, peer, &mut stream)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, "an admit request broke off: {error}"),
        Err(_) => tracing::debug!(%peer, "an admit request took too long"),
    }
}

async fn exchange(membership: &Membership, member: PeerId, stream: &mut PeerStream) -> io::Result<()> {
    let request = AdmitRequest::decode(&read_frame(stream).await?).map_err(io::Error::other)?;
    let granted = grant(membership, member, request).await;
    membership.count_admit(granted.as_ref().err().map(Refused::on_the_wire));
    let response = match granted {
        Ok(()) => AdmitResponse::Admitted,
        Err(refused) => {
            tracing::warn!(%member, "an admit request is refused: {refused}");
            AdmitResponse::Refused(refused.on_the_wire())
        }
    };
    let frame = encode_frame(&response.encode()).map_err(io::Error::other)?;
    stream.write_all(&frame).await?;
    stream.shutdown().await
}

async fn grant(membership: &Membership, member: PeerId, request: AdmitRequest) -> Result<(), Refused> {
    match request {
        AdmitRequest::Circuit { peer, until } => {
            membership.admit(member, peer, time_left(until, SystemTime::now()))
        }
        AdmitRequest::Enroll { peer, name } => membership.enroll(member, peer, name.as_ref()).await,
        _ => Err(Refused::Unknown),
    }
}

/// Returns the time until a moment in Unix minutes; none when it is past. A little more than the longest
/// admission is the longest, because the clocks of two machines differ.
fn time_left(until: u32, now: SystemTime) -> Duration {
    let until = UNIX_EPOCH + Duration::from_secs(u64::from(until) * 60);
    let left = until.duration_since(now).unwrap_or_default();
    if left <= MAX_ADMISSION_TTL + CLOCK_TOLERANCE {
        left.min(MAX_ADMISSION_TTL)
    } else {
        left
    }
}

async fn read_frame(stream: &mut PeerStream) -> io::Result<Vec<u8>> {
    let mut header = [0; 2];
    stream.read_exact(&mut header).await?;
    let mut payload = vec![0; frame_length(header).map_err(io::Error::other)?];
    stream.read_exact(&mut payload).await?;
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_a_little_ahead_asks_for_the_longest_admission() {
        let now = UNIX_EPOCH + Duration::from_secs(6_000_000);
        let in_minutes = |minutes: u32| time_left(100_000 + minutes, now);

        assert_eq!(in_minutes(10), Duration::from_secs(600));
        assert_eq!(in_minutes(24 * 60 + 1), MAX_ADMISSION_TTL);
        assert!(in_minutes(48 * 60) > MAX_ADMISSION_TTL);
        assert_eq!(time_left(0, now), Duration::ZERO);
    }
}
