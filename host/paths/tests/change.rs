//! Changes of the network: the debounce, what counts as a change, and jumps of the clock.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::time::{Duration, Instant};

use peerup_paths::{ChangeDetector, DEBOUNCE, NetworkFingerprint, TENTATIVE_DEBOUNCE};

fn network(addresses: &[&str], gateway: &str) -> NetworkFingerprint {
    NetworkFingerprint {
        addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
        gateways: [gateway.to_owned()].into(),
        tunnels: [].into(),
    }
}

#[test]
fn the_first_look_is_no_change_and_another_address_is_one() {
    let now = Instant::now();
    let mut detector = ChangeDetector::new();
    assert!(!detector.handle_fingerprint(network(&["192.168.1.5"], "192.168.1.1"), now));
    assert_eq!(detector.poll_timeout(), None);
    detector.handle_event(now);
    assert_eq!(detector.poll_timeout(), Some(now + DEBOUNCE));
    let other = network(&["192.168.7.5"], "192.168.7.1");
    assert!(
        !detector.handle_fingerprint(other.clone(), now),
        "half of a change"
    );
    assert!(detector.handle_fingerprint(other.clone(), now + DEBOUNCE));
    assert_eq!(detector.poll_timeout(), None);
    assert_eq!(detector.current(), Some(&other));
    detector.handle_event(now + DEBOUNCE);
    assert!(!detector.handle_fingerprint(other, now + DEBOUNCE * 2), "noise");
}

#[test]
fn a_tunnel_that_comes_up_is_a_change() {
    let now = Instant::now();
    let mut detector = ChangeDetector::new();
    let mut here = network(&["192.168.1.5"], "192.168.1.1");
    detector.handle_fingerprint(here.clone(), now);
    here.tunnels.insert("wg0".to_owned());
    assert!(detector.handle_fingerprint(here, now));
}

#[test]
fn notices_prolong_the_debounce_but_not_for_ever() {
    let start = Instant::now();
    let mut detector = ChangeDetector::new();
    detector.handle_event(start);
    detector.handle_event(start + DEBOUNCE / 2);
    assert_eq!(detector.poll_timeout(), Some(start + DEBOUNCE * 3 / 2));
    for step in 1..100 {
        detector.handle_event(start + DEBOUNCE * step / 2);
    }
    assert_eq!(detector.poll_timeout(), Some(start + Duration::from_secs(5)));
}

#[test]
fn a_tentative_address_is_waited_for() {
    let now = Instant::now();
    let mut detector = ChangeDetector::new();
    detector.handle_event(now);
    detector.handle_tentative(now);
    detector.handle_event(now);
    assert_eq!(detector.poll_timeout(), Some(now + TENTATIVE_DEBOUNCE));
}

#[test]
fn sleep_and_a_clock_that_was_set_are_jumps_and_drift_is_none() {
    let start = Instant::now();
    let mut detector = ChangeDetector::new();
    let (mut awake, mut boot, mut wall) = (0, 100_000, 1_700_000_000_000_u64);
    let mut read = |more_awake: u64, more_boot: u64, more_wall: i64| {
        awake += more_awake;
        boot += more_boot;
        wall = wall.checked_add_signed(more_wall).unwrap();
        let millis = Duration::from_millis;
        detector.handle_clock(start + millis(awake), millis(boot), millis(wall))
    };
    assert!(!read(0, 0, 0));
    assert!(!read(1_000, 1_000, 1_000));
    assert!(!read(1_000, 3_900, 3_900), "a short sleep");
    assert!(read(1_000, 4_100, 4_100), "sleep");
    assert!(!read(1_000, 1_000, 1_000));
    assert!(!read(1_000, 1_000, 11_000), "a small correction");
    assert!(read(1_000, 1_000, 11_100), "set forward");
    assert!(read(1_000, 1_000, -9_100), "set back");
    assert!(read(1_000, 8 * 3_600_000, 8 * 3_600_000), "a night");
    assert!(!read(1_000, 1_000, 1_000));
}

#[test]
fn the_name_of_a_network_is_stable() {
    let home = network(&["192.168.1.5", "fd00:1:2:3::5", "2001:db8::5"], "192.168.1.1");
    let again = network(
        &["192.168.1.77", "fd00:1:2:3::99", "2001:db8:9::1"],
        "192.168.1.1",
    );
    assert_eq!(home.network_id(), again.network_id());
    // Stored on disk: another value makes every stored address one of another network.
    assert_eq!(home.network_id(), "98d83b992c99a8ba");
    let others = [
        network(&["192.168.1.5", "fd00:1:2:3::5"], "192.168.1.254"),
        network(&["192.168.2.5", "fd00:1:2:3::5"], "192.168.1.1"),
        network(&["192.168.1.5", "fd00:1:2:4::5"], "192.168.1.1"),
        NetworkFingerprint::default(),
    ];
    for other in others {
        assert_ne!(home.network_id(), other.network_id());
    }
}
