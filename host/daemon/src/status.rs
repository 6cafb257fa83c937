//! What the node knows of itself and its peers, as the API tells it.

use std::time::Instant;

use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};
use peerup_api::{BudgetInfo, ConnectionInfo, LimitInfo, NatInfo, PeerInfo, RelayInfo, StatusInfo};
use peerup_model::{ErrorCode, Failure, PathKind};
use peerup_net::{ConnSnapshot, NOT_ADMITTED, NodeSnapshot, PeerSnapshot, RelaySnapshot};
use peerup_paths::{NatKind, PathNat, UdpVerdict};
use peerup_trust::Role;

use crate::app::App;

/// A peer that answered within this many seconds is connected; an open socket alone is not.
const CONNECTED_WITHIN_SECONDS: u64 = 30;

pub(crate) async fn status(app: &App) -> Result<StatusInfo, Failure> {
    let config = app.config();
    let snapshot = snapshot(app).await?;
    let relays: Vec<RelayInfo> = relays(app).await?;
    let (relayed, direct): (Vec<&Multiaddr>, Vec<&Multiaddr>) = snapshot
        .listen
        .iter()
        .partition(|address| address.iter().any(|part| matches!(part, Protocol::P2pCircuit)));
    let text = |addresses: Vec<&Multiaddr>| addresses.into_iter().map(ToString::to_string).collect();
    Ok(StatusInfo {
        peer_id: app.peer_id().to_base58(),
        name: config.name.as_ref().map(ToString::to_string),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: app.started.elapsed().as_secs(),
        tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        connected_peers: peers(app, false).await?.len(),
        listen_addresses: text(direct),
        relay_addresses: text(relayed),
        services_count: config.services.values().filter(|service| service.enabled).count(),
        nat: snapshot.nat.to_string(),
        nat_details: nat_info(&PathNat::from(&snapshot.nat)),
        config: peerup_ops::config_state(app),
        problems: problems(app, &relays),
        relays,
    })
}

/// Returns the node as it is now.
pub(crate) async fn snapshot(app: &App) -> Result<NodeSnapshot, Failure> {
    app.node
        .snapshot()
        .await
        .map_err(|error| Failure::new(ErrorCode::Failed, error.to_string()))
}

/// Returns what stands in the way of being fully up.
pub(crate) fn problems(app: &App, relays: &[RelayInfo]) -> Vec<String> {
    let mut problems = Vec::new();
    if !relays.is_empty() && relays.iter().all(|relay| !relay.reserved) {
        for relay in relays {
            let why = relay.last_error.as_deref().unwrap_or("it did not answer yet");
            let why = explained(why);
            let next = if why == NOT_ADMITTED {
                format!("; on the relay, run: relay-server authorize {}", app.peer_id())
            } else {
                String::new()
            };
            problems.push(format!(
                "the relay {} holds no reservation ({}): {why}{next}",
                relay.name.as_deref().unwrap_or(&relay.peer_id),
                relay.state,
            ));
        }
    }
    problems.extend(peerup_ops::config_problem(app));
    problems.extend(app.meters.reloads.problem().map(|problem| {
        format!(
            "the config file does not load, and the one before it is in force: {problem}; correct it, then run: peerup daemon reload"
        )
    }));
    problems.extend(app.unmet().iter().map(|unmet| format!("not in force: {unmet}")));
    problems.extend(app.trials.problems());
    problems.extend(
        app.access
            .problem()
            .map(|problem| format!("authorized_keys: {problem}")),
    );
    for plugin in app
        .plugins
        .list()
        .into_iter()
        .filter(|plugin| plugin.state == "failed")
    {
        let reason = plugin.reason.unwrap_or_default();
        problems.push(format!("the plugin {} does not run: {reason}", plugin.name));
    }
    problems
}

pub(crate) async fn relays(app: &App) -> Result<Vec<RelayInfo>, Failure> {
    let snapshot = snapshot(app).await?;
    Ok(relay_infos(app, &snapshot.relays))
}

/// Returns relays as the API tells them.
pub(crate) fn relay_infos(app: &App, relays: &[RelaySnapshot]) -> Vec<RelayInfo> {
    relays
        .iter()
        .map(|relay| RelayInfo {
            peer_id: relay.peer.to_base58(),
            name: app.name_of(&relay.peer),
            addresses: relay.addresses.iter().map(ToString::to_string).collect(),
            reserved: relay.reserved,
            state: relay.state.clone(),
            last_error: relay.last_error.as_deref().map(explained),
            held: relay.held,
            rtt_ms: relay.rtt.map(milliseconds),
            limit: relay.limit.map(|limit| LimitInfo {
                bytes: limit.bytes,
                duration_s: limit.duration.map(|time| time.as_secs()),
            }),
        })
        .collect()
}

/// Returns a NAT as the API tells it.
pub(crate) fn nat_info(nat: &PathNat) -> NatInfo {
    NatInfo {
        kind: match nat.kind {
            NatKind::None => "none",
            NatKind::EndpointIndependent => "endpoint-independent",
            NatKind::Symmetric => "symmetric",
            NatKind::Unknown => "unknown",
        }
        .to_owned(),
        port_preserving: nat.port_preserving,
        cgnat: nat.cgnat,
        udp: match nat.udp {
            UdpVerdict::Ok => "ok",
            UdpVerdict::Blocked => "blocked",
            UdpVerdict::Unknown => "unknown",
        }
        .to_owned(),
    }
}

/// Says what a relay's answer means, and what to do. libp2p knows one word for every limit.
fn explained(error: &str) -> String {
    if error.contains("resource limit exceeded") {
        return "the relay is full: a limit of it is used up (resources.max_reservations or \
                max_reservations_per_ip in its config); ask its operator to raise it, or use another relay"
            .to_owned();
    }
    error.to_owned()
}

/// Returns the peers that answered lately; with `all`, every peer with a connection or an entry.
pub(crate) async fn peers(app: &App, all: bool) -> Result<Vec<PeerInfo>, Failure> {
    let snapshot = snapshot(app).await?;
    let mut list: Vec<PeerInfo> = snapshot
        .peers
        .iter()
        .map(|peer| peer_info(app, peer))
        .filter(|peer| {
            all || peer
                .last_seen_s
                .is_some_and(|age| age <= CONNECTED_WITHIN_SECONDS)
        })
        .collect();
    if all {
        for member in app.access.members() {
            let id = member.to_base58();
            if list.iter().all(|known| known.id != id) {
                let ago = app.last_seen.ago(&member, Instant::now());
                list.push(PeerInfo {
                    last_seen_s: ago.map(|ago| ago.as_secs()),
                    ..absent(app, &member)
                });
            }
        }
    }
    list.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
    Ok(list)
}

/// Returns whether the peer has answered on this connection lately.
pub(crate) fn is_answering(connection: &ConnSnapshot) -> bool {
    connection
        .last_answer
        .is_some_and(|age| age.as_secs() <= CONNECTED_WITHIN_SECONDS)
}

fn peer_info(app: &App, peer: &PeerSnapshot) -> PeerInfo {
    let connections: Vec<ConnectionInfo> = peer
        .connections
        .iter()
        .map(|connection| connection_info(app, connection))
        .collect();
    // The node lists the connection that a new stream would take first. One that is silent is no connection.
    let best = peer.connections.iter().find(|one| is_answering(one));
    let (path, transport, via) = match best.map(|connection| connection.path) {
        None => (None, None, None),
        Some(PathKind::Direct(transport)) => (Some("DIRECT".to_owned()), Some(transport.to_string()), None),
        Some(PathKind::Relayed(relay)) => (Some("RELAYED".to_owned()), None, Some(app.display(&relay))),
    };
    PeerInfo {
        addresses: connections
            .iter()
            .map(|connection| connection.address.clone())
            .collect(),
        agent_version: peer.agent.clone(),
        path,
        transport,
        via,
        rtt_ms: best.and_then(|connection| connection.rtt).map(milliseconds),
        last_seen_s: peer
            .connections
            .iter()
            .filter_map(|connection| connection.last_answer)
            .map(|age| age.as_secs())
            .min(),
        streams: peer.connections.iter().map(|connection| connection.streams).sum(),
        bytes_in: peer
            .connections
            .iter()
            .map(|connection| connection.bytes_in)
            .sum(),
        bytes_out: peer
            .connections
            .iter()
            .map(|connection| connection.bytes_out)
            .sum(),
        connections,
        ..absent(app, &peer.peer)
    }
}

/// Returns a connection as the API tells it.
pub(crate) fn connection_info(app: &App, connection: &ConnSnapshot) -> ConnectionInfo {
    let (transport, via) = match connection.path {
        PathKind::Direct(transport) => (Some(transport.to_string()), None),
        PathKind::Relayed(relay) => (None, Some(app.display(&relay))),
    };
    ConnectionInfo {
        transport,
        via,
        age_s: connection.age.as_secs(),
        suspect: connection.suspect,
        budget: connection.budget.map(|budget| BudgetInfo {
            bytes_left: budget.bytes,
            seconds_left: budget.time.map(|time| time.as_secs()),
        }),
        path: if connection.path.is_relayed() {
            "RELAYED"
        } else {
            "DIRECT"
        }
        .to_owned(),
        address: connection.address.to_string(),
        rtt_ms: connection.rtt.map(milliseconds),
        last_seen_s: connection.last_answer.map(|age| age.as_secs()),
        streams: connection.streams,
    }
}

/// Returns what a peer is to this node, in the API's words.
pub(crate) fn role_of(app: &App, peer: &PeerId) -> &'static str {
    match app.access.policy().load().role(peer, jiff::Timestamp::now()) {
        Some(Role::Member(_)) => "member",
        Some(Role::Infra) => "infra",
        Some(Role::Pairing) => "pairing",
        None => "none",
    }
}

fn absent(app: &App, peer: &PeerId) -> PeerInfo {
    let role = role_of(app, peer);
    PeerInfo {
        id: peer.to_base58(),
        name: app.name_of(peer),
        role: role.to_owned(),
        addresses: Vec::new(),
        agent_version: None,
        path: None,
        transport: None,
        via: None,
        rtt_ms: None,
        last_seen_s: None,
        streams: 0,
        bytes_in: 0,
        bytes_out: 0,
        connections: Vec::new(),
    }
}

fn milliseconds(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
