//! The life of one alert as a pure state machine: inactive, pending, firing, and back. Time and what is seen come in.

use std::time::{Duration, Instant};

/// What a look at the condition shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// It holds.
    Raised,
    /// It does not hold any more, and not clearly enough to say that it is over.
    Between,
    /// It does not hold.
    Clear,
    /// It cannot be said.
    Unknown,
}

/// What an operator chose for a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timing {
    /// How long the condition has to hold.
    pub(crate) hold: Duration,
    /// How long it has to be clear.
    pub(crate) clear: Duration,
    /// How often it is told again.
    pub(crate) repeat: Option<Duration>,
}

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// It began.
    Firing,
    /// It lasts.
    Again,
    /// It is over.
    Resolved,
}

/// How an alert stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The condition does not hold.
    #[default]
    Inactive,
    /// It holds, and not for long enough yet.
    Pending {
        /// Since when.
        since: Instant,
    },
    /// It has been told.
    Firing {
        /// Since when the condition holds.
        since: Instant,
        /// When it was last told.
        told: Instant,
        /// Since when the condition is clear.
        clear: Option<Instant>,
    },
}

impl Stage {
    /// Returns the word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending { .. } => "pending",
            Self::Firing { .. } => "firing",
        }
    }

    /// Since when the condition holds.
    pub(crate) fn since(self) -> Option<Instant> {
        match self {
            Self::Inactive => None,
            Self::Pending { since } | Self::Firing { since, .. } => Some(since),
        }
    }

    /// Takes a look and returns what is to be told.
    pub(crate) fn handle(&mut self, look: Look, timing: &Timing, now: Instant) -> Option<Told> {
        if *self == Self::Inactive && look == Look::Raised {
            *self = Self::Pending { since: now };
        }
        match *self {
            Self::Inactive => None,
            Self::Pending { since } => match look {
                Look::Raised if now.saturating_duration_since(since) >= timing.hold => {
                    *self = Self::Firing {
                        since,
                        told: now,
                        clear: None,
                    };
                    Some(Told::Firing)
                }
                Look::Raised | Look::Unknown => None,
                Look::Between | Look::Clear => {
                    *self = Self::Inactive;
                    None
                }
            },
            Self::Firing { since, told, clear } => {
                let clear = match look {
                    Look::Clear => Some(clear.unwrap_or(now)),
                    Look::Raised | Look::Between => None,
                    Look::Unknown => clear,
                };
                let over = look == Look::Clear
                    && clear.is_some_and(|from| now.saturating_duration_since(from) >= timing.clear);
                let due = |repeat| now.saturating_duration_since(told) >= repeat;
                let again = clear.is_none() && look != Look::Unknown && timing.repeat.is_some_and(due);
                *self = match over {
                    true => Self::Inactive,
                    false => Self::Firing {
                        since,
                        told: if again { now } else { told },
                        clear,
                    },
                };
                match (over, again) {
                    (true, _) => Some(Told::Resolved),
                    (false, true) => Some(Told::Again),
                    (false, false) => None,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn timing(hold: u32, clear: u32, repeat: Option<u32>) -> Timing {
        Timing {
            hold: SECOND * hold,
            clear: SECOND * clear,
            repeat: repeat.map(|repeat| SECOND * repeat),
        }
    }

    #[test]
    fn it_is_told_when_it_has_lasted_then_again_and_when_it_is_over() {
        let (mut stage, start, timing) = (Stage::default(), Instant::now(), timing(10, 5, Some(60)));
        let mut at = |seconds: u32, look| stage.handle(look, &timing, start + SECOND * seconds);
        assert_eq!(at(0, Look::Raised), None);
        assert_eq!(at(9, Look::Raised), None);
        assert_eq!(at(10, Look::Raised), Some(Told::Firing));
        assert_eq!(at(69, Look::Raised), None);
        assert_eq!(at(70, Look::Raised), Some(Told::Again));
        assert_eq!(at(71, Look::Clear), None);
        // A short break is none.
        assert_eq!(at(75, Look::Between), None);
        assert_eq!(at(76, Look::Clear), None);
        assert_eq!(at(80, Look::Unknown), None);
        assert_eq!(at(81, Look::Clear), Some(Told::Resolved));
        assert_eq!(at(82, Look::Clear), None);
    }

    #[test]
    fn what_does_not_last_is_not_told_and_what_needs_no_time_is_told_at_once() {
        let (mut stage, start) = (Stage::default(), Instant::now());
        let slow = timing(10, 5, None);
        for second in 0..100 {
            let look = if second % 10 == 9 {
                Look::Clear
            } else {
                Look::Raised
            };
            assert_eq!(stage.handle(look, &slow, start + SECOND * second), None);
        }
        let mut stage = Stage::default();
        let told = stage.handle(Look::Raised, &timing(0, 0, None), start);
        assert_eq!((told, stage.word()), (Some(Told::Firing), "firing"));
        assert_eq!(stage.since(), Some(start));
        let told = stage.handle(Look::Clear, &timing(0, 0, None), start);
        assert_eq!((told, stage.word()), (Some(Told::Resolved), "inactive"));
    }

    fn looks() -> impl Strategy<Value = Look> {
        prop_oneof![
            5 => Just(Look::Raised),
            4 => Just(Look::Clear),
            1 => Just(Look::Between),
            1 => Just(Look::Unknown),
        ]
    }

    proptest! {
        /// Whatever is seen: it begins before it ends, it begins after the condition held all the time, it ends after it
        /// was clear all the time, and it is not told more often than it should be.
        #[test]
        fn it_tells_what_has_lasted(
            seen in prop::collection::vec((looks(), 0_u32..8), 1..300),
            hold in 0_u32..20, clear in 0_u32..20, repeat in prop::option::of(1_u32..30),
        ) {
            let timing = timing(hold, clear, repeat);
            let (mut stage, start) = (Stage::default(), Instant::now());
            let mut now = start;
            let mut firing = false;
            let (mut raised, mut cleared): (Option<Instant>, Option<Instant>) = (None, None);
            let mut told_at = start;
            for (look, gap) in seen {
                now += SECOND * gap;
                match look {
                    Look::Raised => {
                        raised = raised.or(Some(now));
                        cleared = None;
                    }
                    Look::Clear => {
                        raised = None;
                        cleared = cleared.or(Some(now));
                    }
                    Look::Between => (raised, cleared) = (None, None),
                    Look::Unknown => {}
                }
                match stage.handle(look, &timing, now) {
                    Some(Told::Firing) => {
                        prop_assert!(!firing);
                        prop_assert!(now - raised.unwrap() >= timing.hold);
                        (firing, told_at) = (true, now);
                    }
                    Some(Told::Again) => {
                        prop_assert!(firing && now - told_at >= timing.repeat.unwrap());
                        told_at = now;
                    }
                    Some(Told::Resolved) => {
                        prop_assert!(firing && now - cleared.unwrap() >= timing.clear);
                        firing = false;
                    }
                    None => {
                        // Nothing is withheld either.
                        let held = raised.is_some_and(|since| now - since >= timing.hold);
                        prop_assert!(firing || !held || look != Look::Raised);
                    }
                }
                prop_assert_eq!(firing, stage.word() == "firing");
            }
        }
    }
}
