//! `proxy add`, `list`, `remove`, `enable`, `disable`: the proxies of the config. Through the daemon where one runs, so
//! that they are live at once; else in the file.

use peerup_api::{Client, ClientError, ConnectInfo, ProxyRequest, ProxyUpdate};
use peerup_config::{ConfigEditor, ConfigFile, EditError, NodeConfig, ProxyEntry};
use peerup_model::{ErrorCode, Failure, NameError, ProxyName};

use super::super::{daemon, usage};
use crate::{arguments::ProxyCommand, context::Context, output, session};

pub(super) async fn run(context: &Context, command: ProxyCommand) -> Result<(), Failure> {
    let (path, config) = context.load()?;
    let client = session::running(&path).await;
    let edit = |change: &dyn Fn(&mut ConfigEditor) -> Result<(), EditError>| {
        ConfigFile::new(&path)
            .edit(change)
            .map(|edited| edited.config)
            .map_err(|error| peerup_daemon::edit_failure(&error))
    };
    match command {
        ProxyCommand::Add {
            name,
            peer,
            service,
            listen,
        } => {
            let parsed = read_name(&name)?;
            let entry = ProxyEntry::new(&peer, &service, &listen)
                .map_err(|(key, error)| usage(format!("{key}: {error}")).with_hint(ADD_HINT))?;
            match client {
                Some(client) => {
                    let request = ProxyRequest {
                        name,
                        peer,
                        service,
                        listen,
                    };
                    let info = client.post("/v1/proxies", &request).await;
                    tell(context, &info.map_err(ClientError::into_failure)?)
                }
                None => {
                    let config = edit(&|editor| editor.add_proxy(&parsed, &entry))?;
                    tell_written(context, &config, &parsed)
                }
            }
        }
        ProxyCommand::List => list(context, client, &config).await,
        ProxyCommand::Remove { name } => {
            let parsed = known(&config, &name)?;
            match client {
                Some(client) => {
                    let done = client.delete(&format!("/v1/proxies/{name}"), None::<&()>).await;
                    daemon::tell(context, &done.map_err(ClientError::into_failure)?)
                }
                None => {
                    edit(&|editor| editor.remove_proxy(&parsed))?;
                    daemon::tell(context, &serde_json::json!({ "status": "removed" }))
                }
            }
        }
        ProxyCommand::Enable { name } => switch(context, client, &config, &name, true, &edit).await,
        ProxyCommand::Disable { name } => switch(context, client, &config, &name, false, &edit).await,
    }
}

const ADD_HINT: &str = "such as: peerup proxy add desktop home vnc 127.0.0.1:5901";

type Edit<'a> =
    dyn Fn(&dyn Fn(&mut ConfigEditor) -> Result<(), EditError>) -> Result<NodeConfig, Failure> + 'a;

async fn switch(
    context: &Context,
    client: Option<Client>,
    config: &NodeConfig,
    name: &str,
    enabled: bool,
    edit: &Edit<'_>,
) -> Result<(), Failure> {
    let parsed = known(config, name)?;
    let Some(client) = client else {
        let config = edit(&|editor| editor.set_proxy_enabled(&parsed, enabled))?;
        return tell_written(context, &config, &parsed);
    };
    let path = format!("/v1/proxies/{name}");
    let info = client.put(&path, &ProxyUpdate { enabled }).await;
    tell(context, &info.map_err(ClientError::into_failure)?)
}

async fn list(context: &Context, client: Option<Client>, config: &NodeConfig) -> Result<(), Failure> {
    let proxies: Vec<ConnectInfo> = match client {
        Some(client) => client
            .get("/v1/connect")
            .await
            .map_err(ClientError::into_failure)?,
        None => config
            .proxies
            .iter()
            .map(|(name, entry)| peerup_daemon::describe_proxy(name, entry))
            .collect(),
    };
    if context.json {
        return output::json(&proxies);
    }
    if proxies.is_empty() {
        context.note("there is no proxy; add one with: peerup proxy add NAME PEER SERVICE LISTEN");
    }
    let rows: Vec<[String; 6]> = proxies.iter().map(row).collect();
    output::table(["NAME", "PEER", "SERVICE", "LISTEN", "STATE", "REASON"], &rows)
}

fn row(info: &ConnectInfo) -> [String; 6] {
    let reason = match (&info.reason, info.retry_in_s) {
        (Some(reason), Some(seconds)) => format!("{reason}; next try in {seconds}s"),
        (reason, _) => output::or_dash(reason.as_ref()),
    };
    [
        info.name.clone().unwrap_or_else(|| format!("({})", info.id)),
        info.peer.clone(),
        info.service.clone(),
        info.listen_address.clone(),
        info.state.clone(),
        reason,
    ]
}

fn tell_written(context: &Context, config: &NodeConfig, name: &ProxyName) -> Result<(), Failure> {
    match config.proxies.get(name) {
        Some(entry) => tell(context, &peerup_daemon::describe_proxy(name, entry)),
        None => Ok(()),
    }
}

/// Says what became of one proxy.
fn tell(context: &Context, info: &ConnectInfo) -> Result<(), Failure> {
    if context.json {
        return output::json(info);
    }
    let name = &info.id;
    match (info.state.as_str(), &info.reason) {
        ("listening", _) => output::line(format!("listening on {}", info.listen_address)),
        ("failed", reason) => {
            let reason = reason.as_deref().unwrap_or("it is not known why");
            context.note(&format!(
                "{name} is kept, but does not listen yet: {reason}\nthe daemon tries again; see: peerup proxy list"
            ));
            Ok(())
        }
        (state @ ("disabled" | "starting"), _) => {
            context.note(&format!("{name} is {state}"));
            Ok(())
        }
        _ => {
            context.note(&format!(
                "{name} is written; it listens when the daemon runs: peerup daemon"
            ));
            Ok(())
        }
    }
}

fn read_name(name: &str) -> Result<ProxyName, Failure> {
    name.parse().map_err(|error: NameError| usage(error.to_string()))
}

fn known(config: &NodeConfig, name: &str) -> Result<ProxyName, Failure> {
    let parsed = read_name(name)?;
    match config.proxies.contains_key(&parsed) {
        true => Ok(parsed),
        false => Err(
            Failure::new(ErrorCode::NotFound, format!("there is no proxy {name}"))
                .with_hint("see them with: peerup proxy list"),
        ),
    }
}
