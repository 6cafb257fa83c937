//! Invite codes: every refusal, the vectors, and codes with mistakes in them.

use proptest::prelude::*;

use super::*;

fn key(seed: u8) -> ed25519::PublicKey {
    Keypair::ed25519_from_bytes([seed; 32])
        .unwrap()
        .public()
        .try_into_ed25519()
        .unwrap()
}

fn relay(seed: u8, address: &str) -> InviteRelay {
    InviteRelay::new(key(seed), address.parse().unwrap()).unwrap()
}

fn invite() -> Invite {
    let relays = vec![relay(1, "/ip4/203.0.113.50/tcp/7777")];
    Invite::new(Token::from_bytes([7; 16]), key(2), 30_000_000, relays).unwrap()
}

/// Writes bytes as a code, with a checksum that holds.
fn code_of(mut body: Vec<u8>) -> String {
    body.extend(checksum(&body));
    BASE32_NOPAD.encode(&body)
}

/// The bytes of an invite with one relay, without the checksum.
fn body_with(key: [u8; 32], count: u8, relay: [u8; 32], address: &[u8]) -> Vec<u8> {
    let head = [&[VERSION][..], &[7; 16], &key, &[0, 0, 0, 9], &[count]].concat();
    [&head[..], &relay, &[address.len() as u8], address].concat()
}

fn decode_address(address: &[u8]) -> Result<Invite, InviteError> {
    Invite::decode(&code_of(body_with(
        key(2).to_bytes(),
        1,
        key(1).to_bytes(),
        address,
    )))
}

fn off_curve() -> [u8; 32] {
    (0..=255_u8)
        .map(|byte| [byte; 32])
        .find(|bytes| ed25519::PublicKey::try_from_bytes(bytes).is_err())
        .unwrap()
}

#[test]
fn matches_the_vectors() {
    let text = include_str!("../../tests/vectors/invite-2.txt");
    let mut seen = 0;
    for case in text.split("\n[").skip(1) {
        let of = |key: &str| -> Vec<&str> {
            case.lines()
                .filter_map(|line| line.split_once(" = "))
                .filter(|(k, _)| *k == key)
                .map(|(_, v)| v)
                .collect()
        };
        let relays: Vec<InviteRelay> = of("relay")
            .iter()
            .map(|a| InviteRelay::from_address(&a.parse().unwrap()).unwrap())
            .collect();
        let token = data_encoding::HEXLOWER.decode(of("token")[0].as_bytes()).unwrap();
        let inviter = ed25519_key_of(&of("inviter")[0].parse().unwrap()).unwrap();
        let expires = of("expires")[0].parse().unwrap();
        let invite = Invite::new(
            Token::from_bytes(token.try_into().unwrap()),
            inviter,
            expires,
            relays,
        )
        .unwrap();
        assert_eq!(invite.encode(), of("code")[0]);
        assert_eq!(Invite::decode(of("code")[0]).as_ref(), Ok(&invite));
        let one_time = invite.one_time_keypair();
        assert_eq!(one_time.public().to_peer_id().to_string(), of("one_time_peer")[0]);
        let secret = one_time.try_into_ed25519().unwrap().secret();
        assert_eq!(
            data_encoding::HEXLOWER.encode(secret.as_ref()),
            of("one_time_seed")[0]
        );
        let addresses: Vec<String> = invite
            .relays()
            .iter()
            .map(|r| r.full_address().to_string())
            .collect();
        assert_eq!(addresses, of("relay"));
        seen += 1;
    }
    assert_eq!(seen, 2);
}

#[test]
fn dashes_spaces_and_case_do_not_count() {
    let code = invite().encode();
    assert!(code.split('-').rev().skip(1).all(|group| group.len() == 4));
    for text in [
        code.to_lowercase(),
        code.replace('-', ""),
        code.replace('-', " \r\n\t"),
        format!("  --{}--\n", code.replace('-', "\u{a0}")),
    ] {
        assert_eq!(Invite::decode(&text), Ok(invite()), "{text}");
    }
}

#[test]
fn text_that_is_no_code_is_told_apart() {
    for empty in ["", " ", "-- -\n"] {
        assert_eq!(Invite::decode(empty), Err(InviteError::Empty));
    }
    let long = "A".repeat(MAX_CODE_TEXT + 1);
    assert_eq!(
        Invite::decode(&long),
        Err(InviteError::TooLong(MAX_CODE_TEXT + 1))
    );
    for (text, position, character) in [
        ("AIAB-1", 6, '1'),
        ("ä", 1, 'ä'),
        ("AA 0", 4, '0'),
        ("AB=", 3, '='),
    ] {
        assert_eq!(
            Invite::decode(text),
            Err(InviteError::NotBase32 { position, character })
        );
    }
    for odd in ["A", "AAA", "AI7", "AIAB77"] {
        assert_eq!(Invite::decode(odd), Err(InviteError::Incomplete), "{odd}");
    }
    assert_eq!(Invite::decode("AIAA"), Err(InviteError::TooShort(2)));
    let short = BASE32_NOPAD.encode(&[VERSION; HEAD_BYTES + CHECKSUM_BYTES - 1]);
    assert!(matches!(Invite::decode(&short), Err(InviteError::TooShort(_))));
}

#[test]
fn a_code_of_the_old_system_is_recognised_and_others_are_unknown() {
    let old = "AEAB-CIRT-IRKW-M56L-ABYT-EHTB-EYAC-ICAB-CIQI-VCHD-3V2A-T4MV-7VJN-WLJ4-XJOX-FSTH-BG7R-3FAS-DPZX-JCAB-WQHW-6XAA-EQEA-CERA-QE4X-ODVI-PULV-6VVD-KRTM-GTD6-ZTFY-3CUR-WTXD-PIS5-6YHV-XD6J-WOKA";
    assert_eq!(Invite::decode(old), Err(InviteError::OldVersion));
    for version in [0, 3, 255] {
        let code = BASE32_NOPAD.encode(&[version; 70]);
        assert_eq!(Invite::decode(&code), Err(InviteError::UnknownVersion(version)));
    }
}

#[test]
fn a_wrong_checksum_and_trailing_bytes_are_told_apart() {
    let bytes = invite().to_bytes().to_vec();
    let mut wrong = bytes.clone();
    wrong[5] ^= 1;
    assert_eq!(
        Invite::decode(&BASE32_NOPAD.encode(&wrong)),
        Err(InviteError::Checksum)
    );
    let pasted = [&bytes[..], b"!!!"].concat();
    assert_eq!(
        Invite::decode(&BASE32_NOPAD.encode(&pasted)),
        Err(InviteError::TrailingBytes(3))
    );
    let body = bytes[..bytes.len() - CHECKSUM_BYTES].to_vec();
    assert_eq!(
        Invite::decode(&code_of([body, vec![0, 0]].concat())),
        Err(InviteError::TrailingBytes(2))
    );
}

#[test]
fn keys_that_are_none_are_refused() {
    let address = "/ip4/203.0.113.50/tcp/7777"
        .parse::<Multiaddr>()
        .unwrap()
        .to_vec();
    let good = key(1).to_bytes();
    // The neutral element, and a point off the curve.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    for bad in [off_curve(), neutral] {
        let inviter = Invite::decode(&code_of(body_with(bad, 1, good, &address)));
        assert_eq!(inviter, Err(InviteError::InviterKey));
        let relay = Invite::decode(&code_of(body_with(good, 1, bad, &address)));
        assert_eq!(relay, Err(InviteError::RelayKey(1)));
    }
}

#[test]
fn a_code_names_one_to_three_relays() {
    let address = "/ip4/203.0.113.50/tcp/7777"
        .parse::<Multiaddr>()
        .unwrap()
        .to_vec();
    for count in [0, 4, 255] {
        let code = code_of(body_with(key(2).to_bytes(), count, key(1).to_bytes(), &address));
        assert_eq!(Invite::decode(&code), Err(InviteError::RelayCount(count.into())));
    }
    let code = code_of(body_with(key(2).to_bytes(), 2, key(1).to_bytes(), &address));
    assert_eq!(Invite::decode(&code), Err(InviteError::Truncated));
    let none = Invite::new(Token::from_bytes([7; 16]), key(2), 1, vec![]);
    assert_eq!(none, Err(InviteError::RelayCount(0)));
}

#[test]
fn addresses_that_nobody_can_dial_are_refused() {
    for address in [
        "/memory/7",
        "/unix/tmp",
        "/tcp/80",
        "/ip4/203.0.113.50",
        "/ip4/0.0.0.0/tcp/80",
        "/ip6/::/udp/80/quic-v1",
        "/ip4/203.0.113.50/tcp/0",
        "/dns4/a b/tcp/80",
    ] {
        let Ok(address) = address.parse::<Multiaddr>() else {
            continue;
        };
        let refused = InviteRelay::new(key(1), address.clone()).unwrap_err();
        assert!(
            matches!(refused, InviteError::Undialable { .. } | InviteError::Address(1)),
            "{address}"
        );
        assert_eq!(decode_address(&address.to_vec()), Err(refused));
    }
}

#[test]
fn an_address_with_a_peer_or_with_hidden_components_is_refused() {
    let peer = peer_of_key(&key(3));
    for address in [
        format!("/ip4/203.0.113.50/tcp/7/p2p/{peer}"),
        format!("/ip4/203.0.113.50/tcp/7/p2p/{peer}/p2p-circuit"),
    ] {
        let address: Multiaddr = address.parse().unwrap();
        assert!(matches!(
            decode_address(&address.to_vec()),
            Err(InviteError::NamesPeer { number: 1, .. })
        ));
    }
    // The name of a DNS component that holds a slash would be other components once it is written as text.
    for name in [&b"a/tcp/1"[..], b"a\nb", b"a b", b"", b"\xff"] {
        let address = [&[0x36, name.len() as u8], name, &[6, 0, 80]].concat();
        let refused = decode_address(&address).unwrap_err();
        assert!(
            matches!(refused, InviteError::Address(1) | InviteError::Undialable { .. }),
            "{refused}"
        );
        assert!(
            refused.to_string().chars().all(crate::text::is_plain),
            "{refused:?}"
        );
    }
    for bytes in [&[][..], &[0xff; 9], &[4, 1, 2]] {
        assert_eq!(decode_address(bytes), Err(InviteError::Address(1)));
    }
    let long = Multiaddr::try_from(format!(
        "/dns4/{}/tcp/80/tls/sni/{}/ws",
        "a".repeat(200),
        "b".repeat(60)
    ))
    .unwrap();
    assert_eq!(InviteRelay::new(key(1), long), Err(InviteError::Address(1)));
}

#[test]
fn a_full_code_stays_below_the_cap() {
    let longest = format!("/dns4/{}/tcp/65535", "a".repeat(249));
    let relays = vec![relay(1, &longest), relay(3, &longest), relay(4, &longest)];
    let invite = Invite::new(Token::from_bytes([255; 16]), key(2), u32::MAX, relays).unwrap();
    let code = invite.encode();
    assert!(code.len() < MAX_CODE_TEXT / 2, "{}", code.len());
    assert_eq!(Invite::decode(&code), Ok(invite));
}

#[test]
fn an_invite_ends_at_its_minute() {
    let invite = invite();
    let end = Timestamp::from_second(30_000_000 * 60).unwrap();
    assert_eq!(invite.expires(), end);
    assert!(invite.is_expired(end));
    assert!(!invite.is_expired(Timestamp::from_nanosecond(end.as_nanosecond() - 1).unwrap()));
    assert_eq!(minutes_to_timestamp(u32::MAX), Timestamp::MAX);
    assert_eq!(timestamp_to_minutes(end), 30_000_000);
    assert_eq!(
        timestamp_to_minutes(Timestamp::from_nanosecond(end.as_nanosecond() + 1).unwrap()),
        30_000_001
    );
    assert_eq!(timestamp_to_minutes(Timestamp::from_second(-5).unwrap()), 0);
    assert_eq!(timestamp_to_minutes(Timestamp::MIN), 0);
}

#[test]
fn the_one_time_identity_depends_on_token_and_inviter() {
    let token = Token::from_bytes([7; 16]);
    let one = token.one_time_keypair(&key(2)).public();
    assert_eq!(one, invite().one_time_keypair().public());
    assert_ne!(one, token.one_time_keypair(&key(3)).public());
    assert_ne!(one, Token::from_bytes([8; 16]).one_time_keypair(&key(2)).public());
}

#[test]
fn nothing_prints_the_token() {
    let shown = format!("{:?} {:?}", invite(), invite().token());
    assert!(shown.contains("Token(..)") && !shown.contains("7, 7, 7"));
    assert_ne!(Token::generate().unwrap(), Token::generate().unwrap());
}

#[test]
fn tells_the_inviter_itself_from_relays() {
    let relays = vec![
        relay(1, "/dns/relay.example/udp/7/quic-v1"),
        relay(2, "/ip4/192.0.2.1/tcp/9"),
    ];
    let invite = Invite::new(Token::from_bytes([7; 16]), key(2), 9, relays).unwrap();
    let (direct, relayed) = invite.direct_and_relayed();
    assert_eq!(direct, [&invite.relays()[1]]);
    assert_eq!(relayed, [&invite.relays()[0]]);
    assert_eq!(direct[0].peer(), invite.inviter_peer());
}

#[test]
fn reads_a_relay_from_the_address_of_a_config() {
    let full: Multiaddr = format!("/ip4/192.0.2.1/tcp/9/p2p/{}", peer_of_key(&key(1)))
        .parse()
        .unwrap();
    assert_eq!(InviteRelay::from_address(&full).unwrap().full_address(), full);
    let bare: Multiaddr = "/ip4/192.0.2.1/tcp/9".parse().unwrap();
    assert_eq!(InviteRelay::from_address(&bare), Err(InviteError::RelayKey(1)));
    let other = bare.with(Protocol::P2p(PeerId::random()));
    assert_eq!(InviteRelay::from_address(&other), Err(InviteError::RelayKey(1)));
}

fn addresses() -> impl Strategy<Value = String> {
    prop_oneof![
        (1..=223_u8, any::<[u8; 3]>(), 1..=u16::MAX)
            .prop_map(|(a, [b, c, d], port)| format!("/ip4/{a}.{b}.{c}.{d}/tcp/{port}")),
        (any::<u16>(), 1..=u16::MAX).prop_map(|(a, port)| format!("/ip6/2001:db8::{a:x}/udp/{port}/quic-v1")),
        ("[a-z0-9]{1,20}\\.example", 1..=u16::MAX)
            .prop_map(|(name, port)| format!("/dns/{name}/tcp/{port}/ws")),
        "[a-z0-9]{1,20}\\.example".prop_map(|name| format!("/dnsaddr/{name}")),
    ]
}

fn invites() -> impl Strategy<Value = Invite> {
    let relays = prop::collection::vec((1..=255_u8, addresses()), 1..=3);
    (any::<[u8; 16]>(), 1..=255_u8, any::<u32>(), relays).prop_map(|(token, inviter, expires, relays)| {
        let relays = relays
            .iter()
            .map(|(seed, address)| relay(*seed, address))
            .collect();
        Invite::new(Token::from_bytes(token), key(inviter), expires, relays).unwrap()
    })
}

proptest! {
    #[test]
    fn a_code_says_what_was_put_in(invite in invites()) {
        prop_assert_eq!(Invite::decode(&invite.encode()), Ok(invite));
    }

    #[test]
    fn a_code_with_one_other_bit_is_refused(invite in invites(), bit in any::<prop::sample::Index>()) {
        let mut bytes = invite.to_bytes().to_vec();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Invite::decode(&BASE32_NOPAD.encode(&bytes)).is_err());
    }

    #[test]
    fn a_code_with_one_other_character_is_refused(invite in invites(), place in any::<prop::sample::Index>(), step in 1..32_usize) {
        const SYMBOLS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let mut text = invite.encode().replace('-', "").into_bytes();
        let place = place.index(text.len());
        let old = SYMBOLS.iter().position(|symbol| *symbol == text[place]).unwrap();
        text[place] = SYMBOLS[(old + step) % 32];
        prop_assert!(Invite::decode(std::str::from_utf8(&text).unwrap()).is_err());
    }

    #[test]
    fn a_code_that_is_cut_is_refused(invite in invites(), place in any::<prop::sample::Index>()) {
        let code = invite.encode();
        let code = code.trim_end_matches('-');
        prop_assert!(Invite::decode(&code[..place.index(code.len())]).is_err());
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), symbols in "[A-Z2-7]{0,400}") {
        let _ = Invite::decode(&text);
        let _ = Invite::decode(&symbols);
    }

    #[test]
    fn no_body_makes_it_panic(head in prop::collection::vec(any::<u8>(), 0..120), address in prop::collection::vec(any::<u8>(), 0..60)) {
        crate::fuzzing::invite_code(code_of([&[VERSION][..], &head].concat()).as_bytes());
        if let Ok(invite) = decode_address(&address) {
            prop_assert_eq!(Invite::decode(&invite.encode()), Ok(invite));
        }
    }
}
