//! The `relay-server` binary: arguments in, one command each, exit code out.

use std::io::{IsTerminal, Write, stderr};
use std::process::ExitCode;

use clap::Parser;
use peerup_ops::{FileLog, LogError, LogGuard, LogOptions, start_log as start_ops_log};
use relay_server::{Arguments, Color, Command, log_config, run_command};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: peerup_ops::Allocator = peerup_ops::Allocator;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let log = match start_log(&arguments) {
        Ok(guard) => guard,
        Err(error) => {
            let _ = writeln!(
                stderr().lock(),
                "relay-server: {error}\n  change log.file in the config"
            );
            return ExitCode::FAILURE;
        }
    };
    match run_command(arguments, log.control()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut out = stderr().lock();
            // Nobody is left to tell when standard error is gone.
            let _ = writeln!(out, "relay-server: {failure}");
            if let Some(hint) = &failure.hint {
                let _ = writeln!(out, "  {hint}");
            }
            ExitCode::from(failure.code.exit_code())
        }
    }
}

/// Only a relay that runs has a log of its own; a command speaks to the person who runs it.
fn start_log(arguments: &Arguments) -> Result<LogGuard, LogError> {
    let global = &arguments.global;
    let serves = matches!(arguments.command, None | Some(Command::Serve));
    let log = serves.then(|| log_config(global.config.as_deref())).flatten();
    let asked = i16::from(global.verbose) - i16::from(global.quiet);
    let color = match global.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    };
    start_ops_log(LogOptions {
        filter: Box::new(move |configured| EnvFilter::new(level(asked, configured))),
        color,
        file: log.as_ref().and_then(FileLog::of),
        level: log.and_then(|log| log.level),
        also: None,
    })
}

/// Returns what is logged, by what `-v` and `-q` ask for: they go before the config.
fn level(asked: i16, configured: Option<&str>) -> &str {
    match asked {
        ..=-2 => "error",
        -1 => "warn",
        0 => configured.unwrap_or(
            "warn,relay_server=info,peerup_net=info,peerup_ops=info,netlink_packet_route=error,libp2p_kad=error",
        ),
        1 => "info,relay_server=debug,peerup_net=debug",
        _ => "debug,relay_server=trace,peerup_net=trace",
    }
}
