//! Words about the daemon, its place in the system and what is wrong with either.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::peer::Ping;

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
