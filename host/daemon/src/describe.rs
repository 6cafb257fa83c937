//! What the files say, as objects of the API.
//!
//! One place, so that a command shows the same whether a daemon answers it or it reads the files itself.

use jiff::Timestamp;
use libp2p_identity::PeerId;
use peerup_api::{AuthEntry, AuthRequest, ServiceInfo};
use peerup_config::NodeConfig;
use peerup_model::{ErrorCode, Failure, PeerName, ServiceName, service_protocol};
use peerup_trust::{Entry, MemberRole};

use crate::names::{LONGEST_ID, name_of};

/// Returns the services of a config.
pub fn describe_services(config: &NodeConfig) -> Vec<ServiceInfo> {
    let services = config.services.iter();
    services
        .map(|(name, service)| ServiceInfo {
            name: name.to_string(),
            protocol: service_protocol(name),
            local_address: service.local_address.clone(),
            enabled: service.enabled,
            plugin: service.plugin.to_string(),
        })
        .collect()
}

/// Returns an entry of `authorized_keys` with the name that the config gives the peer.
pub fn describe_entry(entry: &Entry, config: &NodeConfig) -> AuthEntry {
    AuthEntry {
        peer_id: entry.peer.to_base58(),
        name: name_of(config, &entry.peer).map(ToString::to_string),
        comment: entry.comment.clone(),
        role: match entry.role {
            MemberRole::Admin => "admin".to_owned(),
            MemberRole::Member => "member".to_owned(),
        },
        services: entry
            .services
            .as_ref()
            .map(|list| list.iter().map(ToString::to_string).collect()),
        expires: entry.expires.map(|expires| expires.to_string()),
        expired: entry.is_expired(Timestamp::now()),
    }
}

/// Reads a request to authorize a peer: the entry to write, and the name to give, if any.
///
/// # Errors
/// The peer id, the name, a service or the end is not valid.
pub fn read_auth_request(request: AuthRequest) -> Result<(Entry, Option<PeerName>), Failure> {
    let invalid = |message: String| Failure::new(ErrorCode::Invalid, message);
    if request.peer_id.len() > LONGEST_ID {
        return Err(invalid(format!("a peer id has at most {LONGEST_ID} characters")));
    }
    let peer: PeerId = request.peer_id.parse().map_err(|_| {
        invalid(format!("{:?} is no peer id", request.peer_id))
            .with_hint("give all of it, as the other machine prints it with: peerup whoami")
    })?;
    let name = request.name.map(|name| name.to_ascii_lowercase().parse());
    let name: Option<PeerName> = name.transpose().map_err(|error| invalid(format!("{error}")))?;
    let services = request.services.map(|services| {
        services
            .iter()
            .map(|name| name.parse())
            .collect::<Result<Vec<ServiceName>, _>>()
    });
    let expires = request.expires.map(|text| text.parse::<Timestamp>());
    let mut entry = Entry::new(peer);
    entry.comment = request.comment;
    entry.services = services.transpose().map_err(|error| invalid(error.to_string()))?;
    entry.expires = expires.transpose().map_err(|error| invalid(error.to_string()))?;
    if let Some(end) = entry.expires.filter(|_| entry.is_expired(Timestamp::now())) {
        return Err(invalid(format!("it would end at {end}, which is over"))
            .with_hint("give a time to come, such as 30d; to end it now, use: peerup auth remove"));
    }
    Ok((entry, name))
}
