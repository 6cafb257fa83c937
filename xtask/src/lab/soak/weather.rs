//! What goes wrong next: a pure choice on a seed, knowing what is wrong already.

use std::time::Duration;

use crate::lab::chance::Chance;

/// The least and the most time between two disturbances.
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(6));

/// One thing that happens to the little internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Disturbance {
    /// Nothing leaves the laptop's router any more.
    Cut,
    /// It does again.
    Mend,
    /// `kill -9` of the first relay.
    KillRelay,
    /// Its start.
    StartRelay,
    /// SIGTERM to the laptop's daemon, and its start.
    EndLaptop,
    /// `kill -9` of it, and its start.
    KillLaptop,
    /// Another address for the laptop.
    ChangeAddress,
    /// Packets between the two sites vanish.
    BlockDirect,
    /// They pass again.
    UnblockDirect,
}

/// What is wrong now.
#[derive(Debug, Clone, Default)]
pub(super) struct Weather {
    cut: bool,
    relay_down: bool,
    blocked: bool,
}

impl Weather {
    /// Chooses what happens next, and when.
    pub(super) fn next(&self, chance: &mut Chance) -> (Duration, Disturbance) {
        let toggle = |on: bool, start, end| if on { end } else { start };
        let choices = [
            toggle(self.cut, Disturbance::Cut, Disturbance::Mend),
            toggle(self.relay_down, Disturbance::KillRelay, Disturbance::StartRelay),
            toggle(self.blocked, Disturbance::BlockDirect, Disturbance::UnblockDirect),
            Disturbance::EndLaptop,
            Disturbance::KillLaptop,
            Disturbance::ChangeAddress,
        ];
        let wait = chance.between(PAUSE.0, PAUSE.1);
        (wait, chance.pick(&choices).unwrap_or(Disturbance::Cut))
    }

    /// Notes that it has happened.
    pub(super) fn apply(&mut self, disturbance: Disturbance) {
        match disturbance {
            Disturbance::Cut => self.cut = true,
            Disturbance::Mend => self.cut = false,
            Disturbance::KillRelay => self.relay_down = true,
            Disturbance::StartRelay => self.relay_down = false,
            Disturbance::BlockDirect => self.blocked = true,
            Disturbance::UnblockDirect => self.blocked = false,
            Disturbance::EndLaptop | Disturbance::KillLaptop | Disturbance::ChangeAddress => {}
        }
    }

    /// What has to happen for everything to be well again.
    pub(super) fn repairs(&self) -> Vec<Disturbance> {
        let repairs = [
            (self.cut, Disturbance::Mend),
            (self.relay_down, Disturbance::StartRelay),
            (self.blocked, Disturbance::UnblockDirect),
        ];
        let needed = repairs.into_iter().filter(|(wrong, _)| *wrong);
        needed.map(|(_, repair)| repair).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn history(seed: u64, length: usize) -> Vec<(Duration, Disturbance)> {
        let (mut chance, mut weather) = (Chance::new(seed), Weather::default());
        let mut history = Vec::new();
        for _ in 0..length {
            let next = weather.next(&mut chance);
            weather.apply(next.1);
            history.push(next);
        }
        history
    }

    #[test]
    fn everything_happens_and_nothing_twice_in_a_row_that_cannot() {
        let history = history(11, 2000);
        let kinds: HashSet<Disturbance> = history.iter().map(|(_, what)| *what).collect();
        assert_eq!(kinds.len(), 9);
        let mut cut = false;
        for (_, what) in &history {
            match what {
                Disturbance::Cut => assert!(!std::mem::replace(&mut cut, true)),
                Disturbance::Mend => assert!(std::mem::replace(&mut cut, false)),
                _ => {}
            }
        }
    }

    #[test]
    fn a_seed_gives_the_same_history() {
        assert_eq!(history(3, 100), history(3, 100));
        assert_ne!(history(3, 100), history(4, 100));
    }

    #[test]
    fn after_the_repairs_nothing_is_wrong() {
        let mut weather = Weather::default();
        for what in [Disturbance::Cut, Disturbance::KillRelay, Disturbance::BlockDirect] {
            weather.apply(what);
        }
        assert_eq!(weather.repairs().len(), 3);
        for repair in weather.repairs() {
            weather.apply(repair);
        }
        assert!(weather.repairs().is_empty());
    }
}
