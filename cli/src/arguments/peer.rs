//! Words about peers: who may come, how they are found and how far they are.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
