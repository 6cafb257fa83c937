//! What happens in the node, on its way to those who follow `GET /v1/events`. Nothing is kept.
//!
//! Filled by the network, the gate, the audit log and changes of files. A follower that is slow misses the oldest
//! and is told how many; refusals of the gate, which strangers can cause, are told at a bounded rate.

use std::sync::Arc;

use jiff::Timestamp;
use peerup_api::{Event, EventKind, whole_seconds};
use peerup_model::{ErrorCode, Failure};
use serde_json::{Value, json};
use tokio::sync::broadcast;

/// Events that a slow follower may be behind before it misses some.
const FOLLOWED_EVENTS: usize = 1024;
/// Followers at once.
const MAX_FOLLOWERS: usize = 32;
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

    pub(crate) fn tell(&self, event: Event) {
        // Fails where nobody follows.
        let _ = self.told.send(Arc::new(event));
    }

    pub(crate) fn is_followed(&self) -> bool {
        self.told.receiver_count() > 0
    }
}

/// Returns an event of now with nothing in it.
pub(crate) fn event(kind: EventKind) -> Event {
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

/// Returns an event as a line for people.
pub(crate) fn text(event: &Event) -> String {
    let mut line = format!("{} {}", whole_seconds(&event.time), event.event.as_str());
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
