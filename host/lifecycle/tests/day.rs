//! Thousands of days in the life of a plugin: operators who change their minds, loads that are slow, fail or never
//! answer, services that crash, answers that come late and twice.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step is a failed test"
)]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use peerup_lifecycle::{
    Command, Event, Generation, Lifecycle, LoadFailure, Manner, Policy, Run, ServiceEnd, Stage, Traits,
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

const DAY: Duration = Duration::from_secs(24 * 3600);
const HISTORIES: u64 = 2000;
/// Five failures open the circuit for ten minutes, so an hour without the operator has no more restarts than this.
const RESTARTS_AN_HOUR: usize = 36;

/// What comes back to the machine, some time after a command.
#[derive(Debug, Clone)]
enum Answer {
    Loaded(Generation, Traits),
    LoadFailed(Generation, LoadFailure),
    Checked(Generation),
    CheckFailed(Generation, LoadFailure),
    Ended(Generation, Run, ServiceEnd),
    Drained(Generation),
    Trapped(Generation),
}

/// How the service of the version that is in use behaves.
#[derive(Debug, Clone, Copy)]
enum Temper {
    Healthy,
    Flaky,
    Crashing,
    Short,
}

struct World {
    machine: Lifecycle<u32>,
    random: StdRng,
    now: Instant,
    answers: BTreeMap<(Instant, u64), Answer>,
    next: u64,
    temper: Temper,
    routed: Option<Generation>,
    /// Loaded and not cancelled.
    loaded: BTreeSet<Generation>,
    passed: BTreeSet<Generation>,
    draining: BTreeSet<Generation>,
    running: BTreeMap<Run, Generation>,
    unwanted_since: Option<Instant>,
    restarts: VecDeque<Instant>,
    lasting: bool,
    activations: u64,
    kept: u64,
    opened: u64,
    cancelled_drains: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            machine: Lifecycle::new(1, Policy::default(), seed, now),
            random: StdRng::seed_from_u64(seed),
            now,
            answers: BTreeMap::new(),
            next: 0,
            temper: Temper::Healthy,
            routed: None,
            loaded: BTreeSet::new(),
            passed: BTreeSet::new(),
            draining: BTreeSet::new(),
            running: BTreeMap::new(),
            unwanted_since: Some(now),
            restarts: VecDeque::new(),
            lasting: false,
            activations: 0,
            kept: 0,
            opened: 0,
            cancelled_drains: 0,
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn seconds(&mut self, least: f64, most: f64) -> Duration {
        Duration::from_secs_f64(self.random.random_range(least..most))
    }

    /// Sends an answer on its way; now and then a second time, and now and then never.
    fn answer(&mut self, after: Duration, answer: Answer) {
        if self.chance(3) {
            return;
        }
        self.next += 1;
        self.answers.insert((self.now + after, self.next), answer.clone());
        if self.chance(20) {
            let later = after + self.seconds(0.0, 900.0);
            self.next += 1;
            self.answers.insert((self.now + later, self.next), answer);
        }
    }

    fn failure(&mut self) -> LoadFailure {
        LoadFailure {
            reason: "it does not fit".to_owned(),
            lasting: self.chance(50),
        }
    }

    fn carry_out(&mut self, command: Command<u32>) {
        match command {
            Command::Load { generation, .. } => {
                assert_eq!(generation, self.machine.latest());
                let after = match self.random.random_range(0..100) {
                    0..4 => self.seconds(60.0, 400.0),
                    _ => self.seconds(0.01, 3.0),
                };
                let traits = Traits {
                    service: self.chance(80),
                    takes_settings: self.chance(50),
                };
                let answer = match self.chance(15) {
                    true => Answer::LoadFailed(generation, self.failure()),
                    false => Answer::Loaded(generation, traits),
                };
                self.answer(after, answer);
            }
            Command::Check { generation } => {
                assert!(
                    self.loaded.contains(&generation),
                    "only what is loaded is checked"
                );
                let after = self.seconds(0.001, 0.5);
                let answer = match self.chance(10) {
                    true => Answer::CheckFailed(generation, self.failure()),
                    false => Answer::Checked(generation),
                };
                self.answer(after, answer);
            }
            Command::Route { generation } => {
                assert!(
                    self.passed.contains(&generation),
                    "only what passed its check is routed"
                );
                assert!(self.loaded.contains(&generation), "nothing cancelled is routed");
                assert_eq!(self.machine.active(), Some(generation));
                self.routed = Some(generation);
                self.activations += 1;
                if self.chance(20) {
                    let after = self.seconds(0.0, 600.0);
                    self.answer(after, Answer::Trapped(generation));
                }
            }
            Command::Unroute => self.routed = None,
            Command::StartService { generation, run } => {
                assert!(
                    self.running.is_empty(),
                    "one service at a time: {:?}",
                    self.running
                );
                assert_eq!(self.routed, Some(generation));
                self.running.insert(run, generation);
                let (least, most, end) = match self.temper {
                    Temper::Healthy => return,
                    Temper::Flaky => (1.0, 1200.0, ServiceEnd::Failed("flaky".to_owned())),
                    Temper::Crashing => (0.001, 0.5, ServiceEnd::Trapped("unreachable".to_owned())),
                    Temper::Short => (0.1, 5.0, ServiceEnd::Returned),
                };
                let after = self.seconds(least, most);
                self.answer(after, Answer::Ended(generation, run, end));
            }
            Command::StopService {
                generation,
                run,
                deadline,
            } => {
                assert!(deadline > self.now);
                let after = self.seconds(0.0, 45.0);
                self.answer(after, Answer::Ended(generation, run, ServiceEnd::Returned));
            }
            Command::CancelService { run, .. } => {
                self.running.remove(&run);
            }
            Command::ApplySettings { generation } => assert!(self.loaded.contains(&generation)),
            Command::Drain { generation, deadline } => {
                assert!(deadline <= self.now + Policy::default().drain);
                assert_ne!(self.routed, Some(generation), "what drains gets no streams");
                self.draining.insert(generation);
                let after = self.seconds(0.0, 60.0);
                self.answer(after, Answer::Drained(generation));
            }
            Command::Cancel { generation } => {
                assert_ne!(self.routed, Some(generation), "what has streams is not cancelled");
                self.loaded.remove(&generation);
                self.draining.remove(&generation);
                self.running.retain(|_, of| *of != generation);
            }
            Command::Report(event) => self.hear(&event),
        }
    }

    fn hear(&mut self, event: &Event) {
        match event {
            Event::SwapFailed { generation, .. } => {
                self.kept += 1;
                assert!(self.routed.is_some(), "the one that ran goes on");
                assert_ne!(self.routed, Some(*generation));
            }
            Event::ServiceRestarted { .. } => {
                let hour = Duration::from_secs(3600);
                self.restarts.push_back(self.now);
                while self.restarts.front().is_some_and(|at| self.now - *at > hour) {
                    self.restarts.pop_front();
                }
                assert!(self.restarts.len() <= RESTARTS_AN_HOUR);
            }
            Event::Failed { retry_in, .. } => self.lasting = retry_in.is_none(),
            Event::CircuitOpened { .. } => {
                self.opened += 1;
                self.lasting = false;
            }
            Event::DrainOver { .. } => self.cancelled_drains += 1,
            _ => {}
        }
    }

    fn settle(&mut self) {
        while let Some(command) = self.machine.next_command() {
            self.carry_out(command);
        }
        self.check();
    }

    fn check(&mut self) {
        let machine = &self.machine;
        let stage = machine.stage();
        assert_eq!(self.routed, machine.active());
        assert_eq!(self.routed.is_some(), stage == Stage::Active);
        assert!(self.draining.len() <= 5);
        if let Some(due) = machine.poll_timeout() {
            assert!(due > self.now, "no timer is due after its time was handled");
        }
        if matches!(stage, Stage::Loading | Stage::Ready | Stage::Draining) {
            assert!(machine.poll_timeout().is_some(), "{stage} ends by itself");
        }
        if stage == Stage::Failed {
            let waits = machine.poll_timeout().is_some();
            assert!(waits || self.lasting, "a failure that may pass is tried again");
        }
        assert_eq!(
            stage == Stage::Stopped,
            !machine.is_wanted() && self.draining.is_empty()
        );
        if machine.is_wanted() {
            self.unwanted_since = None;
            return;
        }
        let since = *self.unwanted_since.get_or_insert(self.now);
        if self.now >= since + Policy::default().drain {
            assert_eq!(stage, Stage::Stopped);
        }
        if stage == Stage::Stopped {
            assert!(self.loaded.is_empty() && self.running.is_empty());
        }
    }

    fn deliver(&mut self, answer: Answer) {
        let now = self.now;
        match answer {
            Answer::Loaded(generation, traits) => {
                self.loaded.insert(generation);
                self.machine.handle_loaded(generation, traits, now);
            }
            Answer::LoadFailed(generation, failure) => {
                self.machine.handle_load_failed(generation, failure, now);
            }
            Answer::Checked(generation) => {
                self.passed.insert(generation);
                self.machine.handle_checked(generation, now);
            }
            Answer::CheckFailed(generation, failure) => {
                self.machine.handle_check_failed(generation, failure, now);
            }
            Answer::Ended(generation, run, end) => {
                self.running.remove(&run);
                self.machine.handle_service_ended(generation, run, end, now);
            }
            Answer::Drained(generation) => self.machine.handle_drained(generation, now),
            Answer::Trapped(generation) => self.machine.handle_trapped(generation, "boom", now),
        }
    }

    fn operate(&mut self) {
        let now = self.now;
        self.restarts.clear();
        match self.random.random_range(0..12) {
            0..4 => self.machine.handle_enable(now),
            4 => self.machine.handle_disable(Manner::Drain, now),
            5 => self.machine.handle_disable(Manner::Now, now),
            6 | 7 => self.machine.handle_reload(now),
            8 | 9 => {
                let source = self.random.random();
                self.machine.handle_upgrade(source, now);
            }
            10 => self.machine.handle_settings_changed(now),
            _ => {
                let manner = match self.random.random() {
                    true => Manner::Drain,
                    false => Manner::Now,
                };
                self.machine.handle_revoked("a grant is gone", manner, now);
            }
        }
        self.temper = match self.random.random_range(0..8) {
            0 => Temper::Crashing,
            1 => Temper::Short,
            2 | 3 => Temper::Flaky,
            _ => Temper::Healthy,
        };
    }

    /// Moves the clock to the next thing that happens, and lets it happen.
    fn step(&mut self, until: Instant) {
        let answer = self.answers.keys().next().copied();
        let timer = self.machine.poll_timeout();
        let next = [answer.map(|(at, _)| at), timer, Some(until)]
            .into_iter()
            .flatten()
            .min()
            .unwrap();
        self.now = self.now.max(next);
        match answer {
            Some(key) if key.0 <= self.now => {
                let answer = self.answers.remove(&key).unwrap();
                self.machine.handle_timeout(self.now);
                self.settle();
                self.deliver(answer);
            }
            _ => self.machine.handle_timeout(self.now),
        }
        self.settle();
    }

    fn run_until(&mut self, until: Instant) {
        while self.now < until {
            self.step(until);
        }
    }
}

fn live_a_day(seed: u64) -> World {
    let mut world = World::new(seed);
    let end = world.now + DAY;
    // Some operators sleep, some press every button.
    let pause = [5.0, 60.0, 1200.0, 7200.0][(seed % 4) as usize];
    let mut next = world.now;
    while next < end {
        world.run_until(next);
        world.operate();
        world.settle();
        next += world.seconds(0.0, pause * 2.0);
        if world.chance(2) {
            next += world.seconds(0.0, 4.0 * 3600.0);
        }
    }
    world.run_until(end);
    world
}

#[test]
fn a_day_of_anything_breaks_no_promise() {
    let mut sums = [0_u64; 4];
    for seed in 0..HISTORIES {
        let mut world = live_a_day(seed);
        for (sum, one) in sums.iter_mut().zip([
            world.activations,
            world.kept,
            world.opened,
            world.cancelled_drains,
        ]) {
            *sum += one;
        }
        // The last word counts: off means stopped within the drain time.
        world.machine.handle_disable(Manner::Drain, world.now);
        world.settle();
        world.run_until(world.now + Policy::default().drain + Duration::from_secs(1));
        assert_eq!(world.machine.stage(), Stage::Stopped, "seed {seed}");
    }
    assert!(
        sums.iter().all(|sum| *sum > 1000),
        "the days were eventful: {sums:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_order_of_operations_ends_as_last_asked(
        words in prop::collection::vec(0_usize..7, 1..60), on in any::<bool>(), seed in any::<u64>()
    ) {
        let mut now = Instant::now();
        let mut machine = Lifecycle::new(0, Policy::default(), seed, now);
        for word in words {
            match word {
                0 => machine.handle_enable(now),
                1 => machine.handle_disable(Manner::Drain, now),
                2 => machine.handle_disable(Manner::Now, now),
                3 => machine.handle_reload(now),
                4 => machine.handle_upgrade(1, now),
                5 => machine.handle_settings_changed(now),
                _ => now += Duration::from_secs(7),
            }
        }
        match on {
            true => machine.handle_enable(now),
            false => machine.handle_disable(Manner::Drain, now),
        }
        // A driver that does everything at once.
        for _ in 0..200 {
            let Some(command) = machine.next_command() else { break };
            match command {
                Command::Load { generation, .. } => {
                    machine.handle_loaded(generation, Traits::default(), now);
                }
                Command::Check { generation } => machine.handle_checked(generation, now),
                Command::Drain { generation, .. } => machine.handle_drained(generation, now),
                _ => {}
            }
        }
        let expected = if on { Stage::Active } else { Stage::Stopped };
        prop_assert_eq!(machine.stage(), expected);
    }
}
