//! What can happen to a node in a year.

use std::time::Duration;

use crate::{
    driver::TRIP,
    world::{End, Event, PEERS, RELAYS, Sim, Wire},
};

impl Sim {
    pub(crate) fn fate(&mut self) {
        self.seen.fates += 1;
        self.patience.triggers += 1;
        self.patience.last_trouble = Some(self.now);
        match self.some_of(14) {
            0 | 1 => self.relay_dies(),
            2 => self.relay_refuses(),
            3 | 4 => self.peer_restarts(),
            5 => self.nat_changes(),
            6 | 7 => self.network_goes(),
            8 => self.sleep(),
            9 => self.clock_is_set(),
            10 => self.connection_falls_silent(),
            11 => self.traffic(),
            12 => self.detector.handle_event(self.now),
            _ => self.policy_changes(),
        }
        let pause = if self.chance(0.4) {
            self.some_time(0.1, 10.0)
        } else {
            self.some_time(60.0, 48.0 * 3600.0)
        };
        self.schedule(pause, Event::Fate);
    }

    fn relay_dies(&mut self) {
        let relay = self.some_of(RELAYS);
        if !self.relays[relay].up {
            return;
        }
        let vanishes = self.chance(0.5);
        self.relays[relay].up = false;
        self.relays[relay].vanishes = vanishes;
        let over_it =
            |end: End| matches!(end, End::Relay(at) | End::Circuit { relay: at, .. } if at == relay);
        self.cut(over_it, vanishes);
        let pause = self.some_time(0.5, 3600.0);
        self.schedule(pause, Event::RelayUp(relay));
    }

    fn relay_refuses(&mut self) {
        let relay = self.some_of(RELAYS);
        if !self.relays[relay].refuses {
            self.relays[relay].refuses = true;
            let pause = self.some_time(1.0, 3600.0);
            self.schedule(pause, Event::RelayAdmits(relay));
        }
    }

    fn peer_restarts(&mut self) {
        let peer = self.some_of(PEERS);
        if !self.peers[peer].up {
            return;
        }
        self.peers[peer].up = false;
        let silently = self.chance(0.5);
        let to_it = |end: End| matches!(end, End::Direct(at) | End::Circuit { peer: at, .. } if at == peer);
        self.cut(to_it, silently);
        let pause = self.some_time(0.5, 3600.0);
        self.schedule(pause, Event::PeerUp(peer));
    }

    /// Everything that goes there is reset now, or falls silent until the other end is back.
    fn cut(&mut self, matches: impl Fn(End) -> bool, silently: bool) {
        let ids: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, conn)| matches(conn.end))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if silently || !self.online {
                self.silence(id);
            } else {
                self.close(id, "reset");
            }
        }
    }

    fn silence(&mut self, id: u64) {
        let now = self.now;
        if let Some(conn) = self.conns.get_mut(&id) {
            let since = match conn.wire {
                Wire::Answers => now,
                Wire::Offline { since } | Wire::Silent { since } | Wire::Gone { since } => since,
            };
            conn.wire = Wire::Silent { since };
        }
    }

    /// The other end is back and knows nothing of the old connections; half of them are told so.
    pub(crate) fn forget(&mut self, matches: impl Fn(End) -> bool) {
        let mut ids: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, conn)| matches(conn.end))
            .map(|(id, _)| *id)
            .collect();
        ids.retain(|_| self.chance(0.5));
        for id in ids {
            let conn = self.conns.get_mut(&id).unwrap();
            if let Wire::Silent { since } = conn.wire {
                conn.wire = Wire::Gone { since };
            }
        }
    }

    fn nat_changes(&mut self) {
        let peer = self.some_of(PEERS);
        self.peers[peer].punchable = self.chance(0.7);
        if self.chance(0.5) {
            self.upgrades[peer].handle_news(self.now);
        }
    }

    fn network_goes(&mut self) {
        if !self.online {
            return;
        }
        self.online = false;
        let now = self.now;
        for conn in self.conns.values_mut() {
            if conn.wire == Wire::Answers {
                conn.wire = Wire::Offline { since: now };
            }
        }
        self.detector.handle_event(now);
        let network = self.network + u32::from(self.chance(0.5));
        let pause = self.some_time(0.1, 600.0);
        self.schedule(pause, Event::NetworkUp { network });
    }

    pub(crate) fn network_comes(&mut self, network: u32) {
        self.online = true;
        let is_same = network == self.network;
        self.network = network;
        let mut back = Vec::new();
        for (id, conn) in &mut self.conns {
            if let Wire::Offline { since } = conn.wire {
                if is_same {
                    conn.wire = Wire::Answers;
                    conn.answers_since = self.now;
                    back.push(*id);
                } else {
                    conn.wire = Wire::Silent { since };
                }
            }
        }
        // What was lost meanwhile is sent again.
        for id in back {
            self.schedule(TRIP, Event::Answer(id));
        }
        if self.chance(0.3) {
            self.detector.handle_tentative(self.now);
        }
        self.detector.handle_event(self.now);
    }

    fn sleep(&mut self) {
        let time = self.some_time(1.0, 36_000.0);
        self.slept += time;
        if time > Duration::from_secs(30) {
            let ids: Vec<_> = self.conns.keys().copied().collect();
            for id in ids {
                self.silence(id);
            }
        }
        let until_read = self.some_time(0.01, 1.0);
        self.schedule(until_read, Event::WakeUp);
    }

    fn clock_is_set(&mut self) {
        let time = self.some_time(1.0, 100_000.0);
        self.wall_shift = if self.chance(0.5) {
            self.wall_shift + time
        } else {
            self.wall_shift.saturating_sub(time)
        };
    }

    fn connection_falls_silent(&mut self) {
        if !self.conns.is_empty() {
            let index = self.some_of(self.conns.len());
            let id = *self.conns.keys().nth(index).unwrap();
            self.silence(id);
            // A circuit lives on the connection to its relay.
            if let End::Relay(relay) = self.conns[&id].end {
                let ids: Vec<_> = self.circuits_over(relay);
                for id in ids {
                    self.silence(id);
                }
            }
        }
    }

    fn traffic(&mut self) {
        let ids: Vec<_> = self.conns.keys().copied().collect();
        for id in ids {
            let bytes = self.some_of(100_000) as u64;
            let (now, conn) = (self.now, self.conns.get_mut(&id).unwrap());
            conn.used += bytes;
            let Some(budget) = conn.budget else {
                continue;
            };
            if budget.left(conn.used, now).bytes == Some(0) {
                assert!(budget.exhausted_by(conn.used, now).is_some());
                self.seen.budgets_used_up += 1;
                self.close(id, "the relay's limit");
            }
        }
    }

    fn policy_changes(&mut self) {
        let peer = self.some_of(PEERS);
        let wanted = self.chance(0.9);
        self.peers[peer].wanted = wanted;
        self.upgrades[peer].set_wanted(wanted, self.now);
    }
}
