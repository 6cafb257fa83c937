//! One machine with `peerup` on it: a folder, its config, and perhaps a daemon.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use peerup_testkit::{Finished, Host, Process};
use serde_json::Value;

use super::{END, SOON};

/// A command as its owner would run it in this folder. It finds no config, home or variable of whoever runs
/// the tests; compiled plugins are shared between the tests.
pub(crate) fn bare(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Host::local().command(env!("CARGO_BIN_EXE_peerup"));
    command
        .args(arguments)
        .current_dir(folder)
        .env("HOME", folder)
        .env("XDG_CONFIG_HOME", folder.join("xdg"))
        .env(
            "XDG_CACHE_HOME",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
        )
        .env("NO_COLOR", "1")
        .env_remove("COLUMNS")
        .env_remove("NOTIFY_SOCKET");
    command
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Finished> for Outcome {
    fn from(finished: Finished) -> Self {
        Self {
            code: finished.code,
            stdout: finished.stdout,
            stderr: finished.stderr,
        }
    }
}

impl Outcome {
    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn of(mut command: Command) -> Self {
        peerup_testkit::run("peerup", &mut command, SOON * 2)
            .unwrap()
            .into()
    }

    /// It ended with 0: standard output without the last newline.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        self.stdout.trim_end().to_owned()
    }

    /// It ended with 0 and one JSON object or array on standard output.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// It ended with this code, and standard error has these words and the next step.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in {self:#?}");
        }
        let next = self.stderr.lines().any(|line| line.starts_with("  next: "));
        assert!(next, "no next step in {self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }
}

/// A node.
pub(crate) struct Node {
    pub(crate) folder: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) daemon: Option<Process>,
}

impl Node {
    /// A folder without anything in it.
    pub(crate) fn blank(parent: &Path, name: &str) -> Self {
        let folder = parent.join(name);
        fs::create_dir_all(&folder).unwrap();
        Self {
            config: folder.join("config.yaml"),
            folder,
            daemon: None,
        }
    }

    /// After `peerup init`, listening on loopback only.
    #[track_caller]
    pub(crate) fn init(parent: &Path, name: &str) -> Self {
        let node = Self::blank(parent, name);
        let folder = node.folder.to_str().unwrap();
        Outcome::of(bare(
            &node.folder,
            &["init", "--non-interactive", "--dir", folder, "--name", name],
        ))
        .ok();
        node.stay_on_loopback();
        node
    }

    /// Moves every listener to 127.0.0.1 and a port that the system chooses, so that tests do not meet.
    pub(crate) fn stay_on_loopback(&self) {
        self.edit(|text| {
            let kept = text.lines().filter(|line| !line.contains("/ip6/::"));
            kept.map(|line| match line.find("/ip4/0.0.0.0/") {
                None => format!("{line}\n"),
                Some(at) if line.contains("quic") => {
                    format!("{}/ip4/127.0.0.1/udp/0/quic-v1\n", &line[..at])
                }
                Some(at) => format!("{}/ip4/127.0.0.1/tcp/0\n", &line[..at]),
            })
            .collect()
        });
    }

    /// Edits the config as a person with an editor would.
    pub(crate) fn edit(&self, edit: impl FnOnce(&str) -> String) {
        let text = fs::read_to_string(&self.config).unwrap();
        fs::write(&self.config, edit(&text)).unwrap();
    }

    /// Replaces a part of the config that is there.
    #[track_caller]
    pub(crate) fn replace(&self, old: &str, new: &str) {
        self.edit(|text| {
            assert!(text.contains(old), "no {old:?} in {text}");
            text.replace(old, new)
        });
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).unwrap();
    }

    /// A command with `--config` behind it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(&self.folder, arguments);
        command.arg("--config").arg(&self.config);
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(arguments))
    }

    /// Starts a command that goes on.
    #[track_caller]
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Process {
        Process::spawn(&arguments.join(" "), &mut self.command(arguments)).unwrap()
    }

    #[track_caller]
    pub(crate) fn peer_id(&self) -> String {
        self.run(&["whoami"]).ok()
    }

    /// Starts the daemon and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        let mut daemon = self.spawn(&["daemon"]);
        daemon
            .wait_for_line("\"ready\"", SOON, |line| line.starts_with("ready "))
            .unwrap();
        self.daemon = Some(daemon);
    }

    #[track_caller]
    pub(crate) fn daemon(&mut self) -> &mut Process {
        self.daemon.as_mut().unwrap()
    }

    /// Waits for a line of the daemon's log.
    #[track_caller]
    pub(crate) fn logs(&mut self, words: &[&str]) -> String {
        let what = format!("a line with {words:?}");
        self.daemon()
            .wait_for_line(&what, SOON, |line| words.iter().all(|word| line.contains(word)))
            .unwrap()
    }

    /// Ends the daemon with SIGTERM: within the time that is promised, and orderly.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        let (finished, _) = daemon.terminate(END).unwrap();
        assert_eq!(finished.code, 0, "{finished:#?}");
    }

    /// Starts `proxy` and returns the address that it listens on.
    #[track_caller]
    pub(crate) fn proxy(&self, peer: &str, service: &str) -> (Process, String) {
        let mut proxy = self.spawn(&["proxy", peer, service]);
        let line = proxy
            .wait_for_line("the address", SOON, |line| line.starts_with("listening on "))
            .unwrap();
        (proxy, line.trim_start_matches("listening on ").to_owned())
    }
}

/// Writes a relay into a config, as a person with an editor would.
pub(crate) fn inject_relay(node: &Node, address: &str) {
    node.replace("  addresses: []", &format!("  addresses:\n    - {address}"));
}
