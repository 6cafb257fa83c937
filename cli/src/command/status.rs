//! `status`: the node at a glance, with and without a daemon.

use peerup_api::{Client, ClientError, RelayInfo, StatusInfo};
use peerup_config::NodeConfig;
use peerup_model::Failure;

use super::whoami::own_id;
use crate::{context::Context, output, session};

pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    // A daemon may run although the file does not do.
    if let Some(client) = session::running(&context.config_path()?).await {
        return print_running(context, &client).await;
    }
    let (path, config) = context.load()?;
    print(context, &offline(&config, &path)?, false)
}

/// Prints what the running daemon says.
pub(super) async fn print_running(context: &Context, client: &Client) -> Result<(), Failure> {
    let status: StatusInfo = client
        .get("/v1/status")
        .await
        .map_err(ClientError::into_failure)?;
    print(context, &status, true)
}

/// The configured relays, of which nothing is known without a daemon.
pub(super) fn offline_relays(config: &NodeConfig) -> Vec<RelayInfo> {
    config
        .relays
        .iter()
        .map(|relay| RelayInfo {
            peer_id: relay.peer().to_base58(),
            name: peerup_daemon::name_of(config, &relay.peer()).map(ToString::to_string),
            addresses: vec![relay.to_string()],
            reserved: false,
            state: "no daemon".to_owned(),
            last_error: None,
            held: false,
            rtt_ms: None,
            limit: None,
        })
        .collect()
}

fn offline(config: &NodeConfig, path: &std::path::Path) -> Result<StatusInfo, Failure> {
    let relays = offline_relays(config);
    Ok(StatusInfo {
        peer_id: own_id(config)?,
        name: config.name.as_ref().map(ToString::to_string),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: 0,
        tasks: 0,
        connected_peers: 0,
        listen_addresses: config
            .network
            .listen_addresses
            .iter()
            .map(ToString::to_string)
            .collect(),
        relay_addresses: Vec::new(),
        services_count: config.services.values().filter(|service| service.enabled).count(),
        nat: "unknown".to_owned(),
        nat_details: peerup_api::NatInfo::default(),
        relays,
        config: peerup_ops::state_at_rest(path, peerup_ops::ConfigOf::Node),
        problems: vec!["no daemon is running; start it with: peerup daemon".to_owned()],
    })
}

/// What a relay allows, in words; nothing where it sets no limit.
pub(super) fn limit(relay: &RelayInfo) -> String {
    let Some(limit) = relay.limit else {
        return String::new();
    };
    let bytes = limit.bytes.map(output::bytes);
    let time = limit
        .duration_s
        .map(|seconds| humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string());
    let parts: Vec<_> = bytes.into_iter().chain(time).collect();
    if parts.is_empty() {
        return String::new();
    }
    format!(
        " (a circuit carries at most {})",
        parts.join(" or lasts at most ")
    )
}

fn print(context: &Context, status: &StatusInfo, running: bool) -> Result<(), Failure> {
    if context.json {
        let mut value = serde_json::to_value(status).map_err(|error| super::failed(error.to_string()))?;
        if let Some(object) = value.as_object_mut() {
            object.insert("running".to_owned(), running.into());
        }
        return output::json(&value);
    }
    output::line(format!("peer id:   {}", status.peer_id))?;
    output::line(format!("name:      {}", output::or_dash(status.name.as_ref())))?;
    output::line(format!(
        "config:    {} {}",
        status.config.file,
        peerup_ops::config_in_words(&status.config)
    ))?;
    let daemon = if running {
        let up = std::time::Duration::from_secs(status.uptime_seconds);
        format!("{} up {}", status.version, humantime::format_duration(up))
    } else {
        "not running".to_owned()
    };
    output::line(format!("daemon:    {daemon}"))?;
    output::line(format!("services:  {}", status.services_count))?;
    output::line(format!(
        "connected: {} peers that answered within 30 s",
        status.connected_peers
    ))?;
    for address in &status.listen_addresses {
        output::line(format!("listening: {address}"))?;
    }
    output::line(format!("nat:       {}", status.nat))?;
    for relay in &status.relays {
        let name = relay.name.as_ref().unwrap_or(&relay.peer_id);
        let error = relay.last_error.as_ref().filter(|_| !relay.reserved);
        let why = error.map(|error| format!(": {error}")).unwrap_or_default();
        let rtt = relay.rtt_ms.map(|rtt| format!(" {rtt:.1}ms")).unwrap_or_default();
        output::line(format!(
            "relay:     {name} {}{rtt}{}{why}",
            relay.state,
            limit(relay)
        ))?;
    }
    for problem in &status.problems {
        output::line(format!("problem:   {problem}"))?;
    }
    Ok(())
}
