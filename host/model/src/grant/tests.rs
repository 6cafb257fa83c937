//! What grants cover, how they are written, and what is refused.

use proptest::prelude::*;

use super::*;
use crate::protocol::{ADMIT_PROTOCOL, INVITE_PROTOCOL, KAD_PROTOCOL, NAMES_PROTOCOL};

fn address(text: &str) -> AddressPattern {
    text.parse().unwrap()
}

#[test]
fn an_address_covers_its_host_and_ports_only() {
    assert!(address("localhost:80").matches("LOCALHOST:80"));
    assert!(!address("localhost:80").matches("localhost:81"));
    assert!(!address("localhost:80").matches("127.0.0.1:80"));
    assert!(!address("localhost:80").matches("localhost.evil.example:80"));
    assert!(address("127.0.0.1:*").matches("127.0.0.1:0"));
    assert!(address("[::1]:8000-8010").matches("[0:0::1]:8005"));
    assert!(!address("[::1]:8000-8010").matches("[::1]:8011"));
    assert!(!address("10.0.0.1:80").matches("10.0.0.1:80:80"));
}

#[test]
fn refuses_grants_that_say_too_much_or_nothing() {
    assert_eq!(
        "*:80".parse::<AddressPattern>(),
        Err(GrantError::EveryHost("*:80".into()))
    );
    for bad in [
        "",
        "localhost",
        "localhost:",
        "a*b:80",
        "::1:80",
        "h:9-1",
        "h:70000",
        ":80",
    ] {
        assert!(bad.parse::<AddressPattern>().is_err(), "{bad}");
    }
    for bad in ["", "peerup", "*", "/*", "/peerup/*/2.0.0", "/a b"] {
        assert!(bad.parse::<ProtocolPattern>().is_err(), "{bad}");
    }
}

#[test]
fn every_service_is_not_the_core() {
    let grants = Grants {
        protocols: vec!["/peerup/*/1.0.0".parse().unwrap()],
        ..Grants::default()
    };
    assert!(grants.allows_protocol("x", "/peerup/web/1.0.0"));
    for core in [
        ADMIT_PROTOCOL,
        INVITE_PROTOCOL,
        KAD_PROTOCOL,
        NAMES_PROTOCOL,
        "/peerup/p/y/z/1.0.0",
        "/peerup//1.0.0",
    ] {
        assert!(!grants.allows_protocol("x", core), "{core}");
    }
    let asked = Grants {
        protocols: vec![INVITE_PROTOCOL.parse().unwrap()],
        ..Grants::default()
    };
    assert!(!asked.allows_protocol("x", INVITE_PROTOCOL));
}

#[test]
fn a_plugin_speaks_its_own_protocols_without_asking() {
    let none = Grants::default();
    assert!(none.allows_protocol("chess", "/peerup/p/chess/game/1"));
    for other in [
        "/peerup/p/chess2/game/1",
        "/peerup/p/chess/game",
        "/peerup/p/chess/game/1/2",
        "/peerup/p/chess//1",
    ] {
        assert!(!none.allows_protocol("chess", other), "{other}");
    }
}

#[test]
fn peers_are_seen_by_grant_and_their_addresses_only_with_both() {
    let may = |peers: &[PeerGrant]| {
        let grants = Grants {
            peers: peers.to_vec(),
            ..Grants::default()
        };
        (grants.allows_reading_peers(), grants.allows_peer_addresses())
    };
    assert_eq!(may(&[]), (false, false));
    assert_eq!(may(&[PeerGrant::Read]), (true, false));
    assert_eq!(may(&[PeerGrant::Addresses]), (false, false));
    assert_eq!(may(&[PeerGrant::Read, PeerGrant::Addresses]), (true, true));
}

#[test]
fn one_run_can_be_given_sight_of_peers_on_top() {
    let given = Grants {
        peers: vec![PeerGrant::Read],
        ..Grants::default()
    };
    assert!(Grants::default().extended_with(&given).allows_reading_peers());
}

proptest! {
    #[test]
    fn addresses_survive_a_round_trip(host in "[a-z0-9.-]{1,20}", first in any::<u16>(), last in any::<u16>()) {
        let (first, last) = (first.min(last), first.max(last));
        let text = format!("{host}:{first}-{last}");
        let pattern = address(&text);
        prop_assert_eq!(address(&pattern.to_string()), pattern);
    }

    #[test]
    fn parsing_never_panics(text in ".{0,60}") {
        let _ = text.parse::<AddressPattern>();
        let _ = text.parse::<ProtocolPattern>();
        let _ = address("localhost:80").matches(&text);
    }
}

#[test]
fn sizes_are_written_as_short_as_they_are_exact() {
    for (text, bytes) in [
        ("10MB", 10 << 20),
        ("1536KB", 1536 << 10),
        ("1GB", 1 << 30),
        ("5B", 5),
        ("0B", 0),
    ] {
        let size: ByteSize = text.parse().unwrap();
        assert_eq!((size.bytes(), size.to_string()), (bytes, text.to_owned()));
    }
    for bad in ["", "10", "1.5MB", "-1MB", "1XB", "99999999999999TB"] {
        assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
    }
}

#[test]
fn a_directory_is_an_absolute_folder_that_is_not_everything() {
    let grant = |path: &str| DirectoryGrant::new(path, None, DirectoryAccess::Read);
    let music = DirectoryGrant::new("/srv//music/./a/", Some("/music"), DirectoryAccess::Write).unwrap();
    assert_eq!((music.path(), music.guest()), ("/srv/music/a", "/music"));
    assert_eq!(grant("/srv/x").unwrap().guest(), "/srv/x");
    assert!(grant("/process").is_ok() && grant("/devices").is_ok());
    for bad in [
        "",
        "srv",
        "./srv",
        "/",
        "//",
        "/.",
        "/srv/..",
        "/srv/../etc",
        "/proc",
        "/proc/self",
        "/sys/fs",
        "/dev",
        "/dev/shm",
        "/a\nb",
        "~/music",
    ] {
        assert!(grant(bad).is_err(), "{bad:?}");
    }
    assert!(DirectoryGrant::new("/srv", Some("music"), DirectoryAccess::Read).is_err());
    assert!(DirectoryGrant::new("/srv", Some("/a/../b"), DirectoryAccess::Read).is_err());
}

#[test]
fn variables_are_exact_names() {
    assert!("HOME".parse::<VariableName>().is_ok() && "_x1".parse::<VariableName>().is_ok());
    for bad in ["", "*", "PEERUP_*", "1A", "A B", "A=B", "Ä", &"x".repeat(200)] {
        assert!(bad.parse::<VariableName>().is_err(), "{bad:?}");
    }
}

#[test]
fn an_upgrade_asks_for_what_is_not_held_yet() {
    let held: Grants = serde_json::from_str(
        r#"{
            "protocols": ["/peerup/*/1.0.0"], "tcp": {"connect": ["db.lan:5000-6000"]}, "store": "10MB",
            "directories": [{"path": "/srv/music"}], "environment": ["LANG"], "names": ["resolve"], "peers": ["read"]
        }"#,
    )
    .unwrap();
    let wanted: Grants = serde_json::from_str(
        r#"{
            "protocols": ["/peerup/web/1.0.0", "/x/1"], "tcp": {"connect": ["DB.lan:5432", "db.lan:*"]},
            "udp": {"bind": ["0.0.0.0:53"]}, "store": "11MB",
            "directories": [{"path": "/srv/music/new"}, {"path": "/srv/music", "access": "rw"}, {"path": "/srv/musical"}],
            "environment": ["LANG", "HOME"], "names": ["list"], "peers": ["read"]
        }"#,
    )
    .unwrap();
    assert!(!held.covers(&wanted) && held.covers(&held) && held.covers(&Grants::default()));
    assert_eq!(
        wanted.beyond(&held).lines(),
        [
            "protocols: [\"/x/1\"]",
            "tcp.connect: [\"db.lan:*\"]",
            "udp.bind: [\"0.0.0.0:53\"]",
            "directories: [{path: \"/srv/music\", access: rw}, {path: \"/srv/musical\", access: ro}]",
            "environment: [HOME]",
            "names: [list]",
            "store: 11MB",
        ]
    );
    assert!(held.extended_with(&wanted).covers(&wanted));
}

fn any_pattern() -> impl Strategy<Value = AddressPattern> {
    let host = prop_oneof!["[a-c]", Just("[::1]".to_owned()), Just("10.0.0.1".to_owned())];
    (host, 0_u16..6, 0_u16..6, any::<bool>()).prop_map(|(host, one, other, every)| match every {
        true => address(&format!("{host}:*")),
        false => address(&format!("{host}:{}-{}", one.min(other), one.max(other))),
    })
}

fn any_directory() -> impl Strategy<Value = DirectoryGrant> {
    let access = prop_oneof![Just(DirectoryAccess::Read), Just(DirectoryAccess::Write)];
    (
        "(/[a-b ]{1,2}){1,3}",
        prop::option::of("(/[a-z]{1,3}){0,2}"),
        access,
    )
        .prop_map(|(path, guest, access)| {
            let guest = guest.map(|guest| format!("/{guest}"));
            DirectoryGrant::new(&path, guest.as_deref(), access).unwrap()
        })
}

prop_compose! {
    fn any_grants()(
        protocols in prop::collection::vec("/[a-c]{1,2}/1", 0..3),
        every_service in any::<bool>(),
        addresses in prop::array::uniform4(prop::collection::vec(any_pattern(), 0..3)),
        store in prop::option::of(any::<u64>()),
        directories in prop::collection::vec(any_directory(), 0..3),
        environment in prop::collection::vec("[A-C_]{1,3}", 0..3),
        words in any::<[bool; 4]>(),
    ) -> Grants {
        let [connect, listen, bind, send] = addresses;
        let mut names = Vec::new();
        names.extend(words[0].then_some(NameGrant::Resolve));
        names.extend(words[1].then_some(NameGrant::List));
        let mut peers = Vec::new();
        peers.extend(words[2].then_some(PeerGrant::Read));
        peers.extend(words[3].then_some(PeerGrant::Addresses));
        let protocols = protocols.into_iter().chain(every_service.then(|| "/peerup/*/1.0.0".to_owned()));
        Grants {
            protocols: protocols.map(|text| text.parse().unwrap()).collect(),
            tcp: TcpGrants { connect, listen },
            udp: UdpGrants { bind, connect: send },
            store: store.map(ByteSize::new),
            directories,
            environment: environment.iter().map(|name| name.parse().unwrap()).collect(),
            names,
            peers,
        }
    }
}

proptest! {
    #[test]
    fn grants_survive_a_round_trip(grants in any_grants()) {
        let text = serde_json::to_string(&grants).unwrap();
        prop_assert_eq!(serde_json::from_str::<Grants>(&text).unwrap(), grants);
    }

    #[test]
    fn what_is_held_and_what_is_beyond_it_make_up_what_is_wanted(held in any_grants(), wanted in any_grants()) {
        let beyond = wanted.beyond(&held);
        prop_assert!(held.extended_with(&beyond).covers(&wanted));
        prop_assert!(beyond.beyond(&held) == beyond);
        prop_assert_eq!(held.covers(&wanted), beyond.is_empty());
        prop_assert_eq!(beyond.is_empty(), beyond.lines().is_empty());
    }

    #[test]
    fn who_covers_another_allows_what_the_other_allows(
        held in any_grants(), wanted in any_grants(), host in "[a-c]", port in 0_u16..8,
    ) {
        let sum = held.extended_with(&wanted);
        prop_assert!(sum.covers(&held) && sum.covers(&wanted));
        let target = format!("{host}:{port}");
        for grants in [&held, &wanted] {
            prop_assert!(sum.allows_connect(&target) || !grants.allows_connect(&target));
            prop_assert!(sum.allows_udp_bind(&target) || !grants.allows_udp_bind(&target));
        }
        if held.covers(&wanted) {
            prop_assert!(held.allows_connect(&target) || !wanted.allows_connect(&target));
            prop_assert!(held.allows_udp_connect(&target) || !wanted.allows_udp_connect(&target));
        }
    }

    #[test]
    fn sizes_and_directories_never_panic(text in ".{0,60}") {
        let _ = (text.parse::<ByteSize>(), text.parse::<VariableName>());
        let _ = DirectoryGrant::new(&text, Some(&text), DirectoryAccess::Read);
    }

    #[test]
    fn sizes_survive_a_round_trip(bytes in any::<u64>(), shift in 0_u32..50) {
        let size = ByteSize::new(bytes >> shift << shift);
        prop_assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
    }
}

#[test]
fn a_pattern_opens_protocols_and_names_none() {
    let grants: Grants = serde_json::from_value(serde_json::json!({
        "protocols": ["/peerup/*/1.0.0", "/peerup/chess/1.0.0"]
    }))
    .unwrap();
    assert!(grants.allows_protocol("games", "/peerup/ssh/1.0.0"));
    assert!(!grants.names_protocol("games", "/peerup/ssh/1.0.0"));
    assert!(grants.names_protocol("games", "/peerup/chess/1.0.0"));
    assert!(grants.names_protocol("games", "/peerup/p/games/move/1.0.0"));
    assert!(!grants.names_protocol("games", "/peerup/invite/2.0.0"));
}
