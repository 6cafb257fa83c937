//! The `peerup` binary: arguments, resolved into options, run as one command each.
//!
//! Data goes to standard output, everything else to standard error. The exit code says what kind of failure
//! it was; see `peerup --help`.

mod arguments;
mod command;
mod completion;
mod context;
mod daemon_log;
mod output;
mod session;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, error::ErrorKind};

use crate::{arguments::Arguments, context::Context};

#[global_allocator]
static ALLOCATOR: peerup_ops::Allocator = peerup_ops::Allocator;

fn main() -> ExitCode {
    completion::answer();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            if let Some(help) = help_of_word(&error) {
                let _ = help.print();
                return ExitCode::SUCCESS;
            }
            if is_whole_help(&error) {
                let _ = with_words().print_help();
                return ExitCode::SUCCESS;
            }
            // A closed pipe behind --help is nobody's failure.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    keep_pages_small();
    let context = Context::new(&arguments.global);
    // Only the daemon has a log of its own; a command speaks to the person who runs it.
    let log = arguments
        .command
        .is_daemon()
        .then(|| context.log_config())
        .flatten();
    let _log = match context.start_log(arguments.command.log_level(), log) {
        Ok(guard) => guard,
        Err(failure) => return context.fail(&failure),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return context.fail(&command::failed(format!("the runtime does not start: {error}"))),
    };
    let outcome = runtime.block_on(command::run(&context, arguments.command));
    // A command has ended its tasks; a blocking read of standard input must not hold the process up.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => context.fail(&failure),
    }
}

/// Whether the help of peerup itself was asked for.
fn is_whole_help(error: &clap::Error) -> bool {
    let named = |word: &str| {
        Arguments::command()
            .find_subcommand(word)
            .is_some_and(|_| word != "help")
    };
    error.kind() == ErrorKind::DisplayHelp && !std::env::args().skip(1).any(|word| named(&word))
}

/// The help of a plugin's word that `help WORD` asked for; clap knows peerup's own alone.
fn help_of_word(error: &clap::Error) -> Option<clap::Error> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let mut words = std::env::args().skip_while(|word| word != "help").skip(1);
    let word = words.find(|word| !word.starts_with('-'))?;
    let config = peerup_config::find_config(named_config().as_deref(), None, &Context::places()).ok();
    command::word::help_of(config.as_deref(), &word)
}

/// The config that was named; clap gives up at `--help` before it says so.
fn named_config() -> Option<PathBuf> {
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--config" {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(path) = argument.to_str().and_then(|text| text.strip_prefix("--config=")) {
            return Some(PathBuf::from(path));
        }
    }
    std::env::var_os("PEERUP_CONFIG").map(PathBuf::from)
}

/// The command line with the words that plugins add.
fn with_words() -> clap::Command {
    let own = Arguments::command();
    let names: Vec<String> = own
        .get_subcommands()
        .flat_map(|command| command.get_name_and_visible_aliases())
        .map(str::to_owned)
        .collect();
    let config = peerup_config::find_config(named_config().as_deref(), None, &Context::places()).ok();
    let words = config
        .map(|config| command::word::all(&config))
        .unwrap_or_default();
    let ending = own.get_after_help().map(ToString::to_string).unwrap_or_default();
    own.after_help(format!(
        "{}\n{ending}",
        command::word::help(&words, &names).trim_start()
    ))
}

/// Asks the kernel for ordinary pages. The allocator touches a little of many regions, and huge pages make
/// each of them resident as a whole: two thirds of an idle daemon's memory were that.
fn keep_pages_small() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        // An old kernel or a strict sandbox: it works as well with more memory.
        tracing::debug!(%error, "huge pages stay on");
    }
}
