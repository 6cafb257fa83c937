//! Plugins that run another version than the one that holds, and when each is loaded again. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use peerup_model::PluginName;
use tokio::time::Instant;

/// How long a command that changed what is installed has to have it loaded itself.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest time between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// How a plugin stands to the version that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stands {
    /// It runs that one, or is not to run.
    Right,
    /// A version is being loaded.
    Changing,
    /// It runs another one; in words for people, where one runs at all.
    Behind(Option<String>),
}

/// Those that are behind.
#[derive(Debug, Default)]
pub(crate) struct Behind(BTreeMap<PluginName, Lag>);

#[derive(Debug)]
struct Lag {
    tries: u32,
    due: Instant,
    pause: Duration,
    words: Option<String>,
}

impl Behind {
    /// Takes that the version that holds is being loaded.
    pub(crate) fn tried(&mut self, name: &PluginName, now: Instant) {
        let lag = Lag {
            tries: 1,
            due: now + FIRST_PAUSE,
            pause: FIRST_PAUSE,
            words: None,
        };
        self.0.insert(name.clone(), lag);
    }

    /// Whether it was behind at the last look.
    pub(crate) fn knows(&self, name: &PluginName) -> bool {
        self.0.contains_key(name)
    }

    /// Takes how a plugin stands, and returns whether the version that holds is to be loaded now.
    pub(crate) fn take(&mut self, name: &PluginName, stands: Stands, now: Instant) -> bool {
        let words = match stands {
            Stands::Right => {
                self.0.remove(name);
                return false;
            }
            Stands::Changing => return false,
            Stands::Behind(words) => words,
        };
        let lag = self.0.entry(name.clone()).or_insert(Lag {
            tries: 0,
            due: now + FIRST_PAUSE,
            pause: FIRST_PAUSE,
            words: None,
        });
        if lag.tries > 0 {
            lag.words = words;
        }
        if now < lag.due {
            return false;
        }
        lag.tries = lag.tries.saturating_add(1);
        lag.due = now + lag.pause;
        lag.pause = (lag.pause * 2).min(LONGEST_PAUSE);
        true
    }

    /// Forgets those that are not installed any more.
    pub(crate) fn retain(&mut self, installed: &BTreeSet<PluginName>) {
        self.0.retain(|name, _| installed.contains(name));
    }

    /// Returns the time until the next try; none where nothing is behind.
    pub(crate) fn next(&self, now: Instant) -> Option<Duration> {
        let due = self.0.values().map(|lag| lag.due).min()?;
        Some(due.saturating_duration_since(now))
    }

    /// Returns what is behind although it was tried, in a sentence each.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.0.values().filter_map(|lag| lag.words.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_behind_is_tried_again_after_pauses_that_grow() {
        let (mut behind, start) = (Behind::default(), Instant::now());
        let pong: PluginName = "pong".parse().unwrap();
        let late = || Stands::Behind(Some("it runs 2".to_owned()));
        let at = |seconds| start + Duration::from_secs(seconds);

        // Whoever changed it has it loaded as a rule.
        assert!(!behind.take(&pong, late(), at(0)));
        assert_eq!(
            (behind.problems().len(), behind.next(at(1))),
            (0, Some(Duration::from_secs(1)))
        );
        assert!(behind.take(&pong, late(), at(2)));
        assert!(!behind.take(&pong, Stands::Changing, at(60)));
        let tries: Vec<u64> = (3..2_000)
            .filter(|&time| behind.take(&pong, late(), at(time)))
            .collect();
        assert_eq!(tries[..8], [4, 8, 16, 32, 64, 128, 256, 512]);
        assert_eq!(tries[9..], [1_112, 1_412, 1_712]);
        assert_eq!(behind.problems(), ["it runs 2"]);

        assert!(!behind.take(&pong, Stands::Right, at(2_000)));
        assert_eq!((behind.problems().len(), behind.next(at(2_000))), (0, None));
        behind.tried(&pong, at(3_000));
        assert!(!behind.take(&pong, late(), at(3_001)));
        assert_eq!(
            behind.problems().len(),
            1,
            "the first try was the way back itself"
        );
        behind.retain(&BTreeSet::new());
        assert!(!behind.knows(&pong));
    }
}
