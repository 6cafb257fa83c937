//! What can be wrong with a config file, and how it is told: every problem with its line, its key and the
//! next step.

use std::{fmt, io, path::PathBuf};

use crate::position::Position;

/// Problems that one message lists before it only counts the rest.
const MAX_LISTED_PROBLEMS: usize = 20;

/// One thing that is wrong at one place of a config file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The key as a dotted path such as `services.web.local_address`; empty for the whole file.
    pub key: String,
    /// What is wrong, without the place.
    pub message: String,
}

impl Problem {
    pub(crate) fn at(position: Position, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            line: position.line,
            column: position.column,
            key: key.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Why a config could not be loaded. The text names the file; each problem names its line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No such file.
    #[error("there is no config file {}\nrun `{init}` to make one, or name another with --config", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The command that makes one.
        init: &'static str,
    },
    /// The file exists and cannot be read.
    #[error("cannot read the config file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is longer than 1 MiB.
    #[error("the config file {} is longer than 1 MiB, the most that is read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not UTF-8.
    #[error("the config file {} is not UTF-8 text: line {line} has a byte that cannot stand there", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Line of the first wrong byte, counted from 1.
        line: usize,
    },
    /// The file was written for a later release.
    #[error(
        "the config file {} has version {found}, and this peerup reads up to {supported}; upgrade peerup",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version that it names.
        found: u64,
        /// The latest version that this release reads.
        supported: u64,
    },
    /// The content is wrong.
    #[error("the config file {} is not valid{}", path.display(), Listed(problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All that is wrong, in the order of the file; never empty.
        problems: Vec<Problem>,
    },
}

struct Listed<'a>(&'a [Problem]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.0.iter().take(MAX_LISTED_PROBLEMS) {
            write!(f, "\n  {problem}")?;
        }
        match self.0.len().saturating_sub(MAX_LISTED_PROBLEMS) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// Why no config file was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// A file that was asked for by name is not there.
    #[error("there is no config file {}, which {origin} names", path.display())]
    Named {
        /// The file.
        path: PathBuf,
        /// Where its name came from: `--config` or `PEERUP_CONFIG`.
        origin: &'static str,
    },
    /// None of the usual places has one.
    #[error(
        "there is no config file; looked for{}\nrun `peerup init` to make one, or name one with --config",
        Places(searched)
    )]
    Nowhere {
        /// Where it was looked for, in order.
        searched: Vec<PathBuf>,
    },
    /// A place could not be looked at, so whether a file is there is unknown.
    #[error("cannot tell whether the config file {} exists: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

struct Places<'a>(&'a [PathBuf]);

impl fmt::Display for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|path| write!(f, "\n  {}", path.display()))
    }
}

/// Why an edit was not made. The file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The file as it stands cannot be loaded.
    #[error(transparent)]
    Load(#[from] ConfigError),
    /// The value cannot stand in the config.
    #[error("{key} cannot be set: {message}")]
    Value {
        /// Dotted path of the key.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// What was to be changed is not there.
    #[error("{what} is not in the config file {}", path.display())]
    NotFound {
        /// The service, name or address.
        what: String,
        /// The file.
        path: PathBuf,
    },
    /// The way the file is written does not let this change be made safely.
    #[error(
        "the config file {} is written in a way that peerup cannot change without harm; {by_hand}",
        path.display()
    )]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// What to do by hand, with the lines.
        by_hand: String,
    },
    /// The config waits to be confirmed, and may go back as a whole.
    #[error("the config file {} waits to be confirmed; it was applied by {by}", path.display())]
    Pending {
        /// The file.
        path: PathBuf,
        /// Who applied it.
        by: String,
    },
    /// Another process holds the lock.
    #[error("another peerup is changing {}; try again when it is done", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// Reading, locking or writing failed.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done, such as `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file to create is already there.
    #[error("{} is already there and is not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
}
