//! `plugin remove`: out of the config first, so that nothing names what is gone.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use peerup_config::{ConfigFile, EditError, NodeConfig};
use peerup_model::{ErrorCode, Failure, PluginName};

use super::{Refusal, failed, folder_of, not_installed, read_name, tell_daemon};
use crate::{context::Context, output};

pub(super) async fn run(context: &Context, name: &str, keep_data: bool) -> Result<(), Failure> {
    let name = read_name(name)?;
    let (path, config) = context.load()?;
    let folder = folder_of(&path);
    let lock = folder.read().map_err(Refusal::from)?;
    // A removal that was cut short, or that kept the data, leaves data of a plugin that is not installed.
    let only_data = !keep_data && !peerup_daemon::is_bundled(&name) && data_of(&path, &name).exists();
    if lock.get(&name).is_none() && !only_data {
        return Err(not_installed(&name));
    }
    lock.check_settled(&name).map_err(Refusal::from)?;
    check_unused(&config, &name)?;
    if config.plugins.contains_key(&name) {
        match ConfigFile::new(&path).edit(|editor| editor.remove_plugin(&name)) {
            // Somebody else was faster.
            Ok(_) | Err(EditError::NotFound { .. }) => {}
            Err(error) => return Err(peerup_daemon::edit_failure(&error)),
        }
    }
    folder.edit(|lock, _| {
        lock.check_settled(&name)?;
        lock.remove(&name);
        Ok::<_, Refusal>(())
    })?;
    tell_daemon(context, &path, &name, None).await;
    if !keep_data {
        remove_data(&path, &name)?;
    }
    if context.json {
        return output::json(&serde_json::json!({ "status": "removed", "name": name }));
    }
    output::line(format!("removed {name}"))
}

/// A service that nothing serves would only fail for its peers.
fn check_unused(config: &NodeConfig, name: &PluginName) -> Result<(), Failure> {
    let served: Vec<&str> = config
        .services
        .iter()
        .filter(|(_, service)| service.plugin == *name)
        .map(|(service, _)| service.as_str())
        .collect();
    let [first, ..] = &served[..] else {
        return Ok(());
    };
    Err(Failure::new(
        ErrorCode::Conflict,
        format!("{name} serves {}", served.join(", ")),
    )
    .with_hint(format!(
        "give the service another plugin in the config, or: peerup service remove {first}"
    )))
}

fn data_of(config: &Path, name: &PluginName) -> PathBuf {
    peerup_daemon::store_path(config.parent().unwrap_or(Path::new(".")), name)
}

fn remove_data(config: &Path, name: &PluginName) -> Result<(), Failure> {
    let data = data_of(config, name);
    match fs::remove_file(&data) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(format!(
            "{name} is removed, but not what it has stored in {}: {error}",
            data.display()
        ))),
        _ => Ok(()),
    }
}
