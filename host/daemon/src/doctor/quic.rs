//! Whether something speaks QUIC at an address, found out without a handshake.
//!
//! A packet of a version that is reserved for this purpose (RFC 9000, section 15) makes every QUIC server answer
//! with the versions that it has (section 6). The packet and the look at the answer are pure.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

/// A server answers nothing shorter, so that nobody can use it to amplify (RFC 9000, section 14.1).
const PACKET: usize = 1200;
/// Any version of the form 0x?a?a?a?a forces a negotiation.
const RESERVED_VERSION: u32 = 0x0a0a_0a0a;
/// Long header, fixed bit.
const FIRST_BYTE: u8 = 0xc0;
const LONG_HEADER: u8 = 0x80;
/// Length of the connection ids here; a server may ignore a destination id of less.
const ID: usize = 8;
/// Packets get lost: asked again after this time.
const AGAIN: Duration = Duration::from_millis(700);

/// The connection ids of one question, which its answer repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) destination: [u8; ID],
    pub(super) source: [u8; ID],
}

/// Returns the packet that asks.
pub(super) fn question(ids: &Ids) -> Vec<u8> {
    let mut packet = Vec::with_capacity(PACKET);
    packet.push(FIRST_BYTE);
    packet.extend(RESERVED_VERSION.to_be_bytes());
    for id in [&ids.destination, &ids.source] {
        packet.push(ID as u8);
        packet.extend(id);
    }
    packet.resize(PACKET, 0);
    packet
}

/// Returns whether a packet is the Version Negotiation that answers the question (RFC 9000, section 17.2.1).
pub(super) fn is_answer(packet: &[u8], ids: &Ids) -> bool {
    parse(packet, ids).is_some()
}

fn parse(packet: &[u8], ids: &Ids) -> Option<()> {
    let (first, rest) = packet.split_first()?;
    let (version, rest) = rest.split_at_checked(4)?;
    let (destination, rest) = connection_id(rest)?;
    let (source, versions) = connection_id(rest)?;
    let holds = first & LONG_HEADER != 0
        && version == [0; 4]
        && destination == ids.source
        && source == ids.destination
        && !versions.is_empty()
        && versions.len().is_multiple_of(4);
    holds.then_some(())
}

fn connection_id(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// Asks until an answer comes or the time is over. Returns the round trip.
///
/// # Errors
/// `TimedOut` where nothing came back; `ConnectionRefused` and others where the network said no.
pub(super) async fn ask(address: SocketAddr, patience: Duration) -> io::Result<Duration> {
    let local: SocketAddr = match address {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(address).await?;
    let ids = fresh_ids()?;
    let packet = question(&ids);
    let end = Instant::now() + patience;
    loop {
        let asked = Instant::now();
        if asked >= end {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.send(&packet).await?;
        let until = end.min(asked + AGAIN);
        match timeout_at(until, answer(&socket, &ids)).await {
            Ok(answered) => return answered.map(|()| asked.elapsed()),
            Err(_) => continue,
        }
    }
}

async fn answer(socket: &UdpSocket, ids: &Ids) -> io::Result<()> {
    let mut buffer = [0; PACKET];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if buffer.get(..length).is_some_and(|packet| is_answer(packet, ids)) {
            return Ok(());
        }
    }
}

fn fresh_ids() -> io::Result<Ids> {
    let mut ids = Ids {
        destination: [0; ID],
        source: [0; ID],
    };
    getrandom::fill(&mut ids.destination).map_err(io::Error::other)?;
    getrandom::fill(&mut ids.source).map_err(io::Error::other)?;
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDS: Ids = Ids {
        destination: [1; ID],
        source: [2; ID],
    };

    /// What a server with two versions says to the question.
    fn negotiation(asked: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x8f, 0, 0, 0, 0];
        packet.extend(&asked[14..23]);
        packet.extend(&asked[5..14]);
        packet.extend([0, 0, 0, 1, 0x1a, 0x2a, 0x3a, 0x4a]);
        packet
    }

    #[test]
    fn the_question_is_long_enough_to_be_answered() {
        let packet = question(&IDS);
        assert_eq!(packet.len(), 1200);
        assert_eq!(packet[..6], [0xc0, 0x0a, 0x0a, 0x0a, 0x0a, 8]);
    }

    #[test]
    fn an_answer_repeats_the_ids_the_other_way_round() {
        let good = negotiation(&question(&IDS));
        assert!(is_answer(&good, &IDS));
        for end in 0..good.len() {
            let whole = end + 4 == good.len();
            assert_eq!(is_answer(&good[..end], &IDS), whole, "{end}");
        }
        for at in [0, 1, 5, 6, 14, 15] {
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            assert!(!is_answer(&bad, &IDS), "{at}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_look_at_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(!is_answer(&bytes, &IDS));
        }

        #[test]
        fn a_server_s_answer_is_known_whatever_the_ids(destination: [u8; ID], source: [u8; ID]) {
            let ids = Ids { destination, source };
            prop_assert!(is_answer(&negotiation(&question(&ids)), &ids));
        }
    }

    #[tokio::test]
    async fn asks_again_and_ignores_what_is_no_answer() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let serve = async {
            let mut buffer = [0; PACKET];
            server.recv_from(&mut buffer).await.unwrap();
            let (length, client) = server.recv_from(&mut buffer).await.unwrap();
            assert_eq!(length, PACKET);
            server.send_to(b"noise", client).await.unwrap();
            server.send_to(&negotiation(&buffer), client).await.unwrap();
        };
        let (asked, ()) = tokio::join!(ask(address, Duration::from_secs(20)), serve);
        asked.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_with_the_time_out() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let error = ask(silent.local_addr().unwrap(), Duration::from_secs(3)).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
