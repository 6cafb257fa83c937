//! What of a changed config can come into force in a running relay, and what waits for the next start.
//!
//! Pure: three configs in, two lists out.

use peerup_config::{RelayConfig, RelayResources};

/// What a reload came to, in the keys of the config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What changed and is in force.
    pub live: Vec<&'static str>,
    /// What differs from the start and comes into force at the next one.
    pub waits_for_restart: Vec<&'static str>,
}

/// Compares: what is live with the config in force before, what is not with the one of the start.
pub(crate) fn compare(start: &RelayConfig, before: &RelayConfig, now: &RelayConfig) -> Reloaded {
    let (old, new) = (&before.resources, &now.resources);
    let live = [
        ("enrollment", before.enrollment != now.enrollment),
        (
            "resources.max_reservations",
            old.max_reservations != new.max_reservations,
        ),
        (
            "resources.max_reservations_per_ip",
            old.max_reservations_per_ip != new.max_reservations_per_ip,
        ),
        (
            "resources.max_reservations_per_asn",
            old.max_reservations_per_asn != new.max_reservations_per_asn,
        ),
        ("health", before.health != now.health),
        ("log", before.log != now.log),
        // Its content may have changed as well.
        (
            "resources.asn_table",
            old.asn_table != new.asn_table || new.asn_table.is_some(),
        ),
    ];
    let (old, new) = (&start.resources, &now.resources);
    // Of the resources: what libp2p's relay took when it was made.
    let fixed = [
        ("identity.key_file", start.key_file != now.key_file),
        ("network", start.network != now.network),
        ("security", start.security != now.security),
        ("resources.max_circuits", old.max_circuits != new.max_circuits),
        (
            "resources.max_circuits_per_peer",
            old.max_circuits_per_peer != new.max_circuits_per_peer,
        ),
        (
            "resources.reservation_ttl",
            old.reservation_ttl != new.reservation_ttl,
        ),
        (
            "resources.session_duration",
            old.session_duration != new.session_duration,
        ),
        (
            "resources.session_data_limit",
            old.session_data_limit != new.session_data_limit,
        ),
    ];
    let changed = |list: &[(&'static str, bool)]| {
        let changed = list.iter().filter(|(_, changed)| *changed);
        changed.map(|(key, _)| *key).collect()
    };
    Reloaded {
        live: changed(&live),
        waits_for_restart: changed(&fixed),
    }
}

/// Returns the limits that hold: the live ones of the last reload, the others of the start.
pub(crate) fn limits_in_force(start: &RelayConfig, now: &RelayConfig) -> RelayResources {
    RelayResources {
        max_reservations: now.resources.max_reservations,
        max_reservations_per_ip: now.resources.max_reservations_per_ip,
        max_reservations_per_asn: now.resources.max_reservations_per_asn,
        asn_table: now.resources.asn_table.clone(),
        ..start.resources.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use peerup_config::parse_relay;

    use super::*;

    fn config(text: &str) -> RelayConfig {
        parse_relay(text, Path::new("/x/relay-server.yaml"))
            .unwrap()
            .config
    }

    #[test]
    fn limits_of_reservations_are_live_and_those_of_circuits_are_not() {
        let start = config("version: 1\n");
        let now = config(
            "enrollment: closed\nresources: {max_reservations: 5, max_circuits: 5, session_duration: 1h}\nlog: {keep: 2}\n",
        );
        let reloaded = compare(&start, &start, &now);
        assert_eq!(reloaded.live, ["enrollment", "resources.max_reservations", "log"]);
        assert_eq!(
            reloaded.waits_for_restart,
            ["resources.max_circuits", "resources.session_duration"]
        );
        let limits = limits_in_force(&start, &now);
        assert_eq!((limits.max_reservations, limits.max_circuits), (5, 1024));
    }

    #[test]
    fn what_waits_is_told_again_and_what_was_taken_back_is_not() {
        let start = config("version: 1\n");
        let changed = config("resources: {max_circuits: 5, max_reservations: 5}\n");
        let again = compare(&start, &changed, &changed);
        assert_eq!(again.live, Vec::<&str>::new());
        assert_eq!(again.waits_for_restart, ["resources.max_circuits"]);
        let back = compare(&start, &changed, &start);
        assert_eq!(back.live, ["resources.max_reservations"]);
        assert_eq!(back.waits_for_restart, Vec::<&str>::new());
    }
}
