//! The shapes of what `--json` prints. Scripts rely on them: a change shows in a snapshot.

use serde_json::Value;

use crate::support::{Node, Outcome, Pair, bare};

/// Fields that may be null or not, depending on how far the network got.
const ANY: [&str; 9] = [
    "limit",
    "rtt_ms",
    "last_seen_s",
    "agent_version",
    "last_error",
    "path",
    "transport",
    "via",
    "reason",
];

/// Writes a value with types for values, a line for each field; the first item stands for a list.
fn shape(value: &Value) -> String {
    let mut lines = Vec::new();
    walk("", value, &mut lines);
    lines.join("\n")
}

fn walk(path: &str, value: &Value, lines: &mut Vec<String>) {
    let field = path.rsplit('.').next().unwrap_or_default();
    let kind = match value {
        _ if ANY.contains(&field) => "depends",
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(items) => {
            return match items.first() {
                None => lines.push(format!("{path}[]")),
                Some(first) => walk(&format!("{path}[]"), first, lines),
            };
        }
        Value::Object(fields) => {
            return fields
                .iter()
                .for_each(|(key, value)| walk(&format!("{path}.{key}"), value, lines));
        }
    };
    lines.push(format!("{path}: {kind}"));
}

fn lines(outcome: Outcome) -> Vec<Value> {
    let text = outcome.ok();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_shapes_of_a_running_daemon_are_kept() {
    let pair = Pair::start();
    let laptop = &pair.laptop;
    let pings = lines(laptop.run(&["ping", "home", "--json", "-c", "2", "--interval", "20ms"]));
    assert_eq!(pings.len(), 3, "two answers and the statistics: {pings:?}");
    insta::assert_snapshot!("json-ping", shape(&pings[0]));
    insta::assert_snapshot!("json-ping-statistics", shape(&pings[2]));

    for (name, arguments) in [
        ("status", &["status"][..]),
        ("daemon-status", &["daemon", "status"]),
        ("whoami", &["whoami"]),
        ("peers", &["daemon", "peers", "--all"]),
        ("auth-list", &["auth", "list"]),
        ("resolve", &["resolve", "home"]),
        ("relay-list", &["relay", "list"]),
        ("plugin-list", &["plugin", "list"]),
        ("plugin-inspect", &["plugin", "inspect", "ping"]),
    ] {
        let mut all = arguments.to_vec();
        all.push("--json");
        insta::assert_snapshot!(format!("json-{name}"), shape(&laptop.run(&all).json()));
    }
    for arguments in [&["daemon", "services"][..], &["service", "list"]] {
        let mut all = arguments.to_vec();
        all.push("--json");
        insta::assert_snapshot!("json-services", shape(&pair.home.run(&all).json()));
    }
    let connect = [
        "daemon",
        "connect",
        "--peer",
        "home",
        "--service",
        "echo",
        "--json",
    ];
    let connected = laptop.run(&connect).json();
    insta::assert_snapshot!("json-connect", shape(&connected));
    laptop
        .run(&[
            "proxy",
            "add",
            "desk",
            "home",
            "echo",
            &crate::support::free_port().to_string(),
        ])
        .ok();
    let proxies = laptop.run(&["proxy", "list", "--json"]).json();
    insta::assert_snapshot!("json-proxy-list", shape(&proxies));
    let logged = lines(laptop.run(&["logs", "-n", "1", "--json"]));
    insta::assert_snapshot!("json-logs", shape(&logged[0]));
    let id = connected["id"].as_str().unwrap();
    let done = laptop.run(&["daemon", "disconnect", id, "--json"]).json();
    assert_eq!(done, serde_json::json!({ "status": "disconnected" }));
}

#[test]
fn the_shapes_without_a_daemon_are_the_same() {
    let pair = Pair::prepare();
    let status = pair.home.run(&["status", "--json"]).json();
    assert_eq!(status["running"], false);
    insta::assert_snapshot!("json-status-offline", shape(&status));
    insta::assert_snapshot!(
        "json-services",
        shape(&pair.home.run(&["service", "list", "--json"]).json())
    );
    insta::assert_snapshot!(
        "json-auth-list",
        shape(&pair.laptop.run(&["auth", "list", "--json"]).json())
    );
    insta::assert_snapshot!(
        "json-relay-list",
        shape(&pair.laptop.run(&["relay", "list", "--json"]).json())
    );
    insta::assert_snapshot!(
        "json-resolve",
        shape(&pair.laptop.run(&["resolve", "home", "--json"]).json())
    );
}

#[test]
fn the_shapes_of_setting_up_checking_and_reporting_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let blank = Node::blank(folder.path(), "blank");
    let init = ["init", "--dir", ".", "--non-interactive", "--json"];
    let made = Outcome::of(bare(&blank.folder, &init)).json();
    insta::assert_snapshot!("json-init", shape(&made));

    let valid = blank.run(&["config", "validate", "--json"]).json();
    insta::assert_snapshot!("json-config-validate", shape(&valid));
    blank.write("bad.yaml", "nmae: x\n");
    let invalid = blank.run(&["config", "validate", "bad.yaml", "--json"]);
    let invalid = serde_json::from_str(&invalid.fails(6, &["nmae"]).stdout).unwrap();
    insta::assert_snapshot!("json-config-validate-invalid", shape(&invalid));

    let mut home = Node::init(folder.path(), "home");
    home.start();
    // The checks depend on the machine; each has the same fields.
    let mut doctor: Value = serde_json::from_str(&home.run(&["doctor", "--json"]).stdout).unwrap();
    let checks = doctor["checks"].as_array_mut().unwrap();
    let mut check = serde_json::Map::new();
    for one in checks.iter().filter_map(Value::as_object) {
        for (key, value) in one {
            if check.get(key).is_none_or(Value::is_null) {
                check.insert(key.clone(), value.clone());
            }
        }
    }
    for optional in ["fixed", "meaning", "next"] {
        check.insert(optional.to_owned(), "where there is something to say".into());
    }
    *checks = vec![check.into()];
    insta::assert_snapshot!("json-doctor", shape(&doctor));

    let packed = home
        .run(&["debug-bundle", "--out", "bundle.tar.gz", "--json"])
        .json();
    insta::assert_snapshot!("json-debug-bundle", shape(&packed));
    let proposed = home.file("new.yaml");
    let text = home.read("config.yaml").replace(
        "services: {}",
        "services: { web: { local_address: 'localhost:80' } }",
    );
    std::fs::write(&proposed, text).unwrap();
    let plan = ["config", "plan", proposed.to_str().unwrap(), "--json"];
    insta::assert_snapshot!("json-config-plan", shape(&home.run(&plan).json()));
    insta::assert_snapshot!(
        "json-config-status",
        shape(&home.run(&["config", "status", "--json"]).json())
    );
    insta::assert_snapshot!("json-version", shape(&home.run(&["version", "--json"]).json()));
}

#[test]
fn invite_and_join_print_one_object_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut home = Node::init(folder.path(), "home");
    home.start();
    let mut invite = home.spawn(&["invite", "--json"]);
    let line = invite
        .wait_for_line("the invite", crate::support::SOON, |line| line.starts_with('{'))
        .unwrap();
    let made: Value = serde_json::from_str(&line).unwrap();
    insta::assert_snapshot!("json-invite", shape(&made));

    let guest = Node::blank(folder.path(), "guest");
    let code = made["code"].as_str().unwrap();
    let join = [
        "join",
        code,
        "--non-interactive",
        "--dir",
        ".",
        "--name",
        "guest",
        "--json",
    ];
    let joined = Outcome::of(bare(&guest.folder, &join)).json();
    insta::assert_snapshot!("json-join", shape(&joined));
    assert_eq!(joined["peer_id"], home.peer_id());

    let told: Outcome = invite.finish(crate::support::SOON).unwrap().into();
    let outcome: Value = serde_json::from_str(told.ok().lines().last().unwrap()).unwrap();
    insta::assert_snapshot!("json-invite-outcome", shape(&outcome));
    assert_eq!(outcome["name"], "guest");
}
