//! `config plan`: what a config would change, and whose streams that ends.

use std::path::PathBuf;

use peerup_api::{ClientError, ConfigPlanRequest};
use peerup_model::Failure;
use serde_json::Value;

use super::{failed, read_proposed};
use crate::{context::Context, output, session};

pub(super) async fn run(context: &Context, file: Option<PathBuf>) -> Result<(), Failure> {
    let path = context.config_path()?;
    let client = session::running(&path).await;
    let plan: Value = match (client, file) {
        (Some(client), Some(file)) => {
            let config = read_proposed(&file)?;
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
            let text = read_proposed(file.as_ref().unwrap_or(&path))?;
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
    let lines = peerup_ops::plan_lines(plan);
    if lines.is_empty() {
        context.note("nothing changes");
    }
    lines.into_iter().try_for_each(output::line)
}
