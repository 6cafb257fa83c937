//! Every word and flag of the command line, as clap reads them.
//!
//! The one raw form of the arguments; commands get them resolved. Each flag with a value has a twin in the
//! environment.

mod config;
mod daemon;
mod peer;
mod plugin;
mod proxy;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::{
    config::{Config, ConfigApply},
    daemon::{Daemon, DaemonCommand, DaemonInstall, DaemonPlace, DebugBundle, Doctor},
    peer::{Auth, Invite, Join, Ping, Traceroute},
    plugin::{
        Plugin, PluginBuild, PluginCheck, PluginConsent, PluginDev, PluginInstall, PluginNew, PluginPack,
        PluginTemplate, PluginTest, PluginUpgrade,
    },
    proxy::{Proxy, ProxyCommand, Service},
};

/// Reach your own machines and services through any NAT, with no account and no vendor.
#[derive(Debug, Parser)]
#[command(name = "peerup", version, max_term_width = 100, args_override_self = true, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const PROXY_NOTE: &str = "A peer that is called like one of these commands is written as its id.";
const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage, 3 no daemon, 4 denied, 5 peer unreachable, \
    6 config invalid, 7 check not met, 124 timed out, 130 interrupted.";

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The config file [default: the first of ./peerup.yaml, ~/.config/peerup/config.yaml,
    /// /etc/peerup/config.yaml].
    #[arg(long, global = true, value_name = "PATH", env = "PEERUP_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Print data as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colours.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN", env = "PEERUP_COLOR")]
    pub(crate) color: Color,
    /// More log on standard error; twice for even more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Less on standard error: errors only.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a config, a key and an empty authorized_keys.
    Init(Init),
    /// Print this node's peer id.
    Whoami,
    /// Run the daemon, or speak to the running one.
    #[command(visible_alias = "serve", args_conflicts_with_subcommands = true)]
    Daemon(Daemon),
    /// Forward a local port to a service of a peer, until interrupted, or kept by the daemon.
    #[command(
        args_conflicts_with_subcommands = true,
        subcommand_negates_reqs = true,
        override_usage = "peerup proxy [OPTIONS] <PEER> <SERVICE> [LISTEN]\n       peerup proxy <COMMAND>",
        after_help = PROXY_NOTE
    )]
    Proxy(Proxy),
    /// Measure the round trip to a peer and show the path it takes.
    Ping(Ping),
    /// Show the way to a peer, hop by hop.
    Traceroute(Traceroute),
    /// Tell who a name stands for.
    Resolve {
        /// A name, a peer id, or a unique prefix of one.
        name: String,
    },
    /// Explain the path to a peer: what was tried, what stands in the way, and what would help.
    Why {
        /// A name, a peer id, or a unique prefix of one.
        peer: String,
    },
    /// Show the connected peers and the paths to them.
    Peers {
        /// Also those that are not connected.
        #[arg(long)]
        all: bool,
    },
    /// Show what happens from now on: peers, paths, decisions of the gate, plugins, alerts, the config.
    Events,
    /// See the alerts of the config, and test where their messages go.
    #[command(subcommand)]
    Alerts(Alerts),
    /// Show this node: its id, addresses, relays and services.
    Status,
    /// Say who may connect.
    #[command(subcommand)]
    Auth(Auth),
    /// Say what this node offers.
    #[command(subcommand)]
    Service(Service),
    /// Say which relays this node uses.
    #[command(subcommand)]
    Relay(Relay),
    /// Make a code that lets one other machine pair with this one, and wait until it has.
    Invite(Invite),
    /// Pair with the machine that made a code.
    Join(Join),
    /// Check, plan, apply, confirm and roll back the config.
    #[command(subcommand)]
    Config(Config),
    /// See, make, install and switch plugins.
    #[command(subcommand)]
    Plugin(Plugin),
    /// Find out what is wrong with this node and its machine, and what to do.
    Doctor(Doctor),
    /// Show the last lines of the daemon's log, from its memory.
    Logs {
        /// Go on with what comes.
        #[arg(short, long)]
        follow: bool,
        /// How many of the lines so far.
        #[arg(
            short = 'n',
            long,
            value_name = "N",
            default_value_t = 100,
            env = "PEERUP_LINES"
        )]
        lines: usize,
    },
    /// Pack what others need to find a fault into one file, without ids, addresses and names.
    DebugBundle(DebugBundle),
    /// Print what makes a shell complete words, flags and names: source <(peerup completion bash).
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page, or write a page for each command into a folder.
    Man {
        /// The folder for the pages.
        #[arg(long, value_name = "D", env = "PEERUP_DIR")]
        dir: Option<PathBuf>,
    },
    /// Print the version.
    Version,
    /// A word of a plugin.
    #[command(external_subcommand)]
    Word(Vec<String>),
}

/// A shell that can complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// source <(peerup completion bash)
    Bash,
    /// source <(peerup completion zsh)
    Zsh,
    /// peerup completion fish | source
    Fish,
    /// peerup completion powershell | Out-String | Invoke-Expression
    Powershell,
}

impl Shell {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
            Self::Powershell => "powershell",
        }
    }
}

impl Command {
    /// Returns the log level without -v and -q: a daemon tells what changes, a command only what is wrong.
    pub(crate) fn log_level(&self) -> &'static str {
        match self.is_daemon() {
            true => "info",
            false => "warn",
        }
    }

    /// Returns whether this runs the daemon.
    pub(crate) fn is_daemon(&self) -> bool {
        matches!(
            self,
            Self::Daemon(Daemon {
                command: None | Some(DaemonCommand::Start),
            })
        )
    }
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The folder for config, key and authorized_keys [default: ~/.config/peerup].
    #[arg(long, value_name = "D", env = "PEERUP_DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// What this node calls itself.
    #[arg(long, value_name = "N", env = "PEERUP_NAME")]
    pub(crate) name: Option<String>,
    /// The one port for TCP and QUIC [default: a free one, written down].
    #[arg(long, value_name = "P", env = "PEERUP_PORT")]
    pub(crate) port: Option<u16>,
    /// A relay: a full multiaddr with /p2p/, or HOST[:PORT] together with --relay-id. May be repeated.
    #[arg(
        long = "relay",
        value_name = "ADDR",
        env = "PEERUP_RELAY",
        value_delimiter = ','
    )]
    pub(crate) relays: Vec<String>,
    /// The peer id of the relay given as HOST[:PORT].
    #[arg(long, value_name = "PEER", env = "PEERUP_RELAY_ID")]
    pub(crate) relay_id: Option<String>,
    /// Ask nothing.
    #[arg(long)]
    pub(crate) non_interactive: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Alerts {
    /// Show how each rule stands, and what came of its messages.
    List,
    /// Send a test message to the targets of a rule, and say what came back.
    Test {
        /// The rule's name in the config.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Relay {
    /// Use a relay.
    Add {
        /// Full multiaddrs with /p2p/.
        #[arg(required = true)]
        addresses: Vec<String>,
    },
    /// Show the relays.
    List,
    /// Use a relay no longer.
    Remove {
        /// Full multiaddr with /p2p/.
        address: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Arguments::command().debug_assert();
    }

    /// Every command that does something, as its words.
    fn commands(command: &clap::Command, words: &[String], into: &mut Vec<Vec<String>>) {
        let below: Vec<_> = command
            .get_subcommands()
            .filter(|below| !below.is_hide_set() && below.get_name() != "help")
            .collect();
        if !words.is_empty() && (below.is_empty() || !command.is_subcommand_required_set()) {
            into.push(words.to_vec());
        }
        for command in below {
            let mut words = words.to_vec();
            words.push(command.get_name().to_owned());
            commands(command, &words, into);
        }
    }

    fn every_command() -> Vec<Vec<String>> {
        let mut all = Vec::new();
        commands(&Arguments::command(), &[], &mut all);
        all
    }

    fn file(path: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The lines of docs/CLI.md below a heading.
    fn section(heading: &str) -> String {
        let text = file("../docs/CLI.md");
        let (_, section) = text.split_once(&format!("\n## {heading}\n")).unwrap();
        section.split("\n## ").next().unwrap_or_default().to_owned()
    }

    #[test]
    fn each_command_has_its_exit_codes_in_the_documentation() {
        let rows = section("Exit codes by command");
        let mut documented: Vec<&str> = rows
            .lines()
            .filter(|line| line.starts_with("| `"))
            .filter_map(|line| line.split('|').nth(1))
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .collect();
        let mut expected: Vec<String> = every_command().iter().map(|words| words.join(" ")).collect();
        documented.sort_unstable();
        expected.sort_unstable();
        assert_eq!(documented, expected);
    }

    #[test]
    fn each_command_has_a_snapshot_of_its_help() {
        for words in every_command() {
            let (word, below) = words.split_first().unwrap();
            let snapshot = file(&format!(
                "tests/peerup/snapshots/peerup__arguments__help-{word}.snap"
            ));
            let usage = format!("peerup {}", words.join(" "));
            assert!(snapshot.contains(&usage), "{usage}");
            if let Some(below) = below.first() {
                assert!(snapshot.contains(&format!("----- {word} {below}\n")), "{usage}");
            }
        }
    }

    #[test]
    fn each_key_of_a_json_snapshot_is_documented() {
        let section = section("What --json prints");
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peerup/snapshots");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !name.starts_with("peerup__json__") || !name.ends_with(".snap") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let body = text.splitn(3, "---\n").nth(2).unwrap_or_default();
            for line in body.lines().filter(|line| !line.contains(".grants.")) {
                let keys = line.split(':').next().unwrap_or_default();
                for key in keys.split('.').map(|key| key.trim_end_matches("[]")) {
                    seen += 1;
                    let known = key.is_empty() || section.contains(&format!("`{key}`"));
                    assert!(known, "{name}: {key} stands nowhere in docs/CLI.md");
                }
            }
        }
        assert!(seen > 100, "{seen}");
    }

    #[test]
    fn flags_stand_before_or_after_arguments() {
        for line in [
            "peerup --json ping home -c 2",
            "peerup ping -c 2 home --json",
            "peerup ping home --json -c 2",
        ] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert!(arguments.global.json, "{line}");
            assert!(
                matches!(arguments.command, Command::Ping(Ping { count: 2, .. })),
                "{line}"
            );
        }
    }

    #[test]
    fn a_flag_may_be_repeated_and_the_last_one_wins() {
        for line in [
            "peerup --json --json --config a --config b ping home -c 1 -c 2 --until-direct --until-direct",
            "peerup ping home -c 1 --count 2 --json --json --color never --color always --config a --config b",
        ] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert!(arguments.global.json, "{line}");
            assert_eq!(
                arguments.global.config.as_deref(),
                Some(std::path::Path::new("b")),
                "{line}"
            );
            assert!(
                matches!(arguments.command, Command::Ping(Ping { count: 2, .. })),
                "{line}"
            );
        }
        // What may stand there more than once adds up as before.
        let line = "peerup init --relay a --relay b,c";
        let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
        assert!(matches!(arguments.command, Command::Init(Init { relays, .. }) if relays == ["a", "b", "c"]));
    }

    #[test]
    fn serve_is_the_daemon_and_start_is_its_default() {
        for line in ["peerup daemon", "peerup serve", "peerup daemon start"] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(arguments.command.log_level(), "info", "{line}");
        }
    }
}
