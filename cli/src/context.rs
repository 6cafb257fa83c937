//! What every command knows: the global flags resolved, where the config is, how to print.

use std::{
    io::{IsTerminal, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::ExitCode,
};

use peerup_api::{SOCKET_FILE, reachable_path};
use peerup_config::{FindError, Loaded, LogConfig, NodeConfig, SearchPlaces};
use peerup_daemon::DaemonLog;
use peerup_model::{ErrorCode, Failure};
use peerup_ops::{FileLog, LogGuard, LogOptions};
use tracing_subscriber::EnvFilter;

use crate::{
    arguments::{Color, Global},
    daemon_log::DaemonLogLayer,
};

/// What to do about a config that is broken or gone while a last good one is kept.
const WAY_BACK: &str = "correct it, or take the last good one: peerup config rollback";

/// The global flags, resolved.
#[derive(Debug)]
pub(crate) struct Context {
    /// Whether data is printed as JSON.
    pub(crate) json: bool,
    /// Whether data on standard output may have colours.
    pub(crate) paint: bool,
    config: Option<PathBuf>,
    color: bool,
    verbose: u8,
    quiet: bool,
    /// The last lines of the log of this process, where it is a daemon.
    pub(crate) log: DaemonLog,
}

impl Context {
    pub(crate) fn new(global: &Global) -> Self {
        let wanted = |terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        Self {
            json: global.json,
            config: global.config.clone(),
            color: wanted(std::io::stderr().is_terminal()),
            paint: wanted(std::io::stdout().is_terminal()),
            verbose: global.verbose,
            quiet: global.quiet,
            log: DaemonLog::default(),
        }
    }

    /// The same flags for another config.
    pub(crate) fn at(&self, config: PathBuf) -> Self {
        Self {
            config: Some(config),
            // What a command inside another one prints is no data.
            json: false,
            log: self.log.clone(),
            ..*self
        }
    }

    /// These flags together with those that stood behind a plugin's word.
    pub(crate) fn with(&self, global: &Global) -> Self {
        let later = Self::new(global);
        let chosen = !matches!(global.color, Color::Auto);
        Self {
            json: self.json || later.json,
            paint: if chosen { later.paint } else { self.paint },
            config: later.config.or_else(|| self.config.clone()),
            color: if chosen { later.color } else { self.color },
            verbose: self.verbose.max(later.verbose),
            quiet: self.quiet || later.quiet,
            log: self.log.clone(),
        }
    }

    /// Starts the log: on standard error, or where the config of a daemon has it. A daemon's is kept in memory too.
    ///
    /// # Errors
    /// The config names a file that cannot be written.
    pub(crate) fn start_log(&self, level: &str, log: Option<LogConfig>) -> Result<LogGuard, Failure> {
        let is_daemon = level == "info";
        let (quiet, verbose, usual) = (self.quiet, self.verbose, level.to_owned());
        let guard = peerup_ops::start_log(LogOptions {
            filter: Box::new(move |configured| filter((quiet, verbose), configured.unwrap_or(&usual))),
            color: self.color,
            file: log.as_ref().and_then(FileLog::of),
            level: log.and_then(|log| log.level),
            also: is_daemon.then(|| Box::new(DaemonLogLayer::new(self.log.clone())) as _),
        })
        .map_err(|error| {
            Failure::new(ErrorCode::Failed, error.to_string()).with_hint(
                "change log.file in the config, or make its folder one that the daemon may write to",
            )
        })?;
        if is_daemon {
            self.log.controlled_by(guard.control());
        }
        Ok(guard)
    }

    /// Returns what the config says of the log, where it can be read.
    pub(crate) fn log_config(&self) -> Option<LogConfig> {
        let path = self.config_path().ok()?;
        let loaded = peerup_config::load_node(&path).ok()?;
        Some(loaded.config.log)
    }

    /// Returns the places where a config may lie.
    pub(crate) fn places() -> SearchPlaces {
        SearchPlaces {
            working_dir: std::env::current_dir().unwrap_or_default(),
            home: std::env::var_os("HOME").map(PathBuf::from),
            xdg_config_home: std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from),
            system: Some(PathBuf::from("/etc")),
        }
    }

    /// Returns what `--config` or its twin in the environment names.
    pub(crate) fn named_config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Finds the config file.
    pub(crate) fn config_path(&self) -> Result<PathBuf, Failure> {
        let found = peerup_config::find_config(self.config.as_deref(), None, &Self::places())
            .map_err(|error| find_failure(&error))?;
        // The daemon's socket lies beside the config: the folder must not depend on who asks from where.
        std::path::absolute(&found).map_err(|error| {
            Failure::new(
                ErrorCode::ConfigInvalid,
                format!("{} cannot be found: {error}", found.display()),
            )
        })
    }

    /// Finds and reads the config file. While a daemon runs, a file that is broken or gone is no reason to fail: what the
    /// daemon ran with last is read instead, and said so.
    pub(crate) fn load(&self) -> Result<(PathBuf, NodeConfig), Failure> {
        let path = self.config_path()?;
        let loaded = peerup_config::load_node(&path).map_err(|error| peerup_daemon::config_failure(&error));
        let Loaded { config, warnings } = match loaded {
            Ok(loaded) => loaded,
            Err(failure) => {
                let Some(config) = peerup_config::last_good_node(&path) else {
                    return Err(failure);
                };
                if !daemon_listens(&path) {
                    return Err(failure.with_hint(WAY_BACK));
                }
                self.note(&format!(
                    "{}\nthe daemon runs with the last good one, and so does this command\n  next: {WAY_BACK}",
                    failure.message
                ));
                return Ok((path, config));
            }
        };
        for warning in warnings {
            self.note(&warning.to_string());
        }
        Ok((path, config))
    }

    /// Tells the person something that is not data.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            tell(text);
        }
    }

    /// Returns whether questions may be asked.
    pub(crate) fn may_ask(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Tells why the command failed and returns its exit code.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        let (red, plain) = if self.color {
            ("\x1b[1;31m", "\x1b[0m")
        } else {
            ("", "")
        };
        tell(&format!("{red}error:{plain} {}", failure.message));
        let hint = failure.hint.as_deref().or(usual_hint(failure.code));
        for line in hint.unwrap_or_default().lines() {
            tell(&format!("  next: {line}"));
        }
        ExitCode::from(failure.code.exit_code())
    }
}

/// Writes a line on standard error. That nobody reads there on is nobody's failure.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether a daemon runs beside a config.
fn daemon_listens(path: &Path) -> bool {
    let socket = path.parent().unwrap_or(Path::new(".")).join(SOCKET_FILE);
    reachable_path(&socket).is_ok_and(|(path, _folder)| UnixStream::connect(path).is_ok())
}

/// Returns what is logged: the variable `PEERUP_LOG` goes before the flags, and they before the level that is usual or
/// configured.
fn filter((quiet, verbose): (bool, u8), level: &str) -> EnvFilter {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) => level,
        (false, 1) => {
            "info,netlink_packet_route=error,peerup_daemon=debug,peerup_engine=debug,peerup_net=debug"
        }
        (false, _) => "debug",
    };
    // The kernel says more of its links than that crate knows, and it warns of each.
    let level = match level {
        "info" | "warn" => {
            format!("{level},netlink_packet_route=error,libp2p_kad=error,libp2p_mdns=warn")
        }
        other => other.to_owned(),
    };
    EnvFilter::try_from_env("PEERUP_LOG").unwrap_or_else(|_| EnvFilter::new(level))
}

/// Returns the next step of a failure that names none of its own.
fn usual_hint(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::Invalid => Some("correct it and try again; every command explains itself with --help"),
        ErrorCode::ConfigInvalid => Some("correct it, then check it with: peerup config validate"),
        ErrorCode::Interrupted => None,
        _ => Some("run it again with -v to see more of what happens"),
    }
}

/// Says where no config was found.
fn find_failure(error: &FindError) -> Failure {
    let text = error.to_string();
    let failure = |text: &str, hint: &str| Failure::new(ErrorCode::ConfigInvalid, text).with_hint(hint);
    match (error, text.split_once("\nrun ")) {
        (FindError::Nowhere { .. }, Some((what, run))) => failure(what, &format!("run {run}")),
        (FindError::Unreadable { .. }, _) => failure(&text, "check the rights of that folder"),
        _ => failure(&text, "check the path, or make a config with: peerup init"),
    }
}
