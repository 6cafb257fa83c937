//! The file survives a round trip, damage and every kind of nonsense.

use libp2p::Multiaddr;
use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_800_000_000;

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

fn restored(bytes: &[u8]) -> Book {
    let mut book = Book::default();
    book.restore(decode(bytes, NOW).unwrap());
    book
}

#[test]
fn comes_back_as_it_was_saved_without_what_only_this_moment_knew() {
    let mut book = Book::default();
    let (peer, relay) = (PeerId::random(), PeerId::random());
    book.set_network(Some("home".to_owned()));
    book.give(peer, &address("/dns/a.example/udp/1/quic-v1"), NOW - 9);
    book.learn(
        peer,
        &address("/ip4/192.168.1.5/tcp/1"),
        AddressSource::Worked,
        NOW - 8,
    );
    book.learn(
        peer,
        &address(&format!("/ip4/1.2.3.4/tcp/1/p2p/{relay}/p2p-circuit")),
        AddressSource::Told,
        NOW - 7,
    );
    for (port, source) in [
        (6, AddressSource::Mdns),
        (7, AddressSource::Dht),
        (8, AddressSource::Observed),
    ] {
        let fleeting = address(&format!("/ip4/1.2.3.4/tcp/{port}"));
        book.learn(peer, &fleeting, source, NOW - 6);
    }
    let bytes = encode(&book, NOW);

    let mut again = restored(&bytes);
    assert!(!again.dirty());
    assert!(
        !again
            .direct(&peer, NOW)
            .contains(&with_peer(&address("/ip4/192.168.1.5/tcp/1"), peer))
    );
    again.set_network(Some("home".to_owned()));
    let kept: Vec<_> = book
        .describe(&peer, NOW)
        .into_iter()
        .filter(|known| known.source >= AddressSource::Told)
        .collect();
    assert_eq!(kept.len(), 3);
    assert_eq!(again.describe(&peer, NOW), kept);
    assert_eq!(encode(&again, NOW), bytes);
}

#[test]
fn an_address_that_is_no_longer_given_expires_after_a_restart() {
    let mut book = Book::default();
    let peer = PeerId::random();
    book.give(peer, &address("/ip4/10.0.0.5/tcp/1"), NOW);
    let later = NOW + 15 * 24 * 3_600;
    assert_eq!(book.direct(&peer, later).len(), 1);
    let again = restored(&encode(&book, NOW));
    assert_eq!(again.direct(&peer, NOW).len(), 1);
    assert!(again.direct(&peer, later).is_empty());
}

#[test]
fn leaves_out_records_that_make_no_sense() {
    let peer = PeerId::random();
    let record = |address: &str, rest: &str| format!("{{\"address\":\"{address}\",{rest}}}");
    let good = "\"source\":\"told\",\"last_seen\":1799999990";
    let records = [
        record("/ip4/1.1.1.1/tcp/1", good),
        record("/ip4/1.1.1.1/tcp/2", &format!("{good},\"colour\":\"blue\"")),
        record(
            "/ip4/1.1.1.1/tcp/3",
            "\"source\":\"worked\",\"last_seen\":99999999999",
        ),
        record(
            "/ip4/1.1.1.1/tcp/4",
            "\"source\":\"dream\",\"last_seen\":1799999990",
        ),
        record("/ip4/1.1.1.1/tcp/5", "\"source\":\"told\",\"last_seen\":-1"),
        record("/ip4/1.1.1.1/tcp/6", "\"source\":\"told\",\"last_seen\":1"),
        record("no address", good),
        "7".to_owned(),
    ]
    .join(",");
    let text = format!(
        "{{\"version\":1,\"colour\":1,\"peers\":{{\"{peer}\":[{records}],\"nobody\":[],\"{}\":7}}}}",
        PeerId::random()
    );
    let book = restored(text.as_bytes());
    let mut ages: Vec<u64> = book
        .describe(&peer, NOW)
        .iter()
        .map(|known| known.age_s)
        .collect();
    ages.sort_unstable();
    assert_eq!(ages, [0, 10, 10]);
}

#[test]
fn bounds_what_a_file_may_bring_and_when() {
    let peer = PeerId::random();
    let records: Vec<_> = (1..=40)
        .map(|port| {
            format!("{{\"address\":\"/ip4/1.1.1.1/tcp/{port}\",\"source\":\"worked\",\"last_ok\":9000000000,\"last_seen\":9000000000}}")
        })
        .collect();
    let text = format!(
        "{{\"version\":1,\"peers\":{{\"{peer}\":[{}]}}}}",
        records.join(",")
    );
    let entries = decode(text.as_bytes(), NOW).unwrap();
    assert_eq!(entries.len(), ADDRESSES_PER_PEER);
    for (_, entry) in entries {
        assert_eq!((entry.last_ok, entry.last_seen), (Some(NOW), NOW));
    }
}

#[test]
fn refuses_what_is_no_book() {
    assert!(matches!(decode(b"", NOW), Err(DecodeError::Damaged(_))));
    assert!(matches!(
        decode(b"{\"peers\":{}}", NOW),
        Err(DecodeError::Damaged(_))
    ));
    assert!(matches!(
        decode(b"{\"version\":2,\"peers\":{}}", NOW),
        Err(DecodeError::Version(2))
    ));
    let large = vec![b' '; MAX_FILE + 1];
    assert!(matches!(decode(&large, NOW), Err(DecodeError::TooLarge)));
}

#[test]
fn never_writes_more_than_it_reads_and_leaves_out_who_was_seen_longest_ago() {
    let mut book = Book::default();
    let name = "a".repeat(60);
    let host = [name.as_str(); 4].join(".");
    let peers: Vec<PeerId> = (0..PEERS).map(|_| PeerId::random()).collect();
    for (age, peer) in peers.iter().enumerate() {
        for port in 1..=ADDRESSES_PER_PEER {
            let long = address(&format!("/dns/{host}/tcp/{port}"));
            let seen = NOW + u64::try_from(age).unwrap();
            book.learn(*peer, &long, AddressSource::Told, seen);
        }
    }
    let now = NOW + 5_000;
    let bytes = encode(&book, now);
    assert!(bytes.len() <= MAX_FILE && bytes.len() > MAX_FILE / 2);
    let mut again = Book::default();
    again.restore(decode(&bytes, now).unwrap());
    assert!(again.direct(&peers[0], now).is_empty());
    assert_eq!(again.direct(&peers[PEERS - 1], now).len(), ADDRESSES_PER_PEER);
}

#[test]
fn a_file_is_replaced_whole_and_belongs_to_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers.json");
    assert!(load(&path, NOW).is_empty());
    let mut book = Book::default();
    let peer = PeerId::random();
    book.give(peer, &address("/ip4/1.1.1.1/tcp/1"), NOW);
    for _ in 0..2 {
        save(&path, &encode(&book, NOW)).unwrap();
    }
    assert_eq!(load(&path, NOW).len(), 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(save(&folder.path().join("missing/peers.json"), b"").is_err());
}

#[test]
fn a_damaged_or_too_large_file_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers.json");
    for bytes in [b"{\"version\":".to_vec(), vec![b'x'; MAX_FILE * 2]] {
        fs::write(&path, &bytes).unwrap();
        assert!(load(&path, NOW).is_empty());
        assert!(!path.exists());
        assert_eq!(fs::read(folder.path().join("peers.json.bad")).unwrap(), bytes);
    }
    fs::create_dir(&path).unwrap();
    assert!(load(&path, NOW).is_empty());
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        prop_oneof![
            Just("\"told\""),
            Just("\"worked\""),
            Just("\"/ip4/1.1.1.1/tcp/1\""),
            Just("\"/ip4/10.0.0.1/tcp/1\""),
            Just("\"12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA\"")
        ]
        .prop_map(str::to_owned),
    ];
    let key = prop_oneof![
        Just("version"),
        Just("peers"),
        Just("address"),
        Just("source"),
        Just("last_seen"),
        Just("last_ok"),
        Just("network"),
        Just("12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA")
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec((key.clone(), inner), 0..8).prop_map(|fields| {
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(key, value)| format!("\"{key}\":{value}"))
                    .collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

fn check(bytes: &[u8]) {
    let Ok(entries) = decode(bytes, NOW) else {
        return;
    };
    assert!(entries.len() <= PEERS * ADDRESSES_PER_PEER);
    for (peer, entry) in &entries {
        assert!(entry.address.len() <= MAX_ADDRESS);
        assert_eq!(crate::address::last_peer(&entry.address), Some(*peer));
        assert!(entry.last_seen <= NOW && entry.last_ok.is_none_or(|at| at <= NOW));
        assert!(
            entry
                .network
                .as_ref()
                .is_none_or(|name| name.len() <= MAX_NETWORK)
        );
    }
    let mut book = Book::default();
    book.restore(entries);
    let bytes = encode(&book, NOW);
    assert_eq!(encode(&restored(&bytes), NOW), bytes);
}

proptest! {
    #[test]
    fn survives_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        check(&bytes);
    }

    #[test]
    fn survives_any_json(text in json()) {
        check(text.as_bytes());
        check(format!("{{\"version\":1,\"peers\":{text}}}").as_bytes());
        let peer = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
        check(format!("{{\"version\":1,\"peers\":{{\"{peer}\":[{text}]}}}}").as_bytes());
    }

    #[test]
    fn survives_a_damaged_file(cut in 0_usize..400, at in 0_usize..400, byte in any::<u8>()) {
        let mut book = Book::default();
        let peer = PeerId::random();
        book.learn(peer, &address("/ip4/192.168.1.5/tcp/1"), AddressSource::Worked, NOW);
        book.give(peer, &address("/ip4/1.1.1.1/udp/1/quic-v1"), NOW);
        let mut bytes = encode(&book, NOW);
        if let Some(hit) = bytes.get_mut(at) {
            *hit = byte;
        }
        check(&bytes);
        bytes.truncate(cut);
        check(&bytes);
    }
}
