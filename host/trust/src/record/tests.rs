//! Address records: what holds, every way in which one does not, and the vector.

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::identity::keypair_from_seed;

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

fn key(seed: u8) -> Keypair {
    keypair_from_seed(Zeroizing::new([seed; 32]))
}

fn id(key: &Keypair) -> PeerId {
    key.public().to_peer_id()
}

fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn some() -> Vec<Multiaddr> {
    let relay = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
    addresses(&[
        "/ip4/203.0.113.7/udp/4001/quic-v1",
        "/ip6/2001:db8::7/tcp/4001",
        &format!("/ip4/203.0.113.50/tcp/7777/p2p/{relay}/p2p-circuit"),
    ])
}

fn ed25519_of(key: &Keypair) -> ed25519::PublicKey {
    key.public().try_into_ed25519().unwrap()
}

/// Seals content as any member that knows the peer's id could.
fn seal_content(peer: &PeerId, content: &[u8]) -> Vec<u8> {
    let payload = Payload {
        msg: content,
        aad: &record_key(peer),
    };
    let nonce = [9; NONCE];
    let mut sealed = nonce.to_vec();
    sealed.extend(cipher(peer).encrypt(&nonce.into(), payload).unwrap());
    sealed
}

fn content_of(key: &Keypair, sign: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let addresses = some();
    let addresses: Vec<_> = addresses.iter().collect();
    let mut content = write(&ed25519_of(key), &addresses, NOW, after(NOW, RECORD_TTL));
    let signature = key.sign(&sign(&content)).unwrap();
    content.extend(signature);
    content
}

#[test]
fn a_record_says_what_was_sealed() {
    let key = key(7);
    let sealed = AddressRecord::seal(&key, &some(), NOW).unwrap();
    let record = AddressRecord::open(&id(&key), &sealed, NOW).unwrap();
    assert_eq!(
        record,
        AddressRecord {
            peer: id(&key),
            issued: NOW,
            expires: NOW + RECORD_TTL,
            addresses: some(),
        }
    );
}

#[test]
fn two_seals_of_the_same_have_nothing_in_common() {
    let key = key(7);
    let [one, two] = [(); 2].map(|()| AddressRecord::seal(&key, &some(), NOW).unwrap());
    assert_ne!(one[..NONCE], two[..NONCE]);
    assert_ne!(one[NONCE..], two[NONCE..]);
}

#[test]
fn every_flipped_bit_of_a_sealed_record_breaks_it() {
    let key = key(7);
    let sealed = AddressRecord::seal(&key, &some(), NOW).unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            AddressRecord::open(&id(&key), &changed, NOW),
            Err(RecordError::Sealed),
            "bit {bit}"
        );
    }
    for length in 0..sealed.len() {
        assert_eq!(
            AddressRecord::open(&id(&key), &sealed[..length], NOW),
            Err(RecordError::Sealed)
        );
    }
}

#[test]
fn every_flipped_bit_inside_the_seal_breaks_the_signature() {
    let key = key(7);
    let peer = id(&key);
    let content = content_of(&key, signed_text);
    assert!(AddressRecord::open(&peer, &seal_content(&peer, &content), NOW).is_ok());
    for bit in 0..content.len() * 8 {
        let mut changed = content.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let error = AddressRecord::open(&peer, &seal_content(&peer, &changed), NOW).unwrap_err();
        assert!(
            matches!(error, RecordError::Signature | RecordError::Malformed),
            "bit {bit}: {error}"
        );
    }
}

#[test]
fn nobody_makes_a_record_of_another_peer() {
    let (victim, attacker) = (key(7), key(8));
    let sealed = AddressRecord::seal(&attacker, &some(), NOW).unwrap();
    assert_eq!(
        AddressRecord::open(&id(&victim), &sealed, NOW),
        Err(RecordError::Sealed)
    );
    // Sealed for the victim, but signed by and about the attacker.
    let foreign = seal_content(&id(&victim), &content_of(&attacker, signed_text));
    assert_eq!(
        AddressRecord::open(&id(&victim), &foreign, NOW),
        Err(RecordError::Signature)
    );
    // A signature over the same bytes for another purpose.
    let reused = seal_content(&id(&victim), &content_of(&victim, <[u8]>::to_vec));
    assert_eq!(
        AddressRecord::open(&id(&victim), &reused, NOW),
        Err(RecordError::Signature)
    );
}

#[test]
fn a_record_ends_after_half_an_hour_give_or_take_the_clocks() {
    let key = key(7);
    let sealed = AddressRecord::seal(&key, &some(), NOW).unwrap();
    let open = |at: Timestamp| AddressRecord::open(&id(&key), &sealed, at);
    let second = SignedDuration::from_secs(1);
    assert!(open(NOW + RECORD_TTL + CLOCK_SKEW - second).is_ok());
    assert_eq!(open(NOW + RECORD_TTL + CLOCK_SKEW), Err(RecordError::Expired));
    assert!(open(NOW - CLOCK_SKEW).is_ok());
    assert_eq!(open(NOW - CLOCK_SKEW - second), Err(RecordError::Early));
}

#[test]
fn a_signed_record_that_wants_to_hold_longer_is_refused() {
    let key = key(7);
    let ed25519 = ed25519_of(&key);
    let second = SignedDuration::from_secs(1);
    for expires in [NOW + RECORD_TTL + second, NOW, NOW - second] {
        let mut content = write(&ed25519, &[], NOW, expires);
        let signature = key.sign(&signed_text(&content)).unwrap();
        content.extend(signature);
        let sealed = seal_content(&id(&key), &content);
        assert_eq!(
            AddressRecord::open(&id(&key), &sealed, NOW),
            Err(RecordError::Malformed)
        );
    }
}

#[test]
fn only_a_later_record_is_newer() {
    let key = key(7);
    let at = |seconds| {
        let now = NOW + SignedDuration::from_secs(seconds);
        let sealed = AddressRecord::seal(&key, &some(), now).unwrap();
        AddressRecord::open(&id(&key), &sealed, now).unwrap()
    };
    assert!(at(1).is_newer_than(&at(0)));
    assert!(!at(0).is_newer_than(&at(1)));
    assert!(!at(0).is_newer_than(&at(0)));
}

#[test]
fn leaves_out_what_does_not_fit() {
    let key = key(7);
    let long: Multiaddr = format!("/dns4/{}/tcp/1", "x".repeat(130)).parse().unwrap();
    let of = |number: usize| format!("/ip4/203.0.113.7/tcp/{number}").parse().unwrap();
    let many: Vec<Multiaddr> = std::iter::once(long).chain((1..=40).map(of)).collect();
    let sealed = AddressRecord::seal(&key, &many, NOW).unwrap();
    let record = AddressRecord::open(&id(&key), &sealed, NOW).unwrap();
    assert_eq!(record.addresses, many[1..=MAX_RECORD_ADDRESSES]);

    let large: Vec<Multiaddr> = (0..16)
        .map(|number| format!("/dns4/{}/tcp/{number}", "x".repeat(120)).parse().unwrap())
        .collect();
    let sealed = AddressRecord::seal(&key, &large, NOW).unwrap();
    assert!(sealed.len() <= MAX_RECORD);
    let record = AddressRecord::open(&id(&key), &sealed, NOW).unwrap();
    assert_eq!(record.addresses, large[..record.addresses.len()]);
    assert!(record.addresses.len() > 10);
}

#[test]
fn a_record_without_addresses_holds() {
    let key = key(7);
    let sealed = AddressRecord::seal(&key, &[], NOW).unwrap();
    let record = AddressRecord::open(&id(&key), &sealed, NOW).unwrap();
    assert!(record.addresses.is_empty());
}

#[test]
fn refuses_a_record_that_is_too_long_before_it_decrypts() {
    assert_eq!(
        AddressRecord::open(&id(&key(7)), &[0; MAX_RECORD + 1], NOW),
        Err(RecordError::TooLong(MAX_RECORD + 1))
    );
}

#[test]
fn matches_the_vector() {
    let text = include_str!("../../tests/vectors/address-record-1.txt");
    let field = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
        line.unwrap()
    };
    let hex = |name: &str| data_encoding::HEXLOWER.decode(field(name).as_bytes()).unwrap();
    let key = key(7);
    let peer = id(&key);
    assert_eq!(field("peer"), peer.to_string());
    assert_eq!(record_key(&peer).to_vec(), hex("key"));
    let nonce = hex("nonce").try_into().unwrap();
    let sealed = seal_with(&key, &some(), NOW, &nonce).unwrap();
    assert_eq!(sealed, hex("sealed"));
    assert_eq!(
        AddressRecord::open(&peer, &hex("sealed"), NOW).unwrap().addresses,
        some()
    );
}

fn any_address() -> impl Strategy<Value = Multiaddr> {
    let v4 = any::<([u8; 4], u16)>().prop_map(|(ip, port)| {
        let ip = std::net::Ipv4Addr::from(ip);
        format!("/ip4/{ip}/tcp/{port}").parse().unwrap()
    });
    let v6 = any::<([u8; 16], u16)>().prop_map(|(ip, port)| {
        let ip = std::net::Ipv6Addr::from(ip);
        format!("/ip6/{ip}/udp/{port}/quic-v1").parse().unwrap()
    });
    let name = "[a-z]{1,100}".prop_map(|name| format!("/dns/{name}/tcp/443/ws").parse().unwrap());
    prop_oneof![v4, v6, name]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn records_survive_the_wire(
        addresses in prop::collection::vec(any_address(), 0..=12),
        seed: u8,
        seconds in 0..4_000_000_000_i64,
    ) {
        let (key, now) = (key(seed), Timestamp::from_second(seconds).unwrap());
        let sealed = AddressRecord::seal(&key, &addresses, now).unwrap();
        prop_assert!(sealed.len() <= MAX_RECORD);
        let record = AddressRecord::open(&id(&key), &sealed, now).unwrap();
        prop_assert_eq!(record.addresses, addresses);
        prop_assert_eq!(record.issued, now);
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..2200)) {
        prop_assert!(AddressRecord::open(&id(&key(7)), &bytes, NOW).is_err());
        let _ = AddressRecord::verify(&id(&key(7)), &bytes);
        read_and_write(&bytes);
    }
}
