//! The guard of the config on a disk that is stopped, full or read-only at every single step, with and without a loss of
//! power: afterwards the node runs with the old config or with the new one, and the last good one is there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod model_disk;

use std::{path::PathBuf, time::Duration};

use model_disk::{Fault, Loss, ModelDisk};
use peerup_config::{
    Application, ConfigGuard, ConfirmCheck, Event, GuardState, Pending, Refused, RevertReason, Vault,
    carry_out_all,
};
use peerup_model::Now;

const CONFIG: &str = "/etc/peerup/config.yaml";
const OLD: &str = "old";
const NEW: &str = "new";
/// No node starts with it, and none takes it over.
const BAD: &str = "bad";
const TIMEOUT: Duration = Duration::from_secs(300);
const BOOT: &str = "boot-1";

/// A machine with a node on it.
struct World {
    disk: ModelDisk,
    vault: Vault<ModelDisk>,
    guard: ConfigGuard,
    /// What the node runs with.
    running: Option<String>,
    now: Now,
    boot: String,
    events: Vec<Event>,
}

impl World {
    /// A node that ran with [`OLD`] once, and does not run now.
    fn new() -> Self {
        let disk = ModelDisk::new();
        disk.put(CONFIG, OLD);
        let mut world = Self {
            vault: Vault::on(disk.clone(), PathBuf::from(CONFIG)),
            disk,
            guard: ConfigGuard::new(Some(BOOT.to_owned())),
            running: None,
            now: Now {
                wall_ms: 1_000_000_000,
                steady_ms: 1_000,
            },
            boot: BOOT.to_owned(),
            events: Vec::new(),
        };
        world.start();
        assert_eq!(world.running.as_deref(), Some(OLD));
        world
    }

    fn drive(&mut self) {
        let (disk, now, running) = (self.disk.clone(), self.now, &mut self.running);
        carry_out_all(
            &mut self.guard,
            &self.vault,
            || now,
            |text| {
                // A process that was stopped puts nothing in force.
                if disk.is_stopped() || text == BAD {
                    return Err("it does not do".to_owned());
                }
                *running = Some(text.to_owned());
                Ok(())
            },
        );
        while let Some(event) = self.guard.next_event() {
            self.events.push(event);
        }
    }

    fn start(&mut self) {
        self.running = None;
        self.guard = ConfigGuard::new(Some(self.boot.clone()));
        self.vault.sweep();
        let found = self.vault.found();
        self.guard.handle_found(found, self.now);
        self.drive();
    }

    fn apply(&mut self, text: &str, timeout: Option<Duration>) -> Result<(), Refused> {
        let before = self.running.clone().unwrap();
        let file = self.vault.text().ok();
        let pending = timeout.map(|timeout| {
            let clock = (self.now, Some(self.boot.as_str()));
            Pending::new(before.clone(), "a test".to_owned(), timeout, Vec::new(), clock)
        });
        let applied = self.guard.handle_apply(Application {
            text: text.to_owned(),
            set_aside: file.filter(|file| *file != before && file != text),
            before,
            is_proven: true,
            pending,
        });
        self.drive();
        applied
    }

    fn confirm(&mut self) -> Result<(), Refused> {
        let confirmed = self.guard.handle_confirm(self.vault.text().ok());
        self.drive();
        confirmed
    }

    fn rollback(&mut self) -> Result<(), Refused> {
        let reverted = self.guard.handle_revert(self.vault.text().ok());
        self.drive();
        reverted
    }

    fn pass(&mut self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.now.wall_ms += millis;
        self.now.steady_ms += millis;
        self.guard.handle_timeout(self.vault.text().ok(), self.now);
        self.drive();
    }

    /// The machine starts again, with another boot's clock.
    fn reboot(&mut self, after: Duration) {
        self.now.wall_ms += u64::try_from(after.as_millis()).unwrap();
        self.now.steady_ms = 500;
        self.boot = "boot-2".to_owned();
        self.start();
    }

    fn has(&self, event: &Event) -> bool {
        self.events.contains(event)
    }

    fn file(&self) -> Option<String> {
        self.vault.text().ok()
    }

    fn is_kept(&self, text: &str) -> bool {
        self.vault.generations().iter().any(|one| one.text == text)
    }
}

/// One thing that is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Apply(&'static str),
    ApplyForGood(&'static str),
    Confirm,
    Rollback,
    Deadline,
    Restart,
}

impl Deed {
    fn on(self, world: &mut World) {
        match self {
            Self::Apply(text) => drop(world.apply(text, Some(TIMEOUT))),
            Self::ApplyForGood(text) => drop(world.apply(text, None)),
            Self::Confirm => drop(world.confirm()),
            Self::Rollback => drop(world.rollback()),
            Self::Deadline => world.pass(TIMEOUT),
            Self::Restart => world.start(),
        }
    }
}

const STORIES: [&[Deed]; 10] = [
    &[Deed::Apply(NEW)],
    &[Deed::Apply(BAD)],
    &[Deed::ApplyForGood(NEW)],
    &[Deed::ApplyForGood(BAD)],
    &[Deed::Apply(NEW), Deed::Confirm],
    &[Deed::Apply(NEW), Deed::Confirm, Deed::Restart],
    &[Deed::Apply(NEW), Deed::Rollback],
    &[Deed::Apply(NEW), Deed::Deadline],
    &[Deed::Apply(NEW), Deed::Restart],
    &[Deed::Apply(NEW), Deed::Restart, Deed::Deadline, Deed::Restart],
];

/// Runs a story on a disk with a fault. Returns the world right after.
fn told(story: &[Deed], fault: Fault) -> World {
    let mut world = World::new();
    world.events.clear();
    world.disk.set_fault(fault);
    for deed in story {
        if world.disk.is_stopped() {
            break;
        }
        deed.on(&mut world);
    }
    world
}

fn steps(story: &[Deed]) -> usize {
    let mut world = World::new();
    let before = world.disk.steps();
    for deed in story {
        deed.on(&mut world);
    }
    world.disk.steps() - before
}

/// What must hold of a node that runs again.
fn assert_whole(world: &World, story: &[Deed], at: &str, waited: bool) {
    let context = format!("{story:?} {at}: {:?} {:?}", world.events, world.guard.state());
    let running = world.running.as_deref();
    let confirmed = world.has(&Event::Confirmed(peerup_config::Confirmer::Person));
    let for_good = story == [Deed::ApplyForGood(NEW)];
    assert!(
        running == Some(OLD) || running == Some(NEW),
        "{running:?} {context}"
    );
    assert!(world.is_kept(OLD), "the last good one is lost: {context}");
    assert!(!world.is_kept(BAD), "{context}");
    if confirmed {
        assert_eq!(running, Some(NEW), "{context}");
    }
    if for_good && world.has(&Event::Applied) {
        assert_eq!(running, Some(NEW), "{context}");
    }
    let is_unconfirmed = !confirmed && !for_good && !story.contains(&Deed::Confirm);
    if is_unconfirmed {
        assert!(
            !world.is_kept(NEW),
            "an unconfirmed config is kept as good: {context}"
        );
    }
    if waited && story == [Deed::ApplyForGood(BAD)] && world.file().as_deref() == Some(BAD) {
        // Stopped before it was found out that nothing starts with it: the file is there for its writer.
        assert!(
            matches!(world.guard.state(), GuardState::Fallback { .. }),
            "{context}"
        );
        return;
    }
    if waited {
        assert_eq!(world.file().as_deref(), running, "{context}");
        assert_eq!(world.vault.pending(), Ok(None), "{context}");
        assert_eq!(*world.guard.state(), GuardState::Settled, "{context}");
        if is_unconfirmed {
            assert_eq!(running, Some(OLD), "{context}");
        }
    }
}

#[test]
fn stopped_after_any_step_the_node_starts_with_the_old_or_the_new_config() {
    let mut runs = 0;
    for story in STORIES {
        for stop in 0..=steps(story) {
            for loss in [
                Loss::Nothing,
                Loss::AllUnsynced,
                Loss::UnsyncedData,
                Loss::HalfUnsynced,
            ] {
                for reboot in [None, Some(Duration::from_secs(1)), Some(TIMEOUT)] {
                    let mut world = told(story, Fault::StopAt(stop));
                    world.disk.restart(loss);
                    match reboot {
                        None => world.start(),
                        Some(after) => world.reboot(after),
                    }
                    let at = format!("stopped at {stop}, {loss:?}, {reboot:?}");
                    assert_whole(&world, story, &at, false);
                    world.pass(TIMEOUT);
                    world.start();
                    assert_whole(&world, story, &at, true);
                    runs += 1;
                }
            }
        }
    }
    println!("{runs} stops");
    assert!(runs > 1000, "{runs}");
}

#[test]
fn a_disk_that_fails_at_any_step_leaves_the_node_with_the_old_or_the_new_config() {
    for story in STORIES {
        for at in 0..=steps(story) {
            for fault in [
                Fault::FullOnce(at),
                Fault::FullFrom(at),
                Fault::ReadOnlyFrom(at),
                Fault::BrokenOnce(at),
            ] {
                let mut world = told(story, fault);
                assert_whole(&world, story, &format!("{fault:?}"), false);
                // Room again: what was stuck goes on by itself.
                world.disk.set_fault(Fault::None);
                world.pass(TIMEOUT);
                world.pass(Duration::from_secs(60));
                assert_whole(&world, story, &format!("{fault:?}, then room"), true);
                world.start();
                assert_whole(&world, story, &format!("{fault:?}, then a restart"), true);
            }
        }
    }
}

#[test]
fn a_disk_that_stays_full_over_a_restart_keeps_nobody_from_starting() {
    for story in STORIES {
        for at in 0..=steps(story) {
            let mut world = told(story, Fault::FullFrom(at));
            world.start();
            assert_whole(&world, story, &format!("full from {at}, then a restart"), false);
            world.pass(TIMEOUT);
            assert_whole(
                &world,
                story,
                &format!("full from {at}, past the deadline"),
                false,
            );
            if !story.contains(&Deed::Confirm) && !matches!(story, [Deed::ApplyForGood(_)]) {
                assert_eq!(world.running.as_deref(), Some(OLD), "{story:?} {at}");
            }
        }
    }
}

#[test]
fn confirming_ends_the_deadline_without_a_restart() {
    let mut world = World::new();
    world.apply(NEW, Some(TIMEOUT)).unwrap();
    assert!(matches!(world.guard.state(), GuardState::Pending(_)));
    assert!(!world.is_kept(NEW));

    world.confirm().unwrap();

    assert_eq!(world.guard.poll_timeout(), None);
    world.pass(TIMEOUT * 10);
    assert_eq!(world.running.as_deref(), Some(NEW));
    assert!(world.is_kept(NEW) && world.is_kept(OLD));
    assert_eq!(world.confirm(), Err(Refused::NothingPending));
}

#[test]
fn a_second_apply_is_told_who_was_first_and_when() {
    let mut world = World::new();
    world.apply(NEW, Some(TIMEOUT)).unwrap();
    let applied_ms = world.now.wall_ms;
    let Err(Refused::Pending(first)) = world.apply("another", None) else {
        panic!("two at once");
    };
    assert_eq!((first.by.as_str(), first.applied_ms), ("a test", applied_ms));
    assert_eq!(world.file().as_deref(), Some(NEW));
}

#[test]
fn a_config_that_does_not_start_goes_back_at_once() {
    let mut world = World::new();
    // Applied beside no daemon: nothing tried it.
    let clock = (world.now, Some(BOOT));
    let pending = Pending::new(OLD.to_owned(), "a test".to_owned(), TIMEOUT, Vec::new(), clock);
    for action in [
        peerup_config::Action::Mark(Box::new(pending)),
        peerup_config::Action::Replace(BAD.to_owned()),
    ] {
        world.vault.carry_out(&action, world.now.wall_ms).unwrap();
    }
    world.start();
    assert_eq!(world.running.as_deref(), Some(OLD));
    assert_eq!(world.file().as_deref(), Some(OLD));
    let why = RevertReason::CannotStart("it does not do".to_owned());
    assert!(world.has(&Event::Reverted(why)), "{:?}", world.events);
    let rejected = world.disk.text(world.vault.rejected());
    assert_eq!(rejected.as_deref(), Some(BAD));
}

#[test]
fn a_file_that_does_not_do_or_is_gone_leaves_the_last_good_one_in_force() {
    for file in [Some(BAD), None] {
        let mut world = World::new();
        match file {
            Some(text) => world.disk.put(CONFIG, text),
            None => world.disk.take(CONFIG),
        }
        world.start();
        assert_eq!(world.running.as_deref(), Some(OLD));
        assert!(matches!(world.guard.state(), GuardState::Fallback { .. }));
        assert_eq!(world.file().as_deref(), file, "the file is its writer's");

        world.apply(NEW, Some(TIMEOUT)).unwrap();
        assert_eq!(world.running.as_deref(), Some(NEW));
        assert_eq!(world.disk.text(world.vault.rejected()).as_deref(), file);
        world.pass(TIMEOUT);
        assert_eq!(world.running.as_deref(), Some(OLD));
        assert_eq!(world.file().as_deref(), Some(OLD));
    }
}

#[test]
fn what_ails_the_last_good_config_itself_brings_no_older_one() {
    let mut world = World::new();
    world.disk.put(CONFIG, NEW);
    world.start();
    world.guard = ConfigGuard::new(None);
    let mut tried = Vec::new();
    let now = world.now;
    world.guard.handle_found(world.vault.found(), now);
    carry_out_all(
        &mut world.guard,
        &world.vault,
        || now,
        |text| {
            tried.push(text.to_owned());
            Err("the port is taken".to_owned())
        },
    );
    assert_eq!(tried, [NEW]);
    assert_eq!(*world.guard.state(), GuardState::Off);
}

#[test]
fn the_newest_generation_that_starts_is_taken() {
    let mut world = World::new();
    for text in ["one", "two"] {
        world.disk.put(CONFIG, text);
        world.start();
    }
    world.disk.put(CONFIG, BAD);
    world.start();
    assert_eq!(world.running.as_deref(), Some("two"));
}

#[test]
fn five_generations_are_kept_each_text_once() {
    let mut world = World::new();
    for text in ["1", "2", "3", "4", "5", "6", "4"] {
        world.disk.put(CONFIG, text);
        world.start();
    }
    let kept: Vec<String> = world
        .vault
        .generations()
        .into_iter()
        .map(|one| one.text)
        .collect();
    assert_eq!(kept, ["4", "6", "5", "3", "2"]);
}

#[test]
fn with_nothing_that_starts_the_files_stay_as_they_are() {
    let disk = ModelDisk::new();
    disk.put(CONFIG, BAD);
    let vault = Vault::on(disk.clone(), PathBuf::from(CONFIG));
    let mut guard = ConfigGuard::new(None);
    let now = Now {
        wall_ms: 5,
        steady_ms: 5,
    };
    guard.handle_found(vault.found(), now);
    carry_out_all(&mut guard, &vault, || now, |_| Err("no".to_owned()));
    assert_eq!(guard.next_event(), Some(Event::CannotStart("no".to_owned())));
    assert_eq!(*guard.state(), GuardState::Off);
    assert_eq!(disk.text(PathBuf::from(CONFIG)).as_deref(), Some(BAD));
}

#[test]
fn the_last_check_that_is_met_confirms_and_unmet_ones_are_named() {
    let checks = vec![ConfirmCheck::Relay, ConfirmCheck::Ping("home".to_owned())];
    let begin = || {
        let mut world = World::new();
        let clock = (world.now, Some(BOOT));
        let pending = Pending::new(
            OLD.to_owned(),
            "a test".to_owned(),
            TIMEOUT,
            checks.clone(),
            clock,
        );
        let application = Application {
            text: NEW.to_owned(),
            before: OLD.to_owned(),
            set_aside: None,
            is_proven: true,
            pending: Some(pending),
        };
        world.guard.handle_apply(application).unwrap();
        world.drive();
        world
    };
    let mut world = begin();
    world.guard.handle_check(0, Ok(()), None);
    world.guard.handle_check(1, Err("silence".to_owned()), None);
    world.drive();
    assert!(matches!(world.guard.state(), GuardState::Pending(_)));
    world.guard.handle_check(1, Ok(()), Some(NEW.to_owned()));
    world.drive();
    assert!(world.has(&Event::Confirmed(peerup_config::Confirmer::Checks)));
    assert!(world.is_kept(NEW));

    let mut world = begin();
    world.guard.handle_check(0, Ok(()), None);
    world.guard.handle_check(1, Err("silence".to_owned()), None);
    world.pass(TIMEOUT);
    let why = RevertReason::Checks(vec!["ping:home: silence".to_owned()]);
    assert!(world.has(&Event::Reverted(why)), "{:?}", world.events);
    assert_eq!(world.running.as_deref(), Some(OLD));
}
