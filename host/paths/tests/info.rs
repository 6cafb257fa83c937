//! The path message: what is written is read, what is wrong is refused or left out, and nothing exceeds its bounds.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed step is a failed test"
)]

use multiaddr::Multiaddr;
use peerup_paths::{
    MAX_CANDIDATE, MAX_CANDIDATES, MAX_PATH_INFO, NatKind, PathInfo, PathInfoError, PathNat, UdpVerdict,
    is_candidate,
};
use proptest::prelude::*;

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

fn info() -> PathInfo {
    PathInfo {
        wants_direct: true,
        nat: PathNat {
            kind: NatKind::Symmetric,
            port_preserving: Some(false),
            cgnat: Some(true),
            udp: UdpVerdict::Blocked,
        },
        candidates: vec![address("/ip4/192.0.2.1/udp/4001/quic-v1")],
    }
}

#[test]
fn the_bytes_are_these() {
    let mut expected = vec![
        1,
        1,
        0b10_10_01_11,
        1,
        11,
        4,
        192,
        0,
        2,
        1,
        0x91,
        0x02,
        0x0f,
        0xa1,
        0xcd,
        0x03,
    ];
    assert_eq!(info().encode(), expected);
    assert_eq!(PathInfo::decode(&expected), Ok(info()));
    expected.extend([9, 9, 9]);
    assert_eq!(
        PathInfo::decode(&expected),
        Ok(info()),
        "later additions are ignored"
    );
    assert_eq!(PathInfo::decode(&[1, 0, 0, 0]), Ok(PathInfo::default()));
    assert_eq!(
        PathInfo::decode(&[1, 0xfe, 0b11_11_11_00, 0]),
        Ok(PathInfo::default())
    );
}

#[test]
fn refuses_what_is_wrong() {
    let bytes = info().encode();
    for length in 0..bytes.len() {
        assert_eq!(PathInfo::decode(&bytes[..length]), Err(PathInfoError::CutShort));
    }
    assert_eq!(PathInfo::decode(&[2, 0, 0, 0]), Err(PathInfoError::Version(2)));
    assert_eq!(
        PathInfo::decode(&[1, 0, 0, 17]),
        Err(PathInfoError::TooManyCandidates(17))
    );
    assert_eq!(
        PathInfo::decode(&[1, 0, 0, 1, 129]),
        Err(PathInfoError::CandidateTooLong(129))
    );
    assert_eq!(
        PathInfo::decode(&vec![1; MAX_PATH_INFO + 1]),
        Err(PathInfoError::TooLong)
    );
}

#[test]
fn takes_direct_addresses_only() {
    for good in [
        "/ip4/192.0.2.1/tcp/4001",
        "/ip4/192.168.1.5/udp/4001/quic-v1",
        "/ip6/2001:db8::1/udp/4001/quic-v1",
        "/dns/home.example/tcp/443/wss",
        "/dns4/home.example/tcp/4001/ws",
        "/dns6/home.example/udp/4001/quic-v1",
        "/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
    ] {
        assert!(is_candidate(&address(good)), "{good}");
    }
    for bad in [
        "/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA/p2p-circuit",
        "/p2p-circuit",
        "/ip4/127.0.0.1/tcp/4001",
        "/ip6/::1/tcp/4001",
        "/ip6/::ffff:127.0.0.1/tcp/4001",
        "/ip4/0.0.0.0/tcp/4001",
        "/ip6/::/udp/4001/quic-v1",
        "/ip4/224.0.0.251/udp/5353/quic-v1",
        "/ip6/ff02::1/udp/4001/quic-v1",
        "/ip4/255.255.255.255/udp/4001/quic-v1",
        "/ip4/192.0.2.1/tcp/0",
        "/ip4/192.0.2.1",
        "/dns/localhost/tcp/4001",
        "/dns/a.LOCALHOST./tcp/4001",
        "/dnsaddr/home.example/tcp/4001",
        "/memory/7",
        "/unix/tmp",
    ] {
        assert!(!is_candidate(&address(bad)), "{bad}");
        let mut one = info();
        one.candidates.push(address(bad));
        assert_eq!(one.encode(), info().encode(), "{bad}");
        let raw = address(bad).to_vec();
        let mut bytes = info().encode();
        bytes[3] = 2;
        bytes.push(raw.len() as u8);
        bytes.extend(raw);
        assert_eq!(PathInfo::decode(&bytes), Ok(info()), "{bad}");
    }
}

#[test]
fn an_address_of_an_unknown_kind_is_left_out() {
    let mut bytes = info().encode();
    bytes[3] = 3;
    bytes.extend([3, 0xff, 0xff, 0x03, 0]);
    assert_eq!(PathInfo::decode(&bytes), Ok(info()));
}

#[test]
fn names_past_the_second_are_left_out() {
    let mut many = info();
    many.candidates = (0..5)
        .map(|index| address(&format!("/dns4/n{index}.example/tcp/1")))
        .collect();
    many.candidates.push(address("/ip4/198.51.100.7/tcp/1"));
    let read = PathInfo::decode(&many.encode()).unwrap().candidates;
    assert_eq!(read, [&many.candidates[..2], &many.candidates[5..]].concat());
}

#[test]
fn what_does_not_fit_is_left_out() {
    let long = |index: usize| address(&format!("/dns/{}{index:03}.example/tcp/443", "a".repeat(110)));
    assert!(long(0).len() <= MAX_CANDIDATE && long(0).len() > 120);
    let mut many = info();
    many.candidates = (0..40).map(long).collect();
    let bytes = many.encode();
    assert!(bytes.len() <= MAX_PATH_INFO);
    let read = PathInfo::decode(&bytes).unwrap();
    assert!(!read.candidates.is_empty() && read.candidates.len() <= MAX_CANDIDATES);
    assert!(many.candidates.starts_with(&read.candidates));
    many.candidates = (1..=40)
        .map(|port| address(&format!("/ip4/192.0.2.1/tcp/{port}")))
        .collect();
    assert_eq!(
        PathInfo::decode(&many.encode()).unwrap().candidates,
        many.candidates[..MAX_CANDIDATES]
    );
    many.candidates = vec![address(&format!("/dns/{}/tcp/443", "a".repeat(126)))];
    assert_eq!(
        PathInfo::decode(&many.encode()).unwrap().candidates,
        Vec::<Multiaddr>::new()
    );
}

fn nats() -> impl Strategy<Value = PathNat> {
    let kinds = [
        NatKind::None,
        NatKind::EndpointIndependent,
        NatKind::Symmetric,
        NatKind::Unknown,
    ];
    let udps = [UdpVerdict::Ok, UdpVerdict::Blocked, UdpVerdict::Unknown];
    (
        0..kinds.len(),
        any::<Option<bool>>(),
        any::<Option<bool>>(),
        0..udps.len(),
    )
        .prop_map(move |(kind, port_preserving, cgnat, udp)| PathNat {
            kind: kinds[kind],
            port_preserving,
            cgnat,
            udp: udps[udp],
        })
}

fn candidates() -> impl Strategy<Value = Multiaddr> {
    (any::<[u8; 4]>(), 0_u8..4, 1_u16..).prop_map(|([_, b, c, d], kind, port)| match kind {
        0 => address(&format!("/ip4/10.{b}.{c}.{d}/tcp/{port}")),
        1 => address(&format!("/ip4/203.0.{c}.{d}/udp/{port}/quic-v1")),
        2 => address(&format!("/ip6/2001:db8::{b:x}{c:02x}/udp/{port}/quic-v1")),
        _ => address(&format!("/dns/h{d}.example/tcp/{port}/ws")),
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        wants_direct in any::<bool>(),
        nat in nats(),
        candidates in proptest::collection::vec(candidates(), 0..=MAX_CANDIDATES),
    ) {
        let mut info = PathInfo { wants_direct, nat, candidates };
        let bytes = info.encode();
        prop_assert!(bytes.len() <= MAX_PATH_INFO);
        let mut names = 0;
        info.candidates.retain(|one| {
            names += usize::from(one.to_string().starts_with("/dns/"));
            !one.to_string().starts_with("/dns/") || names <= 2
        });
        prop_assert_eq!(PathInfo::decode(&bytes), Ok(info));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        peerup_paths::fuzzing::path_info(&bytes);
    }

    #[test]
    fn damaged_messages_are_read_or_refused(
        candidates in proptest::collection::vec(candidates(), 0..=MAX_CANDIDATES),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = PathInfo { candidates, ..info() }.encode();
        for (index, byte) in damage {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        bytes[0] = 1;
        peerup_paths::fuzzing::path_info(&bytes);
    }
}
