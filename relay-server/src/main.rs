//! The `relay-server` binary: arguments in, one command each, exit code out.

use std::io::{IsTerminal, Write, stderr};
use std::process::ExitCode;

use clap::Parser;
use relay_server::{Arguments, Color, GlobalArguments, run_command};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log(&arguments.global);
    match run_command(arguments) {
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

fn start_log(global: &GlobalArguments) {
    let level = match i16::from(global.verbose) - i16::from(global.quiet) {
        ..=-2 => "error",
        -1 => "warn",
        0 => "warn,relay_server=info,peerup_net=info,netlink_packet_route=error,libp2p_kad=error",
        1 => "info,relay_server=debug,peerup_net=debug",
        _ => "debug,relay_server=trace,peerup_net=trace",
    };
    let color = match global.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(stderr)
        .with_ansi(color)
        .with_target(false)
        .init();
}
