//! Liveness: a silent connection is suspected after a second and closed after three, one that answers never is.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::time::{Duration, Instant};

use peerup_paths::{DEAD_AFTER, IDLE_PROBE, Liveness, LivenessCommand, MAX_CONNECTIONS, SUSPECT_AFTER};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use LivenessCommand::{Close, Probe};

fn commands(liveness: &mut Liveness<u32>) -> Vec<LivenessCommand<u32>> {
    std::iter::from_fn(|| liveness.next_command()).collect()
}

#[test]
fn an_answer_from_before_the_probe_proves_nothing() {
    let start = Instant::now();
    let mut liveness = Liveness::new();
    liveness.insert(1_u32, start);
    let probed = start + Duration::from_secs(5);
    liveness.probe_all(probed);
    liveness.handle_answer(1, probed - Duration::from_secs(1));
    liveness.handle_timeout(probed + SUSPECT_AFTER);
    assert!(liveness.is_suspect(&1));
    liveness.handle_answer(1, probed - Duration::from_secs(1));
    assert!(liveness.is_suspect(&1));
    liveness.handle_answer(1, probed + Duration::from_secs(2));
    assert!(!liveness.is_suspect(&1));
}

#[test]
fn a_silent_connection_is_probed_twice_and_closed() {
    let now = Instant::now();
    let mut liveness = Liveness::new();
    liveness.insert(1, now);
    assert_eq!(liveness.poll_timeout(), Some(now + IDLE_PROBE));
    liveness.handle_timeout(now + IDLE_PROBE - Duration::from_millis(1));
    assert_eq!(commands(&mut liveness), vec![]);
    let probed = now + IDLE_PROBE;
    liveness.handle_timeout(probed);
    assert_eq!(commands(&mut liveness), vec![Probe(1)]);
    assert!(!liveness.is_suspect(&1));
    assert_eq!(liveness.poll_timeout(), Some(probed + SUSPECT_AFTER));
    liveness.handle_timeout(probed + SUSPECT_AFTER);
    assert_eq!(commands(&mut liveness), vec![Probe(1)]);
    assert!(liveness.is_suspect(&1));
    assert_eq!(liveness.poll_timeout(), Some(probed + DEAD_AFTER));
    liveness.handle_timeout(probed + DEAD_AFTER);
    assert_eq!(commands(&mut liveness), vec![Close(1)]);
    assert!(liveness.is_suspect(&1));
    liveness.remove(&1);
    assert!(liveness.is_empty() && !liveness.is_suspect(&1));
    assert_eq!(liveness.poll_timeout(), None);
}

#[test]
fn an_answer_clears_the_suspicion() {
    let now = Instant::now();
    let mut liveness = Liveness::new();
    liveness.insert(1, now);
    liveness.probe(1, now);
    liveness.handle_timeout(now + SUSPECT_AFTER);
    assert!(liveness.is_suspect(&1));
    liveness.handle_answer(1, now + SUSPECT_AFTER);
    assert!(!liveness.is_suspect(&1));
    assert_eq!(
        commands(&mut liveness),
        vec![],
        "the answered probe is not sent any more"
    );
    liveness.handle_timeout(now + DEAD_AFTER);
    assert_eq!(commands(&mut liveness), vec![]);
}

#[test]
fn a_change_of_the_network_probes_all_of_them_once() {
    let now = Instant::now();
    let mut liveness = Liveness::new();
    for id in 0..3 {
        liveness.insert(id, now);
    }
    liveness.probe(2, now);
    liveness.probe_all(now);
    let mut sent = commands(&mut liveness);
    sent.sort_by_key(|command| match command {
        Probe(id) | Close(id) => *id,
    });
    assert_eq!(sent, vec![Probe(0), Probe(1), Probe(2)]);
    liveness.handle_answer(0, now);
    liveness.handle_timeout(now + SUSPECT_AFTER);
    commands(&mut liveness);
    liveness.handle_timeout(now + DEAD_AFTER);
    let closed = commands(&mut liveness);
    assert_eq!(closed.len(), 2);
    assert!(closed.contains(&Close(1)) && closed.contains(&Close(2)));
}

#[test]
fn a_process_that_was_stopped_asks_again_before_it_closes() {
    let now = Instant::now();
    let mut liveness = Liveness::new();
    liveness.insert(1, now);
    liveness.probe(1, now);
    commands(&mut liveness);
    let late = now + Duration::from_secs(60);
    liveness.handle_timeout(late);
    assert_eq!(commands(&mut liveness), vec![Probe(1)]);
    liveness.handle_answer(1, late);
    liveness.handle_timeout(late + DEAD_AFTER);
    assert_eq!(commands(&mut liveness), vec![]);
}

#[test]
fn a_close_that_did_not_happen_is_asked_for_again_and_an_answer_does_not_stop_it() {
    let now = Instant::now();
    let mut liveness = Liveness::new();
    liveness.insert(1, now);
    liveness.probe(1, now);
    liveness.handle_timeout(now + SUSPECT_AFTER);
    liveness.handle_timeout(now + DEAD_AFTER);
    assert_eq!(commands(&mut liveness), vec![Close(1)]);
    liveness.handle_answer(1, now + DEAD_AFTER);
    liveness.handle_timeout(now + DEAD_AFTER * 2);
    assert_eq!(commands(&mut liveness), vec![Close(1)]);
}

#[test]
fn watches_no_more_than_it_can_hold() {
    let now = Instant::now();
    let mut liveness = Liveness::new();
    for id in 0..MAX_CONNECTIONS as u32 {
        assert!(liveness.insert(id, now));
    }
    assert!(!liveness.insert(u32::MAX, now));
    assert!(liveness.insert(0, now));
    assert_eq!(liveness.len(), MAX_CONNECTIONS);
}

proptest! {
    #[test]
    fn the_silent_are_closed_and_those_that_answer_stay(seed in any::<u64>()) {
        let mut rng = StdRng::seed_from_u64(seed);
        let start = Instant::now();
        let mut now = start;
        let mut liveness = Liveness::new();
        // Even connections answer each probe within 900 ms, odd ones never.
        for id in 0..10 {
            liveness.insert(id, now);
        }
        let mut answers: Vec<(Instant, u32)> = Vec::new();
        let mut probes = 0;
        while now < start + Duration::from_secs(60) {
            for command in commands(&mut liveness) {
                match command {
                    Probe(id) if id % 2 == 0 => {
                        probes += 1;
                        answers.push((now + Duration::from_millis(rng.random_range(0..900)), id));
                    }
                    Probe(_) => {}
                    Close(id) => {
                        prop_assert!(id % 2 == 1, "closes one that answers");
                        prop_assert!(now <= start + IDLE_PROBE + DEAD_AFTER);
                        liveness.remove(&id);
                    }
                }
            }
            if rng.random_bool(0.1) {
                liveness.probe(rng.random_range(0..12), now);
            }
            let wake = liveness.poll_timeout().unwrap();
            let next = answers.iter().map(|(at, _)| *at).min().map_or(wake, |at| at.min(wake));
            prop_assert!(wake > now || next >= now);
            now = next.max(now);
            answers.retain(|(at, id)| {
                if *at <= now {
                    liveness.handle_answer(*id, now);
                }
                *at > now
            });
            liveness.handle_timeout(now);
        }
        prop_assert_eq!(liveness.len(), 5);
        prop_assert!(probes < 10 * 60);
    }
}
