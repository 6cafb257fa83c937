//! `/metrics` of the daemon: every metric that is promised is there, what happens is counted, and the documents and
//! the dashboard name nothing else.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use peerup_ops::markdown;

use crate::support::{Client, Node, Pair, SOON, eventually, free_port};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Sends a request and returns head and body.
fn ask(mut stream: impl Read + Write, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

pub(crate) fn scrape(node: &Node) -> String {
    let stream = UnixStream::connect(node.file("peerup.sock")).unwrap();
    let cookie = node.read(".daemon-cookie");
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: peerup\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        cookie.trim()
    );
    let (head, body) = ask(stream, &request);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    body
}

/// The sum of a metric's series whose labels have all of these words.
pub(crate) fn sum(text: &str, name: &str, words: &[&str]) -> f64 {
    let series = text.lines().filter(|line| {
        let rest = line.strip_prefix(name).unwrap_or_default();
        (rest.starts_with('{') || rest.starts_with(' ')) && words.iter().all(|word| rest.contains(word))
    });
    series
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum()
}

#[test]
fn the_socket_needs_the_cookie_and_tells_every_metric() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::init(folder.path(), "home");
    node.start();

    let stream = UnixStream::connect(node.file("peerup.sock")).unwrap();
    let (head, _) = ask(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: peerup\r\nConnection: close\r\n\r\n",
    );
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");

    let text = scrape(&node);
    for metric in peerup_daemon::METRICS {
        let name = metric.full_name();
        let described = format!("# TYPE {} ", name.trim_end_matches("_total"));
        assert!(text.contains(&described), "{described} is missing in {text}");
    }
    assert_eq!(
        sum(&text, "peerup_plugin_state", &["tcp-proxy", "\"active\""]),
        1.0
    );
    assert_eq!(
        sum(&text, "peerup_plugin_state", &["tcp-proxy", "\"failed\""]),
        0.0
    );
    assert_eq!(sum(&text, "peerup_watchdog_check_passing", &[]), 3.0);
    assert!(sum(&text, "peerup_listeners", &[]) >= 1.0);
    assert!(sum(&text, "process_resident_memory_bytes", &[]) > 1e6);
    node.run(&["daemon", "reload"]).ok();
    assert_eq!(sum(&scrape(&node), "peerup_config_reloads_total", &["ok"]), 1.0);
    node.stop();
}

#[test]
fn a_tcp_address_answers_only_where_the_config_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::init(folder.path(), "home");
    let port = free_port();
    node.edit(|text| format!("{text}\nmetrics:\n  listen: 127.0.0.1:{port}\n"));
    node.start();
    let mut answer = None;
    eventually("the address to answer", || {
        answer = TcpStream::connect(("127.0.0.1", port)).ok();
        answer.is_some()
    });
    let stream = answer.unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let (head, body) = ask(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(sum(&body, "peerup_build_info", &[&node.peer_id()]) == 1.0);
    // The API itself is not there.
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (head, _) = ask(stream, "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    node.stop();
}

#[test]
fn a_tunnel_is_counted_by_service_peer_and_path_on_both_sides() {
    let pair = Pair::start();
    let (_proxy, address) = pair.laptop.proxy("home", "echo");
    assert!(Client::connect(&address).echoes());

    let laptop = pair.laptop.peer_id();
    eventually("the bytes to be counted", || {
        let text = scrape(&pair.home);
        sum(
            &text,
            "peerup_stream_bytes_total",
            &["service=\"echo\"", &laptop, "direction=\"in\""],
        ) == 5.0
    });
    let text = scrape(&pair.home);
    let of = |name, words: &[&str]| sum(&text, name, words);
    assert_eq!(
        of(
            "peerup_streams_total",
            &["service=\"echo\"", &laptop, "opened_by=\"peer\""]
        ),
        1.0
    );
    assert!(of("peerup_plugin_calls_total", &["tcp-proxy"]) >= 1.0);
    assert!(of("peerup_gate_connections_total", &["admitted"]) >= 1.0);
    assert_eq!(of("peerup_relay_reserved", &[&pair.relay.peer_id]), 1.0);
    assert_eq!(
        of("peerup_peer_info", &[&laptop, "name=\"laptop\"", "member"]),
        1.0
    );
    let text = scrape(&pair.laptop);
    assert_eq!(sum(&text, "peerup_stream_openings_total", &["opened"]), 1.0);
    assert!(sum(&text, "peerup_dials_total", &["connected"]) >= 1.0);

    pair.home.run(&["service", "disable", "echo"]).ok();
    let _ = Client::connect(&address).echoes();
    eventually("the refusal to be counted", || {
        sum(&scrape(&pair.laptop), "peerup_stream_openings_total", &["denied"]) >= 1.0
    });
}

/// Every metric name that a Grafana dashboard's queries use.
fn used(value: &serde_json::Value, names: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(query) if key == "expr" || key == "query" => {
                        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                        let metrics = words.filter(|word| {
                            ["peerup_", "relay_", "process_", "libp2p_"]
                                .iter()
                                .any(|prefix| word.starts_with(prefix))
                        });
                        names.extend(metrics.map(str::to_owned));
                    }
                    _ => used(value, names),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| used(item, names)),
        _ => {}
    }
}

#[test]
fn the_dashboards_use_metrics_that_there_are() {
    for (file, metrics) in [
        ("peerup.json", peerup_daemon::METRICS.to_vec()),
        ("relay-server.json", relay_server::METRICS.to_vec()),
    ] {
        let path = repository().join("packaging/grafana").join(file);
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut names = BTreeSet::new();
        used(&dashboard, &mut names);
        assert!(names.len() > 10, "{file}: {names:?}");
        let known: BTreeSet<String> = metrics.iter().map(|metric| metric.full_name()).collect();
        let unknown: Vec<_> = names.difference(&known).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
        let ids = dashboard["panels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|panel| &panel["id"]);
        let mut seen = BTreeSet::new();
        assert!(ids.into_iter().all(|id| seen.insert(id.to_string())), "{file}");
    }
}

/// The tables of `docs/METRICS.md` are made of those in the code: `PEERUP_UPDATE_DOCS=1` writes them.
#[test]
fn the_document_has_every_metric() {
    let path = repository().join("docs/METRICS.md");
    let mut text = std::fs::read_to_string(&path).unwrap();
    for (mark, metrics) in [
        ("daemon", peerup_daemon::METRICS.to_vec()),
        ("relay", relay_server::METRICS.to_vec()),
    ] {
        let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- end of {mark} -->"));
        let from = text.find(&begin).unwrap() + begin.len();
        let to = text.find(&end).unwrap();
        text.replace_range(from..to, &markdown(&metrics));
    }
    if std::env::var_os("PEERUP_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == text,
        "docs/METRICS.md is not what the code says; run this test with PEERUP_UPDATE_DOCS=1"
    );
}
