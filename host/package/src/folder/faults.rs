//! A process that is killed at any point of an edit leaves the state before or the state after it.
//!
//! Each edit is made over and over, and ends after one more call that changes the file system each time, the last one
//! half done. Then another process opens the folder.

use std::time::Duration;

use peerup_model::Deadline;

use super::*;
use crate::{disk::Fault, lock::Trial};

const NAMES: [&str; 2] = ["chess", "go"];

fn package(name: &str, version: &str) -> Package {
    let text =
        format!("name = \"{name}\"\nversion = \"{version}\"\ncontract = \"0.1.0\"\nsummary = \"Plays.\"\n");
    Package::pack(&wasm_encoder::Component::HEADER, &text, None).unwrap()
}

/// An edit as the commands make it.
#[derive(Debug, Clone, Copy)]
enum Edit {
    /// `install` and `upgrade`.
    Put(&'static str, &'static str),
    /// `upgrade` with a time to confirm.
    Try(&'static str, &'static str),
    Confirm(&'static str),
    /// The time to confirm is over.
    Expire,
    RollBack(&'static str),
    Remove(&'static str),
}

/// A moment, in seconds since the machine started in 1970.
fn at(seconds: u64) -> Now {
    Now {
        wall_ms: seconds * 1000,
        steady_ms: seconds * 1000,
    }
}

/// When what is tried begins, and when its minute is over.
const BEGIN: u64 = 10;
const OVER: u64 = 70;

impl Edit {
    fn make(self, folder: &PluginFolder) -> Result<(), FolderError> {
        if let Self::Expire = self {
            return folder.expire(at(OVER), Some("a")).map(drop);
        }
        folder.edit(|lock, store| match self {
            Self::Put(name, version) => {
                let package = package(name, version);
                store.put(&package)?;
                let locked = LockedPackage::of(&package, "file:/p.peerup", "2026-01-01T00:00:00Z");
                lock.set(&package, locked).unwrap();
                Ok(())
            }
            Self::Try(name, version) => {
                let package = package(name, version);
                store.put(&package)?;
                let locked = LockedPackage::of(&package, "file:/p.peerup", "2026-01-01T00:00:00Z");
                lock.set(&package, locked).unwrap();
                let deadline = Deadline::new(Duration::from_secs(60), at(BEGIN), Some("a"));
                lock.begin_trial(&name.parse().unwrap(), Trial::new("a test", Vec::new(), deadline));
                Ok(())
            }
            Self::Confirm(name) => {
                lock.confirm(&name.parse().unwrap()).unwrap();
                Ok(())
            }
            Self::Expire => Ok(()),
            Self::RollBack(name) => {
                let name = name.parse().unwrap();
                let previous = lock.get(&name).unwrap().previous.clone().unwrap();
                store.load(&name, &previous)?;
                lock.roll_back(&name);
                Ok(())
            }
            Self::Remove(name) => {
                lock.remove(&name.parse().unwrap());
                Ok(())
            }
        })
    }
}

/// What runs before and after the time to confirm, and what a rollback would bring: all of it whole.
fn state(folder: &PluginFolder) -> Vec<(String, String, Option<String>)> {
    let lock = folder.read().unwrap();
    let found = NAMES.iter().filter_map(|name| lock.get(&name.parse().unwrap()));
    found
        .map(
            |plugin @ LockedPlugin {
                 name,
                 current,
                 previous,
                 ..
             }| {
                folder.load(name, current).unwrap();
                // A marker has always its way back.
                assert!(plugin.trial.is_none() || previous.is_some());
                let late = plugin.in_force(at(OVER), Some("a"));
                if let Some(previous) = previous {
                    folder.load(name, previous).unwrap();
                }
                let version = |package: &LockedPackage| format!("{name} {}", package.version);
                (version(current), version(late), previous.as_ref().map(version))
            },
        )
        .collect()
}

/// Every file, by its path from the folder of the config.
fn files(place: &Path) -> Vec<String> {
    let mut found: Vec<String> = [place.to_owned(), place.join("plugins/sha256")]
        .iter()
        .flat_map(|folder| entries(folder))
        .filter(|path| path.is_file())
        .map(|path| path.strip_prefix(place).unwrap().display().to_string())
        .collect();
    found.sort();
    found
}

/// A folder in which these edits were made, by a process that ended in good order.
fn after(edits: &[Edit]) -> (tempfile::TempDir, PluginFolder) {
    let place = tempfile::tempdir().unwrap();
    let folder = PluginFolder::new(place.path());
    for edit in edits {
        edit.make(&folder).unwrap();
    }
    (place, folder)
}

/// Ends the last edit after each of its calls and looks at what is there. Returns how many calls it makes.
fn kill_everywhere(before: &[Edit], last: Edit) -> usize {
    let old = state(&after(before).1);
    let made: Vec<Edit> = before.iter().copied().chain([last]).collect();
    let (ended, folder) = after(&made);
    let (new, clean) = (state(&folder), files(ended.path()));
    for calls in 0.. {
        let (place, folder) = after(before);
        let (disk, fault) = Fault::after(calls);
        let outcome = last.make(&PluginFolder {
            disk,
            ..folder.clone()
        });
        if !fault.met() {
            outcome.unwrap();
            return calls;
        }
        let found = state(&folder);
        assert!(
            found == old || found == new,
            "{last:?} ended after {calls} calls: {found:?} is neither {old:?} nor {new:?}"
        );
        // What people do then: they run the command again.
        let repeated = if found == new {
            folder.edit(|_, _| Ok::<_, FolderError>(()))
        } else {
            last.make(&folder)
        };
        repeated.unwrap();
        assert_eq!(state(&folder), new, "{last:?} again, after {calls} calls");
        assert_eq!(files(place.path()), clean, "{last:?} again, after {calls} calls");
    }
    unreachable!("an edit ends")
}

#[test]
fn every_edit_that_is_killed_anywhere_leaves_the_last_good_state_and_nothing_behind() {
    use Edit::{Confirm, Expire, Put, Remove, RollBack, Try};
    let one = [Put("chess", "0.1.0")];
    let two = [Put("go", "0.1.0"), Put("chess", "0.1.0"), Put("chess", "0.2.0")];
    let tried = [two[0], two[1], two[2], Try("chess", "0.3.0")];
    for (before, last, least) in [
        (&[][..], Put("chess", "0.1.0"), 12),
        (&one, Put("go", "0.1.0"), 8),
        (&one, Put("chess", "0.2.0"), 8),
        // The third version makes the first one garbage.
        (&two, Put("chess", "0.3.0"), 9),
        (&two, RollBack("chess"), 5),
        (&two, Remove("chess"), 7),
        (&one, Remove("chess"), 6),
        (&one, Try("chess", "0.2.0"), 8),
        (&two, Try("chess", "0.3.0"), 9),
        (&tried, Confirm("chess"), 5),
        (&tried, RollBack("chess"), 5),
        (&tried, Expire, 5),
    ] {
        let calls = kill_everywhere(before, last);
        assert!(
            calls >= least,
            "{last:?} makes {calls} calls, and {least} were looked for"
        );
    }
}
