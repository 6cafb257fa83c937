//! The section `paths` of the config: which way streams go, and what one reads where no way is left.

use crate::support::{Client, Node, Pair, SOON};

/// Puts this section in force in the running daemon.
#[track_caller]
fn set_paths(node: &Node, section: &str) {
    node.edit(|text| {
        let kept = text.lines().filter(|line| !line.starts_with("paths: "));
        let kept: String = kept.map(|line| format!("{line}\n")).collect();
        format!("{kept}paths: {section}\n")
    });
    node.run(&["daemon", "reload"]).ok();
}

/// Both daemons run, and a direct connection lives.
#[track_caller]
fn direct_pair() -> Pair {
    let pair = Pair::start();
    let mut ping = pair.laptop.spawn(&[
        "ping",
        "home",
        "-c",
        "1000",
        "--interval",
        "50ms",
        "--until-direct",
    ]);
    assert_eq!(ping.finish(SOON).unwrap().code, 0);
    pair
}

#[test]
fn a_path_that_the_config_does_not_allow_is_not_taken_and_the_line_is_named() {
    let mut pair = direct_pair();
    let ping = ["ping", "home", "-c", "1"];
    set_paths(&pair.laptop, "{peers: {home: direct-only}}");
    assert!(pair.laptop.run(&ping).ok().contains("DIRECT"));
    set_paths(&pair.laptop, "{peers: {home: relay-only}}");
    assert!(pair.laptop.run(&ping).ok().contains("RELAYED"));

    pair.relay.stop();
    let line = "`paths.peers.home: relay-only`";
    pair.laptop
        .run(&ping)
        .fails(5, &["home", line, "peerup daemon reload"]);
    pair.laptop
        .run(&["proxy", "home", "echo"])
        .fails(5, &["home", line, "peerup daemon reload"]);

    set_paths(&pair.laptop, "{peers: {home: direct-only}}");
    assert!(pair.laptop.run(&ping).ok().contains("DIRECT"));
}

#[test]
fn two_lines_that_leave_no_path_are_both_named() {
    let pair = direct_pair();
    set_paths(
        &pair.laptop,
        "{peers: {home: direct-only}, services: {echo: relay-only}, plugins: {ping: relay-only}}",
    );
    pair.laptop.run(&["ping", "home", "-c", "1"]).fails(
        2,
        &[
            "`paths.peers.home: direct-only`",
            "`paths.plugins.ping: relay-only`",
        ],
    );
    pair.laptop.run(&["proxy", "home", "echo"]).fails(
        2,
        &[
            "`paths.peers.home: direct-only`",
            "`paths.services.echo: relay-only`",
        ],
    );
}

#[test]
fn a_stream_that_comes_over_a_forbidden_path_is_refused_and_told_in_the_log() {
    let mut pair = direct_pair();
    let (_proxy, echo) = pair.laptop.proxy("home", "echo");
    let (_other_proxy, other) = pair.laptop.proxy("home", "other");
    set_paths(&pair.home, "{services: {echo: relay-only}}");

    Client::connect(&echo).ended();

    pair.home
        .logs(&["an inbound stream was refused", "paths.services.echo: relay-only"]);
    assert!(Client::connect(&other).echoes());
}

#[test]
fn a_tunnel_on_a_path_that_is_forbidden_meanwhile_ends_on_either_side() {
    let pair = direct_pair();
    for node in [&pair.laptop, &pair.home] {
        let (_proxy, echo) = pair.laptop.proxy("home", "echo");
        let (_other_proxy, other) = pair.laptop.proxy("home", "other");
        let (mut open, mut kept) = (Client::connect(&echo), Client::connect(&other));
        assert!(open.echoes() && kept.echoes());

        set_paths(node, "{services: {echo: relay-only}}");

        open.ended();
        assert!(kept.echoes());
        set_paths(node, "{}");
    }
}

#[test]
fn a_policy_that_is_none_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    node.edit(|text| format!("{text}paths:\n  default: direct\n"));
    let lines = std::fs::read_to_string(&node.config).unwrap().lines().count();
    node.run(&["config", "validate"]).fails(
        6,
        &[
            &format!("line {lines}, column 3: paths.default"),
            "prefer-direct, direct-only and relay-only",
        ],
    );
}
