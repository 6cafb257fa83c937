//! What a daemon holds, and whether it holds more than before.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    lab::view,
    nodes::Node,
    procfs::{descriptors, own_bytes, threads},
};

/// Descriptors that may come and go with the moment of the look: a request, a dial.
const DESCRIPTORS: u64 = 4;
/// Threads that come and go with blocking work.
const THREADS: u64 = 8;
/// Tasks that may come and go with the moment of the look: a request, a dial, a probe.
const TASKS: u64 = 16;
/// What memory may grow by, whichever is more.
const MEMORY: (u64, u64) = (8 << 20, 4);

/// What a daemon holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footprint {
    /// Open descriptors.
    descriptors: u64,
    /// Threads.
    threads: u64,
    /// Asynchronous tasks.
    tasks: u64,
    /// Bytes in memory that are no page of a file: those of its code come and go.
    own: u64,
    /// Connections to all peers.
    connections: u64,
    /// Streams that are open to members.
    streams: u64,
    /// Tunnels that plugins run.
    tunnels: u64,
    /// Instances of plugins that handle a stream.
    instances: u64,
}

impl Footprint {
    /// Looks at a daemon that has nothing to do.
    ///
    /// # Errors
    /// Where it does not run or does not answer.
    pub(super) fn of(node: &Node) -> Result<Self> {
        let pid = node.daemon().context("the daemon is not running")?.id();
        let peers = node.ask("/v1/peers?all=true")?;
        let plugins = node.ask("/v1/plugins")?;
        let status = node.ask("/v1/status")?;
        Ok(Self {
            descriptors: descriptors(pid)?,
            threads: threads(pid)?,
            tasks: status
                .get("tasks")
                .and_then(Value::as_u64)
                .context("the daemon tells no number of tasks")?,
            own: own_bytes(pid)?,
            connections: connections(&peers),
            streams: member_streams(&peers),
            tunnels: sum(&plugins, "tunnels"),
            instances: sum(&plugins, "instances"),
        })
    }

    /// Returns what is more than it was, a sentence each.
    pub(super) fn complaints_against(&self, before: &Self) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut check = |holds: bool, what: &str, now: u64, then: u64| {
            if !holds {
                complaints.push(format!("{what}: {now}, {then} before"));
            }
        };
        let near = |now: u64, then: u64, by: u64| now.abs_diff(then) <= by;
        check(
            near(self.descriptors, before.descriptors, DESCRIPTORS),
            "open descriptors",
            self.descriptors,
            before.descriptors,
        );
        check(
            self.threads <= before.threads + THREADS,
            "threads",
            self.threads,
            before.threads,
        );
        check(
            self.tasks <= before.tasks + TASKS,
            "tasks",
            self.tasks,
            before.tasks,
        );
        let allowed = before.own + MEMORY.0.max(before.own / MEMORY.1);
        check(self.own <= allowed, "bytes of its own", self.own, before.own);
        check(
            self.connections <= before.connections + 1,
            "connections",
            self.connections,
            before.connections,
        );
        check(
            self.streams <= before.streams,
            "streams",
            self.streams,
            before.streams,
        );
        check(self.tunnels == 0, "tunnels", self.tunnels, before.tunnels);
        check(
            self.instances <= before.instances,
            "plugin instances",
            self.instances,
            before.instances,
        );
        complaints
    }

    /// In a line.
    pub(super) fn shown(&self) -> String {
        format!(
            "{} descriptors, {} threads, {} tasks, {:.1} MB of its own, {} connections, {} streams, {} tunnels, {} instances",
            self.descriptors,
            self.threads,
            self.tasks,
            self.own as f64 / 1e6,
            self.connections,
            self.streams,
            self.tunnels,
            self.instances
        )
    }
}

fn connections(peers: &Value) -> u64 {
    let entries = peers.as_array().into_iter().flatten();
    let lists = entries.filter_map(|peer| peer.get("connections").and_then(Value::as_array));
    lists.map(|list| list.len() as u64).sum()
}

fn member_streams(peers: &Value) -> u64 {
    let entries = peers.as_array().into_iter().flatten();
    let members = entries.filter(|peer| view::text(peer, "role") == "member");
    members
        .filter_map(|peer| peer.get("streams").and_then(Value::as_u64))
        .sum()
}

fn sum(list: &Value, field: &str) -> u64 {
    let entries = list.as_array().into_iter().flatten();
    entries
        .filter_map(|entry| entry.get(field).and_then(Value::as_u64))
        .sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn before() -> Footprint {
        Footprint {
            descriptors: 40,
            threads: 10,
            tasks: 60,
            own: 40 << 20,
            connections: 3,
            streams: 1,
            tunnels: 0,
            instances: 0,
        }
    }

    #[test]
    fn a_little_more_is_no_leak() {
        let now = Footprint {
            descriptors: 44,
            own: 50 << 20,
            ..before()
        };
        assert_eq!(now.complaints_against(&before()), Vec::<String>::new());
    }

    #[test]
    fn each_leak_is_named() {
        let now = Footprint {
            descriptors: 45,
            threads: 30,
            tasks: 90,
            own: 51 << 20,
            connections: 9,
            streams: 2,
            tunnels: 1,
            instances: 1,
        };
        assert_eq!(now.complaints_against(&before()).len(), 8);
    }

    #[test]
    fn counts_come_from_the_lists_of_the_daemon() {
        let peers = json!([
            {"role": "member", "streams": 2, "connections": [{}, {}]},
            {"role": "infra", "streams": 5, "connections": [{}]}]);
        assert_eq!((connections(&peers), member_streams(&peers)), (3, 2));
        assert_eq!(sum(&json!([{"tunnels": 1}, {"tunnels": 2}]), "tunnels"), 3);
    }
}
