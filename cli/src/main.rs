//! The `peerup` binary: arguments, resolved into options, run as one command each.
//!
//! Data goes to standard output, everything else to standard error. The exit code says what kind of failure
//! it was; see `peerup --help`.

mod arguments;
mod command;
mod context;
mod output;
mod session;

use std::process::ExitCode;

use clap::Parser;

use crate::{arguments::Arguments, context::Context};

/// Buffers of 64 KiB and more pass through every tunnel; glibc hands such back to the kernel each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
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

/// Asks the kernel for ordinary pages. The allocator touches a little of many regions, and huge pages make
/// each of them resident as a whole: two thirds of an idle daemon's memory were that.
fn keep_pages_small() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        // An old kernel or a strict sandbox: it works as well with more memory.
        tracing::debug!(%error, "huge pages stay on");
    }
}
