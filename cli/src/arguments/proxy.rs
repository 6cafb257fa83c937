//! Words about services, here and on peers.

use clap::{Args, Subcommand};

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
