//! The folder of what is installed: two writers, damage, garbage.

use std::thread;

use super::*;

fn package(name: &str, version: &str) -> Package {
    let text =
        format!("name = \"{name}\"\nversion = \"{version}\"\ncontract = \"0.1.0\"\nsummary = \"Plays.\"\n");
    Package::pack(&wasm_encoder::Component::HEADER, &text, None).unwrap()
}

fn install(folder: &PluginFolder, package: &Package) {
    folder
        .edit(|lock, store| {
            store.put(package)?;
            let locked = LockedPackage::of(package, "file:/chess.peerup", "2026-01-01T00:00:00Z");
            lock.set(package, locked).unwrap();
            Ok::<_, FolderError>(())
        })
        .unwrap();
}

fn files(folder: &PluginFolder) -> usize {
    fs::read_dir(folder.store()).map_or(0, |entries| entries.count())
}

#[test]
fn what_is_put_is_read_back_and_checked() {
    let place = tempfile::tempdir().unwrap();
    let folder = PluginFolder::new(place.path());
    assert_eq!(folder.read().unwrap(), LockFile::default());
    let chess = package("chess", "0.1.0");
    install(&folder, &chess);
    let name = "chess".parse().unwrap();
    let locked = folder.read().unwrap().get(&name).unwrap().current.clone();
    assert_eq!(folder.load(&name, &locked).unwrap(), chess);

    let path = folder.package_path(&chess.digest());
    fs::write(&path, b"damage").unwrap();
    let told = folder.load(&name, &locked).unwrap_err().to_string();
    assert!(
        told.contains("damaged") && told.contains("peerup plugin install file:/chess.peerup"),
        "{told}"
    );
    // Another package of good form is no better: the digest decides.
    fs::write(&path, package("chess", "0.2.0").bytes()).unwrap();
    assert!(matches!(
        folder.load(&name, &locked),
        Err(FolderError::Damaged { .. })
    ));
    fs::remove_file(&path).unwrap();
    let told = folder.load(&name, &locked).unwrap_err().to_string();
    assert!(
        told.contains("is not at") && told.contains("peerup plugin install"),
        "{told}"
    );

    install(&folder, &chess);
    assert_eq!(folder.load(&name, &locked).unwrap(), chess);
}

#[test]
fn a_package_of_another_plugin_is_not_loaded_under_this_name() {
    let place = tempfile::tempdir().unwrap();
    let folder = PluginFolder::new(place.path());
    install(&folder, &package("chess", "0.1.0"));
    let locked = folder.read().unwrap().plugins().next().unwrap().current.clone();
    let told = folder
        .load(&"go".parse().unwrap(), &locked)
        .unwrap_err()
        .to_string();
    assert!(told.contains("it is the plugin chess"), "{told}");
}

#[test]
fn two_writers_do_not_lose_each_others_entries() {
    let place = tempfile::tempdir().unwrap();
    let folder = PluginFolder::new(place.path());
    thread::scope(|scope| {
        for writer in 0..8 {
            let folder = folder.clone();
            scope.spawn(move || {
                for number in 0..4 {
                    install(&folder, &package(&format!("p{writer}-{number}"), "0.1.0"));
                }
            });
        }
    });
    assert_eq!(folder.read().unwrap().plugins().count(), 32);
    assert_eq!(files(&folder), 32);
}

#[test]
fn what_is_neither_current_nor_previous_is_removed_and_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let folder = PluginFolder::new(place.path());
    for version in ["0.1.0", "0.2.0", "0.3.0"] {
        install(&folder, &package("chess", version));
    }
    assert_eq!(files(&folder), 2);
    fs::write(folder.store().join("note.txt"), "mine").unwrap();
    fs::write(folder.store().join(".package.abc.tmp"), "half").unwrap();
    folder
        .edit(|lock, _| {
            lock.remove(&"chess".parse().unwrap());
            Ok::<_, FolderError>(())
        })
        .unwrap();
    assert_eq!(files(&folder), 1);
}

#[test]
fn a_failed_change_leaves_the_lock_file_as_it_was() {
    let place = tempfile::tempdir().unwrap();
    let folder = PluginFolder::new(place.path());
    install(&folder, &package("chess", "0.1.0"));
    let before = fs::read_to_string(folder.lock_path()).unwrap();
    let failed = folder.edit(|lock, store| {
        lock.remove(&"chess".parse().unwrap());
        store.put(&package("go", "0.1.0"))?;
        Err::<(), _>(FolderError::Io {
            doing: "test",
            path: PathBuf::new(),
            source: io::Error::other("told to"),
        })
    });
    assert!(failed.is_err());
    assert_eq!(fs::read_to_string(folder.lock_path()).unwrap(), before);
}

#[test]
fn a_lock_file_that_does_not_hold_is_told_and_kept() {
    let place = tempfile::tempdir().unwrap();
    let folder = PluginFolder::new(place.path());
    fs::write(folder.lock_path(), "version = 7\n").unwrap();
    let told = folder.read().unwrap_err().to_string();
    assert!(
        told.contains("plugins.lock") && told.contains("version 7"),
        "{told}"
    );
    let edited = folder.edit(|_, _| Ok::<_, FolderError>(()));
    assert!(edited.is_err());
    assert_eq!(fs::read_to_string(folder.lock_path()).unwrap(), "version = 7\n");
}

#[cfg(unix)]
#[test]
fn a_package_that_cannot_be_read_for_a_moment_is_no_reason_to_stay() {
    use std::time::Duration;

    use peerup_model::Deadline;

    use crate::lock::Trial;

    let place = tempfile::tempdir().unwrap();
    let folder = PluginFolder::new(place.path());
    let at = |wall_ms| Now {
        wall_ms,
        steady_ms: wall_ms,
    };
    for name in ["chess", "go"] {
        install(&folder, &package(name, "0.1.0"));
        install(&folder, &package(name, "0.2.0"));
        let trial = Trial::new(
            "a test",
            Vec::new(),
            Deadline::new(Duration::from_secs(1), at(0), None),
        );
        folder
            .edit(|lock, _| {
                lock.begin_trial(&name.parse().unwrap(), trial);
                Ok::<_, FolderError>(())
            })
            .unwrap();
    }
    let current = |name: &str| {
        let lock = folder.read().unwrap();
        lock.get(&name.parse().unwrap()).unwrap().current.version.clone()
    };
    let path = folder.package_path(&package("chess", "0.1.0").digest());
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    // A loop of links is no missing file, and no damaged one.
    std::os::unix::fs::symlink(&path, &path).unwrap();

    let names = |expired: Vec<Expired>| {
        expired
            .into_iter()
            .map(|one| one.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(folder.expire(at(9_000), None).unwrap()), ["go"]);
    assert_eq!(
        (current("chess"), current("go")),
        ("0.2.0".to_owned(), "0.1.0".to_owned())
    );
    let again = folder.expire(at(9_000), None);
    assert!(matches!(again, Err(FolderError::Io { .. })), "{again:?}");

    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let back = folder.expire(at(9_000), None).unwrap();
    assert_eq!(
        (back[0].kept.clone(), current("chess")),
        (None, "0.1.0".to_owned())
    );
}
