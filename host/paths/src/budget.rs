//! What is left of a relayed circuit before the relay cuts it, and which of its limits did.
//!
//! The relay states its limits with the reservation and with each circuit. It counts the bytes of both directions
//! together; so must the caller.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// The relay counts what it has read, the node what it has sent or received: a circuit that was cut at its limit
/// looks a little below it from here.
const REACHED_PERCENT: u128 = 97;
/// How far the two clocks' ideas of the circuit's beginning may lie apart.
const REACHED_WITHIN: Duration = Duration::from_secs(2);

/// The limits of one circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitBudget {
    /// Bytes that may pass, both directions together; none and 0 are no limit.
    pub bytes: Option<u64>,
    /// How long it may live; none and 0 are no limit.
    pub duration: Option<Duration>,
    /// When it was opened.
    pub opened: Instant,
}

/// What is left of a [`CircuitBudget`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BudgetLeft {
    /// Bytes that may still pass; none without a limit.
    pub bytes: Option<u64>,
    /// Time until the relay ends it; none without a limit.
    pub time: Option<Duration>,
}

/// The limit that a circuit ran into. Its text is the key in the relay's config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKind {
    /// The bytes of one circuit.
    Bytes,
    /// The lifetime of one circuit.
    Duration,
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes => "resources.session_data_limit",
            Self::Duration => "resources.session_duration",
        })
    }
}

impl CircuitBudget {
    /// Returns what is left after `used_bytes` in both directions together.
    pub fn left(&self, used_bytes: u64, now: Instant) -> BudgetLeft {
        BudgetLeft {
            bytes: self.byte_limit().map(|limit| limit.saturating_sub(used_bytes)),
            time: self
                .time_limit()
                .map(|limit| limit.saturating_sub(now.saturating_duration_since(self.opened))),
        }
    }

    /// Returns the limit that a circuit which just ended ran into, if it did.
    ///
    /// A limit counts as reached when at least 97 % of the bytes were used or the time is over within 2 s. Where both
    /// are, the time is named only if it is over and the bytes are not.
    pub fn exhausted_by(&self, used_bytes: u64, now: Instant) -> Option<LimitKind> {
        let left = self.left(used_bytes, now);
        let bytes = self
            .byte_limit()
            .is_some_and(|limit| u128::from(used_bytes) * 100 >= u128::from(limit) * REACHED_PERCENT);
        let time = left.time.is_some_and(|time| time <= REACHED_WITHIN);
        let only_time_is_over = left.time == Some(Duration::ZERO) && left.bytes != Some(0);
        match (bytes, time) {
            (true, true) if only_time_is_over => Some(LimitKind::Duration),
            (true, _) => Some(LimitKind::Bytes),
            (false, true) => Some(LimitKind::Duration),
            (false, false) => None,
        }
    }

    fn byte_limit(&self) -> Option<u64> {
        self.bytes.filter(|limit| *limit > 0)
    }

    fn time_limit(&self) -> Option<Duration> {
        self.duration.filter(|limit| !limit.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn budget(bytes: u64, duration: Duration) -> CircuitBudget {
        CircuitBudget {
            bytes: Some(bytes),
            duration: Some(duration),
            opened: Instant::now(),
        }
    }

    #[test]
    fn tells_what_is_left() {
        let budget = budget(1_000, MINUTE);
        let left = budget.left(300, budget.opened + MINUTE / 4);
        assert_eq!(left.bytes, Some(700));
        assert_eq!(left.time, Some(MINUTE * 3 / 4));
        let over = budget.left(1_001, budget.opened + MINUTE * 2);
        assert_eq!((over.bytes, over.time), (Some(0), Some(Duration::ZERO)));
    }

    #[test]
    fn names_the_limit_that_was_reached() {
        let budget = budget(1_000, MINUTE);
        let (early, late) = (budget.opened, budget.opened + MINUTE);
        assert_eq!(budget.exhausted_by(969, early), None);
        assert_eq!(budget.exhausted_by(970, early), Some(LimitKind::Bytes));
        assert_eq!(
            budget.exhausted_by(0, late - REACHED_WITHIN),
            Some(LimitKind::Duration)
        );
        assert_eq!(budget.exhausted_by(0, late - Duration::from_millis(2_001)), None);
        assert_eq!(budget.exhausted_by(980, late), Some(LimitKind::Duration));
        assert_eq!(budget.exhausted_by(1_000, late), Some(LimitKind::Bytes));
        assert_eq!(LimitKind::Bytes.to_string(), "resources.session_data_limit");
        assert_eq!(LimitKind::Duration.to_string(), "resources.session_duration");
    }

    #[test]
    fn zero_is_no_limit() {
        let budget = budget(0, Duration::ZERO);
        let late = budget.opened + MINUTE;
        assert_eq!(budget.left(u64::MAX, late), BudgetLeft::default());
        assert_eq!(budget.exhausted_by(u64::MAX, late), None);
    }

    #[test]
    fn huge_limits_do_not_overflow() {
        let budget = budget(u64::MAX, Duration::MAX);
        assert_eq!(budget.exhausted_by(1, budget.opened + MINUTE), None);
        assert_eq!(
            budget.exhausted_by(u64::MAX, budget.opened),
            Some(LimitKind::Bytes)
        );
    }
}
