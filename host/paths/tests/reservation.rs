//! The reservation machine against a simulated relay: seeded random events on a clock that only the test moves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use std::time::{Duration, Instant};

use peerup_paths::{Command, Reservation, Stage};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

type Machine = Reservation<u64, StdRng>;

fn machine(now: Instant) -> Machine {
    Reservation::new(now, StdRng::seed_from_u64(7))
}

/// The world around the machine: one relay that may be down, refuse, hang or vanish.
struct World {
    now: Instant,
    connected: bool,
    dialling: bool,
    listeners: Vec<u64>,
    next_listener: u64,
}

impl World {
    fn carry_out(&mut self, machine: &mut Machine) {
        while let Some(command) = machine.next_command() {
            match command {
                Command::Connect => self.dialling = true,
                Command::Listen => {
                    assert!(self.connected, "listens without a connection");
                    assert!(
                        self.listeners.is_empty(),
                        "opens a second listener on one connection"
                    );
                    self.next_listener += 1;
                    self.listeners.push(self.next_listener);
                    machine.handle_listener_opened(self.next_listener);
                }
                Command::CloseConnection => {}
            }
        }
    }

    fn disconnect(&mut self, machine: &mut Machine) {
        self.connected = false;
        machine.handle_disconnected("gone", self.now);
        for listener in self.listeners.drain(..) {
            machine.handle_listener_closed(&listener, "closed", self.now);
        }
    }

    fn random_event(&mut self, machine: &mut Machine, rng: &mut StdRng) {
        match rng.random_range(0..8) {
            0 if self.dialling => {
                self.dialling = false;
                self.connected = true;
                machine.handle_connected(self.now);
            }
            1 if self.dialling => {
                self.dialling = false;
                machine.handle_connect_failed("refused", self.now);
            }
            2 if !self.listeners.is_empty() => machine.handle_reserved(self.now),
            3 => {
                if let Some(listener) = self.listeners.pop() {
                    machine.handle_listener_closed(&listener, "no reservation", self.now);
                }
            }
            4 if self.connected => self.disconnect(machine),
            5 => machine.handle_listener_closed(&u64::MAX, "a stranger's", self.now),
            6 if !self.connected && rng.random_bool(0.2) => {
                self.connected = true;
                machine.handle_connected(self.now);
            }
            _ => {
                self.now += Duration::from_millis(rng.random_range(1..8_000));
                machine.handle_timeout(self.now);
                if rng.random_bool(0.1) {
                    machine.handle_network_change(self.now);
                } else if rng.random_bool(0.1) {
                    machine.reset(self.now);
                }
            }
        }
    }
}

fn let_everything_succeed(world: &mut World, machine: &mut Machine) {
    for _ in 0..20 {
        world.carry_out(machine);
        match machine.stage() {
            Stage::Reserved => return,
            Stage::Connecting => {
                world.connected = true;
                machine.handle_connected(world.now);
            }
            Stage::Requesting if !world.listeners.is_empty() => machine.handle_reserved(world.now),
            Stage::Closing => world.disconnect(machine),
            Stage::Waiting | Stage::Requesting => {
                world.now = machine.poll_timeout().unwrap();
                machine.handle_timeout(world.now);
            }
        }
    }
    panic!("stuck in {:?}", machine.stage());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn is_never_stuck_and_never_listens_twice(seed in any::<u64>()) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World {
            now: Instant::now(),
            connected: false,
            dialling: false,
            listeners: Vec::new(),
            next_listener: 0,
        };
        let mut machine = machine(world.now);
        for _ in 0..300 {
            world.carry_out(&mut machine);
            let reserved = machine.stage() == Stage::Reserved;
            prop_assert_eq!(machine.poll_timeout().is_none(), reserved);
            prop_assert!(!reserved || !world.listeners.is_empty(), "reserved without a listener");
            world.random_event(&mut machine, &mut rng);
        }
        let_everything_succeed(&mut world, &mut machine);
    }
}

#[test]
fn connects_before_it_listens() {
    let now = Instant::now();
    let mut machine = machine(now);
    machine.handle_timeout(now);
    assert_eq!(machine.next_command(), Some(Command::Connect));
    assert_eq!(machine.next_command(), None);
    machine.handle_connected(now);
    assert_eq!(machine.next_command(), Some(Command::Listen));
    machine.handle_listener_opened(1);
    machine.handle_reserved(now);
    assert_eq!(machine.reserved_since(), Some(now));
    assert_eq!(machine.poll_timeout(), None);
}

#[test]
fn a_request_without_an_answer_closes_the_connection() {
    let now = Instant::now();
    let mut machine = machine(now);
    machine.handle_timeout(now);
    machine.handle_connected(now);
    machine.handle_listener_opened(1);
    while machine.next_command().is_some() {}
    let late = machine.poll_timeout().unwrap();
    machine.handle_timeout(late);
    assert_eq!(machine.next_command(), Some(Command::CloseConnection));
    machine.handle_disconnected("closed", late);
    assert_eq!(machine.stage(), Stage::Waiting);
    assert!(machine.last_failure().unwrap().contains("in time"));
}

#[test]
fn a_lost_relay_is_tried_again_within_a_second_and_a_bit() {
    let now = Instant::now();
    let mut machine = machine(now);
    machine.handle_timeout(now);
    machine.handle_connected(now);
    machine.handle_listener_opened(1);
    machine.handle_reserved(now);
    machine.handle_disconnected("reset by peer", now);
    assert_eq!(machine.last_failure(), Some("reset by peer"));
    assert!(machine.poll_timeout().unwrap() <= now + Duration::from_millis(1_250));
}

/// Fails until the waiting time is at its cap.
fn failed_often(now: Instant) -> Machine {
    let mut machine = machine(now);
    for _ in 0..6 {
        machine.handle_timeout(machine.poll_timeout().unwrap());
        machine.handle_connect_failed("refused", now);
        assert_eq!(machine.next_command(), None);
    }
    assert!(machine.poll_timeout().unwrap() > now + Duration::from_secs(5));
    machine
}

#[test]
fn a_change_of_the_network_ends_the_waiting() {
    let now = Instant::now();
    let mut machine = failed_often(now);
    machine.handle_network_change(now);
    assert_eq!(machine.next_command(), Some(Command::Connect));
    machine.handle_network_change(now + Duration::from_secs(1));
    assert_eq!(
        machine.next_command(),
        Some(Command::Connect),
        "the dial starts over"
    );
    machine.handle_connect_failed("refused", now);
    assert!(
        machine.poll_timeout().unwrap() <= now + Duration::from_millis(1_250),
        "backoff reset"
    );
}

#[test]
fn a_change_of_the_network_leaves_a_reservation_alone() {
    let now = Instant::now();
    let mut machine = machine(now);
    machine.handle_timeout(now);
    machine.handle_connected(now);
    while machine.next_command().is_some() {}
    machine.handle_listener_opened(1);
    machine.handle_network_change(now);
    assert_eq!(
        (machine.stage(), machine.next_command()),
        (Stage::Requesting, None)
    );
    machine.handle_reserved(now);
    machine.handle_network_change(now);
    machine.reset(now);
    assert_eq!((machine.stage(), machine.next_command()), (Stage::Reserved, None));
}

#[test]
fn a_reset_forgets_the_failures() {
    let now = Instant::now();
    let mut machine = failed_often(now);
    machine.reset(now);
    assert_eq!(machine.next_command(), Some(Command::Connect));
    assert_eq!(machine.last_failure(), None);
}
