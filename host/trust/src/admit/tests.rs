//! The admission messages.

use proptest::prelude::*;

use super::*;

#[test]
fn every_message_survives_the_wire() {
    let peer = PeerId::random();
    let requests = [
        AdmitRequest::Circuit {
            peer,
            until: 0x0102_0304,
        },
        AdmitRequest::Enroll { peer, name: None },
        AdmitRequest::Enroll {
            peer,
            name: Some("x".repeat(63).parse().unwrap()),
        },
    ];
    for request in requests {
        let bytes = request.encode();
        assert!(bytes.len() <= crate::MAX_FRAME);
        assert_eq!(AdmitRequest::decode(&bytes), Ok(request));
        assert_eq!(
            AdmitRequest::decode(&[&bytes[..], &[0]].concat()),
            Err(AdmitError)
        );
        for length in 0..bytes.len() {
            assert_eq!(AdmitRequest::decode(&bytes[..length]), Err(AdmitError));
        }
    }
    let refusals = (1..=6).map(|code| AdmitRefusal::from_code(code).unwrap());
    for response in refusals
        .map(AdmitResponse::Refused)
        .chain([AdmitResponse::Admitted])
    {
        assert_eq!(AdmitResponse::decode(&response.encode()), Ok(response));
    }
    for bad in [
        &[][..],
        &[128, 0],
        &[129],
        &[129, 0],
        &[129, 7],
        &[129, 1, 0],
        &[1],
    ] {
        assert_eq!(AdmitResponse::decode(bad), Err(AdmitError));
    }
}

#[test]
fn the_bytes_are_those_of_the_document() {
    let peer: PeerId = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"
        .parse()
        .unwrap();
    let circuit = AdmitRequest::Circuit { peer, until: 258 }.encode();
    assert_eq!(circuit, [&[1, 38][..], &peer.to_bytes(), &[0, 0, 1, 2]].concat());
    let enroll = AdmitRequest::Enroll {
        peer,
        name: Some("home".parse().unwrap()),
    }
    .encode();
    assert_eq!(enroll, [&[2, 38][..], &peer.to_bytes(), &[4], b"home"].concat());
}

#[test]
fn a_name_that_is_none_is_refused() {
    let peer = PeerId::random();
    for name in [&b"Home"[..], b"a b", b"-a", b"\xff", b"a\n"] {
        let mut bytes = vec![2];
        push_counted(&mut bytes, &peer.to_bytes());
        push_counted(&mut bytes, name);
        assert_eq!(AdmitRequest::decode(&bytes), Err(AdmitError));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = AdmitRequest::decode(&bytes);
        let _ = AdmitResponse::decode(&bytes);
        crate::fuzzing::admit_frames(&bytes);
    }
}
