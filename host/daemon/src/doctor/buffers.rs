//! The kernel's buffers for UDP: QUIC loses packets where they are small, and no program may exceed the limit.
//!
//! Blocking. Reads `/proc/sys`; where asked to mend and allowed to, raises what is too small there and in a file of
//! its own under `/etc/sysctl.d`, which it makes but never changes.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use super::report::Check;

const NAME: &str = "udp_buffers";
/// What a socket may ask for at most: the number that quic-go and quinn name for fast links.
const LEAST_MAX: u64 = 7_500_000;
/// What a socket has that asks for nothing, as those of QUIC here do: a long fat path's worth of packets.
const LEAST_DEFAULT: u64 = 4 << 20;
const WANTED: [(&str, u64); 4] = [
    ("rmem_max", LEAST_MAX),
    ("wmem_max", LEAST_MAX),
    ("rmem_default", LEAST_DEFAULT),
    ("wmem_default", LEAST_DEFAULT),
];
const CONF: &str = "etc/sysctl.d/60-peerup.conf";

/// One setting below what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Small {
    pub(super) key: &'static str,
    pub(super) found: u64,
    pub(super) wanted: u64,
}

/// Looks at the buffers, and enlarges them where asked.
pub(super) fn look(root: &Path, mend: bool) -> Check {
    let found = read(root);
    let check = judge(found.as_deref());
    let small = found.unwrap_or_default();
    if !mend || small.is_empty() {
        return check;
    }
    if !rustix::process::geteuid().is_root() {
        return check.fixed(Some("not mended: only root may".to_owned()));
    }
    match enlarge(root, &small) {
        Err(error) => check.fixed(Some(format!("not mended: {error}"))),
        Ok(done) => judge(read(root).as_deref()).fixed(Some(done)),
    }
}

/// Returns what is too small; none where the settings cannot be read.
fn read(root: &Path) -> Option<Vec<Small>> {
    let mut small = Vec::new();
    for (key, wanted) in WANTED {
        let text = fs::read_to_string(root.join("proc/sys/net/core").join(key)).ok()?;
        let found = text.trim().parse().ok()?;
        if found < wanted {
            small.push(Small { key, found, wanted });
        }
    }
    Some(small)
}

/// Says what the settings mean; none where they cannot be read.
pub(super) fn judge(small: Option<&[Small]>) -> Check {
    let Some(small) = small else {
        return Check::skipped(NAME, "/proc/sys/net/core cannot be read here")
            .meaning("in a container these settings are the host's")
            .next("on the host: sysctl net.core.rmem_max net.core.rmem_default");
    };
    if small.is_empty() {
        return Check::ok(NAME, "the kernel's buffers for UDP are large enough for QUIC");
    }
    let list = small
        .iter()
        .map(|one| format!("net.core.{} is {}, below {}", one.key, one.found, one.wanted));
    Check::warning(NAME, list.collect::<Vec<_>>().join("\n"))
        .meaning("QUIC loses packets on fast or long paths, and transfers are slower than over TCP")
        .next(format!(
            "printf '%s\\n' {} | sudo tee -a /{CONF} && sudo sysctl -p /{CONF}",
            lines(small).join(" ")
        ))
}

fn lines(small: &[Small]) -> Vec<String> {
    small
        .iter()
        .map(|one| format!("net.core.{}={}", one.key, one.wanted))
        .collect()
}

/// Raises the running kernel's settings, then writes them down for the next start. Returns what was done.
fn enlarge(root: &Path, small: &[Small]) -> io::Result<String> {
    for one in small {
        let path = root.join("proc/sys/net/core").join(one.key);
        // A setting is there or not; making a file would only hide that.
        let mut file = fs::OpenOptions::new().write(true).truncate(true).open(&path)?;
        file.write_all(one.wanted.to_string().as_bytes())?;
    }
    let set = lines(small).join(", ");
    let conf = root.join(CONF);
    match write_down(&conf, small) {
        Ok(()) => Ok(format!("set {set}, and wrote that into {}", conf.display())),
        Err(error) => Ok(format!(
            "set {set} until the next start; {} was not written ({error}): add these lines there",
            conf.display()
        )),
    }
}

fn write_down(conf: &Path, small: &[Small]) -> io::Result<()> {
    if let Some(folder) = conf.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(conf)?;
    let text = format!(
        "# By peerup doctor --fix: room for QUIC.\n{}\n",
        lines(small).join("\n")
    );
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::State;

    fn machine(values: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("proc/sys/net/core");
        fs::create_dir_all(&folder).unwrap();
        for (key, value) in values {
            fs::write(folder.join(key), format!("{value}\n")).unwrap();
        }
        root
    }

    const USUAL: [(&str, &str); 4] = [
        ("rmem_max", "212992"),
        ("wmem_max", "9000000"),
        ("rmem_default", "212992"),
        ("wmem_default", "4194304"),
    ];

    #[test]
    fn small_buffers_come_with_the_lines_and_the_file() {
        let root = machine(&USUAL);
        let check = look(root.path(), false);
        assert_eq!(check.state, State::Warning);
        assert!(check.found.contains("rmem_max is 212992"), "{check:?}");
        assert!(!check.found.contains("wmem"), "{check:?}");
        let next = check.next.unwrap();
        for part in [
            "net.core.rmem_max=7500000",
            "net.core.rmem_default=4194304",
            "/etc/sysctl.d/60-peerup.conf",
        ] {
            assert!(next.contains(part), "{next}");
        }
    }

    #[test]
    fn settings_that_cannot_be_read_are_skipped() {
        let root = machine(&USUAL[..2]);
        assert_eq!(look(root.path(), true).state, State::Skipped);
    }

    #[test]
    fn mending_raises_what_is_small_and_writes_it_down_once() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let root = machine(&USUAL);
        let check = look(root.path(), true);
        assert_eq!(check.state, State::Ok, "{check:?}");
        let conf = root.path().join(CONF);
        let text = fs::read_to_string(&conf).unwrap();
        assert!(text.ends_with("net.core.rmem_max=7500000\nnet.core.rmem_default=4194304\n"));
        assert!(!text.contains("wmem"));

        fs::write(&conf, "mine").unwrap();
        fs::write(root.path().join("proc/sys/net/core/wmem_max"), "1").unwrap();
        let check = look(root.path(), true);
        assert_eq!(check.state, State::Ok, "{check:?}");
        assert!(check.fixed.unwrap().contains("was not written"));
        assert_eq!(fs::read_to_string(&conf).unwrap(), "mine");
    }
}
