//! Every chore of the repository: `cargo xtask <chore>`. CI runs the same ones.
#![expect(clippy::print_stdout, reason = "what a chore has to say goes to the terminal")]

mod bench;
mod binaries;
mod demo;
mod document;
mod fuzz;
mod lab;
mod nodes;
mod procfs;
mod test;
mod tidy;
mod tools;
mod web;
mod workspace;

use std::{process::ExitCode, thread};

use clap::{Parser, Subcommand};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Every chore of the repository as one command")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Runs everything that CI runs, in order, up to the first failure
    Test,
    /// Shows the whole thing on loopback: pairs two nodes over a relay and fetches a page through a plugin
    Demo(demo::DemoArguments),
    /// Runs the end-to-end cases between NAT routers of every kind in network namespaces (needs root)
    Lab(lab::LabArguments),
    /// Disturbs a pair of nodes on a seed for a long time, and looks for what is lost or left over (needs root)
    Soak(lab::SoakArguments),
    /// Measures a tunnel, the engine and an idle daemon, each beside a baseline
    Bench(bench::BenchArguments),
    /// Checks the edges between crates, cycles between modules, file headers; lists long files and functions
    Tidy,
    /// Runs the fuzz targets with cargo-fuzz
    Fuzz(fuzz::FuzzArguments),
    /// Copies bytes between a free port and an address: what the bench compares with
    #[command(hide = true)]
    CopyLoop { target: String },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = watch_signals() {
        println!("Ctrl-C will not clean up: {error}");
    }
    let outcome = match &arguments.chore {
        Chore::Test => test::run(),
        Chore::Demo(arguments) => demo::run(arguments),
        Chore::Lab(arguments) => lab::run(arguments),
        Chore::Soak(arguments) => lab::soak(arguments),
        Chore::Bench(arguments) => bench::run(arguments),
        Chore::Tidy => tidy::run(),
        Chore::Fuzz(arguments) => fuzz::run(arguments),
        Chore::CopyLoop { target } => bench::copy_loop(target),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nFAILED: {error:#}");
            ExitCode::from(if peerup_testkit::interrupted() { 130 } else { 1 })
        }
    }
}

/// Turns the first SIGINT or SIGTERM into the end of every wait, so that what was started is ended and
/// removed; the second one ends at once.
fn watch_signals() -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        for signal in &mut signals {
            if peerup_testkit::interrupted() {
                std::process::exit(128 + signal);
            }
            peerup_testkit::interrupt();
        }
    });
    Ok(())
}
