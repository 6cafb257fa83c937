//! Words about plugins, for operators and authors.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

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
