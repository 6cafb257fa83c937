//! One entry for each decoder that meets foreign bytes, shared by the fuzz targets and the corpus test.
//!
//! Each must return for any input, and checks that what was read is written back the same.

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::{
    admit::{AdmitRequest, AdmitResponse},
    authorized_keys::AuthorizedKeys,
    frame::{FrameDecoder, encode_frame},
    identity,
    invite::Invite,
    pairing::Message,
    record::{self, AddressRecord},
};

/// Reads an invite code; one that holds is read again from its own text.
pub fn invite_code(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(invite) = Invite::decode(text) {
        assert_eq!(Invite::decode(&invite.encode()), Ok(invite));
    }
}

/// Reads an `authorized_keys` document; one that holds is written and read again, and each entry alone.
pub fn authorized_keys(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(keys) = AuthorizedKeys::parse(text) else {
        return;
    };
    assert_eq!(AuthorizedKeys::parse(&keys.to_string()).as_ref(), Ok(&keys));
    for entry in keys.entries() {
        let line = entry.to_string();
        let again = AuthorizedKeys::parse(&line).expect("a written entry is read");
        assert_eq!(again.get(&entry.peer), Some(entry));
        assert_eq!(again.len(), 1);
    }
}

/// Reads a stream of pairing frames.
pub fn pairing_frames(data: &[u8]) {
    for payload in payloads(data) {
        if let Some(message) = Message::decode(&payload) {
            assert_eq!(message.encode(), payload);
        }
    }
}

/// Reads a stream of admission frames.
pub fn admit_frames(data: &[u8]) {
    for payload in payloads(data) {
        if let Ok(request) = AdmitRequest::decode(&payload) {
            assert_eq!(AdmitRequest::decode(&request.encode()), Ok(request));
        }
        if let Ok(response) = AdmitResponse::decode(&payload) {
            assert_eq!(response.encode(), payload);
        }
    }
}

/// Opens an address record, and reads what would be inside of one.
pub fn address_record(data: &[u8]) {
    // The owner of the samples in the corpus, and a moment at which they hold.
    let peer = identity::keypair_from_seed(Zeroizing::new([7; 32]))
        .public()
        .to_peer_id();
    if let Ok(record) = AddressRecord::open(&peer, data, Timestamp::constant(1_800_000_000, 0)) {
        assert_eq!(record.peer, peer);
    }
    record::read_and_write(data);
}

/// Cuts a stream into payloads, up to the first frame that does not hold.
fn payloads(data: &[u8]) -> Vec<Vec<u8>> {
    let mut decoder = FrameDecoder::new();
    let mut rest = data;
    let mut payloads = Vec::new();
    while !rest.is_empty() {
        let Ok((taken, payload)) = decoder.feed(rest) else {
            break;
        };
        rest = rest.get(taken..).unwrap_or_default();
        if let Some(payload) = &payload {
            assert!(encode_frame(payload).is_ok_and(|frame| frame.ends_with(payload)));
        }
        payloads.extend(payload);
    }
    payloads
}
