//! A relay and nodes, driven as a person drives them: by their commands, in a folder of their own.

mod api;

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use peerup_testkit::{Finished, Host, Process, keeps_logs, poll, run};
use serde_json::Value;

use crate::{
    binaries::Binaries,
    workspace::{show, target_folder},
};

/// A command that only reads or writes files or asks the daemon.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// Until a daemon stands: compiling the plugins is part of the first start.
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// Until two nodes have found each other and paired.
const PAIR_TIMEOUT: Duration = Duration::from_secs(90);
/// Until a tunnel's listener is bound.
const PROXY_TIMEOUT: Duration = Duration::from_secs(60);
/// SIGTERM must have ended everything by then.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the one YAML file that an `init` has written.
fn find_config(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .filter(|path| {
            !path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .starts_with('.')
        });
    found
        .next()
        .with_context(|| format!("no config in {}", folder.display()))
}

/// Returns a command that finds neither config nor home of the person who runs this.
fn prepared(host: &Host, program: &Path, folder: &Path) -> Command {
    let mut command = host.command(program);
    command
        .current_dir(folder)
        .env("HOME", folder)
        .env("XDG_CONFIG_HOME", folder)
        // Compiled plugins are the same for every node: only the first of all has to compile them.
        .env("XDG_CACHE_HOME", target_folder().join("xtask-cache"))
        .env("NO_COLOR", "1");
    command
}

fn replace(config: &Path, old: &str, new: &str) -> Result<()> {
    let text = fs::read_to_string(config)?;
    ensure!(text.contains(old), "{} has no {old:?}", config.display());
    fs::write(config, text.replace(old, new))?;
    Ok(())
}

/// A port that is free on loopback for TCP and UDP now. Another process may take it before it is used;
/// the one who binds it then says so.
///
/// # Errors
/// Where there is none.
pub(crate) fn free_port() -> Result<u16> {
    for _ in 0..50 {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port is free for both TCP and UDP")
}

/// A relay server.
pub(crate) struct Relay {
    binary: PathBuf,
    host: Host,
    folder: PathBuf,
    config: PathBuf,
    process: Option<Process>,
    /// Its full TCP address with `/p2p/`, for `peerup init --relay`.
    pub(crate) address: String,
    /// All its full addresses, TCP first.
    pub(crate) addresses: Vec<String>,
}

impl Relay {
    /// Creates config and key in `folder`, listening on the host's address and this port.
    ///
    /// # Errors
    /// Where `relay-server init` or `info` fails.
    pub(crate) fn init(binaries: &Binaries, host: &Host, folder: &Path, port: u16) -> Result<Self> {
        let ip4 = format!("/ip4/{}", host.address());
        Self::init_at(binaries, host, folder, &[ip4], port)
    }

    /// Creates config and key in `folder`, listening on these addresses, each as `/ip4/...` or `/ip6/...`.
    ///
    /// # Errors
    /// Where `relay-server init` or `info` fails.
    pub(crate) fn init_at(
        binaries: &Binaries,
        host: &Host,
        folder: &Path,
        addresses: &[String],
        port: u16,
    ) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let listen: Vec<String> = addresses
            .iter()
            .flat_map(|ip| [format!("{ip}/tcp/{port}"), format!("{ip}/udp/{port}/quic-v1")])
            .collect();
        let mut relay = Self {
            binary: binaries.relay.clone(),
            host: host.clone(),
            folder: folder.to_owned(),
            config: PathBuf::new(),
            process: None,
            address: String::new(),
            addresses: Vec::new(),
        };
        let dir = folder.to_string_lossy().into_owned();
        let mut init = prepared(host, &relay.binary, folder);
        init.args(["init", "--dir", &dir]);
        for address in &listen {
            init.args(["--listen", address, "--external", address]);
        }
        finish(&mut init, COMMAND_TIMEOUT)?
            .success()
            .context(show(&init))?;
        relay.config = find_config(folder)?;

        let info: Value = serde_json::from_str(&relay.run(&["info", "--json"])?)?;
        let mut told = Vec::new();
        full_addresses(&info, &mut told);
        for wanted in &listen {
            let mut told = told.iter();
            let full = told.find(|address| address.starts_with(wanted.as_str()));
            let full =
                full.with_context(|| format!("`relay-server info` names no address under {wanted}: {info}"))?;
            relay.addresses.push(full.clone());
        }
        relay.address = relay.addresses.first().context("no address")?.clone();
        Ok(relay)
    }

    /// Returns its peer id.
    ///
    /// # Errors
    /// Where its address has none.
    pub(crate) fn id(&self) -> Result<&str> {
        let (_, id) = self.address.rsplit_once('/').context("no peer id")?;
        Ok(id)
    }

    /// Starts it and waits until it says that it is ready.
    ///
    /// # Errors
    /// With its last lines, where it does not.
    pub(crate) fn start(&mut self) -> Result<()> {
        let mut serve = self.command(&["serve"]);
        let mut process = Process::spawn("relay-server", &mut serve)?;
        process.wait_for_line("\"ready\"", START_TIMEOUT, says_ready)?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it with SIGTERM; returns how long that took.
    ///
    /// # Errors
    /// Where it still runs after five seconds.
    pub(crate) fn stop(&mut self) -> Result<Duration> {
        let mut process = self.process.take().context("the relay is not running")?;
        Ok(process.terminate(STOP_TIMEOUT)?.1)
    }

    /// Ends it as a crash does.
    ///
    /// # Errors
    /// Where it does not run.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the relay is not running")?;
        process.kill()
    }

    /// Changes a setting in the config's text.
    ///
    /// # Errors
    /// Where the old text is not there.
    pub(crate) fn replace(&self, old: &str, new: &str) -> Result<()> {
        replace(&self.config, old, new)
    }

    /// Returns the command with `--config` in place.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = prepared(&self.host, &self.binary, &self.folder);
        command.args(arguments).arg("--config").arg(&self.config);
        command
    }

    /// Runs a command to its end; returns standard output.
    ///
    /// # Errors
    /// With what it said, where it does not end with 0.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(arguments);
        finish(&mut command, COMMAND_TIMEOUT)?
            .success()
            .with_context(|| format!("relay-server {}", arguments.join(" ")))
    }

    /// The process, where it runs.
    pub(crate) fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }
}

/// Collects every text in the document that is an address with a peer id at its end.
fn full_addresses(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.starts_with('/') && text.contains("/p2p/") => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| full_addresses(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| full_addresses(field, found)),
        _ => {}
    }
}

fn says_ready(line: &str) -> bool {
    let words = line.split(|c: char| !c.is_alphanumeric());
    words.clone().any(|word| word == "ready") && !words.clone().any(|word| word == "not")
}

fn finish(command: &mut Command, timeout: Duration) -> Result<Finished> {
    let shown = show(command);
    run(&shown, command, timeout)
}

/// A `peerup` node.
pub(crate) struct Node {
    /// What the demo and the logs call it.
    pub(crate) name: String,
    binary: PathBuf,
    host: Host,
    folder: PathBuf,
    config: PathBuf,
    daemon: Option<Process>,
}

impl Node {
    /// A node without config or key yet, as a machine is on which `peerup` was only just installed.
    ///
    /// # Errors
    /// Where the folder cannot be created.
    pub(crate) fn blank(binaries: &Binaries, host: &Host, folder: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            name: name.to_owned(),
            binary: binaries.peerup.clone(),
            host: host.clone(),
            folder: folder.to_owned(),
            config: PathBuf::new(),
            daemon: None,
        })
    }

    /// A node after `peerup init --non-interactive`.
    ///
    /// # Errors
    /// Where `init` fails.
    pub(crate) fn init(
        binaries: &Binaries,
        host: &Host,
        folder: &Path,
        name: &str,
        relay: &Relay,
    ) -> Result<Self> {
        let mut node = Self::blank(binaries, host, folder, name)?;
        let mut init = node.init_command(relay);
        finish(&mut init, COMMAND_TIMEOUT)?
            .success()
            .context(show(&init))?;
        node.adopt_config()?;
        Ok(node)
    }

    /// A node after `peerup init --non-interactive` with every address of every one of these relays.
    ///
    /// # Errors
    /// Where `init` fails.
    pub(crate) fn init_with(
        binaries: &Binaries,
        host: &Host,
        folder: &Path,
        name: &str,
        relays: &[&Relay],
    ) -> Result<Self> {
        let mut node = Self::blank(binaries, host, folder, name)?;
        let mut init = prepared(&node.host, &node.binary, &node.folder);
        init.args(["init", "--non-interactive", "--name", name, "--dir"])
            .arg(&node.folder);
        for address in relays.iter().flat_map(|relay| &relay.addresses) {
            init.args(["--relay", address]);
        }
        finish(&mut init, COMMAND_TIMEOUT)?
            .success()
            .context(show(&init))?;
        node.adopt_config()?;
        Ok(node)
    }

    /// Lets `other` in and calls it by its name, without pairing; quick, and in files alone where no daemon
    /// runs.
    ///
    /// # Errors
    /// Where `auth add` fails.
    pub(crate) fn introduce(&self, other: &Self) -> Result<()> {
        self.run(&["auth", "add", &other.id()?, "--name", &other.name])?;
        Ok(())
    }

    /// Returns the TCP and UDP port in its config.
    ///
    /// # Errors
    /// Where the config names none.
    pub(crate) fn port(&self) -> Result<u16> {
        let text = fs::read_to_string(&self.config)?;
        tcp_port(&text).with_context(|| format!("no TCP port in {}", self.config.display()))
    }

    /// Asks the daemon's API, without the start of a process in between.
    ///
    /// # Errors
    /// Where it does not answer, or answers with an error.
    pub(crate) fn ask(&self, path: &str) -> Result<Value> {
        api::get(&self.folder, path).with_context(|| format!("{}: GET {path}", self.name))
    }

    fn init_command(&self, relay: &Relay) -> Command {
        let mut init = prepared(&self.host, &self.binary, &self.folder);
        init.args(["init", "--non-interactive", "--dir"])
            .arg(&self.folder);
        init.args(["--name", &self.name, "--relay", &relay.address]);
        init
    }

    /// Finds the config that `init` or `join` has written. On this machine itself, listening is
    /// narrowed to loopback: a demo must not open ports to the network that it runs in.
    ///
    /// # Errors
    /// Where there is none.
    pub(crate) fn adopt_config(&mut self) -> Result<()> {
        self.config = find_config(&self.folder)?;
        if self.host.namespace().is_none() {
            let text = fs::read_to_string(&self.config)?;
            let narrowed = text
                .replace("/ip4/0.0.0.0/", "/ip4/127.0.0.1/")
                .replace("/ip6/::/", "/ip6/::1/");
            fs::write(&self.config, narrowed)?;
        }
        Ok(())
    }

    /// Changes a setting in the config's text.
    ///
    /// # Errors
    /// Where the old text is not there.
    pub(crate) fn replace(&self, old: &str, new: &str) -> Result<()> {
        replace(&self.config, old, new)
    }

    /// The config as it stands.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(crate) fn config_text(&self) -> Result<String> {
        fs::read_to_string(&self.config).with_context(|| format!("cannot read {}", self.config.display()))
    }

    /// The folder of everything that the node has.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the command with `--config` in place, where there is a config.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = prepared(&self.host, &self.binary, &self.folder);
        command.args(arguments);
        if self.config.is_file() {
            command.arg("--config").arg(&self.config);
        }
        command
    }

    /// Runs a command to its end, whatever its exit code.
    ///
    /// # Errors
    /// Where it cannot start or hangs.
    pub(crate) fn attempt(&self, arguments: &[&str]) -> Result<Finished> {
        finish(&mut self.command(arguments), COMMAND_TIMEOUT)
    }

    /// Runs a command to its end; returns standard output.
    ///
    /// # Errors
    /// With what it said, where it does not end with 0.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        self.attempt(arguments)?
            .success()
            .with_context(|| format!("{}: peerup {}", self.name, arguments.join(" ")))
    }

    /// Returns its peer id.
    ///
    /// # Errors
    /// Where `whoami` fails.
    pub(crate) fn id(&self) -> Result<String> {
        Ok(self.run(&["whoami"])?.trim().to_owned())
    }

    /// Starts the daemon and waits until it says that it is ready.
    ///
    /// # Errors
    /// With its last lines, where it does not.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.spawn()?;
        let ready = self.wait_ready();
        if ready.is_err() {
            self.daemon = None;
        }
        ready
    }

    /// Starts the daemon and waits until it answers, whatever it has reached by then.
    ///
    /// # Errors
    /// Where it does not.
    pub(crate) fn launch(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_answer()
    }

    /// Waits until the daemon answers.
    ///
    /// # Errors
    /// With its last lines, where it does not.
    pub(crate) fn wait_answer(&self) -> Result<()> {
        poll("an answer of the daemon", START_TIMEOUT, || {
            Ok(self.ask("/v1/status").ok())
        })
        .with_context(|| {
            self.daemon
                .as_ref()
                .map(|daemon| daemon.tail(30))
                .unwrap_or_default()
        })?;
        Ok(())
    }

    /// Waits until the daemon says that it is ready.
    ///
    /// # Errors
    /// With its last lines, where it does not.
    pub(crate) fn wait_ready(&mut self) -> Result<()> {
        let daemon = self.daemon.as_mut().context("the daemon is not running")?;
        daemon.wait_for_line("\"ready\"", START_TIMEOUT, says_ready)?;
        Ok(())
    }

    /// Starts the daemon and waits for nothing.
    ///
    /// # Errors
    /// Where the program cannot be started.
    pub(crate) fn spawn(&mut self) -> Result<()> {
        let name = format!("{} daemon", self.name);
        let mut daemon = self.command(&["daemon"]);
        if keeps_logs() {
            daemon.arg("-v");
        }
        self.daemon = Some(Process::spawn(&name, &mut daemon)?);
        Ok(())
    }

    /// Ends the daemon with SIGTERM; returns how long that took.
    ///
    /// # Errors
    /// Where it still runs after five seconds or leaves its socket or cookie behind.
    pub(crate) fn stop(&mut self) -> Result<Duration> {
        let mut daemon = self.daemon.take().context("the daemon is not running")?;
        let (_, took) = daemon.terminate(STOP_TIMEOUT)?;
        for left in ["peerup.sock", ".daemon-cookie"] {
            let path = self.folder.join(left);
            ensure!(!path.exists(), "{} is left behind", path.display());
        }
        Ok(took)
    }

    /// Ends the daemon as a crash does, its socket left behind.
    ///
    /// # Errors
    /// Where it does not run.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("the daemon is not running")?;
        daemon.kill()
    }

    /// Returns where its key lies.
    ///
    /// # Errors
    /// Where the folder cannot be read or has no key.
    pub(crate) fn key_file(&self) -> Result<PathBuf> {
        let mut files = fs::read_dir(&self.folder)?.flatten().map(|entry| entry.path());
        let key = files.find(|path| path.extension().is_some_and(|extension| extension == "key"));
        key.with_context(|| format!("no key in {}", self.folder.display()))
    }

    /// Waits for a line of the daemon's log, from its start on.
    ///
    /// # Errors
    /// Where it does not come soon.
    pub(crate) fn wait_for_log(&mut self, what: &str, matches: impl Fn(&str) -> bool) -> Result<String> {
        let daemon = self.daemon.as_mut().context("the daemon is not running")?;
        daemon.wait_for_line(what, STOP_TIMEOUT, matches)
    }

    /// The daemon, where it runs.
    pub(crate) fn daemon(&self) -> Option<&Process> {
        self.daemon.as_ref()
    }

    /// Starts `invite`; returns it with the code.
    ///
    /// # Errors
    /// Where it prints no code.
    pub(crate) fn invite(&self, extra: &[&str]) -> Result<(Process, String)> {
        let mut arguments = vec!["invite", "--non-interactive", "--name", self.name.as_str()];
        arguments.extend(extra);
        let name = format!("{} invite", self.name);
        let mut invite = Process::spawn(&name, &mut self.command(&arguments))?;
        let code = invite.wait_for_line("an invite code", PAIR_TIMEOUT, is_code)?;
        Ok((invite, code))
    }

    /// Runs `join` with the code on its input, whatever its exit code. A node without a config has one
    /// afterwards.
    ///
    /// # Errors
    /// Where it cannot start or hangs.
    pub(crate) fn join(&mut self, code: &str) -> Result<Finished> {
        let dir = self.folder.to_string_lossy().into_owned();
        let mut arguments = vec!["join", "--non-interactive", "--name", self.name.as_str()];
        if !self.config.is_file() {
            arguments.extend(["--dir", &dir]);
        }
        let name = format!("{} join", self.name);
        let mut join = Process::spawn_with_input(&name, &mut self.command(&arguments))?;
        join.write(format!("{code}\n").as_bytes())?;
        join.close_input();
        let finished = join.finish(PAIR_TIMEOUT)?;
        if finished.code == 0 && !self.config.is_file() {
            self.adopt_config()?;
        }
        Ok(finished)
    }

    /// Invites `other` and has it join; both ends must be content.
    ///
    /// # Errors
    /// With what either end said.
    pub(crate) fn pair_with(&self, other: &mut Self) -> Result<()> {
        let (mut invite, code) = self.invite(&[])?;
        let joined = other.join(&code)?;
        if joined.code != 0 {
            let why = invite.tail(30);
            joined
                .success()
                .with_context(|| format!("{} cannot join; the inviter says:\n{why}", other.name))?;
        }
        invite
            .finish(PAIR_TIMEOUT)?
            .success()
            .context("the inviter is not content")?;
        Ok(())
    }

    /// Opens a tunnel to a service; returns it with the address bound.
    ///
    /// # Errors
    /// Where it does not say that it listens.
    pub(crate) fn proxy(&self, peer: &str, service: &str) -> Result<(Process, String)> {
        let name = format!("{} proxy", self.name);
        let mut proxy = Process::spawn(&name, &mut self.command(&["proxy", peer, service]))?;
        let line = proxy.wait_for_line("\"listening on\"", PROXY_TIMEOUT, |line| {
            line.contains("listening on ")
        })?;
        let (_, address) = line.split_once("listening on ").context("no address")?;
        let address: String = address
            .chars()
            .take_while(|c| !c.is_whitespace() && *c != ',')
            .collect();
        Ok((proxy, address))
    }
}

/// The first TCP port of the listen addresses in a config's text.
fn tcp_port(config: &str) -> Option<u16> {
    let addresses = config.lines().filter(|line| !line.trim().starts_with('#'));
    addresses
        .filter_map(|line| line.split_once("/tcp/"))
        .filter(|(before, _)| before.contains("/ip"))
        .find_map(|(_, rest)| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        })
}

/// An invite code: groups of four of the base32 letters with dashes between, and long.
fn is_code(line: &str) -> bool {
    let letters = |group: &str| group.chars().all(|c| matches!(c, 'A'..='Z' | '2'..='7'));
    line.len() > 80 && line.split('-').all(|group| group.len() <= 4 && letters(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_told_from_its_denial() {
        assert!(says_ready("ready: 12D3KooW at /tmp/peerup.sock"));
        assert!(!says_ready("not ready yet: no relay"));
        assert!(!says_ready("already running"));
    }

    #[test]
    fn the_port_is_that_of_the_first_listen_address() {
        let config = "# - /ip4/1.1.1.1/tcp/1\n  - /ip4/0.0.0.0/tcp/4321\n  - /ip4/0.0.0.0/udp/4322/quic-v1\n";
        assert_eq!(tcp_port(config), Some(4321));
        assert_eq!(tcp_port("nothing here"), None);
    }

    #[test]
    fn a_code_is_told_from_other_lines() {
        assert!(is_code("ABCD-".repeat(20).trim_end_matches('-')));
        assert!(!is_code("waiting for the other side"));
    }
}
