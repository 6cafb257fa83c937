//! The schedule of upgrades: when it tries, when it does not, and that nothing makes it try too often.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::time::{Duration, Instant};

use peerup_paths::{Upgrade, UpgradeCommand};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

type Machine = Upgrade<StdRng>;

const SECOND: Duration = Duration::from_secs(1);

fn relayed(now: Instant) -> Machine {
    let mut machine = Upgrade::new(now, StdRng::seed_from_u64(7));
    assert_eq!(machine.poll_timeout(), None);
    machine.handle_paths(false, true, now);
    machine
}

fn attempt(machine: &mut Machine) -> bool {
    machine.next_command() == Some(UpgradeCommand::Attempt)
}

#[test]
fn follows_the_schedule() {
    let mut now = Instant::now();
    let mut machine = relayed(now);
    for expected in [1.0, 3.0, 10.0, 30.0, 120.0, 300.0, 300.0] {
        assert!(attempt(&mut machine));
        assert_eq!(machine.next_try(), None);
        machine.handle_attempt_ended(now);
        let until = machine.next_try().unwrap();
        assert_eq!(machine.poll_timeout(), Some(until));
        let delay = (until - now).as_secs_f64();
        assert!((expected * 0.75..=expected * 1.25).contains(&delay), "{delay}");
        machine.handle_timeout(until - Duration::from_millis(1));
        assert!(!attempt(&mut machine));
        now = until;
        machine.handle_timeout(now);
    }
    assert_eq!(machine.attempts(), 8);
}

#[test]
fn a_direct_path_ends_it_and_its_loss_begins_it_anew() {
    let now = Instant::now();
    let mut machine = relayed(now);
    assert!(attempt(&mut machine));
    machine.handle_paths(true, true, now);
    machine.handle_attempt_ended(now);
    assert_eq!(machine.poll_timeout(), None);
    let later = now + SECOND * 60;
    machine.handle_paths(false, true, later);
    assert!(attempt(&mut machine));
}

#[test]
fn nothing_is_tried_without_a_relayed_path_or_when_not_wanted() {
    let now = Instant::now();
    let mut machine = relayed(now);
    machine.set_wanted(false, now);
    assert!(!attempt(&mut machine));
    assert_eq!((machine.poll_timeout(), machine.attempts()), (None, 0));
    machine.handle_news(now);
    machine.handle_network_change(now);
    assert!(!attempt(&mut machine));
    machine.set_wanted(true, now + SECOND);
    assert!(attempt(&mut machine));
    machine.handle_attempt_ended(now + SECOND);
    machine.handle_paths(false, false, now + SECOND);
    assert_eq!(machine.poll_timeout(), None);
}

#[test]
fn news_start_the_schedule_over() {
    let mut now = Instant::now();
    let mut machine = relayed(now);
    for _ in 0..6 {
        assert!(attempt(&mut machine));
        machine.handle_attempt_ended(now);
        now = machine.poll_timeout().unwrap();
        machine.handle_timeout(now);
    }
    assert!(attempt(&mut machine));
    machine.handle_attempt_ended(now);
    now += SECOND * 5;
    machine.handle_news(now);
    assert!(attempt(&mut machine));
    machine.handle_attempt_ended(now);
    assert!(machine.next_try().unwrap() <= now + SECOND * 5 / 4);
}

#[test]
fn news_during_an_attempt_lead_to_another_one_right_after_it() {
    let now = Instant::now();
    let mut machine = relayed(now);
    assert!(attempt(&mut machine));
    machine.handle_news(now);
    assert!(!attempt(&mut machine));
    machine.handle_attempt_ended(now + SECOND * 5);
    assert!(attempt(&mut machine));
}

#[test]
fn an_attempt_that_never_ends_is_given_up_and_sooner_after_news() {
    let now = Instant::now();
    let mut machine = relayed(now);
    assert!(attempt(&mut machine));
    assert_eq!(machine.poll_timeout(), Some(now + SECOND * 15));
    machine.handle_network_change(now + SECOND);
    assert_eq!(machine.poll_timeout(), Some(now + SECOND * 3));
    machine.handle_timeout(now + SECOND * 3);
    assert!(attempt(&mut machine));
    machine.handle_news(now + SECOND * 10);
    machine.handle_news(now + SECOND * 11);
    assert_eq!(machine.poll_timeout(), Some(now + SECOND * 12));
    machine.handle_timeout(now + SECOND * 12);
    assert!(attempt(&mut machine));
    machine.handle_timeout(now + SECOND * 27);
    assert!(machine.next_try().unwrap() >= now + SECOND * 27);
}

proptest! {
    #[test]
    fn never_two_at_once_and_never_two_in_a_second(seed in any::<u64>()) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut now = Instant::now();
        let mut machine = Upgrade::new(now, StdRng::seed_from_u64(seed));
        let (mut wanted, mut direct, mut circuit) = (true, false, false);
        let mut running: Option<Instant> = None;
        let mut last: Option<Instant> = None;
        for _ in 0..300 {
            match rng.random_range(0..8) {
                0 => { direct = rng.random_bool(0.3); machine.handle_paths(direct, circuit, now); }
                1 => { circuit = rng.random_bool(0.8); machine.handle_paths(direct, circuit, now); }
                2 => machine.handle_news(now),
                3 => machine.handle_network_change(now),
                4 => { wanted = rng.random_bool(0.8); machine.set_wanted(wanted, now); }
                5 => { machine.handle_attempt_ended(now); running = None; }
                _ => {
                    now += Duration::from_millis(rng.random_range(0..4_000));
                    machine.handle_timeout(now);
                    if running.is_some() && machine.next_try().is_some() {
                        running = None;
                    }
                }
            }
            let given_up = running.is_some_and(|start| now >= start + Duration::from_secs(2));
            while let Some(UpgradeCommand::Attempt) = machine.next_command() {
                prop_assert!(running.is_none() || given_up, "two at once");
                prop_assert!(last.is_none_or(|last| now >= last + SECOND), "two in a second");
                prop_assert!(circuit && !direct && wanted);
                running = Some(now);
                last = Some(now);
            }
            let needed = circuit && !direct && wanted;
            prop_assert!(!needed || machine.poll_timeout().is_some(), "stuck");
            prop_assert!(needed || machine.next_try().is_none());
        }
    }
}
