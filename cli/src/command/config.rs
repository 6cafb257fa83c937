//! `config`: checks the config file.

use peerup_model::Failure;

use crate::{arguments::Config, context::Context, output};

pub(crate) fn run(context: &Context, command: &Config) -> Result<(), Failure> {
    let Config::Validate { file } = command;
    let path = match file {
        Some(file) => file.clone(),
        None => context.config_path()?,
    };
    let loaded = peerup_config::load_node(&path).map_err(|error| peerup_daemon::config_failure(&error))?;
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    if context.json {
        return output::json(&serde_json::json!({ "config": path, "valid": true, "warnings": warnings }));
    }
    for warning in warnings {
        context.note(&format!("warning: {warning}"));
    }
    output::line(format!("{}: valid", path.display()))
}
