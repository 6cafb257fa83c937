//! Every metric of the daemon: its name, what it is counted in, its labels, what it says.

use peerup_ops::{Kind, Metric, PROCESS_METRICS};

use Kind::{Counter, Gauge};

macro_rules! metrics {
    ($($id:ident: $kind:ident $name:literal $([$unit:literal])? ($($label:literal),*) $help:literal;)*) => {
        $(pub(super) static $id: Metric = Metric {
            name: $name,
            kind: $kind,
            unit: metrics!(@unit $($unit)?),
            labels: &[$($label),*],
            help: $help,
        };)*

        const OWN: &[&Metric] = &[$(&$id),*];
    };
    (@unit) => { None };
    (@unit $unit:literal) => { Some($unit) };
}

metrics! {
    BUILD: Gauge "peerup_build_info" ("version", "peer") "Always 1; the labels say which version and which node it is.";
    UPTIME: Gauge "peerup_uptime" ["seconds"] () "How long the daemon has run.";
    TASKS: Gauge "peerup_tasks" () "Asynchronous tasks that are alive.";
    CHECK: Gauge "peerup_watchdog_check_passing" ("check") "Whether a check of the watchdog passes.";
    LISTENERS: Gauge "peerup_listeners" () "Sockets that the node listens on.";

    PEERS: Gauge "peerup_connected_peers" () "Peers that answered within 30 seconds, relays included.";
    PEER: Gauge "peerup_peer_info" ("peer", "name", "role") "Always 1, for each connected peer: what the operator calls it and what it is.";
    PEER_RTT: Gauge "peerup_peer_rtt" ["seconds"] ("peer", "path") "Last round trip over the path that a new stream takes.";
    CONNECTIONS: Gauge "peerup_connections" ("path") "Connections by path.";
    RELAY: Gauge "peerup_relay_reserved" ("relay", "name") "Whether a configured relay holds a reservation for this node.";

    STREAM_BYTES: Counter "peerup_stream" ["bytes"] ("service", "peer", "path", "direction") "Bytes of streams with peers, as plugins see them. `service` is `-` where the protocol is a plugin's own.";
    STREAMS: Counter "peerup_streams" ("service", "peer", "path", "opened_by") "Streams with peers.";
    STREAMS_OPEN: Gauge "peerup_streams_open" ("service", "peer", "path") "Streams with peers that are open.";
    LIMIT: Gauge "peerup_bandwidth_limit" ["bytes_per_second"] ("kind", "of") "The limit that all streams of a peer or a service share. `kind` is `peer` or `service`, `of` its id or name; absent where there is none.";
    LIMIT_WAITS: Counter "peerup_bandwidth_waits" ("kind", "of") "Times that a stream had to wait for its turn because of that limit.";
    LIMIT_WAITED: Counter "peerup_bandwidth_wait" ["seconds"] ("kind", "of") "How long those turns were away, all together.";
    REFUSALS: Counter "peerup_stream_refusals" ("reason") "Streams of peers that were refused.";
    OPENINGS: Counter "peerup_stream_openings" ("outcome") "What opening a stream to a peer came to.";

    DIALS: Counter "peerup_dials" ("path", "outcome") "Addresses that were dialled.";
    PUNCHES: Counter "peerup_hole_punches" ("outcome") "Attempts to punch a hole. `not_tried` where a side had no address or took no part.";
    GATE: Counter "peerup_gate_connections" ("decision") "What the gate said to connections: `admitted`, `denied` (no role), `throttled` (too many at once).";
    EXPELLED: Counter "peerup_gate_expelled_peers" () "Peers whose connections were closed because they lost their right.";
    AUTHORIZED: Gauge "peerup_authorized_peers" () "Peers in authorized_keys whose entry has not expired.";

    PLUGIN_STATE: Gauge "peerup_plugin_state" ("plugin", "state") "1 for the state that a plugin is in, 0 for the others.";
    PLUGIN_CALLS: Counter "peerup_plugin_calls" ("plugin") "Calls of a plugin's exports.";
    PLUGIN_TRAPS: Counter "peerup_plugin_traps" ("plugin") "Runs that crashed or were stopped for what they used.";
    PLUGIN_DENIALS: Counter "peerup_plugin_denials" ("plugin") "Calls of the host that were not granted.";
    PLUGIN_RESTARTS: Counter "peerup_plugin_restarts" ("plugin") "Times that its service was started again after a failure.";
    PLUGIN_INSTANCES: Gauge "peerup_plugin_instances" ("plugin") "Instances that exist.";
    PLUGIN_INSTANCES_MADE: Counter "peerup_plugin_instances_made" ("plugin") "Instances that were made.";
    PLUGIN_TUNNELS: Gauge "peerup_plugin_tunnels" ("plugin") "Tunnels that the host carries for it, with no instance.";
    PLUGIN_TUNNELS_MADE: Counter "peerup_plugin_tunnels_made" ("plugin") "Tunnels that were joined.";
    PLUGIN_BYTES: Counter "peerup_plugin" ["bytes"] ("plugin", "direction") "Bytes from and to peers, through tunnels and through the plugin, and over its UDP sockets.";
    PLUGIN_CPU: Counter "peerup_plugin_cpu" ["seconds"] ("plugin") "Processor time of its instances.";
    PLUGIN_MEMORY: Gauge "peerup_plugin_memory_peak" ["bytes"] ("plugin") "The most memory that one of its instances has had.";
    PLUGIN_HANDLES: Counter "peerup_plugin_handles" ("plugin") "Streams, listeners, sockets and subscriptions that it was given.";
    PLUGIN_DATAGRAMS: Counter "peerup_plugin_datagrams" ("plugin") "UDP datagrams, sent and received.";
    PLUGIN_STORE: Gauge "peerup_plugin_store" ["bytes"] ("plugin") "What its store holds; absent before the store was opened.";
    PLUGIN_LOG: Counter "peerup_plugin_log_lines_left_out" ("plugin") "Lines of its log that were left out, because there were too many.";

    ALERT: Gauge "peerup_alert_state" ("rule", "state") "1 for the state that a rule of the alerts is in, 0 for the others.";
    ALERT_MESSAGES: Counter "peerup_alert_messages" ("target", "outcome") "What came of messages to a target: `delivered`, `failed` (given up), `dropped` (no room); and `retried` for each attempt that was not the last.";
    RELOADS: Counter "peerup_config_reloads" ("outcome") "Times that the config was read again.";
    RELOADED: Gauge "peerup_config_last_success_timestamp" ["seconds"] () "When the config was last read and put in force, in seconds since 1970.";
    RELOAD_OK: Gauge "peerup_config_last_reload_successful" () "Whether the last reading of the config worked.";
    AUDIT_DROPPED: Gauge "peerup_audit_events_lost" () "Events that the audit log could not keep, since it last said so itself.";
    LEFT_OUT: Gauge "peerup_metrics_series_left_out" () "Series that had no room in this scrape.";
}

const COUNT: usize = OWN.len() + PROCESS_METRICS.len();

/// Every metric that `/metrics` of the daemon has.
pub static METRICS: [&Metric; COUNT] = {
    let mut all = [&BUILD; COUNT];
    let mut index = 0;
    while index < COUNT {
        #[expect(
            clippy::indexing_slicing,
            reason = "evaluated by the compiler, which would refuse it"
        )]
        {
            all[index] = if index < OWN.len() {
                OWN[index]
            } else {
                PROCESS_METRICS[index - OWN.len()]
            };
        }
        index += 1;
    }
    all
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::METRICS;

    #[test]
    fn names_are_single_and_say_what_they_count_in() {
        let names: BTreeSet<String> = METRICS.iter().map(|metric| metric.full_name()).collect();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            assert!(!metric.name.ends_with("_total"), "{}", metric.name);
            let plain = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            assert!(plain(metric.name) && metric.labels.iter().all(|label| plain(label)));
        }
    }
}
