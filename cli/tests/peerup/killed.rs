//! A command or a daemon that is killed while it installs, upgrades, rolls back, removes or swaps a plugin: the version
//! before or the version after runs then, never none, and the next command leaves nothing behind.
//!
//! Whoever is to be killed is watched through the changes that it makes to its folder, and killed after one more of them
//! each time. `host/package` has the same for each single call, without a process.

use std::{
    fs,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use peerup_package::Package;
use rustix::{
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::Errno,
};

use crate::support::Node;

/// The changes of a node's folder, as they happen.
struct Changes {
    watch: OwnedFd,
    seen: usize,
}

impl Changes {
    fn of(node: &Node) -> Self {
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        for folder in ["", "plugins/sha256", "plugin-data"] {
            let folder = node.file(folder);
            fs::create_dir_all(&folder).unwrap();
            let changes = WatchFlags::CREATE
                | WatchFlags::MODIFY
                | WatchFlags::CLOSE_WRITE
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::DELETE;
            inotify::add_watch(&watch, &folder, changes).unwrap();
        }
        Self { watch, seen: 0 }
    }

    /// Waits until there were so many changes; false where the process ended before.
    fn reach(&mut self, count: usize, process: &mut Child) -> bool {
        let mut buffer = [const { MaybeUninit::uninit() }; 4096];
        loop {
            let mut reader = inotify::Reader::new(&self.watch, &mut buffer);
            loop {
                match reader.next() {
                    Ok(_) => self.seen += 1,
                    Err(Errno::AGAIN) => break,
                    Err(error) => panic!("{error}"),
                }
                if self.seen >= count {
                    return true;
                }
            }
            if process.try_wait().unwrap().is_some() {
                return false;
            }
            thread::yield_now();
        }
    }
}

fn spawn(mut command: Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The plugin `ping` under another name and in this version.
pub(crate) fn pong(node: &Node, version: &str) -> String {
    pong_with(node, version, "")
}

/// The same with more in its manifest.
pub(crate) fn pong_with(node: &Node, version: &str, more: &str) -> String {
    let ping = peerup_bundle::BUNDLED
        .iter()
        .find(|one| one.name == "ping")
        .unwrap();
    let text = ping
        .manifest
        .replacen("name = \"ping\"", "name = \"pong\"", 1)
        .replacen("version = \"0.1.0\"", &format!("version = \"{version}\""), 1)
        .replacen("protocols = [\"/peerup/ping/1.0.0\", \"/pingpong/1.0.0\"]", "", 1);
    let package = Package::pack(ping.wasm, &format!("{text}\n{more}"), None).unwrap();
    // Beside the folder, which is put back for every turn.
    let path = node.folder.with_file_name(package.file_name());
    fs::write(&path, package.bytes()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Version and state of the plugin in a daemon that starts now; none where there is no such plugin.
fn runs(node: &mut Node) -> Option<(String, String)> {
    node.start();
    let list = node.run(&["plugin", "list", "--json"]).json();
    node.stop();
    let plugin = list
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "pong")?;
    let text = |key: &str| plugin[key].as_str().unwrap_or_default().to_owned();
    Some((text("version"), text("state")))
}

/// Every file of the node's folder by its name.
fn files(node: &Node) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![node.folder.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.strip_prefix(&node.folder).unwrap().display().to_string()),
            }
        }
    }
    // Each start keeps the config that ran, under the time of that start.
    found.retain(|file| !file.starts_with(".config.history/"));
    found.sort();
    found
}

/// A node in a state that can be put back.
struct Stage {
    _folder: tempfile::TempDir,
    node: Node,
}

type Words<'a> = &'a [&'a str];

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let node = Node::init(folder.path(), "home");
        Self {
            _folder: folder,
            node,
        }
    }

    /// Runs these commands, and keeps what comes of them.
    fn keep(&self, commands: &[Words<'_>]) {
        for words in commands {
            self.node.run(words).ok();
        }
        copy(&self.node.folder, &self.node.folder.with_file_name("kept"));
    }

    fn put_back(&self) {
        fs::remove_dir_all(&self.node.folder).unwrap();
        copy(&self.node.folder.with_file_name("kept"), &self.node.folder);
    }

    /// Kills a command after each of the changes that it makes. `before` and `after` is what runs then; `finish` is what a
    /// person does who finds the command done.
    fn kill_everywhere(&mut self, words: Words<'_>, before: Seen<'_>, after: Seen<'_>, finish: &[Words<'_>]) {
        assert!(before.fits(runs(&mut self.node)), "before {words:?}");
        self.put_back();
        self.node.run(words).ok();
        assert!(after.fits(runs(&mut self.node)), "after {words:?}");
        finish.iter().for_each(|words| drop(self.node.run(words).ok()));
        let clean = files(&self.node);
        let mut turns = 0;
        loop {
            self.put_back();
            let mut changes = Changes::of(&self.node);
            let mut command = spawn(self.node.command(words));
            let alive = changes.reach(turns + 1, &mut command);
            command.kill().unwrap();
            command.wait().unwrap();
            if !alive {
                break;
            }
            turns += 1;
            let found = runs(&mut self.node);
            let done = after.fits(found.clone());
            assert!(
                done || before.fits(found.clone()),
                "{words:?} was killed after {turns} changes, and then {found:?} runs"
            );
            if !done {
                self.node.run(words).ok();
            }
            finish.iter().for_each(|words| drop(self.node.run(words).ok()));
            let found = runs(&mut self.node);
            assert!(
                after.fits(found.clone()),
                "{words:?} again, after {turns} changes: {found:?}"
            );
            assert_eq!(files(&self.node), clean, "{words:?} again, after {turns} changes");
        }
        assert!(turns >= 4, "{words:?} made {turns} changes");
    }
}

/// What may run.
#[derive(Debug, Clone, Copy)]
enum Seen<'a> {
    /// This version.
    Active(&'a str),
    /// Nothing of that name.
    Nothing,
}

impl Seen<'_> {
    fn fits(self, found: Option<(String, String)>) -> bool {
        match (self, found) {
            (Self::Active(wanted), Some((version, state))) => version == wanted && state == "active",
            // Between lock file and config it is installed and has no section: it has no rights and does not run.
            (Self::Nothing, Some((_, state))) => state != "active",
            (Self::Nothing, None) => true,
            (Self::Active(_), None) => false,
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

pub(crate) fn install(file: &str) -> [&str; 5] {
    [
        "plugin",
        "install",
        file,
        "--grant",
        "protocols=/peerup/ping/1.0.0",
    ]
}

#[test]
fn an_install_that_is_killed_anywhere_is_made_or_not() {
    let mut stage = Stage::new();
    let file = pong(&stage.node, "0.1.0");
    stage.keep(&[]);
    stage.kill_everywhere(
        &install(&file),
        Seen::Nothing,
        Seen::Active("0.1.0"),
        &[&install(&file)],
    );
}

#[test]
fn an_upgrade_that_is_killed_anywhere_leaves_the_old_or_the_new_version() {
    let mut stage = Stage::new();
    let (one, two) = (pong(&stage.node, "0.1.0"), pong(&stage.node, "0.2.0"));
    stage.keep(&[&install(&one)]);
    let upgrade = ["plugin", "upgrade", "pong", &two];
    stage.kill_everywhere(
        &upgrade,
        Seen::Active("0.1.0"),
        Seen::Active("0.2.0"),
        &[&upgrade],
    );
}

#[test]
fn an_upgrade_with_a_way_back_that_is_killed_anywhere_leaves_the_old_or_the_new_version() {
    let mut stage = Stage::new();
    let (one, two) = (pong(&stage.node, "0.1.0"), pong(&stage.node, "0.2.0"));
    stage.keep(&[&install(&one)]);
    stage.kill_everywhere(
        &["plugin", "upgrade", "pong", &two, "--confirm-timeout", "1h"],
        Seen::Active("0.1.0"),
        Seen::Active("0.2.0"),
        &[&["plugin", "confirm", "pong"]],
    );
}

#[test]
fn a_rollback_that_is_killed_anywhere_leaves_the_old_or_the_new_version() {
    let mut stage = Stage::new();
    let (one, two) = (pong(&stage.node, "0.1.0"), pong(&stage.node, "0.2.0"));
    let upgrade = |file| ["plugin", "upgrade", "pong", file];
    stage.keep(&[&install(&one), &upgrade(&two)]);
    stage.kill_everywhere(
        &["plugin", "rollback", "pong"],
        Seen::Active("0.2.0"),
        Seen::Active("0.1.0"),
        &[&upgrade(&one)],
    );
}

#[test]
fn a_removal_that_is_killed_anywhere_can_be_made_again() {
    let mut stage = Stage::new();
    let file = pong(&stage.node, "0.1.0");
    stage.keep(&[&install(&file)]);
    let remove = ["plugin", "remove", "pong"];
    stage.kill_everywhere(
        &remove,
        Seen::Active("0.1.0"),
        Seen::Nothing,
        &[&install(&file), &remove],
    );
}

#[test]
fn a_daemon_that_is_killed_in_the_midst_of_a_swap_starts_with_the_old_or_the_new_version() {
    let mut stage = Stage::new();
    let (one, two) = (pong(&stage.node, "0.1.0"), pong(&stage.node, "0.2.0"));
    stage.keep(&[&install(&one)]);
    let upgrade = ["plugin", "upgrade", "pong", &two];
    stage.node.start();
    stage.node.run(&upgrade).ok();
    stage.node.stop();
    let clean = files(&stage.node);
    for turn in 1.. {
        stage.put_back();
        stage.node.start();
        let mut changes = Changes::of(&stage.node);
        let mut command = spawn(stage.node.command(&upgrade));
        let alive = changes.reach(turn, &mut command);
        // Dropping it would ask it to end.
        stage.node.daemon().kill().unwrap();
        stage.node.daemon = None;
        command.wait().unwrap();
        let found = runs(&mut stage.node);
        let fits = [Seen::Active("0.1.0"), Seen::Active("0.2.0")];
        assert!(
            fits.iter().any(|one| one.fits(found.clone())),
            "the daemon was killed after {turn} changes, and then {found:?} runs"
        );
        stage.node.run(&upgrade).ok();
        let found = runs(&mut stage.node);
        assert!(
            Seen::Active("0.2.0").fits(found.clone()),
            "{found:?} after {turn} changes"
        );
        assert_eq!(files(&stage.node), clean, "after {turn} changes");
        if !alive {
            assert!(turn > 8, "an upgrade made {turn} changes");
            return;
        }
    }
}
