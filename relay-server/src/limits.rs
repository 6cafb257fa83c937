//! How the limits of the config map onto libp2p's.
//!
//! The mapping is not one to one: libp2p counts both directions of a circuit together, refuses renewals
//! when it is full, allows one circuit more than it says and limits how often a peer may ask. Its defaults
//! (128 KiB and 2 minutes for each circuit) never apply here.

use std::num::NonZeroU32;
use std::time::Duration;

use libp2p::relay;
use peerup_config::RelayResources;

use crate::lease::LeaseLimits;

/// Requests for a circuit that a peer may make in one go; one more every [`CIRCUIT_REQUEST_INTERVAL`].
const CIRCUIT_REQUEST_BURST: NonZeroU32 = NonZeroU32::new(120).expect("120 is not zero");
/// See [`CIRCUIT_REQUEST_BURST`].
const CIRCUIT_REQUEST_INTERVAL: Duration = Duration::from_secs(1);
/// The longest circuit that the protocol can express, 136 years: what "no limit" is on the wire.
const LONGEST_CIRCUIT: Duration = Duration::from_secs(u32::MAX as u64);

/// Returns the limits that the leases enforce.
pub(crate) fn lease_limits(resources: &RelayResources) -> LeaseLimits {
    LeaseLimits {
        total: count(resources.max_reservations),
        per_network: count(resources.max_reservations_per_ip),
        per_asn: count(resources.max_reservations_per_asn),
        duration: resources.reservation_ttl,
    }
}

/// Returns libp2p's config for these limits, with our own say in each request.
pub(crate) fn relay_config(
    resources: &RelayResources,
    reservations: Box<dyn relay::RateLimiter>,
    circuits: Box<dyn relay::RateLimiter>,
) -> relay::Config {
    let each_way = resources.session_data_limit;
    let config = relay::Config {
        // Ours, in `reservations`, knows a renewal from a new peer; libp2p's does not.
        max_reservations: usize::MAX,
        max_reservations_per_peer: usize::MAX,
        reservation_duration: resources.reservation_ttl,
        reservation_rate_limiters: vec![reservations],
        max_circuits: count(resources.max_circuits),
        // libp2p refuses when there are more than this many already.
        max_circuits_per_peer: count(resources.max_circuits_per_peer).saturating_sub(1),
        max_circuit_duration: resources
            .session_duration
            .unwrap_or(LONGEST_CIRCUIT)
            .min(LONGEST_CIRCUIT),
        // Both directions together; 0 is no limit.
        max_circuit_bytes: each_way.map_or(0, |bytes| bytes.saturating_mul(2).max(1)),
        circuit_src_rate_limiters: vec![circuits],
    };
    config.circuit_src_per_peer(CIRCUIT_REQUEST_BURST, CIRCUIT_REQUEST_INTERVAL)
}

fn count(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(resources: &RelayResources) -> relay::Config {
        let open = || Box::new(|_, _: &multiaddr::Multiaddr, _| true);
        relay_config(resources, open(), open())
    }

    #[test]
    fn a_circuit_carries_the_limit_each_way() {
        assert_eq!(config(&RelayResources::default()).max_circuit_bytes, 128 << 20);
    }

    #[test]
    fn no_limit_is_written_as_libp2p_reads_it() {
        let resources = RelayResources {
            session_duration: None,
            session_data_limit: None,
            ..RelayResources::default()
        };
        let config = config(&resources);

        assert_eq!(config.max_circuit_bytes, 0);
        assert_eq!(config.max_circuit_duration, LONGEST_CIRCUIT);
    }

    #[test]
    fn none_of_the_defaults_of_libp2p_is_left() {
        let (ours, theirs) = (config(&RelayResources::default()), relay::Config::default());

        assert_ne!(ours.max_circuit_bytes, theirs.max_circuit_bytes);
        assert_ne!(ours.max_circuit_duration, theirs.max_circuit_duration);
        assert_ne!(ours.max_circuits, theirs.max_circuits);
        assert_eq!(ours.reservation_rate_limiters.len(), 1);
        assert_eq!(ours.circuit_src_rate_limiters.len(), 2);
    }

    #[test]
    fn sixteen_circuits_are_sixteen() {
        assert_eq!(config(&RelayResources::default()).max_circuits_per_peer, 15);
    }
}
