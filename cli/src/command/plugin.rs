//! `plugin`: the plugins with their rights, instances and tunnels.

use peerup_api::{ClientError, PluginInfo};
use peerup_model::Failure;

use crate::{arguments::Plugin, context::Context, output, session::Session};

pub(crate) async fn run(context: &Context, command: &Plugin) -> Result<(), Failure> {
    let Plugin::List = command;
    let session = Session::attach(context).await?;
    let plugins: Vec<PluginInfo> = session
        .client
        .get("/v1/plugins")
        .await
        .map_err(ClientError::into_failure)?;
    if context.json {
        return output::json(&plugins);
    }
    let rows: Vec<[String; 8]> = plugins
        .iter()
        .map(|plugin| {
            [
                plugin.name.clone(),
                plugin.version.clone(),
                plugin.state.clone(),
                format!("{} ({} since start)", plugin.instances, plugin.instances_total),
                format!("{} ({} since start)", plugin.tunnels, plugin.tunnels_total),
                plugin.traps.to_string(),
                plugin.denials.to_string(),
                plugin.bytes.to_string(),
            ]
        })
        .collect();
    output::table(
        [
            "PLUGIN",
            "VERSION",
            "STATE",
            "INSTANCES",
            "TUNNELS",
            "TRAPS",
            "DENIALS",
            "BYTES",
        ],
        &rows,
    )?;
    for plugin in &plugins {
        if let Some(reason) = &plugin.reason {
            context.note(&format!("{}: {reason}", plugin.name));
        }
    }
    Ok(())
}
