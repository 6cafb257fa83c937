//! The switches of plugins, and what is told of one. Through the daemon where one runs, so that it is live at once;
//! else in the config.

use peerup_api::{Client, ClientError, PluginInfo, whole_seconds};
use peerup_config::{ConfigEditor, ConfigFile, EditError};
use peerup_model::{ErrorCode, Failure, PluginName};

use crate::{
    command::{daemon, print_event},
    context::Context,
    output,
    session::{self, Session, until_interrupted},
};

/// Runs a plugin, now and at each start.
pub(super) async fn enable(context: &Context, name: &PluginName) -> Result<(), Failure> {
    let edit = |editor: &mut ConfigEditor| editor.set_plugin_enabled(name, true);
    switch(context, &format!("/v1/plugins/{name}/enable"), &edit, "enabled").await
}

/// Runs it no longer; with `now` what runs is cancelled.
pub(super) async fn disable(context: &Context, name: &PluginName, now: bool) -> Result<(), Failure> {
    let edit = |editor: &mut ConfigEditor| editor.set_plugin_enabled(name, false);
    let path = format!("/v1/plugins/{name}/disable?now={now}");
    switch(context, &path, &edit, "disabled").await
}

/// Runs none any longer.
pub(super) async fn disable_every(context: &Context, now: bool) -> Result<(), Failure> {
    let path = format!("/v1/plugins/disable-all?now={now}");
    switch(context, &path, &disable_all, "every plugin is disabled").await
}

/// Loads it afresh.
pub(super) async fn reload(context: &Context, name: &PluginName) -> Result<(), Failure> {
    let session = Session::attach(context).await?;
    let path = format!("/v1/plugins/{name}/reload");
    daemon::tell(context, &post(&session.client, &path).await?)
}

/// Switches plugins in the running daemon, else in the config.
async fn switch(
    context: &Context,
    path: &str,
    edit: &dyn Fn(&mut ConfigEditor) -> Result<(), EditError>,
    status: &str,
) -> Result<(), Failure> {
    let (config, _) = context.load()?;
    if let Some(client) = session::running(&config).await {
        return daemon::tell(context, &post(&client, path).await?);
    }
    ConfigFile::new(&config)
        .edit(edit)
        .map_err(|error| peerup_daemon::edit_failure(&error))?;
    daemon::tell(context, &serde_json::json!({ "status": status }))
}

fn disable_all(editor: &mut ConfigEditor) -> Result<(), EditError> {
    let names: Vec<PluginName> = editor.config().plugins.keys().cloned().collect();
    names
        .iter()
        .try_for_each(|name| editor.set_plugin_enabled(name, false))
}

async fn post(client: &Client, path: &str) -> Result<serde_json::Value, Failure> {
    client
        .post(path, &serde_json::json!({}))
        .await
        .map_err(ClientError::into_failure)
}

/// Shows one plugin.
pub(super) async fn inspect(context: &Context, name: &PluginName) -> Result<(), Failure> {
    let session = Session::attach(context).await?;
    let plugin: PluginInfo = session
        .client
        .get(&format!("/v1/plugins/{name}"))
        .await
        .map_err(ClientError::into_failure)?;
    if context.json {
        return output::json(&plugin);
    }
    let limits = plugin.limits;
    let lines = [
        ("name", plugin.name),
        ("version", output::or_dash(some(plugin.version))),
        ("contract", output::or_dash(some(plugin.contract))),
        ("digest", output::or_dash(plugin.digest)),
        ("summary", output::or_dash(some(plugin.summary))),
        ("enabled", plugin.enabled.to_string()),
        (
            "state",
            format!("{} since {}", plugin.state, whole_seconds(&plugin.since)),
        ),
        ("reason", output::or_dash(plugin.reason)),
        (
            "upgrade",
            output::or_dash(plugin.trial.as_ref().map(super::trial::in_words)),
        ),
        ("last error", output::or_dash(plugin.last_error)),
        ("restarts", plugin.restarts.to_string()),
        (
            "instances",
            format!("{} ({} since start)", plugin.instances, plugin.instances_total),
        ),
        (
            "tunnels",
            format!("{} ({} since start)", plugin.tunnels, plugin.tunnels_total),
        ),
        ("traps", plugin.traps.to_string()),
        ("denials", plugin.denials.to_string()),
        ("bytes", plugin.bytes.to_string()),
        ("grants", plugin.grants.to_string()),
        (
            "limits",
            format!(
                "memory {}, cpu {} ms, {} instances",
                output::bytes(limits.memory),
                limits.cpu_ms,
                limits.instances
            ),
        ),
    ];
    for (key, value) in lines {
        output::line(format!("{:<12}{value}", format!("{key}:")))?;
    }
    for command in plugin.commands {
        output::line(format!("{:<12}{}  {}", "command:", command.name, command.summary))?;
    }
    Ok(())
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Shows what it wrote.
pub(super) async fn logs(
    context: &Context,
    name: &PluginName,
    follow: bool,
    lines: usize,
) -> Result<(), Failure> {
    let path = format!("/v1/plugins/{name}/logs?format=both&lines={lines}&follow={follow}");
    show_log(context, &path, follow).await
}

/// Shows the lines of a log of the daemon, until it ends or the person does.
pub(in crate::command) async fn show_log(context: &Context, path: &str, follow: bool) -> Result<(), Failure> {
    let session = Session::attach(context).await?;
    let shown = until_interrupted(async {
        let mut lines = session
            .client
            .get_lines(path)
            .await
            .map_err(ClientError::into_failure)?;
        while let Some(line) = lines.next().await.map_err(ClientError::into_failure)? {
            print_event(context, &line)?;
        }
        Ok(())
    })
    .await;
    match shown {
        // Ending it by hand is how following ends.
        Err(failure) if follow && failure.code == ErrorCode::Interrupted => Ok(()),
        other => other,
    }
}
