//! `authorize`, `deauthorize` and `list-peers`: the list of authorised peers, which a running relay watches.

use libp2p::PeerId;
use peerup_model::{ErrorCode, Failure};
use peerup_trust::{Entry, KeyFile, MemberRole, parse_peer_id};
use serde::Serialize;

use super::{Found, print, print_json, tell};
use crate::arguments::{AuthorizeArguments, DeauthorizeArguments, OutputArguments};
use crate::failure::keys_failure;
use crate::peer_name::named;

/// One entry in `list-peers --json`.
#[derive(Debug, Serialize)]
struct ListedPeer {
    peer_id: String,
    /// `member` or `admin`.
    role: &'static str,
    comment: Option<String>,
    /// RFC 3339.
    expires: Option<String>,
    verified: Option<String>,
}

impl From<&Entry> for ListedPeer {
    fn from(entry: &Entry) -> Self {
        Self {
            peer_id: entry.peer.to_string(),
            role: match entry.role {
                MemberRole::Admin => "admin",
                MemberRole::Member => "member",
            },
            comment: entry.comment.clone(),
            expires: entry.expires.map(|moment| moment.to_string()),
            verified: entry.verified.clone(),
        }
    }
}

/// Adds a peer to the list. One that stands there stays, with the new comment if one is given.
pub(super) fn authorize(found: &Found, arguments: &AuthorizeArguments) -> Result<(), Failure> {
    let peer = parse_peer_id(&arguments.peer).map_err(|error| {
        Failure::new(ErrorCode::Invalid, format!("cannot authorize: {error}"))
            .with_hint("`peerup whoami` prints the id on the machine to authorize")
    })?;
    let file = list_of(found);
    let mut entry = Entry::new(peer);
    if let Some(comment) = &arguments.comment {
        entry = entry.with_comment(comment);
    }
    match file.add(entry.clone()) {
        Err(error) if error.is_already_authorized() => {
            if entry.comment.is_some() {
                let keys = file.load().map_err(|error| keys_failure(&error))?;
                let old = keys.get(&peer).cloned().unwrap_or_else(|| Entry::new(peer));
                file.set(Entry {
                    comment: entry.comment,
                    ..old
                })
                .map_err(|error| keys_failure(&error))?;
            }
            tell(&format!(
                "{peer} is authorized already in {}",
                file.path().display()
            ));
        }
        other => {
            other.map_err(|error| keys_failure(&error))?;
            tell(&format!(
                "authorized {peer} in {}; a running relay knows within a second",
                file.path().display()
            ));
        }
    }
    Ok(())
}

/// Removes a peer from the list.
pub(super) fn deauthorize(found: &Found, arguments: &DeauthorizeArguments) -> Result<(), Failure> {
    let file = list_of(found);
    let keys = file.load_or_empty().map_err(|error| keys_failure(&error))?;
    let peers: Vec<PeerId> = keys.entries().map(|entry| entry.peer).collect();
    let absent = || {
        let message = format!(
            "{} is not authorized in {}",
            arguments.peer,
            file.path().display()
        );
        Failure::new(ErrorCode::NotFound, message).with_hint("`relay-server list-peers` shows who is")
    };
    let peer = named(&arguments.peer, &peers)?.ok_or_else(absent)?;
    file.remove(&peer)
        .map_err(|error| keys_failure(&error))?
        .ok_or_else(absent)?;
    tell(&format!(
        "deauthorized {peer} in {}; a running relay closes its connections within a second",
        file.path().display()
    ));
    Ok(())
}

/// Prints the list.
pub(super) fn list_peers(found: &Found, output: &OutputArguments) -> Result<(), Failure> {
    let keys = list_of(found)
        .load_or_empty()
        .map_err(|error| keys_failure(&error))?;
    let peers: Vec<ListedPeer> = keys.entries().map(ListedPeer::from).collect();
    if output.json {
        return print_json(&peers);
    }
    if peers.is_empty() {
        tell("nobody is authorized yet: `relay-server authorize PEER_ID` lets a peer in");
    }
    print(&peers.iter().map(as_line).collect::<String>())
}

fn as_line(peer: &ListedPeer) -> String {
    let mut line = format!("{}  {:6}", peer.peer_id, peer.role);
    if let Some(expires) = &peer.expires {
        line.push_str(&format!("  until {expires}"));
    }
    if let Some(comment) = &peer.comment {
        line.push_str(&format!("  {comment}"));
    }
    format!("{}\n", line.trim_end())
}

fn list_of(found: &Found) -> KeyFile {
    KeyFile::new(&found.config.security.authorized_keys_file)
}
