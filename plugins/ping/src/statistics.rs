//! What a run of pings adds up to.

use serde_json::{Value, json};

/// Counts and times of a run.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    sent: u64,
    received: u64,
    min_ms: f64,
    sum_ms: f64,
    max_ms: f64,
}

impl Statistics {
    pub(crate) fn answered(&mut self, rtt_ms: f64) {
        self.min_ms = if self.received == 0 {
            rtt_ms
        } else {
            self.min_ms.min(rtt_ms)
        };
        self.max_ms = self.max_ms.max(rtt_ms);
        self.sum_ms += rtt_ms;
        self.sent += 1;
        self.received += 1;
    }

    pub(crate) fn lost(&mut self) {
        self.sent += 1;
    }

    pub(crate) fn nothing_came_back(&self) -> bool {
        self.received == 0
    }

    fn loss_pct(&self) -> f64 {
        (self.sent - self.received) as f64 * 100.0 / self.sent.max(1) as f64
    }

    fn avg_ms(&self) -> f64 {
        self.sum_ms / self.received.max(1) as f64
    }

    pub(crate) fn text(&self) -> String {
        let counts = format!(
            "{} sent, {} received, {:.0}% lost",
            self.sent,
            self.received,
            self.loss_pct()
        );
        if self.nothing_came_back() {
            return counts;
        }
        let (min, avg, max) = (self.min_ms, self.avg_ms(), self.max_ms);
        format!("{counts}, rtt min/avg/max = {min:.1}/{avg:.1}/{max:.1} ms")
    }

    /// Returns the event; times are null where nothing came back.
    pub(crate) fn json(&self) -> Value {
        let time = |ms: f64| (!self.nothing_came_back()).then(|| rounded(ms));
        json!({ "stats": {
            "sent": self.sent,
            "received": self.received,
            "lost": self.sent - self.received,
            "loss_pct": rounded(self.loss_pct()),
            "min_ms": time(self.min_ms),
            "avg_ms": time(self.avg_ms()),
            "max_ms": time(self.max_ms),
        }})
    }
}

/// Cuts to a microsecond of a millisecond: the digits after that are noise.
pub(crate) fn rounded(ms: f64) -> f64 {
    (ms * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_answers_and_losses() {
        let mut statistics = Statistics::default();
        for rtt in [45.24, 1.0, 30.0] {
            statistics.answered(rtt);
        }
        statistics.lost();
        assert_eq!(
            statistics.text(),
            "4 sent, 3 received, 25% lost, rtt min/avg/max = 1.0/25.4/45.2 ms"
        );
        assert_eq!(statistics.json()["stats"]["lost"], 1);
        assert_eq!(statistics.json()["stats"]["max_ms"], 45.24);
    }

    #[test]
    fn has_no_times_where_nothing_came_back() {
        let mut statistics = Statistics::default();
        statistics.lost();
        assert_eq!(statistics.text(), "1 sent, 0 received, 100% lost");
        assert_eq!(statistics.json()["stats"]["min_ms"], Value::Null);
    }
}
