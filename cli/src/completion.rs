//! What a shell's Tab key is told: words and flags out of the definition, names out of the config and the running
//! daemon. Never starts a node, and falls back to what the config says where the daemon is slow.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use clap::{Command, CommandFactory};
use clap_complete::{ArgValueCandidates, CompleteEnv, CompletionCandidate};
use peerup_api::{Client, ConnectInfo, PeerInfo, PluginInfo, whole_seconds};
use peerup_config::{NodeConfig, Vault};
use peerup_trust::KeyFile;

use crate::{
    arguments::Arguments,
    command::{completion::VARIABLE, word},
    context::Context,
};

/// How long the daemon may take. Whoever pressed Tab is waiting.
const DAEMON_TIME: Duration = Duration::from_millis(200);
/// Most names of one kind that are offered.
const MOST: usize = 500;

/// What an argument takes.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Peer,
    OwnService,
    /// A service of the peer that stands in the line, as far as proxies and tunnels tell.
    PeerService,
    /// Who is in authorized_keys.
    Authorized,
    /// A check that confirms a change.
    Check,
    /// The number of a last good config.
    LastGood,
    Plugin,
    Proxy,
    Tunnel,
    Relay,
    Alert,
}

/// Which arguments take names: the words down to a command, the argument, and what it takes.
const ARGUMENTS: [(&[&str], &str, Kind); 41] = [
    (&["ping"], "peer", Kind::Peer),
    (&["traceroute"], "peer", Kind::Peer),
    (&["resolve"], "name", Kind::Peer),
    (&["why"], "peer", Kind::Peer),
    (&["daemon", "ping"], "peer", Kind::Peer),
    (&["daemon", "connect"], "peer", Kind::Peer),
    (&["daemon", "connect"], "service", Kind::PeerService),
    (&["daemon", "disconnect"], "id", Kind::Tunnel),
    (&["proxy"], "peer", Kind::Peer),
    (&["proxy"], "service", Kind::PeerService),
    (&["proxy", "add"], "peer", Kind::Peer),
    (&["proxy", "add"], "service", Kind::PeerService),
    (&["proxy", "remove"], "name", Kind::Proxy),
    (&["proxy", "enable"], "name", Kind::Proxy),
    (&["proxy", "disable"], "name", Kind::Proxy),
    (&["auth", "add"], "services", Kind::OwnService),
    (&["auth", "remove"], "peer", Kind::Authorized),
    (&["service", "remove"], "name", Kind::OwnService),
    (&["service", "enable"], "name", Kind::OwnService),
    (&["service", "disable"], "name", Kind::OwnService),
    (&["invite"], "services", Kind::OwnService),
    (&["alerts", "test"], "name", Kind::Alert),
    (&["relay", "remove"], "address", Kind::Relay),
    (&["config", "apply"], "confirm_if", Kind::Check),
    (&["config", "rollback"], "generation", Kind::LastGood),
    (&["plugin", "inspect"], "name", Kind::Plugin),
    (&["plugin", "enable"], "name", Kind::Plugin),
    (&["plugin", "disable"], "name", Kind::Plugin),
    (&["plugin", "reload"], "name", Kind::Plugin),
    (&["plugin", "logs"], "name", Kind::Plugin),
    (&["plugin", "run"], "name", Kind::Plugin),
    (&["plugin", "trace"], "name", Kind::Plugin),
    (&["plugin", "upgrade"], "name", Kind::Plugin),
    (&["plugin", "upgrade"], "confirm_if", Kind::Check),
    (&["plugin", "remove"], "name", Kind::Plugin),
    (&["plugin", "rollback"], "name", Kind::Plugin),
    // Words of the plugins that come with peerup and of installed ones: a peer is called `peer` there.
    (&["forward"], "peer", Kind::Peer),
    (&["forward"], "service", Kind::PeerService),
    (&["greet"], "peer", Kind::Peer),
    (&["send"], "peer", Kind::Peer),
    (&["receive"], "peer", Kind::Peer),
];

/// Answers a shell's script and ends the process, where one asks; returns at once otherwise. Called before anything is
/// printed.
pub(crate) fn answer() {
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    let folder = std::env::current_dir().ok();
    let completed = CompleteEnv::with_factory(definition)
        .var(VARIABLE)
        .bin("peerup")
        .completer("peerup")
        .try_complete(std::env::args_os(), folder.as_deref());
    match completed {
        Ok(false) => {}
        // A shell has no use for an error in the middle of a line.
        Ok(true) | Err(_) => std::process::exit(0),
    }
}

/// The command line with the words of plugins, and with names where they belong.
fn definition() -> Command {
    let config = config_path();
    let words = config.as_deref().map(word::all).unwrap_or_default();
    let mut command = Arguments::command();
    for word in words {
        if command.find_subcommand(&word.command.name).is_none() {
            command = command.subcommand(word::command(&word));
        }
    }
    for (words, argument, kind) in ARGUMENTS {
        let config = config.clone();
        command = with_candidates(command, words, argument, kind, config);
    }
    command
}

fn with_candidates(
    command: Command,
    words: &[&str],
    argument: &'static str,
    kind: Kind,
    config: Option<PathBuf>,
) -> Command {
    match words.split_first() {
        Some((word, below)) if command.find_subcommand(word).is_some() => command
            .mut_subcommand(word, |command| {
                with_candidates(command, below, argument, kind, config)
            }),
        Some(_) => command,
        None if command.get_arguments().any(|known| known.get_id() == argument) => {
            let candidates = ArgValueCandidates::new(move || candidates(kind, config.as_deref()));
            // `mut_arg` would move it behind the other positional ones.
            command.mut_args(|known| match known.get_id() == argument {
                true => known.add(candidates.clone()),
                false => known,
            })
        }
        None => command,
    }
}

/// Finds the config that the line names, or the usual one.
fn config_path() -> Option<PathBuf> {
    let line: Vec<OsString> = std::env::args_os().collect();
    let mut named = None;
    for (at, word) in line.iter().enumerate() {
        match word.to_str() {
            Some("--config") => named = line.get(at + 1).map(PathBuf::from),
            Some(word) => {
                if let Some(path) = word.strip_prefix("--config=") {
                    named = Some(PathBuf::from(path));
                }
            }
            None => {}
        }
    }
    let environment = std::env::var("PEERUP_CONFIG").ok();
    peerup_config::find_config(named.as_deref(), environment.as_deref(), &Context::places())
        .ok()
        .and_then(|path| std::path::absolute(path).ok())
}

fn candidates(kind: Kind, config: Option<&Path>) -> Vec<CompletionCandidate> {
    let Some(path) = config else {
        return Vec::new();
    };
    let written = peerup_config::load_node(path).ok().map(|loaded| loaded.config);
    let mut names = match kind {
        // It is kept for the case that the file does not load.
        Kind::LastGood => last_good(path),
        _ => written
            .map(|config| configured(kind, &config))
            .unwrap_or_default(),
    };
    names.extend(live(kind, path));
    names.sort();
    names.dedup_by(|one, other| one.0 == other.0);
    names.truncate(MOST);
    names
        .into_iter()
        .map(|(name, about)| CompletionCandidate::new(name).help((!about.is_empty()).then(|| about.into())))
        .collect()
}

/// What the file knows: a name and a word about it each.
fn configured(kind: Kind, config: &NodeConfig) -> Vec<(String, String)> {
    let plain = |name: &dyn ToString| (name.to_string(), String::new());
    match kind {
        Kind::Peer => config
            .names
            .iter()
            .map(|(name, id)| (name.to_string(), id.to_string()))
            .collect(),
        Kind::OwnService => config
            .services
            .iter()
            .map(|(name, entry)| (name.to_string(), entry.local_address.clone()))
            .collect(),
        Kind::PeerService => {
            let line = line();
            let proxies = config.proxies.values();
            proxies
                .filter(|proxy| is_named(&line, &proxy.peer, config))
                .map(|proxy| plain(&proxy.service))
                .collect()
        }
        Kind::Authorized => authorized(config),
        Kind::Check => checks(config),
        Kind::Plugin => config.plugins.keys().map(|name| plain(name)).collect(),
        Kind::Proxy => config
            .proxies
            .iter()
            .map(|(name, entry)| (name.to_string(), format!("{} of {}", entry.service, entry.peer)))
            .collect(),
        Kind::Relay => config.relays.iter().map(|relay| plain(relay)).collect(),
        Kind::Alert => {
            let rules = config.alerts.rules.iter();
            rules
                .map(|(name, rule)| (name.to_string(), rule.condition.word().to_owned()))
                .collect()
        }
        Kind::Tunnel | Kind::LastGood => Vec::new(),
    }
}

/// The words of the line; a flag with its value in one word counts as the value.
fn line() -> Vec<String> {
    let words = std::env::args_os().filter_map(|word| word.into_string().ok());
    words
        .map(|word| match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => value.to_owned(),
            _ => word,
        })
        .collect()
}

/// Whether a peer stands in the line, by its name or its id.
fn is_named(line: &[String], peer: &str, config: &NodeConfig) -> bool {
    let same = |name: &str, id: &str| peer == name || peer == id;
    line.iter().any(|word| {
        let names = &mut config.names.iter();
        word == peer
            || names.any(|(name, id)| {
                let (name, id) = (name.to_string(), id.to_string());
                (*word == name || *word == id) && same(&name, &id)
            })
    })
}

/// Everybody in authorized_keys: under the name where there is one.
fn authorized(config: &NodeConfig) -> Vec<(String, String)> {
    let file = KeyFile::new(config.security.authorized_keys_file.clone());
    let keys = file.load_or_empty().unwrap_or_default();
    keys.entries()
        .map(|entry| {
            let id = entry.peer.to_string();
            match config.names.iter().find(|(_, named)| **named == entry.peer) {
                Some((name, _)) => (name.to_string(), id),
                None => (id, entry.comment.clone().unwrap_or_default()),
            }
        })
        .collect()
}

/// The checks that `--confirm-if` takes, for every name and every proxy.
fn checks(config: &NodeConfig) -> Vec<(String, String)> {
    let pings = config
        .names
        .keys()
        .map(|name| (format!("ping:{name}"), "the peer answers".to_owned()));
    let connects = config.proxies.values().map(|proxy| {
        let check = format!("connect:{}/{}", proxy.peer, proxy.service);
        (check, "the service takes a stream".to_owned())
    });
    let relay = ("relay".to_owned(), "a relay has a reservation".to_owned());
    pings.chain(connects).chain([relay]).collect()
}

/// The numbers of the last good configs, and when each was kept.
fn last_good(config: &Path) -> Vec<(String, String)> {
    let kept = peerup_ops::last_good(&Vault::new(config));
    kept.into_iter()
        .map(|good| {
            (
                good.number.to_string(),
                format!("kept {}", whole_seconds(&good.kept)),
            )
        })
        .collect()
}

/// What the running daemon knows besides; nothing where none runs or it takes too long.
fn live(kind: Kind, config: &Path) -> Vec<(String, String)> {
    let Some(folder) = config.parent().map(Path::to_owned) else {
        return Vec::new();
    };
    let (sender, receiver) = mpsc::channel();
    // A thread of its own: whatever it hangs on ends with the process.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            // Fails where nobody waits any more.
            let _ = sender.send(runtime.block_on(ask(kind, &Client::new(folder))));
        }
    });
    receiver.recv_timeout(DAEMON_TIME).unwrap_or_default()
}

async fn ask(kind: Kind, client: &Client) -> Vec<(String, String)> {
    match kind {
        Kind::Peer => {
            let peers: Vec<PeerInfo> = client.get("/v1/peers?all=true").await.unwrap_or_default();
            peers
                .into_iter()
                .map(|peer| match peer.name {
                    Some(name) => (name, peer.id),
                    None => (peer.id, peer.role),
                })
                .collect()
        }
        Kind::Plugin => {
            let plugins: Vec<PluginInfo> = client.get("/v1/plugins").await.unwrap_or_default();
            plugins
                .into_iter()
                .map(|plugin| (plugin.name, plugin.state))
                .collect()
        }
        Kind::Tunnel => {
            let tunnels: Vec<ConnectInfo> = client.get("/v1/connect").await.unwrap_or_default();
            tunnels
                .into_iter()
                .filter(|tunnel| tunnel.name.is_none())
                .map(|tunnel| (tunnel.id, format!("{} of {}", tunnel.service, tunnel.peer)))
                .collect()
        }
        Kind::PeerService => {
            let line = line();
            let tunnels: Vec<ConnectInfo> = client.get("/v1/connect").await.unwrap_or_default();
            let named = |tunnel: &ConnectInfo| {
                line.iter()
                    .any(|word| *word == tunnel.peer || Some(word) == tunnel.peer_id.as_ref())
            };
            let services = tunnels.into_iter().filter(named);
            services.map(|tunnel| (tunnel.service, String::new())).collect()
        }
        Kind::OwnService | Kind::Authorized | Kind::Check | Kind::LastGood => Vec::new(),
        Kind::Proxy | Kind::Relay | Kind::Alert => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_of_the_table_is_there() {
        let own = Arguments::command();
        for (words, argument, _) in ARGUMENTS {
            let mut command = Some(&own);
            for word in words {
                command = command.and_then(|command| command.find_subcommand(word));
            }
            let Some(command) = command else {
                // A word of a plugin; it may be there or not.
                assert_eq!(words.len(), 1, "{words:?}");
                continue;
            };
            assert!(
                command.get_arguments().any(|known| known.get_id() == argument),
                "{words:?} {argument}"
            );
        }
    }

    #[test]
    fn the_definition_with_names_holds_together() {
        definition().debug_assert();
    }
}
