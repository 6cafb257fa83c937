//! `relay`: which relays this node uses. Through the daemon where one runs, so that it is live at once; else
//! in the config.

use peerup_api::{ClientError, RelayInfo, RelayRequest};
use peerup_config::{ConfigFile, RelayAddress};
use peerup_model::{ErrorCode, Failure};

use super::{daemon, status, usage};
use crate::{arguments::Relay, context::Context, output, session};

pub(crate) async fn run(context: &Context, command: Relay) -> Result<(), Failure> {
    let (path, config) = context.load()?;
    let client = session::running(&path).await;
    match command {
        Relay::Add { addresses } => {
            let relays: Vec<RelayAddress> = addresses
                .iter()
                .map(|text| read(text))
                .collect::<Result<_, _>>()?;
            match client {
                None => {
                    ConfigFile::new(&path)
                        .edit(|editor| {
                            relays
                                .iter()
                                .try_for_each(|relay| editor.add_relay(relay).map(drop))
                        })
                        .map_err(|error| peerup_daemon::edit_failure(&error))?;
                }
                Some(client) => {
                    for relay in &relays {
                        let request = RelayRequest {
                            address: relay.to_string(),
                        };
                        let _: serde_json::Value = client
                            .post("/v1/relays", &request)
                            .await
                            .map_err(ClientError::into_failure)?;
                    }
                }
            }
            daemon::tell(context, &serde_json::json!({ "status": "added" }))
        }
        Relay::Remove { address } => {
            let relay = read(&address)?;
            if !config.relays.contains(&relay) {
                return Err(
                    Failure::new(ErrorCode::NotFound, format!("{address} is not among the relays"))
                        .with_hint("see them with: peerup relay list"),
                );
            }
            match client {
                None => {
                    ConfigFile::new(&path)
                        .edit(|editor| editor.remove_relay(&relay))
                        .map_err(|error| peerup_daemon::edit_failure(&error))?;
                }
                Some(client) => {
                    let request = RelayRequest { address };
                    let _: serde_json::Value = client
                        .delete("/v1/relays", Some(&request))
                        .await
                        .map_err(ClientError::into_failure)?;
                }
            }
            daemon::tell(context, &serde_json::json!({ "status": "removed" }))
        }
        Relay::List => {
            let relays: Vec<RelayInfo> = match client {
                Some(client) => client
                    .get("/v1/relays")
                    .await
                    .map_err(ClientError::into_failure)?,
                None => status::offline_relays(&config),
            };
            print(context, &relays)
        }
    }
}

fn read(text: &str) -> Result<RelayAddress, Failure> {
    text.parse().map_err(|error| {
        usage(format!("{text}: {error}"))
            .with_hint("give a full multiaddr such as /dns/relay.example/tcp/7777/p2p/12D3KooW...; `relay-server info` prints it")
    })
}

fn print(context: &Context, relays: &[RelayInfo]) -> Result<(), Failure> {
    if context.json {
        return output::json(&relays);
    }
    if relays.is_empty() {
        context.note("no relay is configured; add one with: peerup relay add ADDR");
    }
    let rows: Vec<[String; 4]> = relays
        .iter()
        .map(|relay| {
            [
                relay.name.clone().unwrap_or_else(|| relay.peer_id.clone()),
                relay.addresses.join(","),
                relay.state.clone(),
                output::or_dash(relay.last_error.as_ref().filter(|_| !relay.reserved)),
            ]
        })
        .collect();
    output::table(["RELAY", "ADDRESSES", "STATE", "LAST ERROR"], &rows)
}
