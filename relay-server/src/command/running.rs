//! `status`, `reload` and `disconnect`: what is asked of a running relay over its admin socket.

use std::path::Path;
use std::time::Duration;

use peerup_model::{ErrorCode, Failure};

use super::{print, print_json, tell};
use crate::admin::{AdminRequest, StatusAnswer, ask};
use crate::arguments::{DisconnectArguments, OutputArguments};

/// Prints how the relay is.
pub(super) fn status(config: &Path, output: &OutputArguments) -> Result<(), Failure> {
    let data = asked(config, &AdminRequest::Status)?;
    if output.json {
        return print_json(&data);
    }
    let status: StatusAnswer = serde_json::from_value(data).map_err(|error| {
        Failure::new(
            ErrorCode::Failed,
            format!("the relay's answer makes no sense: {error}"),
        )
    })?;
    print(&as_text(&status))
}

fn as_text(status: &StatusAnswer) -> String {
    let mut text = format!(
        "{} {} version {}, up {}\n\
         {} peers connected, {} authorized, {} guests\n\
         {} of {} reservations, {} of {} circuits\n",
        status.peer_id,
        status.status,
        status.version,
        age(status.uptime_seconds),
        status.connected_peers,
        status.members,
        status.guests,
        status.reservations,
        status.max_reservations,
        status.circuits,
        status.max_circuits,
    );
    for problem in &status.problems {
        text.push_str(&format!("problem: {problem}\n"));
    }
    if status.asn_prefixes == 0 {
        text.push_str("no limit for each AS number: there is no table (resources.asn_table)\n");
    }
    if !status.waits_for_restart.is_empty() {
        text.push_str(&format!(
            "changed in the config, in force after a restart: {}\n",
            status.waits_for_restart.join(", ")
        ));
    }
    for peer in &status.peers {
        text.push_str(&format!(
            "{}  {}  {}\n",
            peer.peer_id,
            age(peer.age_seconds),
            peer.address
        ));
    }
    text
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Has the relay read its config again, and says what came into force.
pub(super) fn reload(config: &Path, output: &OutputArguments) -> Result<(), Failure> {
    let data = asked(config, &AdminRequest::Reload)?;
    if output.json {
        return print_json(&data);
    }
    let keys = |name: &str| {
        let list = data.get(name).and_then(serde_json::Value::as_array);
        let keys = list.into_iter().flatten().filter_map(serde_json::Value::as_str);
        keys.collect::<Vec<_>>().join(", ")
    };
    let (live, waits) = (keys("live"), keys("waits_for_restart"));
    tell(&match live.is_empty() {
        true => "reloaded".to_owned(),
        false => format!("reloaded; in force: {live}"),
    });
    if !waits.is_empty() {
        tell(&format!("in force after a restart: {waits}"));
    }
    Ok(())
}

/// Closes the connections of a peer.
pub(super) fn disconnect(config: &Path, arguments: &DisconnectArguments) -> Result<(), Failure> {
    let request = AdminRequest::Disconnect {
        peer: arguments.peer.clone(),
    };
    let data = asked(config, &request)?;
    let peer = data.get("peer_id").and_then(serde_json::Value::as_str);
    tell(&format!(
        "disconnected {}; it may come back: `relay-server deauthorize` keeps it out",
        peer.unwrap_or_default()
    ));
    Ok(())
}

fn asked(config: &Path, request: &AdminRequest) -> Result<serde_json::Value, Failure> {
    block_on(ask(config, request))
}

/// Runs what a command waits for, on this thread.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::new(ErrorCode::Failed, format!("cannot start the runtime: {error}")))?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::ZERO);
    done
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn ages_are_short() {
        assert_eq!([5, 65, 3700, 90_061].map(age), ["5s", "1m", "1h1m", "1d1h"]);
    }
}
