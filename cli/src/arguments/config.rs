//! Words about the config.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
