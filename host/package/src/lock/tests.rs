//! The lock file: round trips, refusals, pins and rollback.

use super::*;
use crate::author::AuthorKey;

fn package(version: &str, seed: Option<u8>) -> Package {
    let text =
        format!("name = \"chess\"\nversion = \"{version}\"\ncontract = \"0.1.0\"\nsummary = \"Plays.\"\n");
    let key = seed.map(|seed| AuthorKey::from_seed(&[seed; 32]));
    Package::pack(&wasm_encoder::Component::HEADER, &text, key.as_ref()).unwrap()
}

fn locked(package: &Package) -> LockedPackage {
    LockedPackage::of(package, "file:/a b", "2026-01-01T00:00:00Z")
}

fn with(packages: &[&Package]) -> LockFile {
    let mut lock = LockFile::default();
    for package in packages {
        lock.set(package, locked(package)).unwrap();
    }
    lock
}

#[test]
fn what_is_written_is_read_back() {
    let (one, two) = (package("0.1.0", Some(1)), package("0.2.0", Some(1)));
    for lock in [LockFile::default(), with(&[&one]), with(&[&one, &two])] {
        assert_eq!(LockFile::parse(&lock.to_text()).unwrap(), lock);
    }
    let text = with(&[&one, &two]).to_text();
    assert!(
        text.contains("version = 1\n") && text.contains("[plugin.previous]"),
        "{text}"
    );
}

#[test]
fn refuses_later_versions_unknown_keys_and_names_twice() {
    let text = with(&[&package("0.1.0", None)]).to_text();
    let told = |text: &str| LockFile::parse(text).unwrap_err().to_string();
    assert!(told("version = 2\nnew = true\n").contains("upgrade peerup"));
    assert!(told(&text.replace("source", "sauce")).contains("sauce"));
    assert!(told(&text.replace("sha256:", "md5:")).contains("is no digest"));
    let entry = text
        .split_once("[[")
        .map(|(_, rest)| format!("[[{rest}"))
        .unwrap();
    assert!(told(&format!("{text}{entry}")).contains("chess is there twice"));
    assert!(LockFile::parse("").is_err());
    assert!(LockFile::parse("version = 1\n").is_ok());
}

#[test]
fn the_first_author_is_pinned_and_another_is_refused_with_both_keys() {
    let mut lock = with(&[&package("0.1.0", Some(1))]);
    let other = package("0.2.0", Some(2));
    let told = lock.set(&other, locked(&other)).unwrap_err().to_string();
    for id in [1, 2].map(|seed| AuthorKey::from_seed(&[seed; 32]).id().to_string()) {
        assert!(told.contains(&id), "{told}");
    }
    assert!(told.contains("peerup plugin remove chess"), "{told}");
    let unsigned = package("0.2.0", None);
    assert!(matches!(
        lock.set(&unsigned, locked(&unsigned)),
        Err(PinError::Unsigned { .. })
    ));
    assert_eq!(lock, with(&[&package("0.1.0", Some(1))]));
}

#[test]
fn a_plugin_that_was_unsigned_is_pinned_when_it_is_signed() {
    let lock = with(&[&package("0.1.0", None), &package("0.2.0", Some(1))]);
    let name = "chess".parse().unwrap();
    assert_eq!(
        lock.get(&name).unwrap().author,
        Some(AuthorKey::from_seed(&[1; 32]).id())
    );
}

#[test]
fn rolling_back_swaps_the_two_and_a_third_version_drops_the_first() {
    let packages = ["0.1.0", "0.2.0", "0.3.0"].map(|version| package(version, None));
    let [one, two, three] = &packages;
    let name = "chess".parse().unwrap();
    assert_eq!(with(&[one]).roll_back(&name), None);
    let mut lock = with(&[one, two, three]);
    assert_eq!(lock.digests().collect::<Vec<_>>(), [three.digest(), two.digest()]);
    assert_eq!(lock.roll_back(&name).unwrap().version, "0.2.0");
    assert_eq!(lock.roll_back(&name).unwrap().version, "0.3.0");
}

#[test]
fn setting_the_same_package_again_keeps_the_one_before() {
    let (one, two) = (package("0.1.0", None), package("0.2.0", None));
    let lock = with(&[&one, &two, &two]);
    let plugin = lock.get(&"chess".parse().unwrap()).unwrap();
    assert_eq!(plugin.previous.as_ref().unwrap().digest, one.digest());
}
