//! The daemon of this config: its socket, what it says of itself, and what it knows of the NAT.

use std::{io, os::unix::fs::FileTypeExt, path::Path, time::Duration};

use multiaddr::Multiaddr;
use peerup_api::{Client, ClientError, SOCKET_FILE};
use peerup_trust::shell_word;
use serde_json::Value;

use super::report::Check;
use crate::endpoint;

const START: &str = "peerup daemon";

/// What lies where the daemon's socket would.
#[derive(Debug)]
pub(super) enum Socket {
    /// Nothing.
    Absent,
    /// A file that is no socket.
    Occupied,
    /// A socket that nobody listens on.
    Stale,
    /// A socket with a daemon behind it.
    Live,
    /// Something that this user cannot use.
    Closed(io::Error),
}

/// What the daemon says.
#[derive(Debug)]
pub(super) enum Daemon {
    /// None runs.
    Absent,
    /// One may run, and cannot be asked.
    Closed(String),
    /// One runs, and gives no answer.
    Silent(String),
    /// Its status.
    Says(Value),
}

/// Looks at the socket.
pub(super) async fn socket(folder: &Path) -> Socket {
    let path = folder.join(SOCKET_FILE);
    match std::fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Socket::Absent,
        Err(error) => return Socket::Closed(error),
        Ok(found) if !found.file_type().is_socket() => return Socket::Occupied,
        Ok(_) => {}
    }
    match peerup_api::connect_socket(&path).await {
        Ok(_) => Socket::Live,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Socket::Stale,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Socket::Absent,
        Err(error) => Socket::Closed(error),
    }
}

/// Asks the daemon behind the socket.
pub(super) async fn ask(folder: &Path, socket: &Socket, patience: Duration) -> Daemon {
    match socket {
        Socket::Live => {}
        Socket::Closed(error) => return Daemon::Closed(error.to_string()),
        Socket::Absent | Socket::Occupied | Socket::Stale => return Daemon::Absent,
    }
    let client = Client::new(folder);
    match tokio::time::timeout(patience, client.get("/v1/status")).await {
        Err(_) => Daemon::Silent(format!("no answer within {} s", patience.as_secs())),
        Ok(Ok(status)) => Daemon::Says(status),
        Ok(Err(error @ ClientError::NotOurs { .. })) => Daemon::Closed(error.to_string()),
        Ok(Err(error)) => Daemon::Silent(error.to_string()),
    }
}

/// Says what the socket means, and removes a stale one where asked.
pub(super) async fn examine_socket(folder: &Path, socket: &Socket, mend: bool) -> Check {
    let path = folder.join(SOCKET_FILE);
    let check = judge_socket(&path, socket);
    if !mend || !matches!(socket, Socket::Stale) {
        return check;
    }
    match endpoint::remove_stale(folder).await {
        Err(failure) => check.fixed(Some(format!("not mended: {failure}"))),
        Ok(false) => check,
        Ok(true) => judge_socket(&path, &Socket::Absent)
            .fixed(Some(format!("removed the stale socket {}", path.display()))),
    }
}

pub(super) fn judge_socket(path: &Path, socket: &Socket) -> Check {
    let name = "socket";
    let shown = path.display();
    match socket {
        Socket::Absent => Check::ok(name, format!("{shown} is not there, as no daemon runs")),
        Socket::Live => Check::ok(name, format!("a daemon listens on {shown}")),
        Socket::Stale => Check::warning(name, format!("{shown} is stale: nobody listens on it"))
            .meaning("a daemon was killed; the next one takes the socket over")
            .next("peerup doctor --fix"),
        Socket::Occupied => Check::problem(name, format!("{shown} exists and is no socket"))
            .meaning("the daemon does not start, because it overwrites nothing")
            .next(format!("look at it and move it away: ls -l {}", shell_word(path))),
        Socket::Closed(error) => Check::warning(name, format!("{shown}: {error}"))
            .meaning("the daemon cannot be asked")
            .next("run it again as the user who runs the daemon"),
    }
}

/// Says what the daemon's answer means.
pub(super) fn judge_daemon(daemon: &Daemon) -> Check {
    let name = "daemon";
    let status = match daemon {
        Daemon::Absent => {
            return Check::warning(name, "no daemon runs")
                .meaning("peers do not reach this node; commands start a node of their own where they can")
                .next(START);
        }
        Daemon::Closed(why) => {
            return Check::skipped(name, why.clone()).next("run it again as the user who runs the daemon");
        }
        Daemon::Silent(why) => {
            return Check::problem(name, format!("a daemon runs and does not say how it is: {why}"))
                .meaning("commands that need it do not work")
                .next("see its log, then start it again");
        }
        Daemon::Says(status) => status,
    };
    let problems = texts(status, "problems");
    if let Some(first) = problems.first() {
        let run = first.split_once(", run: ").map(|(_, run)| run.to_owned());
        return Check::problem(name, problems.join("\n"))
            .meaning("the running daemon says that this stands in its way")
            .next(run.unwrap_or_else(|| "peerup status".to_owned()));
    }
    let version = status["version"].as_str().unwrap_or("?");
    let relays: Vec<&Value> = status["relays"].as_array().into_iter().flatten().collect();
    let (good, bad): (Vec<&Value>, Vec<&Value>) = relays
        .into_iter()
        .partition(|relay| relay["reserved"].as_bool() == Some(true));
    let found = format!(
        "version {version} runs; reservations on {} of {} relays",
        good.len(),
        good.len() + bad.len()
    );
    if bad.is_empty() {
        return Check::ok(name, found);
    }
    let lines = bad.iter().map(|relay| {
        let who = relay["name"]
            .as_str()
            .or(relay["peer_id"].as_str())
            .unwrap_or("?");
        let why = relay["last_error"]
            .as_str()
            .or(relay["state"].as_str())
            .unwrap_or("?");
        format!("{who}: {why}")
    });
    let list: Vec<String> = lines.collect();
    Check::warning(name, format!("{found}\n{}", list.join("\n")))
        .meaning("peers reach this node over the other relays only")
        .next("peerup status")
}

fn texts(status: &Value, key: &str) -> Vec<String> {
    let list = status[key].as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Returns the addresses that the daemon says it listens on.
pub(super) fn listening(status: &Value) -> Vec<Multiaddr> {
    let texts = texts(status, "listen_addresses");
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Says what the NAT means that the daemon found out about.
pub(super) fn judge_nat(daemon: &Daemon) -> Check {
    let name = "nat";
    let status = match daemon {
        Daemon::Says(status) => status,
        Daemon::Absent => {
            return Check::skipped(name, "only a running daemon finds out about the NAT").next(START);
        }
        Daemon::Closed(_) | Daemon::Silent(_) => {
            return Check::skipped(name, "the daemon cannot be asked what it knows about the NAT");
        }
    };
    let text = status["nat"].as_str().unwrap_or("unknown");
    let details = &status["nat_details"];
    let kind = details["kind"].as_str().unwrap_or_else(|| kind_in(text));
    let mut found = format!("NAT: {text}");
    let behind_carrier = details["cgnat"].as_bool() == Some(true);
    if behind_carrier {
        found.push_str(", and another one at the provider");
    }
    if details["udp"].as_str() == Some("blocked") {
        return Check::warning(name, format!("{found}; UDP is blocked"))
            .meaning("holes are punched over TCP only, which fails more often; relayed paths work")
            .next("let UDP out in this network's firewall");
    }
    match kind {
        "symmetric" => Check::warning(name, found)
            .meaning("a direct path to a peer behind such a NAT too is not to be had; it goes over the relay")
            .next(match behind_carrier {
                true => "ask the provider for a public address or IPv6",
                false => {
                    "forward the port of network.listen_addresses at the router and name it in \
                     network.external_addresses, or switch UPnP on there"
                }
            }),
        "none" => Check::ok(name, found).meaning("peers reach this node directly"),
        "endpoint-independent" => Check::ok(name, found).meaning("holes can be punched through it"),
        _ => Check::skipped(name, "the daemon does not know the NAT yet")
            .meaning("it takes peers or relays that tell it its address")
            .next("peerup status, a minute later"),
    }
}

/// Returns the kind that a text for people begins with.
fn kind_in(text: &str) -> &'static str {
    ["symmetric", "none", "endpoint-independent"]
        .into_iter()
        .find(|kind| text.starts_with(kind))
        .unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::report::State;

    fn daemon(status: Value) -> Check {
        judge_daemon(&Daemon::Says(status))
    }

    #[test]
    fn what_the_daemon_complains_of_is_a_problem_with_its_command() {
        let said = "the relay home holds no reservation (refused): it does not admit this node; \
                    on the relay, run: relay-server authorize 12D3";
        let check = daemon(json!({"version": "1", "relays": [], "problems": [said]}));
        assert_eq!(check.state, State::Problem);
        assert_eq!(check.next.as_deref(), Some("relay-server authorize 12D3"));
    }

    #[test]
    fn one_relay_of_two_without_a_reservation_is_a_warning() {
        let good = json!({"peer_id": "a", "reserved": true});
        let bad = json!({"peer_id": "b", "name": "attic", "reserved": false, "last_error": "refused"});
        let check = daemon(json!({"relays": [good, bad], "problems": []}));
        assert_eq!(check.state, State::Warning);
        assert!(check.found.contains("1 of 2 relays\nattic: refused"), "{check:?}");
        assert_eq!(daemon(json!({"relays": [good]})).state, State::Ok);
        assert_eq!(daemon(json!(null)).state, State::Ok);
    }

    #[test]
    fn without_a_daemon_there_is_a_warning_and_no_verdict_on_the_nat() {
        assert_eq!(judge_daemon(&Daemon::Absent).state, State::Warning);
        assert_eq!(
            judge_daemon(&Daemon::Closed("no".to_owned())).state,
            State::Skipped
        );
        assert_eq!(
            judge_daemon(&Daemon::Silent("no".to_owned())).state,
            State::Problem
        );
        let nat = judge_nat(&Daemon::Absent);
        assert_eq!((nat.state, nat.next.as_deref()), (State::Skipped, Some(START)));
    }

    #[test]
    fn the_nat_is_read_from_the_details_or_else_from_the_text() {
        let of = |status: Value| judge_nat(&Daemon::Says(status)).state;
        assert_eq!(of(json!({"nat": "unknown"})), State::Skipped);
        assert_eq!(of(json!({})), State::Skipped);
        assert_eq!(of(json!({"nat": "none (public address)"})), State::Ok);
        assert_eq!(
            of(json!({"nat": "endpoint-independent, ports preserved"})),
            State::Ok
        );
        assert_eq!(
            of(json!({"nat": "symmetric (a new port for each destination)"})),
            State::Warning
        );
        let blocked = json!({"nat": "unknown", "nat_details": {"kind": "unknown", "udp": "blocked"}});
        assert_eq!(of(blocked), State::Warning);
        let carrier = json!({"nat": "symmetric", "nat_details": {"kind": "symmetric", "cgnat": true}});
        assert!(
            judge_nat(&Daemon::Says(carrier))
                .next
                .unwrap()
                .contains("provider")
        );
    }

    #[tokio::test]
    async fn a_stale_socket_is_removed_only_where_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SOCKET_FILE);
        assert!(matches!(socket(folder.path()).await, Socket::Absent));
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());

        let stale = socket(folder.path()).await;
        assert_eq!(
            examine_socket(folder.path(), &stale, false).await.state,
            State::Warning
        );
        assert!(path.exists());
        let check = examine_socket(folder.path(), &stale, true).await;
        assert_eq!(check.state, State::Ok);
        assert!(check.fixed.is_some() && !path.exists());

        std::fs::write(&path, "precious").unwrap();
        let occupied = socket(folder.path()).await;
        assert_eq!(
            examine_socket(folder.path(), &occupied, true).await.state,
            State::Problem
        );
        assert!(path.exists());
    }
}
