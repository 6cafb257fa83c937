//! `config plan`: what a config would change, and whose streams that ends.

use std::path::PathBuf;

use peerup_api::{ClientError, ConfigPlanRequest};
use peerup_model::Failure;
use serde_json::Value;

use super::{failed, read_text};
use crate::{context::Context, output, session};

pub(super) async fn run(context: &Context, file: Option<PathBuf>) -> Result<(), Failure> {
    let path = context.config_path()?;
    let client = session::running(&path).await;
    let plan: Value = match (client, file) {
        (Some(client), Some(file)) => {
            let config = read_text(&file)?;
            client
                .post("/v1/config/plan", &ConfigPlanRequest { config })
                .await
                .map_err(ClientError::into_failure)?
        }
        (Some(client), None) => client
            .get("/v1/config/plan")
            .await
            .map_err(ClientError::into_failure)?,
        (None, file) => {
            let failure = |error| peerup_daemon::config_failure(&error);
            let old = peerup_config::load_node(&path).map_err(failure)?.config;
            let text = read_text(file.as_ref().unwrap_or(&path))?;
            // Relative paths start at the folder of the config that it would become.
            let new = peerup_config::parse_node(&text, &path).map_err(failure)?.config;
            serde_json::to_value(peerup_config::plan(&old, &new))
                .map_err(|error| failed(error.to_string()))?
        }
    };
    match context.json {
        true => output::json(&plan),
        false => print(context, &plan),
    }
}

fn print(context: &Context, plan: &Value) -> Result<(), Failure> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let changes = plan["changes"].as_array().cloned().unwrap_or_default();
    if changes.is_empty() {
        context.note("nothing changes");
        return Ok(());
    }
    for change in &changes {
        output::line(format!(
            "{}: {} -> {}",
            text(&change["path"]),
            text(&change["from"]),
            text(&change["to"])
        ))?;
        output::line(format!("    {}", text(&change["effect"])))?;
    }
    let drops = drops(&plan["drops"]);
    if drops.is_empty() {
        return output::line("no stream ends");
    }
    drops
        .iter()
        .try_for_each(|line| output::line(format!("ends: {line}")))
}

fn drops(drops: &Value) -> Vec<String> {
    let names = |key: &str| {
        let list = drops[key].as_array().cloned().unwrap_or_default();
        list.into_iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
    };
    let mut lines: Vec<String> = Vec::new();
    for (service, lost) in drops["services"].as_object().into_iter().flatten() {
        let who = match (lost["peers"].as_array(), lost.as_str()) {
            (Some(peers), _) => {
                let peers: Vec<&str> = peers.iter().filter_map(Value::as_str).collect();
                peers.join(", ")
            }
            (None, Some("not_in_keys")) => "peers that are not in its list of keys".to_owned(),
            (None, _) => "peers that are not in its list".to_owned(),
        };
        lines.push(format!("streams to the service {service} of {who}"));
    }
    lines
        .extend(names("plugins").map(|name| format!("what runs of the plugin {name}, after its drain time")));
    lines.extend(names("relays").map(|id| format!("connections over the relay {id}")));
    lines.extend(names("paths").map(|line| format!("streams on a path that {line} forbids")));
    if drops["strangers"].as_bool() == Some(true) {
        lines.push("connections of everybody who is not in authorized_keys".to_owned());
    }
    lines
}
