//! The files of the guard on a real disk: full, read-only, with two writers, and beside commands that edit the config.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on fails"
)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use peerup_config::{
    Action, Application, AtRest, AtRestError, ConfigFile, ConfigGuard, EditError, Event, GuardState, Pending,
    Refused, Trial, Vault, carry_out_all, now,
};
use peerup_model::Now;

const OLD: &str = "version: 1\nname: old\n";
const NEW: &str = "version: 1\nname: new\n";

fn node() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    fs::write(&config, OLD).unwrap();
    (folder, config)
}

fn trial(timeout: Duration) -> Trial {
    Trial {
        by: "a test".to_owned(),
        timeout,
        checks: Vec::new(),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn pending(before: &str) -> Pending {
    Pending::new(
        before.to_owned(),
        "a test".to_owned(),
        Duration::from_secs(60),
        Vec::new(),
        (now(), None),
    )
}

#[test]
fn files_are_private_named_after_the_config_and_gone_when_it_is_confirmed() {
    let (folder, config) = node();
    let mut files = AtRest::open(Vault::new(&config)).unwrap();
    assert!(
        files
            .apply(NEW.to_owned(), Some(trial(Duration::from_secs(60))))
            .unwrap()
    );
    assert_eq!(fs::read_to_string(&config).unwrap(), NEW);
    assert_eq!(
        names(folder.path()),
        [".config.lock", ".config.pending", "config.yaml"]
    );
    for name in names(folder.path()) {
        let mode = fs::metadata(folder.path().join(&name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(matches!(
        files.apply(OLD.to_owned(), None),
        Err(AtRestError::Refused(Refused::Pending(_)))
    ));
    files.confirm().unwrap();
    assert_eq!(names(folder.path()), [".config.lock", "config.yaml"]);
    assert!(!files.apply(NEW.to_owned(), None).unwrap(), "it is there already");
}

#[test]
fn a_config_that_waits_is_not_edited_and_the_marker_of_a_cut_short_apply_is_no_hindrance() {
    let (_folder, config) = node();
    let vault = Vault::new(&config);
    let edit = || {
        ConfigFile::new(&config)
            .edit(|editor| editor.set_service(&"web".parse().unwrap(), "localhost:80", true))
    };
    // Cut short before the file was replaced.
    vault.carry_out(&Action::Mark(Box::new(pending(OLD))), 0).unwrap();
    edit().unwrap();
    assert_eq!(vault.pending(), Ok(None));

    vault.carry_out(&Action::Mark(Box::new(pending(OLD))), 0).unwrap();
    let before = fs::read_to_string(&config).unwrap();
    let nothing_new = edit().unwrap();
    assert!(!nothing_new.changed);
    let refused = ConfigFile::new(&config)
        .edit(|editor| editor.set_own_name(&"other".parse().unwrap()))
        .unwrap_err();
    assert!(matches!(refused, EditError::Pending { .. }), "{refused}");
    assert_eq!(fs::read_to_string(&config).unwrap(), before);
}

#[test]
fn of_two_writers_one_applies_and_the_other_is_told_of_it() {
    let (_folder, config) = node();
    let outcomes: Vec<Result<bool, AtRestError>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|number| {
                let config = config.clone();
                scope.spawn(move || {
                    let text = format!("version: 1\nname: w{number}\n");
                    AtRest::open(Vault::new(&config))?.apply(text, Some(trial(Duration::from_secs(60))))
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let applied: Vec<usize> = (0..8)
        .filter(|index| matches!(outcomes[*index], Ok(true)))
        .collect();
    assert_eq!(applied.len(), 1, "{outcomes:?}");
    let text = fs::read_to_string(&config).unwrap();
    assert_eq!(text, format!("version: 1\nname: w{}\n", applied[0]));
    let marker = Vault::new(&config).pending().unwrap().unwrap();
    assert_eq!(marker.before, OLD);
    AtRest::open(Vault::new(&config)).unwrap().revert().unwrap();
    assert_eq!(fs::read_to_string(&config).unwrap(), OLD);
}

#[test]
fn the_newest_good_one_has_a_name_of_its_own_and_does_without_the_others() {
    let (folder, config) = node();
    let last_good = folder.path().join(".config.last-good.yaml");
    let vault = Vault::new(&config);
    assert!(vault.generations().is_empty());
    let keep = |text: &str, at| vault.carry_out(&Action::Archive(text.to_owned()), at).unwrap();
    for (text, at) in [(OLD, 5), (NEW, 6), (OLD, 7)] {
        keep(text, at);
        assert_eq!(fs::read_to_string(&last_good).unwrap(), text);
        assert_eq!(vault.generations()[0].text, text);
    }
    assert_eq!(vault.generations().len(), 2);

    fs::remove_dir_all(folder.path().join(".config.history")).unwrap();
    let kept = vault.generations();
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (kept[0].text.as_str(), kept[0].path.as_path()),
        (OLD, last_good.as_path())
    );
    keep(OLD, 8);
    assert_eq!(vault.generations()[0].kept_ms, 8);

    // One that is damaged or gone is written again.
    fs::write(&last_good, "nonsense").unwrap();
    keep(OLD, 9);
    assert_eq!(fs::read_to_string(&last_good).unwrap(), OLD);
}

#[test]
fn what_was_left_half_written_is_swept() {
    let (folder, config) = node();
    fs::write(folder.path().join(".config.x1.tmp"), "half").unwrap();
    Vault::new(&config).sweep();
    assert_eq!(names(folder.path()), ["config.yaml"]);
}

/// A small disk of its own; none where this process may not mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(folder.path())
            .status();
        match mounted {
            Ok(status) if status.success() => Some(Self(folder)),
            _ => {
                eprintln!("skipped: mounting needs root");
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let done = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(self.0.path())
            .status();
        assert!(done.unwrap().success());
    }

    fn fill(&self) -> PathBuf {
        let file = self.0.path().join("ballast");
        let _ = fs::write(&file, vec![0_u8; 1 << 20]);
        file
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Applies, and then lets the time go by, on a disk that `spoil` has made useless in between.
fn reverts_on(disk: &SmallDisk, spoil: impl Fn(), mend: impl Fn()) {
    let config = disk.0.path().join("config.yaml");
    fs::write(&config, OLD).unwrap();
    let vault = Vault::new(&config);
    let mut guard = ConfigGuard::new(None);
    let mut running = String::new();
    let mut time = Now {
        wall_ms: 1_000_000,
        steady_ms: 1_000,
    };
    let mut drive = |guard: &mut ConfigGuard, time: Now| {
        carry_out_all(
            guard,
            &vault,
            || time,
            |text| {
                running = text.to_owned();
                Ok(())
            },
        );
        let mut events = Vec::new();
        while let Some(event) = guard.next_event() {
            events.push(event);
        }
        (events, running.clone())
    };
    guard.handle_found(vault.found(), time);
    assert_eq!(drive(&mut guard, time).1, OLD);
    let apply = |guard: &mut ConfigGuard, time: Now| {
        let marker = Pending::new(
            OLD.to_owned(),
            "a test".to_owned(),
            Duration::from_secs(60),
            Vec::new(),
            (time, None),
        );
        guard
            .handle_apply(Application {
                text: NEW.to_owned(),
                before: OLD.to_owned(),
                set_aside: None,
                is_proven: true,
                pending: Some(marker),
            })
            .unwrap();
    };

    spoil();
    apply(&mut guard, time);
    let (events, running) = drive(&mut guard, time);
    assert!(
        matches!(events[..], [.., Event::NotApplied(_)]) || guard.is_busy(),
        "{events:?}"
    );
    assert_eq!(
        (running.as_str(), fs::read_to_string(&config).unwrap().as_str()),
        (OLD, OLD)
    );

    mend();
    time.steady_ms += 60_000;
    guard.handle_timeout(None, time);
    drive(&mut guard, time);
    assert_eq!(*guard.state(), GuardState::Settled);
    apply(&mut guard, time);
    let (_, running) = drive(&mut guard, time);
    assert_eq!(running, NEW);
    spoil();
    time.steady_ms += 60_000;
    guard.handle_timeout(Some(NEW.to_owned()), time);
    let (_, running) = drive(&mut guard, time);
    assert_eq!(running, OLD, "in force, whatever the disk says");
    assert_eq!(fs::read_to_string(&config).unwrap(), NEW);
    assert!(matches!(guard.state(), GuardState::Reverting { .. }));

    mend();
    time.steady_ms += 60_000;
    guard.handle_timeout(None, time);
    drive(&mut guard, time);
    assert_eq!(*guard.state(), GuardState::Settled);
    assert_eq!(fs::read_to_string(&config).unwrap(), OLD);
    assert_eq!(vault.pending(), Ok(None));
    assert!(vault.generations().iter().any(|one| one.text == OLD));
}

#[test]
fn a_full_disk_keeps_the_old_config_and_the_way_back_waits_for_room() {
    let Some(disk) = SmallDisk::mount("size=64k") else {
        return;
    };
    reverts_on(
        &disk,
        || drop(disk.fill()),
        || fs::remove_file(disk.0.path().join("ballast")).unwrap(),
    );
}

#[test]
fn a_read_only_disk_keeps_the_old_config_and_the_way_back_waits_for_it() {
    let Some(disk) = SmallDisk::mount("size=256k") else {
        return;
    };
    reverts_on(&disk, || disk.remount("ro"), || disk.remount("rw"));
}
