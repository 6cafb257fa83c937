//! The name chain: plugins that know who a name stands for, the DNS among them, asked of a real server.

use std::{net::UdpSocket, process::Command};

use peerup_testkit::Process;

use crate::support::{Node, Pair, SOON, eventually};

const OTHER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

/// A DNS server on loopback with these TXT records.
struct Dns {
    port: u16,
    _server: Process,
}

impl Dns {
    #[track_caller]
    fn start(records: &[(&str, &str)]) -> Self {
        // Free now; whoever takes it meanwhile makes dnsmasq say so.
        let port = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut dnsmasq = Command::new("dnsmasq");
        dnsmasq.env("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
        dnsmasq
            .args([
                "--no-daemon",
                "--no-resolv",
                "--no-hosts",
                "--conf-file=/dev/null",
                "--pid-file=",
            ])
            .args(["--bind-interfaces", "--listen-address=127.0.0.1", "--log-queries"])
            .args(["--local=/example.org/", "--local-ttl=120"])
            .arg(format!("--port={port}"));
        for (name, text) in records {
            dnsmasq.arg(format!("--txt-record={name},{text}"));
        }
        let mut server = Process::spawn("dnsmasq", &mut dnsmasq)
            .expect("the package dnsmasq-base is there: apt-get install dnsmasq-base");
        server
            .wait_for_line("dnsmasq to be up", SOON, |line| line.contains("started"))
            .unwrap();
        Self {
            port,
            _server: server,
        }
    }

    fn questions(&self) -> usize {
        let told = self._server.tail(1000);
        told.lines().filter(|line| line.contains("query[TXT]")).count()
    }
}

/// Puts `names-dns` in force, asked of this server after the config's own names.
#[track_caller]
fn ask_dns(node: &Node, port: u16, grants: &str) {
    node.edit(|text| {
        let plugin = format!(
            "plugins:\n  names-dns:\n    grants: {grants}\n    settings: {{server: '127.0.0.1:{port}', domain: example.org}}\n"
        );
        let text = text.replacen("plugins:\n", &plugin, 1);
        format!("{text}resolvers: [names-local, names-dns]\n")
    });
}

/// Runs a command of a plugin through the API, its arguments as they are.
#[track_caller]
pub(crate) fn command(node: &Node, plugin: &str, command: &str, arguments: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--unix-socket"]).arg(node.file("peerup.sock"));
    curl.args([
        "-H",
        &format!("Authorization: Bearer {}", node.read(".daemon-cookie").trim()),
    ]);
    curl.args(["-H", "Content-Type: application/json", "-d", arguments]);
    curl.arg(format!("http://localhost/v1/plugins/{plugin}/commands/{command}"));
    peerup_testkit::run("curl", &mut curl, SOON)
        .unwrap()
        .success()
        .unwrap()
}

#[test]
fn names_come_from_the_config_then_from_the_dns_and_are_kept() {
    let mut pair = Pair::prepare();
    let home_id = pair.home.peer_id();
    let long = "x".repeat(240);
    let long_records = ["one", "two", "three", "four", "five", "six"].map(|n| format!("{n}{long}"));
    let peer = format!("peer={home_id}");
    let other = format!("peer={OTHER}");
    let mut records = vec![
        ("_peerup.nas.example.org", peer.as_str()),
        ("_peerup.home.example.org", other.as_str()),
        ("_peerup.torn.example.org", peer.as_str()),
        ("_peerup.torn.example.org", other.as_str()),
        ("_peerup.long.example.org", peer.as_str()),
        ("_peerup.text.example.org", "hello"),
    ];
    records.extend(
        long_records
            .iter()
            .map(|text| ("_peerup.long.example.org", text.as_str())),
    );
    let dns = Dns::start(&records);
    let address = format!("127.0.0.1:{}", dns.port);
    ask_dns(
        &pair.laptop,
        dns.port,
        &format!("{{udp: {{connect: ['{address}']}}, tcp: {{connect: ['{address}']}}}}"),
    );
    pair.home.start();
    pair.laptop.start();

    let resolve = |name: &str| pair.laptop.run(&["resolve", name]);
    assert_eq!(resolve("home").ok(), format!("{home_id} (names-local)"));
    assert_eq!(dns.questions(), 0, "the first tier knew it");
    assert_eq!(resolve("nas").ok(), format!("{home_id} (names-dns)"));
    assert_eq!(resolve("NAS.example.org").ok(), format!("{home_id} (names-dns)"));
    assert_eq!(resolve("long").ok(), format!("{home_id} (names-dns)"), "over TCP");
    resolve("text").fails(1, &["no peer is known by the name \"text\""]);
    resolve("torn").fails(1, &["names-dns", "two records name two peers"]);
    resolve("nobody").fails(1, &["no peer is known by the name \"nobody\""]);
    assert_eq!(resolve(&home_id).ok(), format!("{home_id} (peer-id)"));

    let asked = dns.questions();
    resolve("nas").ok();
    resolve("nobody").fails(1, &[]);
    assert_eq!(dns.questions(), asked, "answers are kept, and that there is none");

    // And a name is as good as another for what comes after it.
    let ping = pair.laptop.run(&["ping", "nas", "-c", "1"]).ok();
    assert!(ping.contains("rtt="), "{ping}");

    // A plugin may give a name itself, which another plugin then answers.
    pair.laptop.run(&["daemon", "reload"]).ok();
    let told = command(
        &pair.laptop,
        "ping",
        "ping",
        r#"{"peer": "nas.example.org", "count": 1}"#,
    );
    assert!(told.contains("rtt"), "{told}");
    pair.laptop.run(&["daemon", "reload"]).ok();
    resolve("nobody").fails(1, &[]);
    drop(dns);
    pair.laptop.edit(|text| format!("{text}\n# changed\n"));
    pair.laptop.run(&["daemon", "reload"]).ok();
    eventually("the silent server to be named", || {
        let outcome = resolve("later");
        outcome.code == 1 && outcome.stderr.contains("names-dns")
    });
    assert_eq!(
        resolve("home").ok(),
        format!("{home_id} (names-local)"),
        "nothing else suffers"
    );
}

#[test]
fn a_resolver_without_its_grant_names_the_line_to_add() {
    let mut pair = Pair::prepare();
    ask_dns(&pair.laptop, 5353, "{}");
    pair.laptop.start();
    pair.laptop.run(&["resolve", "nas"]).fails(1, &["names-dns"]);
    let told = pair.laptop.run(&["plugin", "inspect", "names-dns"]).ok();
    assert!(told.contains("plugins.names-dns.grants.udp.connect"), "{told}");
}
