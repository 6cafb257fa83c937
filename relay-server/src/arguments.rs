//! The command line of `relay-server`, as written in its help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use multiaddr::Multiaddr;

/// A self-hosted relay: peers behind NAT reach each other through it, and only those you authorise.
#[derive(Debug, Parser)]
#[command(name = "relay-server", disable_version_flag = true, max_term_width = 110)]
pub struct Arguments {
    /// What to do; `serve` where nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArguments,
}

/// Options of every command, before or after its own.
#[derive(Debug, Args)]
pub struct GlobalArguments {
    /// Config file [default: ./relay-server.yaml, then /etc/peerup/relay-server.yaml]
    #[arg(long, global = true, value_name = "PATH", env = "PEERUP_RELAY_CONFIG")]
    pub config: Option<PathBuf>,
    /// When to colour the log
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        env = "PEERUP_COLOR"
    )]
    pub color: Color,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Log less; twice for errors only
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub quiet: u8,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the relay in the foreground (the default)
    Serve,
    /// Write a config, a key and an empty list of authorised peers
    Init(InitArguments),
    /// Print the peer id and the addresses to hand out
    Info(OutputArguments),
    /// Let a peer use the relay; live at once in a running one
    Authorize(AuthorizeArguments),
    /// Take that right away; a running relay closes the peer's connections
    Deauthorize(DeauthorizeArguments),
    /// List the authorised peers
    ListPeers(OutputArguments),
    /// Install the relay as a service, look whether it is well installed, or take it away
    Setup(SetupArguments),
    /// Show how the running relay is: peers, reservations, circuits
    Status(OutputArguments),
    /// Have the running relay read its config again; says what is in force and what needs a restart
    Reload(OutputArguments),
    /// Close the connections of a peer to the running relay; it may come back
    Disconnect(DisconnectArguments),
    /// Check the config, or change it with a way back
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the version
    Version,
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct InitArguments {
    /// Folder for the files; made where it is missing
    #[arg(long, value_name = "DIR", env = "PEERUP_RELAY_DIR", default_value = ".")]
    pub dir: PathBuf,
    /// Address to listen on, again for more [default: port 7777, TCP and QUIC, IPv4 and IPv6]
    #[arg(long, value_name = "ADDR", env = "PEERUP_RELAY_LISTEN", value_delimiter = ',')]
    pub listen: Vec<Multiaddr>,
    /// Address that peers reach this relay at from outside, again for more
    #[arg(
        long,
        value_name = "ADDR",
        env = "PEERUP_RELAY_EXTERNAL",
        value_delimiter = ','
    )]
    pub external: Vec<Multiaddr>,
}

/// Arguments of commands that print data.
#[derive(Debug, Args)]
pub struct OutputArguments {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `authorize`.
#[derive(Debug, Args)]
pub struct AuthorizeArguments {
    /// Peer id
    #[arg(value_name = "ID")]
    pub peer: String,
    /// Whose it is
    #[arg(long, value_name = "TEXT", env = "PEERUP_RELAY_COMMENT")]
    pub comment: Option<String>,
}

/// Arguments of `deauthorize`.
#[derive(Debug, Args)]
pub struct DeauthorizeArguments {
    /// Peer id
    #[arg(value_name = "ID")]
    pub peer: String,
}

/// Arguments of `setup`.
#[derive(Debug, Args)]
pub struct SetupArguments {
    /// Only look whether everything is in place
    #[arg(long, conflicts_with = "uninstall")]
    pub check: bool,
    /// End the service and take unit and program away; config, key and user stay
    #[arg(long)]
    pub uninstall: bool,
    /// Folder with `bin` for the program
    #[arg(long, value_name = "DIR", env = "PEERUP_PREFIX", default_value = "/usr/local")]
    pub prefix: PathBuf,
    /// Root of the system; another one than / is an image that is being built, where nothing is started
    #[arg(long, value_name = "DIR", env = "PEERUP_ROOT", default_value = "/")]
    pub root: PathBuf,
    /// Address that peers reach this relay at from outside, for a config that is made
    #[arg(
        long,
        value_name = "ADDR",
        env = "PEERUP_RELAY_EXTERNAL",
        value_delimiter = ','
    )]
    pub external: Vec<Multiaddr>,
}

/// Arguments of `disconnect`.
#[derive(Debug, Args)]
pub struct DisconnectArguments {
    /// Peer id, or its beginning
    #[arg(value_name = "ID")]
    pub peer: String,
}

/// What to do with the config.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the config file, the key and the list of authorised peers
    Validate,
    /// Print the config file
    Show(OutputArguments),
    /// Show how the config stands: what waits to be confirmed, and the last good ones
    Status(OutputArguments),
    /// Say what a config would change
    Plan {
        /// The file with the new config [default: the one in use, against what the relay has in force]
        file: Option<PathBuf>,
        /// What is printed.
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Put a config in the place of the one in use, live where the relay runs
    Apply(ConfigApplyArguments),
    /// Keep the config that waits to be confirmed
    Confirm(OutputArguments),
    /// Bring back the config from before, or a last good one
    Rollback {
        /// Which of the last good ones, as `config status` counts them [default: what waits to be confirmed goes back, else
        /// the newest that says something else]
        generation: Option<usize>,
        /// What is printed.
        #[command(flatten)]
        output: OutputArguments,
    },
}

/// Arguments of `config apply`.
#[derive(Debug, Args)]
pub struct ConfigApplyArguments {
    /// The file with the new config
    pub file: PathBuf,
    /// Go back by itself unless it is confirmed within this time
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, env = "PEERUP_RELAY_CONFIRM_TIMEOUT")]
    pub confirm_timeout: Option<Duration>,
    /// Do not wait for the end of the time on a terminal
    #[arg(long)]
    pub no_wait: bool,
    /// What is printed.
    #[command(flatten)]
    pub output: OutputArguments,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_after_the_command() {
        for line in [
            ["relay-server", "--config", "x.yaml", "info"],
            ["relay-server", "info", "--config", "x.yaml"],
        ] {
            let arguments = Arguments::try_parse_from(line).unwrap();
            assert_eq!(arguments.global.config, Some(PathBuf::from("x.yaml")));
        }
    }

    #[test]
    fn serve_is_what_happens_without_a_command() {
        let arguments = Arguments::try_parse_from(["relay-server", "-v"]).unwrap();

        assert!(arguments.command.is_none());
        assert_eq!(arguments.global.verbose, 1);
    }
}
