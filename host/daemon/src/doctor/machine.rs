//! The machine under the node: clock, IPv6, disk, open files, and an environment that gives keys away.
//!
//! Blocking. Each look is a thin shell around a pure `judge_*`.

use std::{ffi::OsStr, fs, io, path::Path};

use jiff::Timestamp;
use peerup_trust::shell_word;

use super::report::Check;

/// No clock that is right shows less: 2026-06-01, before the first release.
const BUILT_AFTER: i64 = 1_780_272_000;
/// Below this a log or a compiled plugin may be the one that fills the disk.
const LOW_SPACE: u64 = 50_000_000;
/// Below this an edit of the config can fail.
const NO_SPACE: u64 = 5_000_000;
/// Each tunnel takes two descriptors at each end, each connection one.
const LEAST_FILES: u64 = 4096;
const ENOUGH_FILES: u64 = 65_536;
/// Flags of `/proc/net/ipv6_route`: the route is up; it refuses what matches.
const ROUTE_UP: u32 = 0x0001;
const ROUTE_REJECT: u32 = 0x0200;

const WHY_TIME: &str = "a relay says by absolute time when a reservation ends, and codes and entries of \
    authorized_keys expire by this clock: with a wrong one they end too early or never";

pub(super) fn judge_clock(now: Timestamp) -> Check {
    let name = "clock";
    if now.as_second() < BUILT_AFTER {
        return Check::problem(
            name,
            format!("it is {now} here, before this version of peerup was made"),
        )
        .meaning(WHY_TIME)
        .next("sudo timedatectl set-ntp true");
    }
    Check::ok(name, format!("it is {now:.0} here"))
}

/// Looks for the mark that systemd-timesyncd makes.
pub(super) fn clock_sync(root: &Path) -> Check {
    judge_sync(root.join("run/systemd/timesync/synchronized").exists())
}

pub(super) fn judge_sync(synchronized: bool) -> Check {
    let name = "clock_sync";
    if synchronized {
        return Check::ok(name, "systemd-timesyncd keeps the clock right");
    }
    Check::skipped(
        name,
        "systemd-timesyncd did not set this clock; chrony or ntpd may",
    )
    .meaning(WHY_TIME)
    .next("timedatectl, or: chronyc tracking")
}

/// Looks at the addresses and routes of IPv6.
pub(super) fn ipv6(root: &Path) -> Check {
    let read = |name: &str| fs::read_to_string(root.join("proc/net").join(name)).unwrap_or_default();
    judge_ipv6(
        has_global_address(&read("if_inet6")),
        has_default_route(&read("ipv6_route")),
    )
}

pub(super) fn judge_ipv6(address: bool, route: bool) -> Check {
    let name = "ipv6";
    match (address, route) {
        (true, true) => Check::ok(name, "there is a global address and a default route"),
        (true, false) => Check::warning(name, "there is a global address, but no default route")
            .meaning("peers cannot be reached over IPv6; IPv4 is used")
            .next("ip -6 route"),
        (false, _) => Check::warning(name, "there is no global address")
            .meaning("over IPv6 two machines often reach each other without any NAT; without it IPv4 is used")
            .next("switch IPv6 on at the router, then: ip -6 address show scope global"),
    }
}

/// Reads `/proc/net/if_inet6`: address, interface number, prefix length, scope, flags, name.
fn has_global_address(text: &str) -> bool {
    text.lines().any(|line| {
        let mut words = line.split_whitespace();
        let (address, scope) = (words.next(), words.nth(2));
        // Addresses of fc00::/7 have global scope, but no way into the internet.
        let private = address.is_some_and(|address| address.starts_with("fc") || address.starts_with("fd"));
        scope == Some("00") && !private
    })
}

/// Reads `/proc/net/ipv6_route`: destination, its prefix length, ..., flags, interface.
fn has_default_route(text: &str) -> bool {
    text.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [destination, prefix, .., flags, interface] = words.as_slice() else {
            return false;
        };
        let flags = u32::from_str_radix(flags, 16).unwrap_or(ROUTE_REJECT);
        destination.bytes().all(|digit| digit == b'0')
            && *prefix == "00"
            && *interface != "lo"
            && flags & ROUTE_UP != 0
            && flags & ROUTE_REJECT == 0
    })
}

/// What a folder is to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Where config, socket and lock lie.
    Config,
    /// Where compiled plugins are kept; the node works without.
    Cache,
}

/// Free bytes of a folder, and whether a file can be made in it.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) free: io::Result<u64>,
    pub(super) written: io::Result<()>,
}

/// Looks at a folder, or at the first one above it that exists.
pub(super) fn disk(place: Place, folder: &Path) -> Check {
    let existing = folder
        .ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or(folder);
    let space = Space {
        free: rustix::fs::statvfs(existing)
            .map(|found| found.f_bavail.saturating_mul(found.f_frsize))
            .map_err(io::Error::from),
        written: write_and_remove(existing),
    };
    judge_space(place, existing, &space)
}

fn write_and_remove(folder: &Path) -> io::Result<()> {
    let mut file = tempfile::Builder::new()
        .prefix(".peerup-doctor-")
        .tempfile_in(folder)?;
    io::Write::write_all(&mut file, b"peerup doctor looks whether this works\n")?;
    file.close()
}

pub(super) fn judge_space(place: Place, folder: &Path, space: &Space) -> Check {
    let (name, meaning) = match place {
        Place::Config => (
            "disk",
            "the daemon makes its socket and cookie there, and edits of the config are written there",
        ),
        Place::Cache => (
            "cache_disk",
            "plugins are compiled anew at each start, which takes a second or two more",
        ),
    };
    let bad = |found: String| match place {
        Place::Config => Check::problem(name, found).meaning(meaning),
        Place::Cache => Check::warning(name, found).meaning(meaning),
    };
    let word = shell_word(folder);
    if let Err(error) = &space.written {
        return bad(format!("no file can be made in {}: {error}", folder.display()))
            .next(format!("ls -ld {word}; df -h {word}"));
    }
    let free = match &space.free {
        Ok(free) => *free,
        Err(error) => return Check::skipped(name, format!("{}: {error}", folder.display())),
    };
    let found = format!("{} MB are free in {}", free / 1_000_000, folder.display());
    match free {
        ..NO_SPACE => bad(found).next(format!("df -h {word}")),
        NO_SPACE..LOW_SPACE => Check::warning(name, found)
            .meaning(meaning)
            .next(format!("df -h {word}")),
        _ => Check::ok(name, found),
    }
}

/// Looks at the limit that this process has, and a daemon started from the same place as well.
pub(super) fn open_files() -> Check {
    judge_files(rustix::process::getrlimit(rustix::process::Resource::Nofile).current)
}

/// Says what the limit means; none is no limit.
pub(super) fn judge_files(limit: Option<u64>) -> Check {
    let name = "open_files";
    match limit {
        None => Check::ok(name, "there is no limit of open files"),
        Some(limit) if limit < LEAST_FILES => {
            Check::warning(name, format!("{limit} open files are allowed, below {LEAST_FILES}"))
                .meaning("each tunnel takes two: many at once are refused, and so are new connections")
                .next(format!(
                    "LimitNOFILE={ENOUGH_FILES} under [Service] in the daemon's unit, or before it in a shell: ulimit -n {ENOUGH_FILES}"
                ))
        }
        Some(limit) => Check::ok(name, format!("{limit} open files are allowed")),
    }
}

/// Says what `SSLKEYLOGFILE` means: libraries write the keys of TLS into the file that it names.
pub(super) fn judge_key_log(variable: Option<&OsStr>) -> Check {
    let name = "key_log";
    match variable.filter(|value| !value.is_empty()) {
        None => Check::ok(name, "no log of TLS keys is asked for"),
        Some(value) => Check::problem(name, format!("SSLKEYLOGFILE is set to {}", value.display()))
            .meaning("whoever has that file can read what QUIC carries")
            .next("unset SSLKEYLOGFILE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::State;

    const ULA: &str = "fd000000000000000000000000000002 04 40 00 82     eth0\n";
    const LOOPBACK: &str = "00000000000000000000000000000001 01 80 10 80       lo\n";
    const LINK: &str = "fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n";
    const GLOBAL: &str = "20010db8000000000000000000000002 04 40 00 82     eth0\n";

    fn route(destination: &str, prefix: &str, flags: &str, interface: &str) -> String {
        let zero = "0".repeat(32);
        format!("{destination} {prefix} {zero} 00 {zero} 00000400 00000003 00000000 {flags} {interface:>8}\n")
    }

    #[test]
    fn only_a_global_address_counts() {
        for text in ["", ULA, LOOPBACK, LINK, "nonsense", "2001"] {
            assert!(!has_global_address(text), "{text}");
        }
        assert!(has_global_address(&format!("{LOOPBACK}{LINK}{GLOBAL}")));
    }

    #[test]
    fn only_a_default_route_that_leads_somewhere_counts() {
        let zero = "0".repeat(32);
        for text in [
            String::new(),
            "nonsense\n".to_owned(),
            route(&zero, "00", "00200200", "lo"),
            route(&zero, "00", "00000203", "eth0"),
            route(&zero, "40", "00000001", "eth0"),
            route(&GLOBAL[..32], "40", "00000001", "eth0"),
        ] {
            assert!(!has_default_route(&text), "{text}");
        }
        assert!(has_default_route(&route(&zero, "00", "00000003", "eth0")));
    }

    #[test]
    fn without_ipv6_there_is_a_warning_at_most() {
        assert_eq!(judge_ipv6(true, true).state, State::Ok);
        for (address, route) in [(true, false), (false, true), (false, false)] {
            assert_eq!(judge_ipv6(address, route).state, State::Warning);
        }
    }

    #[test]
    fn a_clock_before_the_build_is_a_problem_that_says_why() {
        let check = judge_clock(Timestamp::UNIX_EPOCH);
        assert_eq!(check.state, State::Problem);
        assert!(check.meaning.unwrap().contains("reservation"));
        let later = Timestamp::from_second(BUILT_AFTER).unwrap();
        assert_eq!(judge_clock(later).state, State::Ok);
        assert_eq!(judge_sync(true).state, State::Ok);
        assert_eq!(judge_sync(false).state, State::Skipped);
    }

    fn space(place: Place, free: u64) -> State {
        let space = Space {
            free: Ok(free),
            written: Ok(()),
        };
        judge_space(place, Path::new("/d"), &space).state
    }

    #[test]
    fn little_space_is_a_warning_and_none_a_problem() {
        assert_eq!(space(Place::Config, LOW_SPACE), State::Ok);
        assert_eq!(space(Place::Config, LOW_SPACE - 1), State::Warning);
        assert_eq!(space(Place::Config, NO_SPACE - 1), State::Problem);
        assert_eq!(space(Place::Cache, NO_SPACE - 1), State::Warning);
    }

    #[test]
    fn a_folder_that_nothing_can_be_written_to_is_told() {
        let full = Space {
            free: Ok(u64::MAX),
            written: Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        };
        let check = judge_space(Place::Config, Path::new("/d"), &full);
        assert_eq!(check.state, State::Problem);
        assert_eq!(check.next.unwrap(), "ls -ld /d; df -h /d");
    }

    #[test]
    fn the_look_at_a_folder_leaves_nothing_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let check = disk(Place::Config, &folder.path().join("not/yet"));
        assert_ne!(check.state, State::Problem, "{check:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn few_open_files_come_with_the_line_for_systemd() {
        let check = judge_files(Some(1024));
        assert_eq!(check.state, State::Warning);
        assert!(check.next.unwrap().contains("LimitNOFILE=65536"));
        assert_eq!(judge_files(Some(4096)).state, State::Ok);
        assert_eq!(judge_files(None).state, State::Ok);
    }

    #[test]
    fn a_log_of_keys_is_a_problem() {
        assert_eq!(judge_key_log(Some(OsStr::new("/tmp/keys"))).state, State::Problem);
        assert_eq!(judge_key_log(Some(OsStr::new(""))).state, State::Ok);
        assert_eq!(judge_key_log(None).state, State::Ok);
    }
}
