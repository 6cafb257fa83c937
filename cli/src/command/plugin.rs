//! `plugin`: the plugins with their rights, instances and tunnels; and what switches, makes, installs,
//! upgrades and removes them.

mod build;
mod check;
mod consent;
mod dev;
mod fetch;
mod install;
mod measure;
mod new;
mod pack;
mod project;
#[cfg(feature = "oci")]
mod registry;
#[cfg(not(feature = "oci"))]
#[path = "plugin/no_registry.rs"]
mod registry;
mod remove;
mod sdk;
pub(super) mod switch;
mod test;
mod toolchain;
mod trace;
mod trial;
mod upgrade;

pub(super) use consent::ask;

use peerup_api::{Client, ClientError, PluginInfo};
use peerup_model::{ErrorCode, Failure, PluginName};
use peerup_package::{FolderError, PinError, PluginFolder};

use super::{failed, usage, word};
use crate::{arguments::Plugin, context::Context, output, session, session::Session};

pub(crate) async fn run(context: &Context, command: Plugin) -> Result<(), Failure> {
    match command {
        Plugin::List => list(context).await,
        Plugin::Inspect { name } => switch::inspect(context, &read_name(&name)?).await,
        Plugin::Enable { name } => switch::enable(context, &read_name(&name)?).await,
        Plugin::Disable { name, now } => switch::disable(context, &read_name(&name)?, now).await,
        Plugin::DisableAll { now } => switch::disable_every(context, now).await,
        Plugin::Reload { name } => switch::reload(context, &read_name(&name)?).await,
        Plugin::Logs { name, follow, lines } => {
            switch::logs(context, &read_name(&name)?, follow, lines).await
        }
        Plugin::Run { name, words } => word::run_of(context, &read_name(&name)?, &words).await,
        Plugin::Trace { name, denied } => trace::run(context, &read_name(&name)?, denied).await,
        Plugin::Test(arguments) => test::run(context, &arguments).await,
        Plugin::Dev(mut arguments) => {
            arguments.dir = dev::whole(&arguments.dir);
            dev::run(context, &arguments).await
        }
        Plugin::New(arguments) => new::run(context, &arguments),
        Plugin::Build(arguments) => build::run(context, &arguments).await,
        Plugin::Check(arguments) => check::run(context, &arguments).await,
        Plugin::Pack(arguments) => pack::pack(context, &arguments),
        Plugin::Keygen { file } => pack::keygen(context, &file),
        Plugin::Install(arguments) => install::run(context, &arguments).await,
        Plugin::Upgrade(arguments) => upgrade::run(context, &arguments).await,
        Plugin::Confirm { name } => trial::confirm(context, &name).await,
        Plugin::Remove { name, keep_data } => remove::run(context, &name, keep_data).await,
        Plugin::Rollback { name } => upgrade::roll_back(context, &name).await,
        Plugin::Publish { file, reference } => registry::publish(context, &file, &reference).await,
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let session = Session::attach(context).await?;
    let plugins: Vec<PluginInfo> = session
        .client
        .get("/v1/plugins")
        .await
        .map_err(ClientError::into_failure)?;
    if context.json {
        return output::json(&plugins);
    }
    let rows: Vec<[String; 9]> = plugins.iter().map(row).collect();
    output::table(
        [
            "PLUGIN", "VERSION", "STATE", "LIVE", "TUNNELS", "RESTARTS", "TRAPS", "DENIALS", "BYTES",
        ],
        &rows,
    )?;
    for plugin in &plugins {
        if let Some(reason) = plugin.reason.as_ref().or(plugin.last_error.as_ref()) {
            context.note(&format!("{}: {reason}", plugin.name));
        }
        if let Some(trial) = &plugin.trial {
            context.note(&format!("{}: {}", plugin.name, trial::in_words(trial)));
        }
    }
    Ok(())
}

fn row(plugin: &PluginInfo) -> [String; 9] {
    [
        plugin.name.clone(),
        plugin.version.clone(),
        plugin.state.clone(),
        // How many there were since the start is for `plugin inspect`: nine columns have to fit a terminal.
        plugin.instances.to_string(),
        plugin.tunnels.to_string(),
        plugin.restarts.to_string(),
        plugin.traps.to_string(),
        plugin.denials.to_string(),
        output::bytes(plugin.bytes),
    ]
}

/// Returns the folder of what is installed beside a config.
fn folder_of(config: &std::path::Path) -> PluginFolder {
    PluginFolder::new(config.parent().unwrap_or(std::path::Path::new(".")))
}

fn read_name(name: &str) -> Result<PluginName, Failure> {
    name.parse()
        .map_err(|error: peerup_model::NameError| usage(error.to_string()))
}

fn not_installed(name: &PluginName) -> Failure {
    let failure = Failure::new(ErrorCode::NotFound, format!("the plugin {name} is not installed"));
    match peerup_daemon::is_bundled(name) {
        true => failure.with_hint(format!(
            "{name} comes with peerup; switch it off with plugins.{name}.enabled: false in the config"
        )),
        false => failure.with_hint("see what is loaded with: peerup plugin list"),
    }
}

/// Why a change of what is installed was not made.
#[derive(Debug)]
enum Refusal {
    Folder(FolderError),
    Failure(Failure),
}

impl From<FolderError> for Refusal {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<PinError> for Refusal {
    fn from(error: PinError) -> Self {
        Self::Failure(pin_failure(&error))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Failure(failure) => failure,
            Refusal::Folder(error) => failed(error.to_string()),
        }
    }
}

/// Says why a package may not take the place of the one before, and what to do.
fn pin_failure(error: &PinError) -> Failure {
    let text = error.to_string();
    let code = match error {
        PinError::Waits { .. } => ErrorCode::Conflict,
        _ => ErrorCode::Denied,
    };
    match text.split_once("; ") {
        Some((what, next)) => Failure::new(code, what).with_hint(next),
        None => Failure::new(code, text),
    }
}

/// Has a running daemon read what was changed, and says what it made of the plugin.
async fn tell_daemon(context: &Context, config: &std::path::Path, name: &PluginName, version: Option<&str>) {
    let Some(client) = session::running(config).await else {
        return;
    };
    let reloaded: Result<serde_json::Value, ClientError> =
        client.post("/v1/config/reload", &serde_json::json!({})).await;
    if let Err(error) = reloaded {
        context.note(&format!(
            "the running daemon could not read the config again: {}",
            error.into_failure().message
        ));
        return;
    }
    if version.is_some() {
        // The config is as it was; what is installed is not.
        let path = format!("/v1/plugins/{name}/reload");
        let reloaded: Result<serde_json::Value, ClientError> =
            client.post(&path, &serde_json::json!({})).await;
        if let Err(error) = reloaded {
            context.note(&format!(
                "the running daemon did not take it up: {}",
                error.into_failure().message
            ));
            return;
        }
    }
    if runs(&client, name).await.as_deref() != version {
        context.note("the running daemon takes this up when it starts again");
    }
}

/// The version of a plugin that a daemon runs; none where it runs none.
async fn runs(client: &Client, name: &PluginName) -> Option<String> {
    let plugins: Vec<PluginInfo> = client.get("/v1/plugins").await.ok()?;
    let running = plugins.into_iter().find(|plugin| plugin.name == name.as_str())?;
    (running.state != "stopped").then_some(running.version)
}

/// The moment, as the lock file has it.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
