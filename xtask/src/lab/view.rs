//! What a node says of its peers and relays, as a case reads it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use peerup_testkit::poll;
use serde_json::Value;

use super::stage::{HOME, Stage};
use crate::nodes::Node;

/// The path that new streams to a peer take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathNow {
    /// `DIRECT` or `RELAYED`.
    pub(super) path: String,
    /// `quic`, `tcp` or `websocket`, where it is named.
    pub(super) transport: String,
}

impl PathNow {
    /// Whether no relay is in between.
    pub(super) fn is_direct(&self) -> bool {
        self.path == "DIRECT"
    }
}

/// Returns the entry of a peer by its name.
pub(super) fn peer(peers: &Value, name: &str) -> Option<Value> {
    let mut entries = peers.as_array()?.iter();
    let found = entries.find(|entry| text(entry, "name") == name);
    found.cloned()
}

/// Returns the path in a peer's entry; none without a connection.
pub(super) fn path_of(entry: &Value) -> Option<PathNow> {
    let path = entry.get("path")?.as_str()?.to_owned();
    Some(PathNow {
        path,
        transport: text(entry, "transport").to_owned(),
    })
}

/// Returns the number of open streams on connections of this path.
pub(super) fn streams_on(entry: &Value, path: &str) -> u64 {
    let connections = entry.get("connections").and_then(Value::as_array);
    let on_path = connections
        .into_iter()
        .flatten()
        .filter(|one| text(one, "path") == path);
    on_path
        .filter_map(|one| one.get("streams").and_then(Value::as_u64))
        .sum()
}

/// Returns how many connections of this path there are.
pub(super) fn connections_on(entry: &Value, path: &str) -> usize {
    let connections = entry.get("connections").and_then(Value::as_array);
    let all = connections.into_iter().flatten();
    all.filter(|one| text(one, "path") == path).count()
}

/// Returns whether the relay of this peer id has a reservation for the node.
pub(super) fn reserved(status: &Value, relay: &str) -> bool {
    let relays = status.get("relays").and_then(Value::as_array);
    let mut relays = relays.into_iter().flatten();
    relays.any(|one| text(one, "peer_id") == relay && one.get("reserved") == Some(&Value::Bool(true)))
}

/// Returns a field's text; nothing where it is no text.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

impl Stage {
    /// The entry of home in the laptop's list of peers.
    ///
    /// # Errors
    /// Where the daemon does not answer.
    pub(super) fn home_entry(&self) -> Result<Option<Value>> {
        Ok(peer(&self.laptop()?.ask("/v1/peers?all=true")?, HOME))
    }

    /// The path of new streams from the laptop to home.
    ///
    /// # Errors
    /// Where the daemon does not answer.
    pub(super) fn path_now(&self) -> Result<Option<PathNow>> {
        Ok(self.home_entry()?.as_ref().and_then(path_of))
    }

    /// Waits until new streams would go direct; returns how that is, and when it was seen.
    ///
    /// # Errors
    /// After `limit`, with what the laptop says of home.
    pub(super) fn wait_for_direct(&self, limit: Duration) -> Result<(PathNow, Instant)> {
        let direct = poll("a direct path", limit, || {
            Ok(self.path_now()?.filter(PathNow::is_direct))
        });
        let direct = direct.with_context(|| self.explanation())?;
        Ok((direct, Instant::now()))
    }

    /// What both nodes say of each other, for a case that has failed.
    pub(super) fn explanation(&self) -> String {
        let mut out = String::new();
        for (node, other) in [(&self.laptop, HOME), (&self.home, super::stage::LAPTOP)] {
            let Some(node) = node else { continue };
            let told = node.ask(&format!("/v1/why/{other}")).or_else(|_| {
                let peers = node.ask("/v1/peers?all=true")?;
                Ok::<Value, anyhow::Error>(peer(&peers, other).unwrap_or_default())
            });
            let told = told.map_or_else(|error| format!("{error:#}"), |told| told.to_string());
            out.push_str(&format!("\n{}: {told}", node.name));
        }
        out
    }

    /// Waits until a relay holds a reservation for a node.
    ///
    /// # Errors
    /// After `limit`, with the node's status.
    pub(super) fn wait_for_reservation(&self, node: &Node, relay: &str, limit: Duration) -> Result<()> {
        let mut last = Value::Null;
        let held = poll("a reservation", limit, || {
            last = node.ask("/v1/status")?;
            Ok(reserved(&last, relay).then_some(()))
        });
        held.with_context(|| {
            let relays = last.get("relays").cloned().unwrap_or_default();
            format!("{}: {relays}", node.name)
        })
    }
}

/// Reads the answer of `ping -c 1 --json`: one object a line, the one with a round trip counts.
pub(super) fn ping_path(told: &str) -> Option<PathNow> {
    let mut events = told
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events
        .find(|event| event.get("rtt_ms").is_some())
        .as_ref()
        .and_then(path_of)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry() -> Value {
        json!({"id": "1", "name": "home", "path": "DIRECT", "transport": "quic", "connections": [
            {"path": "DIRECT", "streams": 3}, {"path": "RELAYED", "streams": 1}, {"path": "DIRECT", "streams": 4}]})
    }

    #[test]
    fn a_peer_is_found_by_name_with_its_path() {
        let peers = json!([{"id": "0", "name": null, "path": "DIRECT"}, entry()]);
        let found = peer(&peers, "home").unwrap();
        let path = path_of(&found).unwrap();
        assert!(path.is_direct() && path.transport == "quic");
        assert_eq!(peer(&peers, "nobody"), None);
        assert_eq!(path_of(&json!({"path": null})), None);
    }

    #[test]
    fn streams_are_counted_by_the_path_of_their_connection() {
        assert_eq!(streams_on(&entry(), "DIRECT"), 7);
        assert_eq!(streams_on(&entry(), "RELAYED"), 1);
        assert_eq!(connections_on(&entry(), "DIRECT"), 2);
    }

    #[test]
    fn a_reservation_counts_at_its_own_relay_only() {
        let status =
            json!({"relays": [{"peer_id": "a", "reserved": true}, {"peer_id": "b", "reserved": false}]});
        assert!(reserved(&status, "a"));
        assert!(!reserved(&status, "b") && !reserved(&status, "c"));
    }

    #[test]
    fn the_path_of_a_ping_is_that_of_the_answer() {
        let told = "{\"seq\":1,\"rtt_ms\":0.5,\"path\":\"RELAYED\",\"via\":\"r\"}\n{\"sent\":1}\n";
        assert_eq!(ping_path(told).unwrap().path, "RELAYED");
        assert_eq!(ping_path("{\"sent\":1}"), None);
    }
}
