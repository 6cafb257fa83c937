//! Each state with each input: the stage it leads to and the commands that come out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use peerup_lifecycle::{
    Command, Generation, Lifecycle, LoadFailure, Manner, Policy, Run, ServiceEnd, Stage, Traits,
};

const SERVICE: Traits = Traits {
    service: true,
    takes_settings: false,
};

/// A machine with what the test has seen of it.
struct Bench {
    machine: Lifecycle<&'static str>,
    now: Instant,
    seen: Vec<Command<&'static str>>,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            machine: Lifecycle::new("v1", Policy::default(), 1, now),
            now,
            seen: Vec::new(),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.machine.handle_timeout(self.now);
        self.collect();
    }

    fn collect(&mut self) -> Vec<Command<&'static str>> {
        let fresh: Vec<_> = std::iter::from_fn(|| self.machine.next_command()).collect();
        self.seen.extend(fresh.iter().cloned());
        fresh
    }

    fn loaded(&mut self, traits: Traits) {
        let generation = self.machine.candidate().unwrap();
        self.machine.handle_loaded(generation, traits, self.now);
        self.collect();
    }

    fn checked(&mut self) {
        let generation = self.machine.candidate().unwrap();
        self.machine.handle_checked(generation, self.now);
        self.collect();
    }

    fn run(&self) -> (Generation, Run) {
        let started = self.seen.iter().rev().find_map(|command| match command {
            Command::StartService { generation, run } => Some((*generation, *run)),
            _ => None,
        });
        started.unwrap()
    }

    fn fail_service(&mut self) {
        let (generation, run) = self.run();
        let end = ServiceEnd::Failed("it broke".to_owned());
        self.machine.handle_service_ended(generation, run, end, self.now);
        self.collect();
    }
}

/// Leads a machine into a state, by name.
fn prepare(state: &str) -> Bench {
    let mut bench = Bench::new();
    if state == "stopped" {
        return bench;
    }
    bench.machine.handle_enable(bench.now);
    bench.collect();
    match state {
        "loading" => return bench,
        "failed" => {
            let generation = bench.machine.candidate().unwrap();
            bench
                .machine
                .handle_load_failed(generation, failure("no component", true), bench.now);
            bench.collect();
            return bench;
        }
        _ => {}
    }
    bench.loaded(SERVICE);
    if state == "ready" {
        return bench;
    }
    bench.checked();
    match state {
        "active" => {}
        "swapping" => bench.machine.handle_upgrade("v2", bench.now),
        "draining" => bench.machine.handle_disable(Manner::Drain, bench.now),
        "waiting" => bench.fail_service(),
        "circuit" => {
            for _ in 0..4 {
                bench.fail_service();
                bench.pass(Duration::from_secs(20));
            }
            bench.fail_service();
        }
        "restarting" => bench.machine.handle_settings_changed(bench.now),
        "removed" => {
            bench.machine.handle_remove(Manner::Now, bench.now);
        }
        other => panic!("{other}"),
    }
    bench.collect();
    bench
}

fn failure(reason: &str, lasting: bool) -> LoadFailure {
    LoadFailure {
        reason: reason.to_owned(),
        lasting,
    }
}

const STATES: [&str; 11] = [
    "stopped",
    "loading",
    "ready",
    "active",
    "swapping",
    "waiting",
    "restarting",
    "draining",
    "failed",
    "circuit",
    "removed",
];
const INPUTS: [&str; 19] = [
    "enable",
    "disable",
    "disable-now",
    "reload",
    "upgrade",
    "settings",
    "revoked",
    "remove",
    "loaded",
    "load-failed",
    "checked",
    "check-failed",
    "returned",
    "service-failed",
    "trapped",
    "drained",
    "late-loaded",
    "30s",
    "600s",
];

fn feed(bench: &mut Bench, input: &str) {
    let now = bench.now;
    let latest = bench.machine.latest();
    let active = bench.machine.active().unwrap_or(latest);
    let run = bench.seen.iter().rev().find_map(|command| match command {
        Command::StartService { generation, run } => Some((*generation, *run)),
        _ => None,
    });
    let machine = &mut bench.machine;
    match input {
        "enable" => machine.handle_enable(now),
        "disable" => machine.handle_disable(Manner::Drain, now),
        "disable-now" => machine.handle_disable(Manner::Now, now),
        "reload" => machine.handle_reload(now),
        "upgrade" => machine.handle_upgrade("v3", now),
        "settings" => machine.handle_settings_changed(now),
        "revoked" => machine.handle_revoked("a grant is gone", Manner::Drain, now),
        "remove" => machine.handle_remove(Manner::Drain, now),
        "loaded" => machine.handle_loaded(latest, SERVICE, now),
        "load-failed" => machine.handle_load_failed(latest, failure("bad", false), now),
        "checked" => machine.handle_checked(latest, now),
        "check-failed" => machine.handle_check_failed(latest, failure("bad", true), now),
        "trapped" => machine.handle_trapped(active, "boom", now),
        "drained" => machine.handle_drained(active, now),
        "returned" | "service-failed" => {
            let Some((generation, run)) = run else { return };
            let end = match input {
                "returned" => ServiceEnd::Returned,
                _ => ServiceEnd::Trapped("boom".to_owned()),
            };
            machine.handle_service_ended(generation, run, end, now);
        }
        "late-loaded" => {
            // Of a machine that has seen many more loads than this one.
            let mut other = Bench::new();
            for _ in 0..9 {
                other.machine.handle_enable(now);
                other.machine.handle_reload(now);
            }
            machine.handle_loaded(other.machine.latest(), SERVICE, now);
        }
        "30s" => bench.now += Duration::from_secs(30),
        "600s" => bench.now += Duration::from_secs(600),
        other => panic!("{other}"),
    }
    if input.ends_with('s') && input.starts_with(char::is_numeric) {
        bench.machine.handle_timeout(bench.now);
    }
}

fn word(command: &Command<&'static str>) -> String {
    match command {
        Command::Load { generation, source } => format!("load {generation} {source}"),
        Command::Check { generation } => format!("check {generation}"),
        Command::Route { generation } => format!("route {generation}"),
        Command::Unroute => "unroute".to_owned(),
        Command::StartService { generation, run } => format!("start {generation}/{run}"),
        Command::StopService { generation, run, .. } => format!("stop {generation}/{run}"),
        Command::CancelService { generation, run } => format!("cancel-service {generation}/{run}"),
        Command::ApplySettings { generation } => format!("settings {generation}"),
        Command::Drain { generation, .. } => format!("drain {generation}"),
        Command::Cancel { generation } => format!("cancel {generation}"),
        Command::Report(event) => {
            let text = format!("{event:?}");
            format!("!{}", text.split([' ', '{']).next().unwrap())
        }
    }
}

#[test]
fn each_state_takes_each_input_as_the_table_says() {
    let mut table = String::new();
    for state in STATES {
        for input in INPUTS {
            let mut bench = prepare(state);
            feed(&mut bench, input);
            let commands = bench.collect();
            let words: Vec<String> = commands.iter().map(word).collect();
            let line = format!(
                "{state:<11}{input:<16}{:<9} {}",
                bench.machine.stage(),
                words.join(", ")
            );
            writeln!(table, "{}", line.trim_end()).unwrap();
        }
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/states.txt");
    if std::env::var_os("UPDATE_STATES").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    for (is, should) in table.lines().zip(written.lines()) {
        assert_eq!(
            is, should,
            "UPDATE_STATES=1 writes tests/states.txt anew; read the difference"
        );
    }
    assert_eq!(table.lines().count(), written.lines().count());
}

#[test]
fn a_failed_swap_keeps_the_version_that_runs() {
    let mut bench = prepare("swapping");
    let (active, candidate) = (
        bench.machine.active().unwrap(),
        bench.machine.candidate().unwrap(),
    );
    bench
        .machine
        .handle_load_failed(candidate, failure("no component", true), bench.now);
    assert_eq!(bench.machine.stage(), Stage::Active);
    assert_eq!(bench.machine.active(), Some(active));
    assert_eq!(bench.machine.source(), &"v1");
    assert_eq!(bench.machine.swap_failure(), Some((candidate, "no component")));
}

#[test]
fn the_new_service_waits_for_the_end_of_the_old_one_and_no_longer_than_the_drain_time() {
    for answers in [true, false] {
        let mut bench = prepare("swapping");
        let (old, run) = bench.run();
        bench.loaded(SERVICE);
        bench.checked();
        assert_eq!(bench.run().0, old, "the new one has not begun");
        if answers {
            bench
                .machine
                .handle_service_ended(old, run, ServiceEnd::Returned, bench.now);
            bench.collect();
        } else {
            bench.pass(Duration::from_secs(30));
        }
        assert_eq!(Some(bench.run().0), bench.machine.active());
    }
}

#[test]
fn new_settings_restart_a_service_that_does_not_hear_of_them_and_no_other() {
    let mut bench = prepare("restarting");
    let (generation, run) = bench.run();
    bench
        .machine
        .handle_service_ended(generation, run, ServiceEnd::Failed("asked".to_owned()), bench.now);
    bench.collect();
    assert_ne!(bench.run().1, run);
    assert_eq!(bench.machine.restarts(), 0, "it was asked to");

    let mut bench = Bench::new();
    bench.machine.handle_enable(bench.now);
    bench.loaded(Traits {
        service: true,
        takes_settings: true,
    });
    bench.checked();
    bench.machine.handle_settings_changed(bench.now);
    let words: Vec<String> = bench.collect().iter().map(word).collect();
    assert_eq!(words, ["settings 1"]);
}

#[test]
fn the_open_circuit_is_tried_after_the_cool_down_and_one_failure_opens_it_again() {
    let mut bench = prepare("circuit");
    assert!(bench.machine.is_circuit_open());
    let cool_down = Policy::default().cool_down;
    bench.pass(cool_down);
    assert_eq!(bench.machine.stage(), Stage::Loading);
    bench.loaded(SERVICE);
    bench.checked();
    assert_eq!(bench.machine.stage(), Stage::Active);
    bench.fail_service();
    assert!(bench.machine.is_circuit_open());

    bench.pass(cool_down);
    bench.loaded(SERVICE);
    bench.checked();
    bench.pass(Policy::default().window);
    bench.fail_service();
    assert_eq!(
        bench.machine.stage(),
        Stage::Active,
        "the trial went well, so this is the first failure of many"
    );
}

#[test]
fn the_operators_word_closes_the_circuit() {
    for word in ["enable", "reload"] {
        let mut bench = prepare("circuit");
        feed(&mut bench, word);
        bench.collect();
        bench.loaded(SERVICE);
        bench.checked();
        bench.fail_service();
        assert_eq!(bench.machine.stage(), Stage::Active, "{word}");
    }
}

#[test]
fn settings_that_change_while_it_loads_are_in_force_before_it_is_routed() {
    let mut bench = prepare("loading");
    bench.machine.handle_settings_changed(bench.now);
    bench.loaded(Traits::default());
    bench.checked();
    let words: Vec<String> = bench.seen.iter().map(word).collect();
    let at = |what: &str| words.iter().position(|word| word == what).unwrap();
    assert!(at("settings 1") < at("route 1"));
}

#[test]
fn reloads_in_a_row_wait_for_those_that_drain_and_cut_none_short() {
    let mut bench = prepare("active");
    let count = |bench: &Bench, what: &str| {
        let words = bench.seen.iter().map(word);
        words.filter(|word| word.starts_with(what)).count()
    };
    for _ in 0..50 {
        bench.machine.handle_reload(bench.now);
        bench.loaded(SERVICE);
        bench.checked();
    }
    assert_eq!(count(&bench, "drain "), 4);
    assert_eq!(count(&bench, "!DrainOver"), 0);
    assert!(
        bench.machine.candidate().is_some(),
        "the last one waits for its turn"
    );
    let waiting = bench.machine.candidate();
    bench.pass(Duration::from_secs(30));
    assert_eq!(bench.machine.active(), waiting);
}
