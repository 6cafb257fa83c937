//! Every word and flag of the command line, as clap reads them.
//!
//! The one raw form of the arguments; commands get them resolved. Each flag with a value has a twin in the
//! environment.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Reach your own machines and services through any NAT, with no account and no vendor.
#[derive(Debug, Parser)]
#[command(name = "peerup", version, max_term_width = 100, after_help = EXIT_CODES)]
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

#[derive(Debug, Args)]
pub(crate) struct Daemon {
    #[command(subcommand)]
    pub(crate) command: Option<DaemonCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DaemonCommand {
    /// Run in the foreground (the default).
    Start,
    /// Show the running daemon.
    Status,
    /// End the running daemon.
    Stop,
    /// Show the services it offers.
    Services,
    /// Show the connected peers.
    Peers {
        /// Also those without a recent answer.
        #[arg(long)]
        all: bool,
    },
    /// Ping a peer through the daemon.
    Ping(Ping),
    /// Forward a local address to a service of a peer, in the daemon.
    Connect {
        /// A name, a peer id, or a unique prefix of one.
        #[arg(long, value_name = "P", env = "PEERUP_PEER")]
        peer: String,
        /// The service at that peer.
        #[arg(long, value_name = "S", env = "PEERUP_SERVICE")]
        service: String,
        /// address:port, or a port on 127.0.0.1; 0 for a free one.
        #[arg(
            long,
            value_name = "ADDR",
            env = "PEERUP_LISTEN",
            default_value = "127.0.0.1:0"
        )]
        listen: String,
    },
    /// End a forwarding of the daemon.
    Disconnect {
        /// What `connect` printed.
        id: String,
    },
    /// Read config and authorized_keys again.
    Reload,
    /// Install the daemon as a service: the machine's, run as the user peerup with its config in /etc/peerup, or your own.
    Install(DaemonInstall),
    /// End that service and take unit and program away; config, key and user stay.
    Uninstall(DaemonPlace),
}

#[derive(Debug, Args)]
pub(crate) struct DaemonInstall {
    /// Only look whether everything is in place.
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) place: DaemonPlace,
}

#[derive(Debug, Args)]
pub(crate) struct DaemonPlace {
    /// A service of your own instead of the machine's: the program in ~/.local/bin, your config, no root.
    #[arg(long, conflicts_with_all = ["prefix", "root"])]
    pub(crate) user: bool,
    /// Folder with `bin` for the program.
    #[arg(long, value_name = "DIR", env = "PEERUP_PREFIX", default_value = "/usr/local")]
    pub(crate) prefix: PathBuf,
    /// Root of the system; another one than / is an image that is being built, where nothing is started.
    #[arg(long, value_name = "DIR", env = "PEERUP_ROOT", default_value = "/")]
    pub(crate) root: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Proxy {
    #[command(subcommand)]
    pub(crate) command: Option<ProxyCommand>,
    /// A name, a peer id, or a unique prefix of one.
    #[arg(required = true)]
    pub(crate) peer: Option<String>,
    /// The service at that peer.
    #[arg(required = true)]
    pub(crate) service: Option<String>,
    /// A port, or address:port [default: a free port on 127.0.0.1].
    pub(crate) listen: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProxyCommand {
    /// Write a proxy into the config: the daemon keeps it, also while the peer is away and after a restart.
    Add {
        /// What to call it: lower-case letters, digits and dashes.
        name: String,
        /// A name or a peer id.
        peer: String,
        /// The service at that peer.
        service: String,
        /// A port on 127.0.0.1, or address:port.
        listen: String,
    },
    /// Show the proxies, those of the config and those that end with the daemon.
    List,
    /// End a proxy and take it out of the config.
    Remove {
        /// Its name.
        name: String,
    },
    /// Listen again.
    Enable {
        /// Its name.
        name: String,
    },
    /// Listen no longer, but keep it in the config.
    Disable {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Ping {
    /// A name, a peer id, or a unique prefix of one.
    pub(crate) peer: String,
    /// How many; 0 for no end.
    #[arg(short, long, value_name = "N", default_value_t = 4, env = "PEERUP_COUNT")]
    pub(crate) count: u64,
    /// Time between two.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration, env = "PEERUP_INTERVAL")]
    pub(crate) interval: std::time::Duration,
    /// Time to wait for each.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration, env = "PEERUP_TIMEOUT")]
    pub(crate) timeout: std::time::Duration,
    /// Stop at the first answer over a direct path.
    #[arg(long)]
    pub(crate) until_direct: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Traceroute {
    /// A name, a peer id, or a unique prefix of one.
    pub(crate) peer: String,
    /// Time to wait for the peer's answer.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration, env = "PEERUP_TIMEOUT")]
    pub(crate) timeout: std::time::Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Auth {
    /// Let a peer in.
    Add {
        /// Its peer id.
        id: String,
        /// A comment for the line.
        #[arg(long, value_name = "C", env = "PEERUP_COMMENT")]
        comment: Option<String>,
        /// What this node calls it.
        #[arg(long, value_name = "N", env = "PEERUP_NAME")]
        name: Option<String>,
        /// The only services it may use.
        #[arg(long, value_name = "a,b", value_delimiter = ',', env = "PEERUP_SERVICES")]
        services: Option<Vec<String>>,
        /// When it ends: RFC 3339, a date, or a time from now such as 30d.
        #[arg(long, value_name = "WHEN", env = "PEERUP_EXPIRES")]
        expires: Option<String>,
    },
    /// Show who may connect.
    List,
    /// Let a peer in no longer; its connections end.
    Remove {
        /// Its name or peer id.
        peer: String,
        /// Also where it is the only peer, or the one that this session may come through.
        #[arg(long)]
        yes: bool,
    },
    /// Check an authorized_keys file.
    Validate {
        /// The file [default: the config's].
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// Offer a service to authorized peers.
    Add {
        /// Its name: lower-case letters, digits and dashes.
        name: String,
        /// Where this machine reaches it: host:port.
        address: String,
    },
    /// Offer it no longer and forget it.
    Remove {
        /// Its name.
        name: String,
    },
    /// Offer it again.
    Enable {
        /// Its name.
        name: String,
    },
    /// Offer it no longer, but keep it in the config.
    Disable {
        /// Its name.
        name: String,
    },
    /// Show the services.
    List,
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

#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// What the joiner calls this node.
    #[arg(long, value_name = "N", env = "PEERUP_NAME")]
    pub(crate) name: Option<String>,
    /// How long the code is good for.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration, env = "PEERUP_TTL")]
    pub(crate) ttl: std::time::Duration,
    /// The only services the joiner may use.
    #[arg(long, value_name = "a,b", value_delimiter = ',', env = "PEERUP_SERVICES")]
    pub(crate) services: Option<Vec<String>>,
    /// Print the bare code as the first line on standard output, and no picture.
    #[arg(long)]
    pub(crate) non_interactive: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Join {
    /// The code [default: standard input].
    #[arg(env = "PEERUP_INVITE_CODE", num_args = 0..)]
    pub(crate) code: Vec<String>,
    /// What the inviter calls this node.
    #[arg(long, value_name = "N", env = "PEERUP_NAME")]
    pub(crate) name: Option<String>,
    /// The folder for config and key, where there are none yet [default: ~/.config/peerup].
    #[arg(long, value_name = "D", env = "PEERUP_DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Ask nothing.
    #[arg(long)]
    pub(crate) non_interactive: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Check the config and tell everything that is wrong with it.
    Validate {
        /// The file [default: the one in use].
        file: Option<PathBuf>,
    },
    /// Print the config file.
    Show,
    /// Show how the config stands: what waits to be confirmed, and the last good ones.
    Status,
    /// Say what a config would change, and whose streams that ends.
    Plan {
        /// The file with the new config [default: the one in use, against what the daemon has in force].
        file: Option<PathBuf>,
    },
    /// Put a config in the place of the one in use, live where a daemon runs.
    Apply(ConfigApply),
    /// Keep the config that waits to be confirmed.
    Confirm,
    /// Bring back the config from before, or a last good one.
    Rollback {
        /// Which of the last good ones, as `config status` counts them [default: what waits to be confirmed goes back,
        /// else the newest that says something else].
        generation: Option<usize>,
    },
    /// Print the JSON Schema of the config, for editors.
    Schema {
        /// That of a relay server's.
        #[arg(long)]
        relay: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ConfigApply {
    /// The file with the new config.
    pub(crate) file: PathBuf,
    /// Go back by itself unless it is confirmed within this time.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, env = "PEERUP_CONFIRM_TIMEOUT")]
    pub(crate) confirm_timeout: Option<std::time::Duration>,
    /// Confirm it by itself once this holds, and go back where it does not in time: ping:PEER, connect:PEER/SERVICE or
    /// relay. May stand there more than once [time: 1m unless --confirm-timeout says another].
    #[arg(long, value_name = "CHECK", value_delimiter = ',', env = "PEERUP_CONFIRM_IF")]
    pub(crate) confirm_if: Vec<String>,
    /// Do not wait for the end of the time on a terminal, nor for checks.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Plugin {
    /// Show the plugins with their state, instances and tunnels.
    List,
    /// Show one plugin with its rights, limits, counts and the last error.
    Inspect {
        /// Its name.
        name: String,
    },
    /// Run it, now and at each start.
    Enable {
        /// Its name.
        name: String,
    },
    /// Run it no longer: no new streams, and what runs has 30 seconds to end.
    Disable {
        /// Its name.
        name: String,
        /// Cancel what runs at once.
        #[arg(long)]
        now: bool,
    },
    /// Run no plugin any longer.
    DisableAll {
        /// Cancel what runs at once.
        #[arg(long)]
        now: bool,
    },
    /// Read the config again and load the plugin afresh; where that fails the one that runs goes on.
    Reload {
        /// Its name.
        name: String,
    },
    /// Show what it wrote and what happened to it.
    Logs {
        /// Its name.
        name: String,
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
    /// Run one of its words, as peerup WORD does.
    Run {
        /// Its name.
        name: String,
        /// The word, with its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Show what it asks of the host, as it asks: every call, with what it came to.
    Trace {
        /// Its name.
        name: String,
        /// Only the calls that were not granted.
        #[arg(long)]
        denied: bool,
    },
    /// Run its scenarios, tests/*.yaml: two peers in one process, with a clock and a network of their own.
    Test(PluginTest),
    /// Run it between two nodes on loopback, and build and swap it whenever a file changes.
    Dev(PluginDev),
    /// Make a small plugin in Rust to begin with: it builds and passes its test.
    New(PluginNew),
    /// Build a plugin, and show which rights it really uses against those that it asks for.
    Build(PluginBuild),
    /// Look for mistakes, rights that are wide, and what is missing.
    Check(PluginCheck),
    /// Make the one file that a plugin travels in, of its component and its plugin.toml.
    Pack(PluginPack),
    /// Make a key to sign plugins with.
    Keygen {
        /// The file to make.
        file: PathBuf,
    },
    /// Install a plugin: show what it wants and why, then write it into the config and plugins.lock.
    Install(PluginInstall),
    /// Install another version of a plugin. More rights need consent.
    Upgrade(PluginUpgrade),
    /// Keep the upgrade of a plugin that waits to be confirmed.
    Confirm {
        /// Its name.
        name: String,
    },
    /// Uninstall a plugin and take it out of the config.
    Remove {
        /// Its name.
        name: String,
        /// Leave what it has stored.
        #[arg(long)]
        keep_data: bool,
    },
    /// Go back to the version before.
    Rollback {
        /// Its name.
        name: String,
    },
    /// Send a plugin's file to a registry.
    Publish {
        /// The file that `pack` made.
        file: PathBuf,
        /// Where to: oci://HOST/NAME:TAG.
        reference: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PluginNew {
    /// Its name: lower-case letters, digits and dashes.
    pub(crate) name: String,
    /// What to begin with.
    #[arg(
        long,
        value_enum,
        value_name = "KIND",
        default_value_t = PluginTemplate::Command,
        env = "PEERUP_TEMPLATE"
    )]
    pub(crate) template: PluginTemplate,
    /// The folder to make [default: ./NAME].
    #[arg(long, value_name = "D", env = "PEERUP_DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// What a new plugin begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PluginTemplate {
    /// Serves TCP services to peers.
    TcpService,
    /// Knows who names stand for.
    Resolver,
    /// Has a command that asks a peer, and answers.
    Command,
    /// Runs as long as it is enabled.
    Service,
}

impl std::fmt::Display for PluginTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TcpService => "tcp-service",
            Self::Resolver => "resolver",
            Self::Command => "command",
            Self::Service => "service",
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct PluginBuild {
    /// The folder with plugin.toml and the crate, or with a build.sh.
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Build without optimising: faster to build, larger, slower. A build.sh decides for itself.
    #[arg(long)]
    pub(crate) debug: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PluginCheck {
    /// The folder with plugin.toml, built or not, or a file that `pack` made.
    #[arg(default_value = ".", value_name = "DIR|FILE")]
    pub(crate) source: PathBuf,
    /// The version before, to compare rights with: a file or folder [default: the one that is installed].
    #[arg(long, value_name = "FILE", env = "PEERUP_AGAINST")]
    pub(crate) against: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PluginPack {
    /// The folder with plugin.toml and the component: a .wasm in it, or what cargo built for wasm32-wasip2.
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// The file to make [default: NAME-VERSION.peerup].
    #[arg(long, value_name = "FILE", env = "PEERUP_OUT")]
    pub(crate) out: Option<PathBuf>,
    /// The key to sign with, as `keygen` makes one.
    #[arg(long, value_name = "KEY", env = "PEERUP_SIGN")]
    pub(crate) sign: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PluginTest {
    /// The scenarios to run, by name or path [default: all].
    pub(crate) scenarios: Vec<PathBuf>,
    /// The plugin's folder, with plugin.toml and tests/.
    #[arg(long, value_name = "DIR", default_value = ".", env = "PEERUP_DIR")]
    pub(crate) dir: PathBuf,
    /// Take the component that is there, without building it.
    #[arg(long)]
    pub(crate) no_build: bool,
    /// Show every call that the plugin makes of the host, also where all is well.
    #[arg(long)]
    pub(crate) calls: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PluginDev {
    /// The plugin's folder.
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// A right to grant at both nodes: CAPABILITY=VALUE. May be repeated [default: all that it declares].
    #[arg(long = "grant", value_name = "CAP=VALUE", env = "PEERUP_GRANT")]
    pub(crate) grants: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PluginInstall {
    /// A file that `pack` made, a folder with plugin.toml, or oci://HOST/NAME:TAG[@sha256:...].
    pub(crate) source: String,
    #[command(flatten)]
    pub(crate) consent: PluginConsent,
    /// Install it switched off.
    #[arg(long)]
    pub(crate) no_enable: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PluginUpgrade {
    /// The plugin's name.
    pub(crate) name: String,
    /// Where from, as for install [default: where it came from].
    pub(crate) source: Option<String>,
    #[command(flatten)]
    pub(crate) consent: PluginConsent,
    /// The version before comes back by itself unless it is confirmed within this time.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, env = "PEERUP_CONFIRM_TIMEOUT")]
    pub(crate) confirm_timeout: Option<std::time::Duration>,
    /// Confirm it by itself once this holds, and go back where it does not in time: ping:PEER, connect:PEER/SERVICE or
    /// relay. May stand there more than once [time: 1m unless --confirm-timeout says another].
    #[arg(long, value_name = "CHECK", value_delimiter = ',', env = "PEERUP_CONFIRM_IF")]
    pub(crate) confirm_if: Vec<String>,
    /// Do not wait for checks.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// What the operator says to the rights that a plugin asks for.
#[derive(Debug, Args)]
pub(crate) struct PluginConsent {
    /// A right to grant: CAPABILITY=VALUE, or CAPABILITY alone where it takes no value. May be repeated; what is
    /// not named is not granted.
    #[arg(long = "grant", value_name = "CAP=VALUE", env = "PEERUP_GRANT")]
    pub(crate) grants: Vec<String>,
    /// Grant all that the plugin declares.
    #[arg(long)]
    pub(crate) yes_as_declared: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DebugBundle {
    /// The file to make [default: peerup-debug-TIME.tar.gz].
    #[arg(long, value_name = "FILE", env = "PEERUP_OUT")]
    pub(crate) out: Option<PathBuf>,
    /// Leave ids, addresses, names, paths and plugins' settings readable.
    #[arg(long)]
    pub(crate) no_mask: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Mend what may be mended: modes of the node's files, a stale socket, and as root the kernel's buffers.
    #[arg(long)]
    pub(crate) fix: bool,
    /// Where /proc, /etc and /run are looked for, so that tests look at a machine of their own.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/",
        hide = true,
        env = "PEERUP_ROOT"
    )]
    pub(crate) root: PathBuf,
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
    fn serve_is_the_daemon_and_start_is_its_default() {
        for line in ["peerup daemon", "peerup serve", "peerup daemon start"] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(arguments.command.log_level(), "info", "{line}");
        }
    }
}
