//! Where events come from: passes on what the network and the gate tell to the followers of [`crate::events`].

use std::{sync::Arc, time::Duration};

use libp2p_identity::PeerId;
use peerup_api::{Event, EventKind};
use peerup_model::PathKind;
use peerup_net::{Denied, GateDecision, NodeEvent};
use serde_json::{Value, json};
use tokio::{sync::broadcast::error::RecvError, time::Instant};

use crate::{
    app::App,
    events::{event, missed},
};

/// Decisions of the gate that are told in a while; more are counted.
const DECISIONS: u64 = 50;
/// That while.
const DECISIONS_TIME: Duration = Duration::from_secs(1);

/// Passes on what the network and the gate tell, until the node ends.
pub(crate) fn connect(app: &Arc<App>) {
    let (shutdown, app) = (app.shutdown.clone(), app.clone());
    let (mut events, mut decisions) = (app.node.events(), app.node.decisions());
    let mut rate = Rate::new(Instant::now());
    app.clone().tasks.spawn(async move {
        loop {
            let told = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                event = events.recv() => match event {
                    Ok(event) => {
                        if let NodeEvent::PeerDisconnected { peer } = event {
                            app.last_seen.note(peer, &app.access.members(), std::time::Instant::now());
                        }
                        network_event(&app, &event)
                    }
                    Err(RecvError::Lagged(count)) => Some(missed(count)),
                    Err(RecvError::Closed) => return,
                },
                decision = decisions.recv() => match decision {
                    Ok(decision) if rate.admits(Instant::now()) => gate_event(&app, decision),
                    Ok(_) => None,
                    Err(RecvError::Lagged(count)) => {
                        rate.left_out += count;
                        None
                    }
                    Err(RecvError::Closed) => return,
                },
            };
            if !app.events.is_followed() {
                rate.left_out = 0;
                continue;
            }
            if let Some(event) = told {
                if let Some(left_out) = rate.take_left_out() {
                    app.events.tell(missed(left_out));
                }
                app.events.tell(event);
            }
        }
    });
}

/// How many decisions may still be told.
#[derive(Debug)]
struct Rate {
    since: Instant,
    told: u64,
    left_out: u64,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            told: 0,
            left_out: 0,
        }
    }

    fn admits(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= DECISIONS_TIME {
            (self.since, self.told) = (now, 0);
        }
        let admits = self.told < DECISIONS;
        match admits {
            true => self.told += 1,
            false => self.left_out += 1,
        }
        admits
    }

    fn take_left_out(&mut self) -> Option<u64> {
        let left_out = std::mem::take(&mut self.left_out);
        (left_out > 0).then_some(left_out)
    }
}

fn about(app: &App, kind: EventKind, peer: &PeerId, detail: Value) -> Event {
    Event {
        peer_id: Some(peer.to_base58()),
        name: app.name_of(peer),
        detail,
        ..event(kind)
    }
}

fn network_event(app: &App, told: &NodeEvent) -> Option<Event> {
    let nothing = || json!({});
    Some(match told {
        NodeEvent::PeerConnected { peer, path } => {
            about(app, EventKind::PeerConnected, peer, path_detail(app, *path))
        }
        NodeEvent::PeerDisconnected { peer } => about(app, EventKind::PeerDisconnected, peer, nothing()),
        NodeEvent::PathChanged { peer, path } => {
            about(app, EventKind::PathChanged, peer, path_detail(app, *path))
        }
        NodeEvent::RelayReserved { relay } => about(app, EventKind::RelayReserved, relay, nothing()),
        NodeEvent::RelayLost { relay, reason } => {
            about(app, EventKind::RelayLost, relay, json!({ "reason": reason }))
        }
        NodeEvent::NetworkChanged => event(EventKind::NetworkChanged),
        _ => return None,
    })
}

fn path_detail(app: &App, path: PathKind) -> Value {
    match path {
        PathKind::Direct(transport) => json!({ "path": "DIRECT", "transport": transport.to_string() }),
        PathKind::Relayed(relay) => json!({ "path": "RELAYED", "via": app.display(&relay) }),
    }
}

fn gate_event(app: &App, decision: GateDecision) -> Option<Event> {
    Some(match decision {
        GateDecision::Admitted(peer) => about(app, EventKind::AuthAllowed, &peer, json!({})),
        GateDecision::Expelled(peer) => about(app, EventKind::AuthExpelled, &peer, json!({})),
        GateDecision::Refused(why) => {
            let reason = json!({ "reason": why.to_string() });
            match why {
                Denied::NotAuthorized(peer) => about(app, EventKind::AuthDenied, &peer, reason),
                Denied::TooManyConnections(peer) => about(app, EventKind::AuthRateLimited, &peer, reason),
                Denied::TooManyPending(address) => Event {
                    detail: json!({ "reason": why.to_string(), "address": address.to_string() }),
                    ..event(EventKind::AuthRateLimited)
                },
                _ => return None,
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_decisions_is_counted() {
        let now = Instant::now();
        let mut rate = Rate::new(now);
        let admitted = (0..DECISIONS + 7).filter(|_| rate.admits(now)).count();
        assert_eq!(admitted as u64, DECISIONS);
        assert_eq!(rate.take_left_out(), Some(7));
        assert_eq!(rate.take_left_out(), None);
        assert!(rate.admits(now + DECISIONS_TIME));
    }
}
