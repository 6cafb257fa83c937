//! `plugin`: the plugins with their states, rights, instances and tunnels, and the switches for them. Through the
//! daemon where one runs, so that it is live at once; else in the config.

use peerup_api::{Client, ClientError, PluginInfo};
use peerup_config::{ConfigEditor, ConfigFile, EditError};
use peerup_model::{ErrorCode, Failure, NameError, PluginName};

use super::{daemon, print_event, usage};
use crate::{
    arguments::Plugin,
    context::Context,
    output,
    session::{self, Session, until_interrupted},
};

pub(crate) async fn run(context: &Context, command: &Plugin) -> Result<(), Failure> {
    match command {
        Plugin::List => list(context).await,
        Plugin::Inspect { name } => inspect(context, &read_name(name)?).await,
        Plugin::Enable { name } => {
            let name = read_name(name)?;
            let edit = |editor: &mut ConfigEditor| editor.set_plugin_enabled(&name, true);
            switch(context, &format!("/v1/plugins/{name}/enable"), &edit, "enabled").await
        }
        Plugin::Disable { name, now } => {
            let name = read_name(name)?;
            let edit = |editor: &mut ConfigEditor| editor.set_plugin_enabled(&name, false);
            let path = format!("/v1/plugins/{name}/disable?now={now}");
            switch(context, &path, &edit, "disabled").await
        }
        Plugin::DisableAll { now } => {
            let path = format!("/v1/plugins/disable-all?now={now}");
            switch(context, &path, &disable_all, "every plugin is disabled").await
        }
        Plugin::Reload { name } => {
            let session = Session::attach(context).await?;
            let path = format!("/v1/plugins/{}/reload", read_name(name)?);
            daemon::tell(context, &post(&session.client, &path).await?)
        }
        Plugin::Logs { name, follow, lines } => logs(context, &read_name(name)?, *follow, *lines).await,
    }
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

fn read_name(name: &str) -> Result<PluginName, Failure> {
    name.parse().map_err(|error: NameError| usage(error.to_string()))
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
            "PLUGIN",
            "VERSION",
            "STATE",
            "INSTANCES",
            "TUNNELS",
            "RESTARTS",
            "TRAPS",
            "DENIALS",
            "BYTES",
        ],
        &rows,
    )?;
    for plugin in &plugins {
        if let Some(reason) = plugin.reason.as_ref().or(plugin.last_error.as_ref()) {
            context.note(&format!("{}: {reason}", plugin.name));
        }
    }
    Ok(())
}

fn row(plugin: &PluginInfo) -> [String; 9] {
    [
        plugin.name.clone(),
        plugin.version.clone(),
        plugin.state.clone(),
        format!("{} ({} since start)", plugin.instances, plugin.instances_total),
        format!("{} ({} since start)", plugin.tunnels, plugin.tunnels_total),
        plugin.restarts.to_string(),
        plugin.traps.to_string(),
        plugin.denials.to_string(),
        plugin.bytes.to_string(),
    ]
}

async fn inspect(context: &Context, name: &PluginName) -> Result<(), Failure> {
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
        ("state", format!("{} since {}", plugin.state, plugin.since)),
        ("reason", output::or_dash(plugin.reason)),
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

async fn logs(context: &Context, name: &PluginName, follow: bool, lines: usize) -> Result<(), Failure> {
    let session = Session::attach(context).await?;
    let path = format!("/v1/plugins/{name}/logs?format=both&lines={lines}&follow={follow}");
    let shown = until_interrupted(async {
        let mut lines = session
            .client
            .get_lines(&path)
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
