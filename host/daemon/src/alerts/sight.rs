//! What the rules of the alerts see of a node, and what one of them makes of it. Pure: a sample comes in with its time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use libp2p_identity::PeerId;
use peerup_config::{AlertCondition, AllowedPeer, BandwidthOf};
use peerup_model::{PeerName, PluginName};

use super::machine::Look;

/// Counts of refusals that are kept for one rule; of a longer window every few looks are.
const MAX_COUNTS: usize = 128;
/// How far it has to fall, in hundredths, before too much is over; and to rise before too little is.
const LESS: u64 = 90;
const MORE: u64 = 110;

/// A node at a moment, as far as rules ask for it.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) names: BTreeMap<PeerName, PeerId>,
    /// Peers that answered lately; none where the node did not say.
    pub(crate) connected: Option<BTreeSet<PeerId>>,
    /// Configured relays, and those of them that hold a reservation.
    pub(crate) relays: Option<(usize, usize)>,
    /// Plugins that should run and do not, with the reason.
    pub(crate) down: BTreeMap<PluginName, String>,
    /// Bytes of streams so far, by service and peer.
    pub(crate) bytes: Vec<Carried>,
    /// Why the config of the file is not in force, or was taken back lately.
    pub(crate) reverted: Option<String>,
    /// Connections of strangers that the gate refused so far.
    pub(crate) denied: u64,
    /// Room on the disk of the config's folder, in bytes.
    pub(crate) disk_free: Option<u64>,
}

/// Bytes of streams, both directions together.
#[derive(Debug, Clone)]
pub(crate) struct Carried {
    pub(crate) service: String,
    pub(crate) peer: String,
    pub(crate) bytes: u64,
}

/// What a rule sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) look: Look,
    /// What it is about: a peer, a plugin, a service.
    pub(crate) subject: String,
    pub(crate) message: String,
    pub(crate) next_step: String,
}

/// What one rule remembers from one look to the next.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    counts: VecDeque<(Instant, u64)>,
    bytes: Option<(Instant, u64)>,
}

impl Sight {
    /// Looks at a sample.
    pub(crate) fn look(&mut self, condition: &AlertCondition, sample: &Sample) -> Finding {
        match condition {
            AlertCondition::PeerAway(peer) => peer_away(peer, sample),
            AlertCondition::RelayAway => relay_away(sample),
            AlertCondition::PluginDown(plugin) => plugin_down(plugin.as_ref(), sample),
            AlertCondition::Bandwidth { of, above } => self.bandwidth(of, *above, sample),
            AlertCondition::ConfigReverted => reverted(sample),
            AlertCondition::AuthDenied { more_than, within } => self.denied(*more_than, *within, sample),
            AlertCondition::DiskLow(below) => disk_low(*below, sample),
        }
    }

    fn bandwidth(&mut self, of: &BandwidthOf, above: u64, sample: &Sample) -> Finding {
        let counted = |one: &&Carried| match of {
            BandwidthOf::Total => true,
            BandwidthOf::Service(service) => one.service == service.as_str(),
            BandwidthOf::Peer(peer) => one.peer.parse().is_ok_and(|id| peer.is(&id, &sample.names)),
        };
        let total = sample
            .bytes
            .iter()
            .filter(counted)
            .map(|one| one.bytes)
            .sum::<u64>();
        let before = self.bytes.replace((sample.at, total));
        let rate = before.and_then(|(at, bytes)| {
            let passed = sample.at.saturating_duration_since(at);
            let per_second = total.saturating_sub(bytes) as f64 / passed.as_secs_f64();
            // Looks at the same moment say nothing.
            (!passed.is_zero()).then_some(per_second as u64)
        });
        let subject = match of {
            BandwidthOf::Total => "all streams".to_owned(),
            BandwidthOf::Peer(peer) => peer.to_string(),
            BandwidthOf::Service(service) => service.to_string(),
        };
        Finding {
            look: match rate {
                None => Look::Unknown,
                Some(rate) if rate > above => Look::Raised,
                Some(rate) if rate > hundredths(above, LESS) => Look::Between,
                Some(_) => Look::Clear,
            },
            message: format!(
                "{subject}: {} bytes a second, and {above} are borne",
                rate.unwrap_or_default()
            ),
            next_step: "see who it is with: peerup peers; a limit is set under bandwidth in the config"
                .to_owned(),
            subject,
        }
    }

    fn denied(&mut self, more_than: u32, within: Duration, sample: &Sample) -> Finding {
        let now = sample.at;
        let step = within / u32::try_from(MAX_COUNTS).unwrap_or(u32::MAX);
        let is_due = |last: &(Instant, u64)| now.saturating_duration_since(last.0) >= step;
        if self.counts.back().is_none_or(is_due) {
            self.counts.push_back((now, sample.denied));
        }
        // One that is older than the window stays: it is what the window begins with.
        while self.counts.len() > MAX_COUNTS + 1
            || self
                .counts
                .get(1)
                .is_some_and(|one| now.saturating_duration_since(one.0) >= within)
        {
            self.counts.pop_front();
        }
        let first = self.counts.front().map_or(sample.denied, |one| one.1);
        let refused = sample.denied.saturating_sub(first);
        Finding {
            look: match refused > u64::from(more_than) {
                true => Look::Raised,
                false => Look::Clear,
            },
            subject: "gate".to_owned(),
            message: format!(
                "the gate refused {refused} connections within {}, and {more_than} are borne",
                humantime::format_duration(within)
            ),
            next_step:
                "see who it is with: peerup events; one of your own is let in with: peerup auth add PEER"
                    .to_owned(),
        }
    }
}

fn hundredths(value: u64, share: u64) -> u64 {
    let scaled = u128::from(value) * u128::from(share) / 100;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

fn peer_away(peer: &AllowedPeer, sample: &Sample) -> Finding {
    let id = match peer {
        AllowedPeer::Id(id) => Some(id),
        AllowedPeer::Name(name) => sample.names.get(name),
    };
    let look = match (id, &sample.connected) {
        (Some(id), Some(connected)) if connected.contains(id) => Look::Clear,
        (Some(_), Some(_)) => Look::Raised,
        // A name that stands for nobody, or a node that did not answer.
        _ => Look::Unknown,
    };
    let subject = peer.to_string();
    let is = if look == Look::Clear {
        "is connected"
    } else {
        "is not connected"
    };
    Finding {
        look,
        message: format!("{subject} {is}"),
        next_step: format!("is its machine on, and its daemon running? see: peerup why {subject}"),
        subject,
    }
}

fn relay_away(sample: &Sample) -> Finding {
    let (look, message) = match sample.relays {
        None => (Look::Unknown, "the node did not say".to_owned()),
        Some((0, _)) => (Look::Unknown, "no relay is configured".to_owned()),
        Some((count, 0)) => (
            Look::Raised,
            format!("none of {count} relays holds a reservation"),
        ),
        Some((count, held)) => (
            Look::Clear,
            format!("{held} of {count} relays hold a reservation"),
        ),
    };
    Finding {
        look,
        subject: "relays".to_owned(),
        message,
        next_step: "see why with: peerup status; test them with: peerup doctor".to_owned(),
    }
}

fn plugin_down(wanted: Option<&PluginName>, sample: &Sample) -> Finding {
    let found: Vec<_> = sample
        .down
        .iter()
        .filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name))
        .collect();
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let subject = match (wanted, names.as_slice()) {
        (Some(name), _) => name.to_string(),
        (None, []) => "plugins".to_owned(),
        (None, names) => names.join(", "),
    };
    let message = match found.first() {
        None => format!("{subject}: what should run does"),
        Some((name, reason)) => format!("the plugin {name} does not run: {reason}"),
    };
    Finding {
        look: if found.is_empty() {
            Look::Clear
        } else {
            Look::Raised
        },
        next_step: match names.first() {
            Some(name) => {
                format!("see: peerup plugin inspect {name}; try again with: peerup plugin enable {name}")
            }
            None => "see: peerup plugin list".to_owned(),
        },
        subject,
        message,
    }
}

fn reverted(sample: &Sample) -> Finding {
    Finding {
        look: if sample.reverted.is_some() {
            Look::Raised
        } else {
            Look::Clear
        },
        subject: "config".to_owned(),
        message: match &sample.reverted {
            Some(why) => format!("the config was taken back: {why}"),
            None => "no config was taken back lately".to_owned(),
        },
        next_step: "see: peerup config status; then apply it again with: peerup config apply FILE".to_owned(),
    }
}

fn disk_low(below: u64, sample: &Sample) -> Finding {
    Finding {
        look: match sample.disk_free {
            None => Look::Unknown,
            Some(free) if free < below => Look::Raised,
            Some(free) if free < hundredths(below, MORE) => Look::Between,
            Some(_) => Look::Clear,
        },
        subject: "disk".to_owned(),
        message: format!(
            "the disk of the config's folder has {} bytes left, and {below} are wanted",
            sample.disk_free.unwrap_or_default()
        ),
        next_step: "make room; what is large shows: df -h, and du -xh on that disk".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn peer(seed: u8) -> PeerId {
        libp2p_identity::Keypair::ed25519_from_bytes([seed; 32])
            .unwrap()
            .public()
            .to_peer_id()
    }

    fn sample(at: Instant) -> Sample {
        Sample {
            at,
            names: [("home".parse().unwrap(), peer(1))].into(),
            connected: Some(BTreeSet::new()),
            relays: Some((1, 1)),
            down: BTreeMap::new(),
            bytes: Vec::new(),
            reverted: None,
            denied: 0,
            disk_free: Some(1000),
        }
    }

    fn look(condition: &AlertCondition, sample: &Sample) -> Look {
        Sight::default().look(condition, sample).look
    }

    #[test]
    fn a_peer_is_away_where_it_is_known_and_not_connected() {
        let now = Instant::now();
        let away = AlertCondition::PeerAway("home".parse().unwrap());
        assert_eq!(look(&away, &sample(now)), Look::Raised);
        let here = Sample {
            connected: Some([peer(1)].into()),
            ..sample(now)
        };
        assert_eq!(look(&away, &here), Look::Clear);
        // Nobody, and a node that does not answer, are no news.
        assert_eq!(
            look(&AlertCondition::PeerAway("nobody".parse().unwrap()), &here),
            Look::Unknown
        );
        let silent = Sample {
            connected: None,
            relays: None,
            ..sample(now)
        };
        assert_eq!(look(&away, &silent), Look::Unknown);
        assert_eq!(look(&AlertCondition::RelayAway, &silent), Look::Unknown);
    }

    #[test]
    fn relays_plugins_configs_and_disks_are_looked_at() {
        let now = Instant::now();
        let relays = |relays| Sample {
            relays: Some(relays),
            ..sample(now)
        };
        let away = AlertCondition::RelayAway;
        assert_eq!(look(&away, &relays((2, 0))), Look::Raised);
        assert_eq!(look(&away, &relays((2, 1))), Look::Clear);
        assert_eq!(look(&away, &relays((0, 0))), Look::Unknown);
        let down = Sample {
            down: [("ping".parse().unwrap(), "it crashed".to_owned())].into(),
            reverted: Some("nobody confirmed it".to_owned()),
            ..sample(now)
        };
        let plugin = |name: Option<&str>| AlertCondition::PluginDown(name.map(|name| name.parse().unwrap()));
        assert_eq!(look(&plugin(Some("ping")), &down), Look::Raised);
        assert_eq!(look(&plugin(None), &down), Look::Raised);
        assert_eq!(look(&plugin(Some("other")), &down), Look::Clear);
        assert_eq!(look(&AlertCondition::ConfigReverted, &down), Look::Raised);
        assert_eq!(look(&AlertCondition::ConfigReverted, &sample(now)), Look::Clear);
        for (below, expected) in [(1001, Look::Raised), (1000, Look::Between), (900, Look::Clear)] {
            assert_eq!(
                look(&AlertCondition::DiskLow(below), &sample(now)),
                expected,
                "{below}"
            );
        }
    }

    #[test]
    fn refusals_count_within_their_window_and_not_those_from_before_the_start() {
        let (mut sight, start) = (Sight::default(), Instant::now());
        let condition = AlertCondition::AuthDenied {
            more_than: 10,
            within: SECOND * 60,
        };
        let mut at = |second: u32, denied| {
            let sample = Sample {
                denied,
                ..sample(start + SECOND * second)
            };
            let look = sight.look(&condition, &sample).look;
            assert!(sight.counts.len() <= MAX_COUNTS + 1);
            look
        };
        assert_eq!(at(0, 1000), Look::Clear);
        assert_eq!(at(30, 1010), Look::Clear);
        assert_eq!(at(40, 1011), Look::Raised);
        assert_eq!(at(100, 1011), Look::Clear);
        for second in 100..2000 {
            at(second, 1011 + u64::from(second));
        }
    }

    #[test]
    fn a_rate_is_of_its_peer_or_service_and_falls_clearly_before_it_is_over() {
        let (mut sight, start) = (Sight::default(), Instant::now());
        let condition = AlertCondition::Bandwidth {
            of: BandwidthOf::Service("web".parse().unwrap()),
            above: 1000,
        };
        let mut at = |second: u32, bytes| {
            let carried = |service: &str, bytes| Carried {
                service: service.to_owned(),
                peer: peer(1).to_base58(),
                bytes,
            };
            let sample = Sample {
                bytes: vec![carried("web", bytes), carried("ssh", bytes * 9)],
                ..sample(start + SECOND * second)
            };
            sight.look(&condition, &sample).look
        };
        assert_eq!(at(0, 5_000_000), Look::Unknown);
        assert_eq!(at(2, 5_002_002), Look::Raised);
        assert_eq!(at(4, 5_003_902), Look::Between);
        assert_eq!(at(6, 5_005_600), Look::Clear);
        let mut sight = Sight::default();
        let of = |peer: &str| AlertCondition::Bandwidth {
            of: BandwidthOf::Peer(peer.parse().unwrap()),
            above: 1,
        };
        for (second, bytes) in [(0, 0), (1, 500)] {
            let sample = Sample {
                bytes: vec![Carried {
                    service: "-".to_owned(),
                    peer: peer(1).to_base58(),
                    bytes,
                }],
                ..sample(start + SECOND * second)
            };
            let finding = sight.look(&of("home"), &sample);
            assert_eq!(finding.look == Look::Raised, second == 1, "{finding:?}");
        }
    }
}
