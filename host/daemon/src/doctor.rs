//! Examines a node, with and without a daemon, a network or a config, and mends what may be mended.
//!
//! Each module under this one looks at one thing: a thin shell that asks files, kernel or network, and a pure
//! `judge` that makes a [`Check`] of what was found. This one runs them side by side, each under a deadline,
//! so that the whole ends in time even where nothing answers. No identity is ever made or changed.

mod buffers;
mod files;
mod listen;
mod lookup;
mod machine;
mod quic;
mod relays;
mod report;
mod running;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use peerup_config::{ConfigError, Loaded, NodeConfig};
use peerup_model::Failure;

pub use report::{Check, Report, State};

use self::{
    machine::Place,
    running::{Daemon, Socket},
};
use crate::own_files;

/// Files answer at once, unless they lie on a network that does not.
const FILES: Duration = Duration::from_secs(2);
/// The daemon answers from memory.
const DAEMON: Duration = Duration::from_secs(3);
/// A resolver that takes longer is of no use to a node either.
const LOOKUP: Duration = Duration::from_secs(2);
/// As long as a path to the other side of the world with a lost packet takes.
const RELAY: Duration = Duration::from_secs(3);

/// What to examine and how.
#[derive(Debug, Clone)]
pub struct DoctorOptions {
    /// Whether to mend what may be mended: modes of the node's files, a stale socket, the kernel's buffers.
    pub fix: bool,
    /// The folder that `/proc`, `/etc` and `/run` are looked for in: `/` but in tests.
    pub root: PathBuf,
}

impl Default for DoctorOptions {
    fn default() -> Self {
        Self {
            fix: false,
            root: PathBuf::from("/"),
        }
    }
}

/// Examines the node of a config, or the machine alone where there is no config. Ends within 8 seconds.
///
/// Dropping the future ends it; what was mended by then stays mended.
pub async fn doctor(config: Result<PathBuf, Failure>, options: DoctorOptions) -> Report {
    let path = match config {
        Ok(path) => path,
        Err(failure) => {
            let mut checks = vec![files::no_config(&failure)];
            checks.extend(examine_machine(None, options).await);
            return Report::new(checks);
        }
    };
    let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
    let mend = options.fix;
    let looked = {
        let (path, folder) = (path.clone(), folder.clone());
        bounded(FILES, move || examine_files(&path, &folder, mend)).await
    };
    let Some((mut checks, config)) = looked else {
        let found = format!("{} was not read within {} s", path.display(), FILES.as_secs());
        return Report::new(vec![
            Check::problem("config", found).next("see whether its disk answers"),
        ]);
    };
    let places = Some((folder.clone(), config.clone()));
    let (daemon, network, machine) = tokio::join!(
        examine_daemon(&folder, config.as_ref(), mend),
        examine_network(config.as_ref(), &options.root),
        examine_machine(places, options.clone()),
    );
    checks.extend(daemon);
    checks.extend(network);
    checks.extend(machine);
    Report::new(checks)
}

/// Looks at the node's files, and returns the config where it loads.
fn examine_files(path: &Path, folder: &Path, mend: bool) -> (Vec<Check>, Option<NodeConfig>) {
    let mode = files::mode("config_mode", path, folder, mend);
    let loaded: Result<Loaded<NodeConfig>, ConfigError> = peerup_config::load_node(path);
    let mut checks = vec![files::config(path, &loaded), mode];
    let Ok(Loaded { config, .. }) = loaded else {
        return (checks, None);
    };
    let keys = &config.security.authorized_keys_file;
    checks.push(files::identity(&config.key_file, folder, mend));
    checks.push(files::authorized_keys(keys, Timestamp::now()));
    checks.push(files::mode("authorized_keys_mode", keys, folder, mend));
    (checks, Some(config))
}

/// Looks at socket, daemon, NAT and listeners.
async fn examine_daemon(folder: &Path, config: Option<&NodeConfig>, mend: bool) -> Vec<Check> {
    let socket = tokio::time::timeout(DAEMON, running::socket(folder)).await;
    let socket = socket.unwrap_or_else(|_| Socket::Closed(std::io::ErrorKind::TimedOut.into()));
    let daemon = running::ask(folder, &socket, DAEMON).await;
    let mut checks = vec![
        running::examine_socket(folder, &socket, mend).await,
        running::judge_daemon(&daemon),
        running::judge_nat(&daemon),
    ];
    let listen = config.map(|config| config.network.listen_addresses.as_slice());
    checks.extend(listen.map(|addresses| match &daemon {
        Daemon::Absent => listen::judge_free(&listen::try_all(addresses)),
        Daemon::Says(status) => listen::judge_running(addresses, &running::listening(status)),
        Daemon::Closed(_) | Daemon::Silent(_) => {
            Check::skipped("listen", "the daemon cannot be asked what it listens on").next("ss -lntup")
        }
    }));
    checks
}

/// Looks names up and tries the relays.
async fn examine_network(config: Option<&NodeConfig>, root: &Path) -> Vec<Check> {
    let Some(config) = config else {
        return vec![Check::skipped(
            "relay",
            "the config does not load, so no relay is known",
        )];
    };
    let names = lookup::look_up(lookup::names(config), LOOKUP).await;
    let tried = relays::try_all(&config.relays, &names, RELAY).await;
    let mut checks = relays::judge(&tried, config.relays.len());
    checks.push(lookup::judge(&names, lookup::has_resolver(root)));
    checks
}

/// Looks at the machine, and at the folders of the node where there is one.
async fn examine_machine(node: Option<(PathBuf, Option<NodeConfig>)>, options: DoctorOptions) -> Vec<Check> {
    let look = move || {
        let DoctorOptions { fix, root } = options;
        let mut checks = vec![
            buffers::look(&root, fix),
            machine::ipv6(&root),
            machine::judge_clock(Timestamp::now()),
            machine::clock_sync(&root),
            machine::open_files(),
            machine::judge_key_log(std::env::var_os("SSLKEYLOGFILE").as_deref()),
        ];
        if let Some((folder, config)) = node {
            checks.push(machine::disk(Place::Config, &folder));
            let cache = config.map(|config| own_files::cache_dir(&config, &folder));
            checks.extend(cache.map(|cache| machine::disk(Place::Cache, &cache)));
        }
        checks
    };
    bounded(DAEMON, look).await.unwrap_or_else(|| {
        let found = format!("a file or a folder did not answer within {} s", DAEMON.as_secs());
        vec![Check::problem("disk", found).next("df, to see which file system hangs")]
    })
}

/// Runs what blocks elsewhere, and waits for it no longer than this.
async fn bounded<T: Send + 'static>(limit: Duration, look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let task = tokio::task::spawn_blocking(look);
    tokio::time::timeout(limit, task).await.ok()?.ok()
}
