//! What a trace tells: each hop, and what the way is as a whole.

use std::{fmt, time::Duration};

use peerup_plugin_sdk::{Error, Path, Peer, output};
use serde::{Serialize, Serializer};

/// A time to the microsecond: a number of milliseconds in JSON, with one decimal place as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// One hop of the way.
pub(crate) struct Hop<'a> {
    /// Counted from 1.
    pub(crate) number: u8,
    pub(crate) peer: &'a Peer,
    /// None where nothing was measured.
    pub(crate) rtt: Option<Millis>,
    /// None where it has none or is not to be seen.
    pub(crate) address: Option<String>,
}

#[derive(Serialize)]
struct HopEvent<'a> {
    hop: u8,
    peer_id: &'a str,
    name: Option<&'a str>,
    address: Option<&'a str>,
    rtt_ms: Option<Millis>,
}

impl Hop<'_> {
    fn text(&self) -> String {
        let mut text = match &self.peer.name {
            Some(name) => format!("{}  {name} ({})", self.number, self.peer.id),
            None => format!("{}  {}", self.number, self.peer.id),
        };
        match self.rtt {
            Some(rtt) => text.push_str(&format!("  {rtt}ms")),
            None => text.push_str("  *"),
        }
        if let Some(address) = &self.address {
            text.push_str("  ");
            text.push_str(address);
        }
        text
    }

    fn event(&self) -> HopEvent<'_> {
        HopEvent {
            hop: self.number,
            peer_id: &self.peer.id,
            name: self.peer.name.as_deref(),
            address: self.address.as_deref(),
            rtt_ms: self.rtt,
        }
    }

    pub(crate) async fn tell(&self) -> Result<(), Error> {
        output::emit(self.text(), &self.event()).await
    }
}

/// The way as a whole.
pub(crate) struct Summary<'a> {
    pub(crate) target: &'a Peer,
    pub(crate) path: &'a Path,
    /// To the target.
    pub(crate) rtt: Millis,
    pub(crate) hops: u8,
}

#[derive(Serialize)]
struct SummaryEvent<'a> {
    target: String,
    target_id: &'a str,
    path: &'static str,
    via: Option<String>,
    hops: u8,
}

impl Summary<'_> {
    fn text(&self) -> String {
        let hops = if self.hops == 1 { "hop" } else { "hops" };
        format!(
            "{}: {}, {} {hops}, {}ms",
            self.target, self.path, self.hops, self.rtt
        )
    }

    fn event(&self) -> SummaryEvent<'_> {
        let (path, via) = match self.path {
            Path::Direct(_) => ("DIRECT", None),
            Path::Relayed(relay) => ("RELAYED", Some(relay.to_string())),
        };
        SummaryEvent {
            target: self.target.to_string(),
            target_id: &self.target.id,
            path,
            via,
            hops: self.hops,
        }
    }

    pub(crate) async fn tell(&self) -> Result<(), Error> {
        output::emit(self.text(), &self.event()).await
    }
}

#[cfg(test)]
mod tests {
    use peerup_plugin_sdk::Transport;

    use super::*;

    fn peer(id: &str, name: Option<&str>) -> Peer {
        Peer {
            id: id.to_owned(),
            name: name.map(str::to_owned),
        }
    }

    fn micros(micros: u64) -> Option<Millis> {
        Some(Millis { micros })
    }

    #[test]
    fn a_hop_is_a_line_with_name_id_time_and_address() {
        let hop = Hop {
            number: 1,
            peer: &peer("12D3KooWrelay", Some("home-relay")),
            rtt: micros(12_345),
            address: Some("/ip4/192.0.2.7/tcp/7777".to_owned()),
        };
        assert_eq!(
            hop.text(),
            "1  home-relay (12D3KooWrelay)  12.3ms  /ip4/192.0.2.7/tcp/7777"
        );
        assert_eq!(
            serde_json::to_string(&hop.event()).unwrap(),
            r#"{"hop":1,"peer_id":"12D3KooWrelay","name":"home-relay","address":"/ip4/192.0.2.7/tcp/7777","rtt_ms":12.345}"#
        );
    }

    #[test]
    fn what_is_not_known_of_a_hop_is_left_out_or_a_star() {
        let hop = Hop {
            number: 1,
            peer: &peer("12D3KooWrelay", None),
            rtt: None,
            address: None,
        };
        assert_eq!(hop.text(), "1  12D3KooWrelay  *");
        assert_eq!(
            serde_json::to_string(&hop.event()).unwrap(),
            r#"{"hop":1,"peer_id":"12D3KooWrelay","name":null,"address":null,"rtt_ms":null}"#
        );
    }

    #[test]
    fn the_summary_of_a_direct_way_has_its_transport_and_no_relay() {
        let summary = Summary {
            target: &peer("12D3KooWhome", Some("home")),
            path: &Path::Direct(Transport::Quic),
            rtt: Millis { micros: 1_240 },
            hops: 1,
        };
        assert_eq!(summary.text(), "home: DIRECT quic, 1 hop, 1.2ms");
        assert_eq!(
            serde_json::to_string(&summary.event()).unwrap(),
            r#"{"target":"home","target_id":"12D3KooWhome","path":"DIRECT","via":null,"hops":1}"#
        );
    }

    #[test]
    fn the_summary_of_a_relayed_way_names_the_relay() {
        let summary = Summary {
            target: &peer("12D3KooWhome", None),
            path: &Path::Relayed(peer("12D3KooWrelay", Some("home-relay"))),
            rtt: Millis { micros: 24_060 },
            hops: 2,
        };
        assert_eq!(
            summary.text(),
            "12D3KooWhome: RELAYED via home-relay, 2 hops, 24.1ms"
        );
        assert_eq!(
            serde_json::to_string(&summary.event()).unwrap(),
            r#"{"target":"12D3KooWhome","target_id":"12D3KooWhome","path":"RELAYED","via":"home-relay","hops":2}"#
        );
    }
}
