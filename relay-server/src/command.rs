//! The commands, each in a file of its own, and what they share: finding the config and telling failures.

mod config;
mod info;
mod init;
mod keys;
mod running;
mod serve;
mod setup;

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use peerup_config::{LogConfig, RelayConfig, is_kept, last_good_relay, load_relay};
use peerup_model::{ErrorCode, Failure};
use peerup_ops::LogControl;

use crate::admin::socket_path;
use crate::arguments::{Arguments, Command, ConfigCommand};
use crate::failure::config_failure;

/// Where a config is looked for when none is named, in this order.
const CONFIG_PLACES: [&str; 2] = ["relay-server.yaml", "/etc/peerup/relay-server.yaml"];

/// What to do about a config that is broken or gone while a last good one is kept.
const WAY_BACK: &str = "correct it, or take the last good one: relay-server config rollback";

/// Runs what the command line asks for, to its end. The log of a relay follows its config.
///
/// # Errors
///
/// What failed, on which object, what to do now, and the exit code.
pub fn run_command(arguments: Arguments, log: LogControl) -> Result<(), Failure> {
    let named = arguments.global.config.as_deref();
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::serve(&place(named)?, log),
        Command::Init(init) => init::init(&init),
        Command::Info(output) => info::info(&found(named)?, &output),
        Command::Authorize(authorize) => keys::authorize(&found(named)?, &authorize),
        Command::Deauthorize(deauthorize) => keys::deauthorize(&found(named)?, &deauthorize),
        Command::ListPeers(output) => keys::list_peers(&found(named)?, &output),
        Command::Setup(setup) => setup::setup(&setup),
        Command::Status(output) => running::status(&place(named)?, &output),
        Command::Reload(output) => running::reload(&place(named)?, &output),
        Command::Disconnect(disconnect) => running::disconnect(&place(named)?, &disconnect),
        Command::Config(command) => configure(named, command),
        Command::Version => print(&format!("relay-server {}\n", env!("CARGO_PKG_VERSION"))),
    }
}

fn configure(named: Option<&Path>, command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Validate => serve::validate(&as_written(named)?),
        ConfigCommand::Show(output) => config::show(&place(named)?, &output),
        ConfigCommand::Status(output) => config::status(&place(named)?, &output),
        ConfigCommand::Plan { file, output } => config::plan(&place(named)?, file.as_deref(), &output),
        ConfigCommand::Apply(arguments) => config::apply(&place(named)?, &arguments),
        ConfigCommand::Confirm(output) => config::confirm(&place(named)?, &output),
        ConfigCommand::Rollback { generation, output } => {
            config::roll_back(&place(named)?, generation, &output)
        }
    }
}

/// A config and where it came from.
struct Found {
    path: PathBuf,
    config: RelayConfig,
}

fn places() -> impl Iterator<Item = PathBuf> {
    CONFIG_PLACES.iter().map(PathBuf::from)
}

/// Returns where the config is, whatever stands in it, also where it is gone and a last good one of it is kept.
fn place(named: Option<&Path>) -> Result<PathBuf, Failure> {
    match named {
        Some(path) => Ok(path.to_owned()),
        None => places()
            .find(|path| path.exists())
            // There is a way back to one that is gone.
            .or_else(|| places().find(|path| is_kept(path)))
            .ok_or_else(|| {
                let message = format!(
                    "there is no config file: looked for {}",
                    CONFIG_PLACES.join(" and ")
                );
                Failure::new(ErrorCode::ConfigInvalid, message)
                    .with_hint("make one with `relay-server init --dir DIR`, or name one with --config")
            }),
    }
}

/// Returns what the config says of the log, where it can be read.
pub fn log_config(named: Option<&Path>) -> Option<LogConfig> {
    let loaded = load_relay(&place(named).ok()?).ok()?;
    Some(loaded.config.log)
}

/// Reads the config. While the relay runs, a file that is broken or gone is no reason to fail: what it ran with last is
/// read instead, and said so.
fn found(named: Option<&Path>) -> Result<Found, Failure> {
    let path = place(named)?;
    let failure = match as_written(Some(&path)) {
        Ok(found) => return Ok(found),
        Err(failure) => failure,
    };
    let Some(config) = last_good_relay(&path) else {
        return Err(failure);
    };
    if UnixStream::connect(socket_path(&path)).is_err() {
        return Err(failure.with_hint(WAY_BACK));
    }
    tell(&format!(
        "{}\nthe relay runs with the last good config, and so does this command\n  {WAY_BACK}",
        failure.message
    ));
    Ok(Found { path, config })
}

/// Reads the config from its file and from nowhere else.
fn as_written(named: Option<&Path>) -> Result<Found, Failure> {
    let path = place(named)?;
    let loaded = load_relay(&path).map_err(|error| config_failure(&error))?;
    for warning in &loaded.warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
    Ok(Found {
        path,
        config: loaded.config,
    })
}

/// Writes data to standard output; whoever closed it does not want the rest.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            ErrorCode::Failed,
            format!("cannot write to standard output: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Writes a line for people to standard error.
fn tell(line: &str) {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Prints a value as JSON of several lines.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(ErrorCode::Failed, format!("cannot write JSON: {error}")))?;
    print(&format!("{text}\n"))
}
