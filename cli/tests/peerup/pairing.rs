//! Codes: what a good one leads to, and what each bad one is told.

use std::path::Path;

use peerup_testkit::Process;
use peerup_trust::{Invite, Token};

use crate::support::{Node, Outcome, Relay, SOON, bare, eventually, inject_relay};

/// A node whose daemon runs, reachable at its own address.
fn inviter(folder: &Path) -> Node {
    let mut home = Node::init(folder, "home");
    home.start();
    home
}

/// Starts `invite` and reads the code, which is the first line.
#[track_caller]
pub(crate) fn invite(node: &Node, flags: &[&str]) -> (Process, String) {
    let mut arguments = vec!["invite", "--non-interactive"];
    arguments.extend_from_slice(flags);
    let mut process = node.spawn(&arguments);
    let code = process
        .wait_for_line("a code", SOON, |line| Invite::decode(line).is_ok())
        .unwrap();
    assert_eq!(process.stdout().lines().next(), Some(code.as_str()));
    (process, code)
}

#[track_caller]
pub(crate) fn finished(mut process: Process) -> Outcome {
    process.finish(SOON).unwrap().into()
}

fn join(node: &Node, code: &str) -> Outcome {
    node.run(&["join", code, "--non-interactive"])
}

/// The same code with another token, or another end, or fewer relays; its checksum holds.
fn forged(
    code: &str,
    token: Option<Token>,
    expires: Option<u32>,
    keep: impl Fn(&Invite, usize) -> bool,
) -> String {
    let real = Invite::decode(code).unwrap();
    let relays = real.relays().iter().enumerate();
    let kept = relays
        .filter(|(index, _)| keep(&real, *index))
        .map(|(_, relay)| relay.clone());
    Invite::new(
        token.unwrap_or_else(|| real.token().clone()),
        real.inviter().clone(),
        expires.unwrap_or_else(|| real.expires_minutes()),
        kept.collect(),
    )
    .unwrap()
    .encode()
}

/// The same code without the inviter's own address: only the relay is left.
pub(crate) fn over_the_relay(code: &str) -> String {
    forged(code, None, None, |invite, index| {
        invite.relays()[index].peer() != invite.inviter_peer()
    })
}

#[test]
fn both_sides_know_each_other_by_key_and_by_name_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let home = inviter(folder.path());
    let guest = Node::init(folder.path(), "guest");
    let (waiting, code) = invite(&home, &["--name", "Attic", "--services", "web"]);

    join(&guest, &code).ok();

    finished(waiting).ok();
    let there = home.run(&["auth", "list", "--json"]).json();
    assert_eq!(there[0]["peer_id"], guest.peer_id());
    assert_eq!(there[0]["name"], "guest");
    assert_eq!(there[0]["services"], serde_json::json!(["web"]));
    let here = guest.run(&["auth", "list", "--json"]).json();
    assert_eq!(here[0]["peer_id"], home.peer_id());
    assert_eq!(here[0]["name"], "attic");
    assert_eq!(here[0]["services"], serde_json::Value::Null);
}

#[test]
fn the_code_comes_from_the_environment_or_standard_input_just_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let home = inviter(folder.path());

    let one = Node::init(folder.path(), "one");
    let (waiting, code) = invite(&home, &[]);
    let mut by_environment = one.command(&["join", "--non-interactive"]);
    by_environment.env("PEERUP_INVITE_CODE", code.to_ascii_lowercase());
    Outcome::of(by_environment).ok();
    finished(waiting).ok();

    let two = Node::init(folder.path(), "two");
    let (waiting, code) = invite(&home, &[]);
    let mut command = two.command(&["join", "--non-interactive"]);
    let mut by_input = Process::spawn_with_input("join", &mut command).unwrap();
    by_input
        .write(format!("{}\n", code.replace('-', " ")).as_bytes())
        .unwrap();
    by_input.close_input();
    finished(by_input).ok();
    finished(waiting).ok();

    let three = Node::init(folder.path(), "three");
    three
        .run(&["join", "--non-interactive"])
        .fails(2, &["no invite code", "PEERUP_INVITE_CODE"]);
}

#[test]
fn a_name_that_is_taken_gets_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let home = inviter(folder.path());
    for (number, name) in [("1", "guest"), ("2", "guest-2")] {
        let guest = Node::init(folder.path(), &format!("folder-{number}"));
        let (waiting, code) = invite(&home, &[]);
        guest
            .run(&["join", &code, "--non-interactive", "--name", "guest"])
            .ok();
        finished(waiting).ok();
        assert_eq!(
            home.run(&["resolve", name, "--json"]).json()["peer_id"],
            guest.peer_id()
        );
    }
}

#[test]
fn nodes_without_daemons_pair_too() {
    let folder = tempfile::tempdir().unwrap();
    let (home, guest) = (
        Node::init(folder.path(), "home"),
        Node::init(folder.path(), "guest"),
    );
    let (waiting, code) = invite(&home, &[]);
    join(&guest, &code).ok();
    finished(waiting).ok();
    assert_eq!(
        home.run(&["resolve", "guest", "--json"]).json()["peer_id"],
        guest.peer_id()
    );
    assert_eq!(
        guest.run(&["resolve", "home", "--json"]).json()["peer_id"],
        home.peer_id()
    );
}

#[test]
fn a_joiner_whose_daemon_runs_needs_no_restart() {
    let folder = tempfile::tempdir().unwrap();
    let home = inviter(folder.path());
    let mut guest = Node::init(folder.path(), "guest");
    guest.start();
    let (waiting, code) = invite(&home, &[]);
    join(&guest, &code).ok();
    finished(waiting).ok();
    guest.run(&["ping", "home", "-c", "1"]).ok();
}

#[test]
fn a_wrong_token_lets_nobody_in_and_the_right_one_still_does() {
    let folder = tempfile::tempdir().unwrap();
    let home = inviter(folder.path());
    let guest = Node::init(folder.path(), "guest");
    let (waiting, code) = invite(&home, &[]);
    let wrong = forged(&code, Some(Token::generate().unwrap()), None, |_, _| true);

    join(&guest, &wrong).fails(4, &["this code lets nobody in", "peerup invite"]);

    assert_eq!(
        home.run(&["auth", "list", "--json"]).json(),
        serde_json::json!([])
    );
    assert_eq!(
        guest.run(&["auth", "list", "--json"]).json(),
        serde_json::json!([])
    );
    join(&guest, &code).ok();
    finished(waiting).ok();
}

#[test]
fn a_second_use_of_a_code_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let home = inviter(folder.path());
    let (first, second) = (
        Node::init(folder.path(), "first"),
        Node::init(folder.path(), "second"),
    );
    let (waiting, code) = invite(&home, &[]);
    join(&first, &code).ok();
    finished(waiting).ok();

    join(&second, &code).fails(4, &["used already", "peerup invite"]);

    assert_eq!(
        home.run(&["auth", "list", "--json"])
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn an_expired_code_is_told_by_its_own_date() {
    let folder = tempfile::tempdir().unwrap();
    let home = inviter(folder.path());
    let guest = Node::init(folder.path(), "guest");
    let (_waiting, code) = invite(&home, &[]);
    let old = forged(&code, None, Some(1_000_000), |_, _| true);
    join(&guest, &old).fails(124, &["expired", "clocks"]);

    let blank = Node::blank(folder.path(), "blank");
    join(&blank, &old).fails(124, &["expired"]);
    assert_eq!(
        std::fs::read_dir(&blank.folder).unwrap().count(),
        0,
        "nothing was made"
    );
}

#[test]
fn an_invite_that_nobody_uses_ends_with_124_and_its_code_has_expired() {
    let folder = tempfile::tempdir().unwrap();
    let home = inviter(folder.path());
    let guest = Node::init(folder.path(), "guest");
    let (waiting, code) = invite(&home, &["--ttl", "2s"]);

    finished(waiting).fails(124, &["nobody joined", "--ttl"]);

    join(&guest, &code).fails(124, &["expired"]);
    assert_eq!(
        home.run(&["auth", "list", "--json"]).json(),
        serde_json::json!([])
    );
}

#[test]
fn an_interrupted_invite_takes_its_code_back() {
    let folder = tempfile::tempdir().unwrap();
    let home = inviter(folder.path());
    let guest = Node::init(folder.path(), "guest");
    let (mut waiting, code) = invite(&home, &[]);
    assert_eq!(waiting.interrupt(SOON).unwrap().code, 130);
    join(&guest, &code).fails(4, &["this code lets nobody in"]);
}

#[test]
fn an_inviter_that_is_gone_is_not_reached() {
    let folder = tempfile::tempdir().unwrap();
    let mut home = inviter(folder.path());
    let guest = Node::init(folder.path(), "guest");
    let (waiting, code) = invite(&home, &[]);
    home.stop();
    let told = finished(waiting);
    assert_ne!(told.code, 0, "{told:#?}");

    join(&guest, &code).fails(5, &["the inviter was not reached", "peerup invite"]);
}

#[test]
fn an_inviter_that_is_gone_is_not_reached_over_a_relay_either() {
    let folder = tempfile::tempdir().unwrap();
    let mut home = Node::init(folder.path(), "home");
    let relay = Relay::start(&[home.peer_id()], "");
    inject_relay(&home, &relay.address);
    home.start();
    let guest = Node::init(folder.path(), "guest");
    let (waiting, code) = invite(&home, &[]);
    home.stop();
    finished(waiting);

    join(&guest, &over_the_relay(&code)).fails(5, &["relay", "peerup invite"]);
}

#[test]
fn a_code_of_this_very_node_is_for_the_other_machine() {
    let folder = tempfile::tempdir().unwrap();
    let home = inviter(folder.path());
    let (_waiting, code) = invite(&home, &[]);
    join(&home, &code).fails(2, &["this very node", "other machine"]);
}

#[test]
fn each_kind_of_damage_is_told_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let home = inviter(folder.path());
    let (_waiting, code) = invite(&home, &[]);
    let bare_code: String = code.chars().filter(|c| *c != '-').collect();
    let swapped = {
        let mut characters: Vec<char> = bare_code.chars().collect();
        let at = characters.len() / 2;
        characters[at] = if characters[at] == 'A' { 'B' } else { 'A' };
        characters.into_iter().collect::<String>()
    };
    // Eight characters are five bytes, so a cut by eight leaves whole bytes.
    let cut = &bare_code[..bare_code.len() / 8 * 8 - 8];
    for (damaged, word) in [
        ("0000-1111", "only A to Z and 2 to 7"),
        ("----", "empty"),
        ("A", "cut short"),
        ("AIAA", "too short"),
        ("AEAA", "version 1"),
        ("AMAA", "version 3"),
        (swapped.as_str(), "does not add up"),
        (cut, "does not add up"),
        (&"A".repeat(5000), "too long"),
    ] {
        let blank = Node::blank(folder.path(), "blank");
        let outcome = Outcome::of(bare(
            &blank.folder,
            &["join", "--non-interactive", "--dir", ".", "--", damaged],
        ));
        outcome.fails(2, &["no valid invite code", word, "copy it whole"]);
        assert!(!blank.config.exists(), "{word}");
    }
}

#[test]
fn over_a_gated_relay_nothing_is_done_by_hand_and_the_relay_knows_the_joiner() {
    let folder = tempfile::tempdir().unwrap();
    let mut home = Node::init(folder.path(), "home");
    let relay = Relay::start(&[home.peer_id()], "");
    inject_relay(&home, &relay.address);
    home.start();
    let mut guest = Node::init(folder.path(), "guest");
    let (waiting, code) = invite(&home, &[]);

    join(&guest, &over_the_relay(&code)).ok();

    finished(waiting).ok();
    relay.knows(&guest.peer_id());
    assert_eq!(
        guest.run(&["relay", "list", "--json"]).json()[0]["peer_id"],
        relay.peer_id.as_str()
    );
    guest.start();
    eventually("a reservation of the joiner", || {
        guest.run(&["status", "--json"]).json()["relays"][0]["reserved"] == true
    });
    home.run(&["ping", "guest", "-c", "1"]).ok();
}

/// An inviter behind a relay of its own: the code's other addresses are left out, as behind a NAT.
fn behind_a_relay(folder: &Path) -> (Node, Relay) {
    let mut home = Node::init(folder, "home");
    let relay = Relay::start(&[home.peer_id()], "");
    inject_relay(&home, &relay.address);
    home.start();
    (home, relay)
}

#[test]
fn a_wrong_token_gets_nowhere_over_the_relay() {
    let folder = tempfile::tempdir().unwrap();
    let (home, relay) = behind_a_relay(folder.path());
    let guest = Node::init(folder.path(), "guest");
    let (_waiting, code) = invite(&home, &[]);
    let wrong = forged(
        &over_the_relay(&code),
        Some(Token::generate().unwrap()),
        None,
        |_, _| true,
    );

    join(&guest, &wrong).fails(4, &["this code lets nobody in", "peerup invite"]);

    assert!(!relay.list().contains(&guest.peer_id()));
}

#[test]
fn a_second_use_is_refused_over_the_relay() {
    let folder = tempfile::tempdir().unwrap();
    let (home, relay) = behind_a_relay(folder.path());
    let first = Node::init(folder.path(), "first");
    let second = Node::init(folder.path(), "second");
    let (waiting, code) = invite(&home, &[]);
    let code = over_the_relay(&code);
    join(&first, &code).ok();
    finished(waiting).ok();

    join(&second, &code).fails(4, &["used", "peerup invite"]);

    assert!(!relay.list().contains(&second.peer_id()));
}

#[test]
fn an_expired_invite_is_told_over_the_relay() {
    let folder = tempfile::tempdir().unwrap();
    let (home, _relay) = behind_a_relay(folder.path());
    let guest = Node::init(folder.path(), "guest");
    let (waiting, code) = invite(&home, &["--ttl", "2s"]);
    finished(waiting).fails(124, &["nobody joined"]);

    join(&guest, &over_the_relay(&code)).fails(124, &["expired"]);
}
