//! What people read: one reason and one piece of advice for each situation.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{fmt::Write as _, time::Duration};

use libp2p_identity::PeerId;
use peerup_model::{PathKind, PathPolicy, Transport};
use peerup_paths::{BudgetLeft, NatKind, PathNat, Refusal, RelaySituation, Situation, UdpVerdict};

fn peer(text: &str) -> PeerId {
    text.parse().unwrap()
}

fn nothing() -> Situation {
    Situation::new(
        "home",
        peer("12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"),
        peer("12D3KooWSHj3RRbBjD15g6wekV8y3mm57Pobmps2g2WJm6F67Lay"),
    )
}

fn reserved() -> RelaySituation {
    RelaySituation::Reserved {
        relay: "lighthouse".to_owned(),
    }
}

fn nat(kind: NatKind) -> PathNat {
    PathNat {
        kind,
        ..PathNat::default()
    }
}

fn relayed(local: PathNat, remote: PathNat) -> Situation {
    Situation {
        path: Some(PathKind::Relayed(nothing().own_id)),
        via: Some("lighthouse".to_owned()),
        relay: reserved(),
        local,
        remote: Some(remote),
        attempts: 3,
        ..nothing()
    }
}

fn direct() -> Situation {
    Situation {
        path: Some(PathKind::Direct(Transport::Quic)),
        relay: reserved(),
        ..nothing()
    }
}

fn with_paths() -> Vec<(&'static str, Situation)> {
    let (open, symmetric) = (nat(NatKind::EndpointIndependent), nat(NatKind::Symmetric));
    let cgnat = |nat| PathNat {
        cgnat: Some(true),
        ..nat
    };
    let no_udp = PathNat {
        udp: UdpVerdict::Blocked,
        ..open
    };
    let failed = |situation| Situation {
        last_direct_failure: Some("timed out".to_owned()),
        ..situation
    };
    vec![
        ("fine", direct()),
        (
            "fine in one network",
            Situation {
                same_lan: true,
                ..direct()
            },
        ),
        (
            "direct but unwanted",
            Situation {
                policy: PathPolicy::RelayOnly,
                ..direct()
            },
        ),
        (
            "relay-only",
            Situation {
                policy: PathPolicy::RelayOnly,
                ..relayed(open, open)
            },
        ),
        (
            "just connected",
            Situation {
                attempts: 0,
                ..relayed(open, open)
            },
        ),
        (
            "one network, firewall",
            Situation {
                same_lan: true,
                ..failed(relayed(open, open))
            },
        ),
        ("UDP blocked here", relayed(no_udp, open)),
        ("UDP blocked there", relayed(open, no_udp)),
        ("UDP blocked on both sides", relayed(no_udp, no_udp)),
        ("symmetric on both sides", relayed(symmetric, symmetric)),
        (
            "symmetric on both sides, CGNAT here",
            relayed(cgnat(symmetric), symmetric),
        ),
        (
            "symmetric on both sides, CGNAT on both",
            relayed(cgnat(symmetric), cgnat(symmetric)),
        ),
        ("symmetric here", relayed(symmetric, open)),
        ("symmetric there", relayed(open, symmetric)),
        (
            "takes no part",
            Situation {
                remote_answers_punch: Some(false),
                ..relayed(open, open)
            },
        ),
        (
            "public and closed here",
            failed(relayed(nat(NatKind::None), open)),
        ),
        ("public and closed there", relayed(open, nat(NatKind::None))),
        ("CGNAT here", relayed(cgnat(open), open)),
        ("CGNAT there", relayed(open, cgnat(open))),
        ("CGNAT on both sides", relayed(cgnat(open), cgnat(open))),
        ("one relay only", failed(relayed(nat(NatKind::Unknown), open))),
        ("should work", failed(relayed(open, open))),
        (
            "short of time",
            Situation {
                budget: Some(BudgetLeft {
                    bytes: Some(1),
                    time: Some(Duration::from_secs(42)),
                }),
                ..relayed(symmetric, symmetric)
            },
        ),
        (
            "short of bytes",
            Situation {
                budget: Some(BudgetLeft {
                    bytes: Some(65_536),
                    time: None,
                }),
                ..relayed(symmetric, symmetric)
            },
        ),
    ]
}

fn without_paths() -> Vec<(&'static str, Situation)> {
    let with_relay = |relay| Situation { relay, ..nothing() };
    let relay = || "lighthouse".to_owned();
    vec![
        ("no relay, no address", nothing()),
        (
            "no relay",
            Situation {
                known_addresses: 2,
                last_direct_failure: Some("connection refused".to_owned()),
                ..nothing()
            },
        ),
        (
            "relay down",
            with_relay(RelaySituation::Unreachable {
                relay: relay(),
                error: "connection refused".to_owned(),
            }),
        ),
        (
            "not admitted",
            with_relay(RelaySituation::NotAdmitted { relay: relay() }),
        ),
        (
            "relay full",
            with_relay(RelaySituation::NoReservation {
                relay: relay(),
                reason: "no slot is free".to_owned(),
            }),
        ),
        (
            "peer off",
            Situation {
                peer_reserved: Some(false),
                ..with_relay(reserved())
            },
        ),
        (
            "refused there",
            Situation {
                refusal: Some(Refusal::ByPeer),
                ..with_relay(reserved())
            },
        ),
        (
            "refused here",
            Situation {
                refusal: Some(Refusal::ByUs),
                ..with_relay(reserved())
            },
        ),
        (
            "direct-only",
            Situation {
                policy: PathPolicy::DirectOnly,
                last_direct_failure: Some("timed out".to_owned()),
                ..with_relay(reserved())
            },
        ),
        (
            "no answer",
            Situation {
                dial_error: Some("timed out".to_owned()),
                ..with_relay(reserved())
            },
        ),
    ]
}

fn render() -> String {
    let mut text = String::new();
    for (name, situation) in with_paths().into_iter().chain(without_paths()) {
        let answer = situation.advice();
        writeln!(text, "{name}\n  why: {}", answer.reason).unwrap();
        if let Some(advice) = answer.advice {
            writeln!(text, "  do:  {}", advice.text).unwrap();
            if let Some(command) = advice.command {
                writeln!(text, "  run: {command}").unwrap();
            }
        }
        writeln!(text).unwrap();
    }
    text
}

/// After a change of the words, read the new ones and write them: `PEERUP_WRITE_SNAPSHOTS=1 cargo test -p peerup-paths`.
#[test]
fn each_situation_has_its_words() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/why.txt");
    let text = render();
    if std::env::var_os("PEERUP_WRITE_SNAPSHOTS").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let expected = std::fs::read_to_string(file).unwrap();
    similar(&expected, &text);
}

fn similar(expected: &str, text: &str) {
    for (expected, line) in expected.lines().zip(text.lines()) {
        assert_eq!(expected, line);
    }
    assert_eq!(expected.lines().count(), text.lines().count());
}

#[test]
fn each_reason_is_one_line_and_each_trouble_has_advice() {
    for (name, situation) in with_paths().into_iter().chain(without_paths()) {
        let answer = situation.advice();
        assert!(!answer.reason.contains(['\n', '.']), "{name}: {}", answer.reason);
        let is_fine = matches!(name, "fine" | "fine in one network" | "just connected");
        assert_eq!(answer.advice.is_none(), is_fine, "{name}");
    }
}
