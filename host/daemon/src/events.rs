//! What happens in the node, on its way to those who follow `GET /v1/events`. Nothing is kept.
//!
//! Filled by the network, the gate, the audit log and changes of files. A follower that is slow misses the oldest
//! and is told how many; refusals of the gate, which strangers can cause, are told at a bounded rate.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use libp2p_identity::PeerId;
use peerup_api::{Event, EventKind};
use peerup_model::{ErrorCode, Failure, PathKind};
use peerup_net::{Denied, GateDecision, NodeEvent};
use serde_json::{Value, json};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::Instant,
};

use crate::app::App;

/// Events that a slow follower may be behind before it misses some.
const FOLLOWED_EVENTS: usize = 1024;
/// Followers at once.
const MAX_FOLLOWERS: usize = 32;
/// Decisions of the gate that are told in a while; more are counted.
const DECISIONS: u64 = 50;
/// That while.
const DECISIONS_TIME: Duration = Duration::from_secs(1);

/// The events of a node.
#[derive(Debug)]
pub(crate) struct Events {
    told: broadcast::Sender<Arc<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            told: broadcast::Sender::new(FOLLOWED_EVENTS),
        }
    }
}

impl Events {
    /// Returns what happens from now on.
    pub(crate) fn follow(&self) -> Result<broadcast::Receiver<Arc<Event>>, Failure> {
        if self.told.receiver_count() >= MAX_FOLLOWERS {
            let message = format!("{MAX_FOLLOWERS} clients follow the events already");
            return Err(Failure::new(ErrorCode::Conflict, message).with_hint("end one of them"));
        }
        Ok(self.told.subscribe())
    }

    /// Tells that a changed file is in force.
    pub(crate) fn tell_change(&self, file: &str) {
        self.tell(Event {
            detail: json!({ "file": file }),
            ..event(EventKind::ConfigChanged)
        });
    }

    /// Tells what happened to a plugin.
    pub(crate) fn tell_plugin(&self, plugin: Option<&str>, word: &str, detail: &Value) {
        let mut fields = match detail {
            Value::Object(fields) => fields.clone(),
            Value::Null => serde_json::Map::new(),
            other => [("detail".to_owned(), other.clone())].into_iter().collect(),
        };
        fields.insert("event".to_owned(), word.into());
        self.tell(Event {
            plugin: plugin.map(str::to_owned),
            detail: fields.into(),
            ..event(EventKind::Plugin)
        });
    }

    fn tell(&self, event: Event) {
        // Fails where nobody follows.
        let _ = self.told.send(Arc::new(event));
    }

    fn is_followed(&self) -> bool {
        self.told.receiver_count() > 0
    }
}

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
                    Ok(event) => network_event(&app, &event),
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

fn event(kind: EventKind) -> Event {
    Event {
        time: Timestamp::now().to_string(),
        event: kind,
        peer_id: None,
        name: None,
        plugin: None,
        detail: Value::Object(serde_json::Map::new()),
    }
}

/// That so many events were left out.
pub(crate) fn missed(count: u64) -> Event {
    Event {
        detail: json!({ "events": count }),
        ..event(EventKind::Missed)
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

/// Returns an event as a line for people.
pub(crate) fn text(event: &Event) -> String {
    let mut line = format!("{} {}", event.time, event.event.as_str());
    for word in [&event.plugin, event.name_or_id()].into_iter().flatten() {
        line.push_str(&format!(" {}", tame(word)));
    }
    for (key, value) in event.detail.as_object().into_iter().flatten() {
        let value = match value {
            Value::String(text) => tame(text),
            other => tame(&other.to_string()),
        };
        line.push_str(&format!(" {key}={value}"));
    }
    line
}

/// Without control characters: a peer or a plugin may have chosen it, and a terminal shows it.
fn tame(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_follower_misses_the_oldest_and_nobody_waits() {
        let events = Events::default();
        let mut news = events.follow().unwrap();
        for _ in 0..FOLLOWED_EVENTS + 5 {
            events.tell_change("config");
        }
        let lagged = news.try_recv().unwrap_err();
        assert_eq!(lagged, broadcast::error::TryRecvError::Lagged(5));
        assert_eq!(news.try_recv().unwrap().event, EventKind::ConfigChanged);
        assert_eq!(missed(5).detail, json!({ "events": 5 }));
    }

    #[test]
    fn followers_are_bounded_and_those_that_go_make_room() {
        let events = Events::default();
        let mut followers: Vec<_> = (0..MAX_FOLLOWERS).map(|_| events.follow().unwrap()).collect();
        assert_eq!(events.follow().unwrap_err().code, ErrorCode::Conflict);
        followers.pop();
        events.follow().unwrap();
    }

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

    #[test]
    fn a_line_for_people_has_no_control_characters() {
        let events = Events::default();
        let mut news = events.follow().unwrap();
        events.tell_plugin(
            Some("chess"),
            "trap",
            &json!({ "reason": "\u{1b}[31mred\nline", "count": 3 }),
        );
        let told = text(&news.try_recv().unwrap());
        assert!(!told.chars().any(char::is_control), "{told:?}");
        assert!(
            told.contains(" plugin chess count=3 event=trap reason= [31mred line"),
            "{told}"
        );
    }
}
