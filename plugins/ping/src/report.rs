//! What a run of pings tells: each result, and what they add up to.

use std::{fmt, time::Duration};

use peerup_plugin_sdk::{Error, Path, output};
use serde::{Serialize, Serializer};

/// A time to the microsecond: a number of milliseconds in JSON, with one decimal place as text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Millis {
    micros: u64,
}

impl From<Duration> for Millis {
    fn from(time: Duration) -> Self {
        Self {
            micros: u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

impl fmt::Display for Millis {
    // By hand, because formatting a float adds 15 kB to the component.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.micros.saturating_add(50) / 100;
        write!(f, "{}.{}", tenths / 10, tenths % 10)
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.micros as f64 / 1_000.0)
    }
}

/// An answer to one ping.
pub(crate) struct Answer {
    pub(crate) rtt: Millis,
    pub(crate) peer_id: Option<String>,
    pub(crate) path: Option<Path>,
}

impl Answer {
    pub(crate) fn is_direct(&self) -> bool {
        matches!(self.path, Some(Path::Direct(_)))
    }

    pub(crate) async fn tell(&self, seq: u64) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Event<'a> {
            seq: u64,
            peer_id: Option<&'a str>,
            rtt_ms: Millis,
            path: &'a str,
            via: Option<String>,
            transport: Option<String>,
        }
        let (path, via, transport) = match &self.path {
            Some(Path::Direct(transport)) => ("DIRECT", None, Some(transport.to_string())),
            Some(Path::Relayed(relay)) => ("RELAYED", Some(relay.to_string()), None),
            None => ("UNKNOWN", None, None),
        };
        let shown = self
            .path
            .as_ref()
            .map_or_else(|| path.to_owned(), Path::to_string);
        let event = Event {
            seq,
            peer_id: self.peer_id.as_deref(),
            rtt_ms: self.rtt,
            path,
            via,
            transport,
        };
        output::emit(format!("seq={seq} rtt={}ms path=[{shown}]", self.rtt), &event).await
    }
}

/// Tells that a ping failed.
pub(crate) async fn tell_failure(seq: u64, error: &Error) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Event<'a> {
        seq: u64,
        error: &'a str,
    }
    let event = Event {
        seq,
        error: error.text(),
    };
    output::emit(format!("seq={seq} error: {error}"), &event).await
}

/// Counts and times of a run; no times where nothing came back.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Statistics {
    sent: u64,
    received: u64,
    lost: u64,
    loss_pct: u64,
    min_ms: Option<Millis>,
    avg_ms: Option<Millis>,
    max_ms: Option<Millis>,
    #[serde(skip)]
    sum: Millis,
}

impl Statistics {
    /// Counts one ping, with its time if it was answered.
    pub(crate) fn add(&mut self, rtt: Option<Millis>) {
        self.sent += 1;
        match rtt {
            None => self.lost += 1,
            Some(rtt) => {
                self.received += 1;
                self.sum.micros = self.sum.micros.saturating_add(rtt.micros);
                self.min_ms = Some(self.min_ms.map_or(rtt, |min| min.min(rtt)));
                self.max_ms = self.max_ms.max(Some(rtt));
                self.avg_ms = Some(Millis {
                    micros: self.sum.micros / self.received,
                });
            }
        }
        self.loss_pct = self.lost.saturating_mul(100) / self.sent;
    }

    pub(crate) fn nothing_came_back(&self) -> bool {
        self.received == 0
    }

    fn text(&self) -> String {
        let counts = format!(
            "{} sent, {} received, {}% lost",
            self.sent, self.received, self.loss_pct
        );
        match (self.min_ms, self.avg_ms, self.max_ms) {
            (Some(min), Some(avg), Some(max)) => format!("{counts}, rtt min/avg/max = {min}/{avg}/{max} ms"),
            _ => counts,
        }
    }

    pub(crate) async fn tell(&self) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Event<'a> {
            stats: &'a Statistics,
        }
        output::emit(self.text(), &Event { stats: self }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(micros: u64) -> Option<Millis> {
        Some(Millis { micros })
    }

    #[test]
    fn times_are_rounded_to_a_tenth_as_text_only() {
        let time = Millis { micros: 45_250 };
        assert_eq!(time.to_string(), "45.3");
        assert_eq!(serde_json::to_string(&time).unwrap(), "45.25");
        assert_eq!(Millis { micros: 49 }.to_string(), "0.0");
    }

    #[test]
    fn adds_up_answers_and_losses() {
        let mut statistics = Statistics::default();
        for rtt in [millis(45_240), millis(1_000), millis(30_000), None] {
            statistics.add(rtt);
        }
        assert_eq!(
            statistics.text(),
            "4 sent, 3 received, 25% lost, rtt min/avg/max = 1.0/25.4/45.2 ms"
        );
        assert_eq!(
            serde_json::to_string(&statistics).unwrap(),
            r#"{"sent":4,"received":3,"lost":1,"loss_pct":25,"min_ms":1.0,"avg_ms":25.413,"max_ms":45.24}"#
        );
    }

    #[test]
    fn has_no_times_where_nothing_came_back() {
        let mut statistics = Statistics::default();
        statistics.add(None);
        assert!(statistics.nothing_came_back());
        assert_eq!(statistics.text(), "1 sent, 0 received, 100% lost");
        assert_eq!(
            serde_json::to_string(&statistics).unwrap(),
            r#"{"sent":1,"received":0,"lost":1,"loss_pct":100,"min_ms":null,"avg_ms":null,"max_ms":null}"#
        );
    }
}
