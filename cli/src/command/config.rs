//! `config`: checks, plans, applies, confirms and rolls back the config. Through the daemon where one runs, so that it
//! is live and its deadline kept at once; else in the files, for the next start.

mod apply;
mod plan;

use std::path::{Path, PathBuf};

use peerup_api::{Client, ClientError, ConfigOutcome, ConfigRollbackRequest, ConfigStatus};
use peerup_config::{AlertWay, AtRest, ConfigError, NodeConfig, Vault};
use peerup_model::Failure;
use peerup_ops::{ConfigOf, state_at_rest};
use serde_json::Value;

use super::failed;
use crate::{arguments::Config, context::Context, output, session};

pub(crate) async fn run(context: &Context, command: Config) -> Result<(), Failure> {
    match command {
        Config::Validate { file } => validate(context, file),
        Config::Show => show(context),
        Config::Status => status(context).await,
        Config::Plan { file } => plan::run(context, file).await,
        Config::Apply(arguments) => apply::run(context, arguments).await,
        Config::Confirm => confirm(context).await,
        Config::Rollback { generation } => roll_back(context, generation).await,
        Config::Schema { relay } => output::line(match relay {
            true => peerup_config::relay_json_schema(),
            false => peerup_config::node_json_schema(),
        }),
    }
}

fn validate(context: &Context, file: Option<PathBuf>) -> Result<(), Failure> {
    let path = match file {
        Some(file) => file,
        None => context.config_path()?,
    };
    let mut warnings: Vec<String> = peerup_config::open_to_others(&path).into_iter().collect();
    let loaded = match peerup_config::load_node(&path) {
        Ok(loaded) => loaded,
        Err(error) => {
            if context.json {
                output::json(&serde_json::json!({
                    "config": path, "valid": false, "errors": errors(&error), "warnings": warnings,
                }))?;
            }
            return Err(peerup_daemon::config_failure(&error));
        }
    };
    warnings.extend(loaded.warnings.iter().map(ToString::to_string));
    if context.json {
        return output::json(&serde_json::json!({ "config": path, "valid": true, "warnings": warnings }));
    }
    for warning in warnings {
        context.note(&format!("warning: {warning}"));
    }
    output::line(format!("{}: valid", path.display()))
}

/// Returns what is wrong as `--json` has it: with its place where it has one.
fn errors(error: &ConfigError) -> Vec<Value> {
    if let ConfigError::Invalid { problems, .. } = error {
        return problems
            .iter()
            .map(|one| {
                serde_json::json!({
                    "line": one.line, "column": one.column, "key": one.key, "message": one.message,
                })
            })
            .collect();
    }
    let line = match error {
        ConfigError::NotText { line, .. } => Some(line),
        _ => None,
    };
    let text = error.to_string();
    let message = text.lines().next().unwrap_or_default();
    vec![serde_json::json!({ "line": line, "column": null, "key": "", "message": message })]
}

fn show(context: &Context) -> Result<(), Failure> {
    let path = context.config_path()?;
    let whole = read_text(&path)?;
    let text = without_webhooks(
        &whole,
        peerup_config::load_node(&path)
            .ok()
            .map(|loaded| loaded.config)
            .as_ref(),
    );
    if context.json {
        return output::json(&serde_json::json!({ "config": path, "text": text }));
    }
    if text != whole {
        context.note("addresses of webhooks are cut, since they may be secrets; the file has them in full");
    }
    output::line(text.trim_end())
}

/// Cuts the addresses of webhooks to their servers: the rest may be a secret.
fn without_webhooks(text: &str, config: Option<&NodeConfig>) -> String {
    let Some(config) = config else {
        // What cannot be read may have one all the same; then they are known by their form.
        return text.lines().map(without_urls).collect::<Vec<_>>().join("\n");
    };
    let mut addresses: Vec<(&String, String)> = config
        .alerts
        .targets
        .values()
        .filter_map(|target| match &target.way {
            AlertWay::Webhook { url, .. } => Some((url, target.way.shown())),
            AlertWay::Command(_) => None,
        })
        .collect();
    // One may be the beginning of another.
    addresses.sort_by_key(|(url, _)| std::cmp::Reverse(url.len()));
    addresses.into_iter().fold(text.to_owned(), |text, (url, shown)| {
        text.replace(url.as_str(), &shown)
    })
}

/// Cuts every address of a web server in a line to the server, without a user and a password.
fn without_urls(line: &str) -> String {
    let Some((before, rest)) = line.split_once("://") else {
        return line.to_owned();
    };
    let end = rest
        .find(|c: char| c.is_whitespace() || "'\"`".contains(c))
        .unwrap_or(rest.len());
    let (address, after) = rest.split_at(end);
    let authority = address.split(['/', '?', '#']).next().unwrap_or_default();
    let server = authority.rsplit('@').next().unwrap_or_default();
    format!("{before}://{server}/...{}", without_urls(after))
}

async fn status(context: &Context) -> Result<(), Failure> {
    let path = context.config_path()?;
    let status: ConfigStatus = match session::running(&path).await {
        Some(client) => client
            .get("/v1/config/status")
            .await
            .map_err(ClientError::into_failure)?,
        None => ConfigStatus {
            config: state_at_rest(&path, ConfigOf::Node),
            last_good: peerup_ops::last_good(&Vault::new(&path)),
        },
    };
    if context.json {
        return output::json(&status);
    }
    for line in peerup_ops::config_status_lines(&status.config) {
        output::line(line)?;
    }
    output::table(["LAST GOOD", "KEPT", ""], &peerup_ops::last_good_rows(&status))
}

async fn confirm(context: &Context) -> Result<(), Failure> {
    let path = context.config_path()?;
    match session::running(&path).await {
        Some(client) => {
            let outcome = ask(&client, "/v1/config/confirm", &serde_json::json!({})).await?;
            tell(context, &outcome)
        }
        None => {
            at_rest(&path, |files| files.confirm()).await?;
            tell_at_rest(context, &path, "confirmed")
        }
    }
}

async fn roll_back(context: &Context, generation: Option<usize>) -> Result<(), Failure> {
    let path = context.config_path()?;
    if let Some(client) = session::running(&path).await {
        let request = ConfigRollbackRequest { generation };
        let outcome = ask(&client, "/v1/config/rollback", &request).await?;
        return tell(context, &outcome);
    }
    let reverted = at_rest(&path, |files| {
        if files.pending().is_some() && generation.is_none() {
            return files.revert().map(|()| true);
        }
        let text = files.generation(generation)?.text;
        files.apply(text, None).map(|_| false)
    })
    .await?;
    tell_at_rest(context, &path, if reverted { "reverted" } else { "rolled back" })
}

async fn ask(client: &Client, path: &str, request: &impl serde::Serialize) -> Result<ConfigOutcome, Failure> {
    client
        .post(path, request)
        .await
        .map_err(ClientError::into_failure)
}

/// Works on the files alone. A daemon that has started meanwhile has its own word.
async fn at_rest<T>(
    path: &Path,
    work: impl FnOnce(&mut AtRest) -> Result<T, peerup_config::AtRestError>,
) -> Result<T, Failure> {
    let mut files = AtRest::open(Vault::new(path)).map_err(|error| peerup_daemon::at_rest_failure(&error))?;
    if session::running(path).await.is_some() {
        return Err(failed("a daemon has started just now").with_hint("run the command again"));
    }
    work(&mut files).map_err(|error| peerup_daemon::at_rest_failure(&error))
}

fn tell(context: &Context, outcome: &ConfigOutcome) -> Result<(), Failure> {
    if context.json {
        return output::json(outcome);
    }
    context.note(&outcome.status);
    for key in &outcome.config.needs_restart {
        context.note(&format!("{key} is in force after the next start of the daemon"));
    }
    Ok(())
}

fn tell_at_rest(context: &Context, path: &Path, status: &str) -> Result<(), Failure> {
    let outcome = ConfigOutcome {
        status: status.to_owned(),
        config: state_at_rest(path, ConfigOf::Node),
    };
    tell(context, &outcome)?;
    if !context.json {
        context.note("no daemon is running; the next start takes it");
    }
    Ok(())
}

/// Reads a file that is to become the config. What is wrong with it is told under its own path; the config in use, in
/// whose place it would come, has no part in that.
fn read_proposed(file: &Path) -> Result<String, Failure> {
    let failure = |error: ConfigError| peerup_daemon::config_failure(&error);
    let text = peerup_config::read_node(file).map_err(failure)?;
    peerup_config::parse_node(&text, file).map_err(failure)?;
    Ok(text)
}

fn read_text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| failed(format!("{} cannot be read: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_what_cannot_be_read_is_cut_to_its_server() {
        for (line, cut) in [
            (
                "    webhook: https://h.example/s/T0?k=1",
                "    webhook: https://h.example/...",
            ),
            (
                "      'https://me:secret@h.example:8443/x' # old: http://i.example/y z",
                "      'https://h.example:8443/...' # old: http://i.example/... z",
            ),
            ("  local_address: localhost:80", "  local_address: localhost:80"),
        ] {
            assert_eq!(without_urls(line), cut);
        }
    }
}
