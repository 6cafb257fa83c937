//! `auth`: who may connect. Through the daemon where one runs, so that it is live at once; else in the file.

use std::{collections::BTreeSet, path::Path};

use jiff::Timestamp;
use peerup_api::{AuthEntry, AuthRequest, Client, ClientError, PeerInfo, whole_seconds};
use peerup_config::{ConfigFile, NodeConfig};
use peerup_model::{ErrorCode, Failure};
use peerup_trust::KeyFile;

use super::{daemon, usage};
use crate::{arguments::Auth, context::Context, output, session};

pub(crate) async fn run(context: &Context, command: Auth) -> Result<(), Failure> {
    if let Auth::Validate { file } = &command {
        return validate(context, file.as_deref());
    }
    let (path, config) = context.load()?;
    let client = session::running(&path).await;
    match command {
        Auth::Add {
            id,
            comment,
            name,
            services,
            expires,
        } => {
            let expires = expires
                .map(|text| read_when(&text))
                .transpose()?
                .map(|when| when.to_string());
            let request = AuthRequest {
                peer_id: id,
                comment,
                name,
                services,
                expires,
            };
            match client {
                Some(client) => add_live(context, &client, &request).await,
                None => add_to_files(context, &path, &config, request),
            }
        }
        Auth::List => list(context, client.as_ref(), &config).await,
        Auth::Remove { peer, yes } => match client {
            Some(client) => {
                if !yes {
                    check_way_in(context, &client, &peer).await?;
                }
                let path = format!("/v1/auth/{peer}");
                let done = client
                    .delete(&path, None::<&()>)
                    .await
                    .map_err(ClientError::into_failure)?;
                daemon::tell(context, &done)
            }
            None => remove_from_file(context, &config, &peer),
        },
        Auth::Validate { .. } => Ok(()),
    }
}

fn key_file(config: &NodeConfig) -> KeyFile {
    KeyFile::new(config.security.authorized_keys_file.clone())
}

async fn add_live(context: &Context, client: &Client, request: &AuthRequest) -> Result<(), Failure> {
    let done = client
        .post("/v1/auth", request)
        .await
        .map_err(ClientError::into_failure)?;
    daemon::tell(context, &done)
}

fn add_to_files(
    context: &Context,
    path: &Path,
    config: &NodeConfig,
    request: AuthRequest,
) -> Result<(), Failure> {
    let (entry, name) = peerup_daemon::read_auth_request(request)?;
    let peer = entry.peer;
    if let Some(name) = &name {
        peerup_daemon::check_chosen(config, name, &peer)?;
    }
    key_file(config)
        .add(entry)
        .map_err(|error| peerup_daemon::keys_failure(&error))?;
    if let Some(name) = name {
        ConfigFile::new(path)
            .edit(|editor| editor.set_name(&name, peer))
            .map_err(|error| peerup_daemon::edit_failure(&error))?;
    }
    daemon::tell(context, &serde_json::json!({ "status": "added" }))
}

fn remove_from_file(context: &Context, config: &NodeConfig, peer: &str) -> Result<(), Failure> {
    let file = key_file(config);
    let keys = file
        .load_or_empty()
        .map_err(|error| peerup_daemon::keys_failure(&error))?;
    let known: BTreeSet<_> = keys.entries().map(|entry| entry.peer).collect();
    let (id, _) = peerup_daemon::resolve(config, &known, peer)?;
    let removed = file
        .remove(&id)
        .map_err(|error| peerup_daemon::keys_failure(&error))?;
    if removed.is_none() {
        return Err(
            Failure::new(ErrorCode::NotFound, format!("{peer} is not in authorized_keys"))
                .with_hint("see who is with: peerup auth list"),
        );
    }
    daemon::tell(context, &serde_json::json!({ "status": "removed" }))
}

async fn list(context: &Context, client: Option<&Client>, config: &NodeConfig) -> Result<(), Failure> {
    let entries: Vec<AuthEntry> = match client {
        Some(client) => client.get("/v1/auth").await.map_err(ClientError::into_failure)?,
        None => {
            let keys = key_file(config)
                .load_or_empty()
                .map_err(|error| peerup_daemon::keys_failure(&error))?;
            keys.entries()
                .map(|entry| peerup_daemon::describe_entry(entry, config))
                .collect()
        }
    };
    if context.json {
        return output::json(&entries);
    }
    if entries.is_empty() {
        context.note("nobody is authorized; let somebody in with: peerup invite, or peerup auth add");
    }
    let rows: Vec<[String; 5]> = entries
        .iter()
        .map(|entry| {
            let expires = entry.expires.as_deref().map(whole_seconds);
            let expires = match &expires {
                Some(expires) if entry.expired => format!("{expires} (expired)"),
                expires => output::or_dash(expires.as_ref()),
            };
            [
                output::or_dash(entry.name.as_ref()),
                entry.peer_id.clone(),
                entry
                    .services
                    .as_ref()
                    .map_or_else(|| "all".to_owned(), |services| services.join(",")),
                expires,
                output::or_dash(entry.comment.as_ref()),
            ]
        })
        .collect();
    output::table(["NAME", "ID", "SERVICES", "EXPIRES", "COMMENT"], &rows)
}

fn validate(context: &Context, file: Option<&Path>) -> Result<(), Failure> {
    let path = match file {
        Some(file) => file.to_owned(),
        None => context.load()?.1.security.authorized_keys_file,
    };
    let keys = KeyFile::new(path.clone())
        .load()
        .map_err(|error| peerup_daemon::keys_failure(&error))?;
    if context.json {
        return output::json(&serde_json::json!({ "file": path, "entries": keys.len() }));
    }
    output::line(format!("{}: {} entries, all good", path.display(), keys.len()))
}

/// Asks before the only peer goes that is connected, or one that this very session may come through.
async fn check_way_in(context: &Context, client: &Client, peer: &str) -> Result<(), Failure> {
    let entries: Vec<AuthEntry> = client.get("/v1/auth").await.map_err(ClientError::into_failure)?;
    let peers: Vec<PeerInfo> = client.get("/v1/peers").await.map_err(ClientError::into_failure)?;
    let by_name = |entry: &&AuthEntry| entry.name.as_deref() == Some(peer);
    let by_id = |entry: &&AuthEntry| entry.peer_id.starts_with(peer);
    let entry = entries
        .iter()
        .find(by_name)
        .or_else(|| entries.iter().find(by_id));
    // The daemon says what is wrong with a peer that is not there.
    let Some(entry) = entry else { return Ok(()) };
    let members: Vec<&PeerInfo> = peers.iter().filter(|known| known.role == "member").collect();
    let Some(connected) = members.iter().find(|known| known.id == entry.peer_id) else {
        return Ok(());
    };
    let why = if members.len() == 1 {
        "is the only peer that is connected"
    } else if connected.streams > 0 {
        // What a session came through, no environment says for sure: sudo drops it, and services have other addresses.
        "has open streams: they may be your own way in"
    } else {
        return Ok(());
    };
    let warning = format!("{peer} {why}; without it nobody may reach this machine to let it in again");
    if !context.may_ask() {
        return Err(usage(warning).with_hint(format!(
            "to remove it all the same: peerup auth remove {peer} --yes"
        )));
    }
    context.note(&warning);
    match super::plugin::ask(&format!("Remove {peer}?")).await? {
        true => Ok(()),
        false => Err(Failure::new(ErrorCode::Denied, "nothing was changed")
            .with_hint("see who is authorized with: peerup auth list")),
    }
}

/// Reads RFC 3339, a date, or a time from now such as `30d`.
fn read_when(text: &str) -> Result<Timestamp, Failure> {
    if let Ok(when) = text.parse::<Timestamp>() {
        return Ok(when);
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>()
        && let Ok(midnight) = date.to_zoned(jiff::tz::TimeZone::UTC)
    {
        return Ok(midnight.timestamp());
    }
    let from_now = humantime::parse_duration(text).map_err(|error| {
        usage(format!("{text:?} is no time: {error}"))
            .with_hint("give RFC 3339 such as 2030-01-31T12:00:00Z, a date such as 2030-01-31, or a time from now such as 30d")
    })?;
    Timestamp::now()
        .checked_add(from_now)
        .map_err(|_| usage(format!("{text:?} lies too far ahead")))
}
