//! Why the path to a peer is what it is: what the node knows, put into words with the one thing to do.
//!
//! The words come from the pure `Situation`; here it is filled in.

use libp2p_identity::PeerId;
use peerup_api::{WhyAdvice, WhyAttempt, WhyCandidate, WhyInfo, WhyPeer, WhySide};
use peerup_config::PathQuery;
use peerup_model::{ErrorCode, Failure, PathKind, PathPolicy};
use peerup_net::{AttemptKind, AttemptReport, ConnSnapshot, NOT_ADMITTED, PeerReport, RelaySnapshot};
use peerup_paths::{PathNat, Refusal, RelaySituation, Situation};

use crate::{app::App, status};

/// A connection counts as one while it has answered within this many seconds.
const ANSWERED_WITHIN_SECONDS: u64 = 30;

/// Explains the path to a peer.
pub(crate) async fn why(app: &App, name: &str) -> Result<WhyInfo, Failure> {
    let (peer, _) = app.resolve(name).await?;
    if peer == app.peer_id() {
        return Err(Failure::new(ErrorCode::Invalid, "this is the node's own peer id"));
    }
    let report = app
        .node
        .explain(peer)
        .await
        .map_err(|error| Failure::new(ErrorCode::Failed, error.to_string()))?;
    let policy = policy_for(app, &peer);
    let best = report.connections.iter().find(|connection| answers(connection));
    let situation = situation(app, &peer, &report, best, policy);
    let advice = situation.advice();
    let (path, via, transport) = match best.map(|connection| connection.path) {
        None => (None, None, None),
        Some(PathKind::Direct(transport)) => (Some("DIRECT"), None, Some(transport.to_string())),
        Some(PathKind::Relayed(relay)) => (Some("RELAYED"), Some(app.display(&relay)), None),
    };
    Ok(WhyInfo {
        peer: WhyPeer {
            id: peer.to_base58(),
            name: app.name_of(&peer),
        },
        path: path.map(str::to_owned),
        via,
        transport,
        reason: advice.reason,
        advice: advice.advice.map(|suggestion| WhyAdvice {
            text: suggestion.text,
            command: suggestion.command,
        }),
        policy: policy.to_string(),
        local: WhySide {
            nat: Some(status::nat_info(&PathNat::from(&report.nat))),
            candidates: report
                .own_candidates
                .iter()
                .map(|(address, source)| WhyCandidate {
                    address: address.to_string(),
                    source: (*source).to_owned(),
                    age_s: None,
                })
                .collect(),
            age_s: None,
        },
        remote: remote(&report),
        connections: report
            .connections
            .iter()
            .map(|connection| status::connection_info(app, connection))
            .collect(),
        attempts: report.attempts.iter().map(attempt).collect(),
        relays: status::relay_infos(app, &report.relays),
        next_try_s: report
            .next_try
            .map(|time| (time.as_secs_f64() * 10.0).round() / 10.0),
    })
}

fn answers(connection: &ConnSnapshot) -> bool {
    connection
        .last_answer
        .is_some_and(|age| age.as_secs() <= ANSWERED_WITHIN_SECONDS)
}

fn situation(
    app: &App,
    peer: &PeerId,
    report: &PeerReport,
    best: Option<&ConnSnapshot>,
    policy: PathPolicy,
) -> Situation {
    let listed = app
        .access
        .policy()
        .load()
        .role(peer, jiff::Timestamp::now())
        .is_some();
    let failed = |kinds: &[AttemptKind]| {
        report
            .attempts
            .iter()
            .rev()
            .find(|attempt| kinds.contains(&attempt.kind) && attempt.outcome != "connected")
            .map(|attempt| format!("{}: {}", attempt.target, attempt.outcome))
    };
    let circuit = failed(&[AttemptKind::Circuit]);
    let no_reservation = circuit.as_ref().is_some_and(|text| {
        text.contains("has no reservation")
            || text.contains("NoReservation")
            || text.to_lowercase().contains("no reservation")
    });
    let refused = circuit
        .as_ref()
        .is_some_and(|text| text.to_lowercase().contains("did not take"));
    Situation {
        path: best.map(|connection| connection.path),
        via: best.and_then(|connection| match connection.path {
            PathKind::Relayed(relay) => Some(app.display(&relay)),
            PathKind::Direct(_) => None,
        }),
        policy,
        local: PathNat::from(&report.nat),
        remote: report.remote.as_ref().map(|remote| remote.nat),
        budget: best.and_then(|connection| connection.budget),
        relay: relay_situation(app, &report.relays),
        peer_reserved: no_reservation.then_some(false),
        known_addresses: report.known.len(),
        same_lan: report.same_lan,
        remote_answers_punch: report.answers_punch,
        refusal: match (listed, refused) {
            (false, _) => Some(Refusal::ByUs),
            (true, true) => Some(Refusal::ByPeer),
            (true, false) => None,
        },
        last_direct_failure: failed(&[AttemptKind::Punch, AttemptKind::Dial]),
        dial_error: failed(&[AttemptKind::Circuit, AttemptKind::Punch, AttemptKind::Dial]),
        attempts: report.tries,
        ..Situation::new(app.display(peer), *peer, app.peer_id())
    }
}

/// Describes the relay that is best off.
fn relay_situation(app: &App, relays: &[RelaySnapshot]) -> RelaySituation {
    if let Some(relay) = relays.iter().find(|relay| relay.reserved) {
        return RelaySituation::Reserved {
            relay: app.display(&relay.peer),
        };
    }
    let Some(first) = relays.iter().find(|relay| relay.held).or(relays.first()) else {
        return RelaySituation::NotConfigured;
    };
    let relay = app.display(&first.peer);
    let reason = first
        .last_error
        .clone()
        .unwrap_or_else(|| "it did not answer yet".to_owned());
    if reason == NOT_ADMITTED {
        RelaySituation::NotAdmitted { relay }
    } else if first.rtt.is_some() && reason.contains("reserv") {
        RelaySituation::NoReservation { relay, reason }
    } else {
        RelaySituation::Unreachable { relay, error: reason }
    }
}

fn remote(report: &PeerReport) -> WhySide {
    let told = report.remote.as_ref();
    let said = told
        .into_iter()
        .flat_map(|remote| &remote.candidates)
        .map(|address| WhyCandidate {
            address: address.to_string(),
            source: "told by the peer".to_owned(),
            age_s: told.map(|remote| remote.age.as_secs()),
        });
    let known = report.known.iter().map(|known| WhyCandidate {
        address: known.address.to_string(),
        source: known.source.to_string(),
        age_s: Some(known.age_s),
    });
    WhySide {
        nat: told.map(|remote| status::nat_info(&remote.nat)),
        candidates: said.chain(known).collect(),
        age_s: told.map(|remote| remote.age.as_secs()),
    }
}

fn attempt(attempt: &AttemptReport) -> WhyAttempt {
    WhyAttempt {
        kind: match attempt.kind {
            AttemptKind::Dial => "dial",
            AttemptKind::Punch => "punch",
            AttemptKind::Circuit => "circuit",
        }
        .to_owned(),
        target: attempt.target.clone(),
        outcome: attempt.outcome.clone(),
        ago_s: attempt.age.as_secs(),
    }
}

/// The policy that the config has for streams to this peer, services and plugins aside.
fn policy_for(app: &App, peer: &PeerId) -> PathPolicy {
    let config = app.config();
    let query = PathQuery {
        peer,
        service: None,
        plugin: None,
        asked: PathPolicy::PreferDirect,
    };
    config
        .paths
        .decide(&config.names, &query)
        .map_or(PathPolicy::PreferDirect, |decision| decision.policy)
}
