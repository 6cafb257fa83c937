//! Verdicts on files, made up and real.

use std::path::PathBuf;

use peerup_config::Problem;

use super::*;
use crate::doctor::report::State;

const STRANGER: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

fn access(mode: u32) -> Access {
    Access {
        mode,
        owner: 7,
        folder_owner: 7,
    }
}

fn keys(text: &str) -> Check {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("authorized_keys");
    fs::write(&path, text).unwrap();
    authorized_keys(&path, Timestamp::UNIX_EPOCH)
}

#[test]
fn a_file_that_others_write_is_worse_than_one_that_they_read() {
    let state = |mode| judge_mode("config_mode", Path::new("/c"), access(mode)).state;
    assert_eq!(state(0o600), State::Ok);
    assert_eq!(state(0o400), State::Ok);
    assert_eq!(state(0o644), State::Warning);
    assert_eq!(state(0o620), State::Problem);
    assert_eq!(state(0o602), State::Problem);
    let foreign = Access {
        owner: 8,
        ..access(0o600)
    };
    let check = judge_mode("config_mode", Path::new("/c"), foreign);
    assert_eq!(
        (check.state, check.next.as_deref()),
        (State::Warning, Some("chown 7 /c"))
    );
}

#[test]
fn every_error_of_a_config_is_listed_with_file_and_line() {
    let problem = |line, key: &str| Problem {
        line,
        column: 1,
        key: key.to_owned(),
        message: "wrong".to_owned(),
    };
    let problems = (1..=25).map(|line| problem(line, "a.b")).collect();
    let path = PathBuf::from("/etc/p.yaml");
    let check = config(&path.clone(), &Err(ConfigError::Invalid { path, problems }));
    assert_eq!(check.state, State::Problem);
    assert!(
        check
            .found
            .starts_with("/etc/p.yaml:1: a.b: wrong\n/etc/p.yaml:2: "),
        "{check:?}"
    );
    assert!(check.found.ends_with("and 5 more"), "{check:?}");
}

#[test]
fn the_list_of_peers_is_counted_and_expired_entries_are_told() {
    assert_eq!(keys("").state, State::Ok);
    let check = keys(&format!("# mine\n{STRANGER}\n"));
    assert_eq!(check.state, State::Ok);
    assert!(check.found.ends_with("lets in 1 peer"), "{check:?}");
    let check = keys(&format!("{STRANGER} expires=1960-01-01T00:00:00Z\n"));
    assert_eq!(check.state, State::Warning);
    assert_eq!(check.next.unwrap(), format!("peerup auth remove {STRANGER}"));
    let check = keys("\nnonsense\n");
    assert_eq!(check.state, State::Problem);
    assert!(check.found.contains("line 2"), "{check:?}");
}

#[test]
fn a_missing_list_lets_nobody_in_and_is_no_problem() {
    let check = authorized_keys(Path::new("/nowhere/keys"), Timestamp::UNIX_EPOCH);
    assert_eq!(check.state, State::Warning);
}

#[test]
fn a_missing_key_is_never_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.key");
    let check = identity(&path, folder.path(), true);
    assert_eq!(check.state, State::Problem);
    assert!(!path.exists());
}

#[test]
fn an_open_key_is_closed_where_asked_and_a_damaged_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.key");
    peerup_trust::create_identity(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let before = fs::read(&path).unwrap();

    assert_eq!(identity(&path, folder.path(), false).state, State::Problem);
    let check = identity(&path, folder.path(), true);
    assert_eq!(check.state, State::Ok, "{check:?}");
    assert!(check.fixed.unwrap().contains("0644"));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read(&path).unwrap(), before);

    fs::write(&path, "damage").unwrap();
    assert_eq!(identity(&path, folder.path(), true).state, State::Problem);
    assert_eq!(fs::read(&path).unwrap(), b"damage");
}

#[test]
fn a_file_of_somebody_else_is_not_closed_through_a_link() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (target, link) = (folder.path().join("other"), folder.path().join("config.yaml"));
    fs::write(&target, "").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o666)).unwrap();
    std::os::unix::fs::chown(&target, Some(12345), None).unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();

    let check = mode("config_mode", &link, folder.path(), true);

    assert_eq!(check.state, State::Problem);
    assert!(check.fixed.unwrap().starts_with("not mended"), "");
    assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o666);
}
