//! One module for each word of the command line; this one only picks among them.

mod alerts;
mod auth;
mod bundle;
pub(crate) mod completion;
mod config;
mod daemon;
mod doctor;
mod events;
mod init;
mod invite;
mod join;
mod man;
mod ping;
mod plugin;
mod proxy;
mod relay;
mod resolve;
mod service;
mod service_unit;
mod status;
mod traceroute;
mod whoami;
mod why;
pub(crate) mod word;

use peerup_model::{ErrorCode, Failure};

use crate::{arguments::Command, context::Context, output};

/// Runs one command.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Init(arguments) => init::run(context, arguments).await,
        Command::Whoami => whoami::run(context),
        Command::Daemon(arguments) => daemon::run(context, arguments.command).await,
        Command::Proxy(arguments) => proxy::run(context, arguments).await,
        Command::Ping(arguments) => ping::run(context, arguments).await,
        Command::Traceroute(arguments) => traceroute::run(context, arguments).await,
        Command::Resolve { name } => resolve::run(context, &name).await,
        Command::Status => status::run(context).await,
        Command::Why { peer } => why::run(context, &peer).await,
        Command::Peers { all } => daemon::peers(context, all).await,
        Command::Events => events::run(context).await,
        Command::Alerts(command) => alerts::run(context, command).await,
        Command::Auth(command) => auth::run(context, command).await,
        Command::Service(command) => service::run(context, command).await,
        Command::Relay(command) => relay::run(context, command).await,
        Command::Invite(arguments) => invite::run(context, arguments).await,
        Command::Join(arguments) => join::run(context, arguments).await,
        Command::Config(command) => config::run(context, command).await,
        Command::Plugin(command) => plugin::run(context, command).await,
        Command::Logs { follow, lines } => {
            let path = format!("/v1/logs?format=both&lines={lines}&follow={follow}");
            plugin::switch::show_log(context, &path, follow).await
        }
        Command::DebugBundle(arguments) => bundle::run(context, arguments).await,
        Command::Doctor(arguments) => doctor::run(context, arguments).await,
        Command::Completion { shell } => output::line(completion::script(shell)?.trim_end()),
        Command::Man { dir } => man::run(context, dir.as_deref()),
        Command::Version => version(context),
        Command::Word(words) => word::run(context, &words).await,
    }
}

fn version(context: &Context) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if context.json {
        return output::json(
            &serde_json::json!({ "name": "peerup", "version": version, "contract": "0.1.1" }),
        );
    }
    output::line(format!("peerup {version} (plugin contract 0.1.1)"))
}

/// Prints what a plugin's command says, for people or for programs.
fn print_event(context: &Context, event: &serde_json::Value) -> Result<(), Failure> {
    let json = event
        .get("json")
        .ok_or_else(|| failed("the daemon's answer has no event"))?;
    if context.json {
        return output::json(json);
    }
    let text = event.get("text").and_then(|text| text.as_str());
    output::line(text.unwrap_or_default())
}

/// A failure without a kind of its own.
pub(crate) fn failed(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::Failed, message)
}

/// A mistake in the arguments.
pub(crate) fn usage(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::Invalid, message)
}
