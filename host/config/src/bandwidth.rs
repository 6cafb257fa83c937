//! How much peers and services may carry: the section `bandwidth`.
//!
//! Every line can only narrow: a stream is held to the line for its peer, to the one for its service, and to the limit
//! of its plugin, all at once. A rate is what all streams of its key have together, both directions together.

use std::collections::BTreeMap;

use libp2p_identity::PeerId;
use peerup_model::{PeerName, ServiceName};

use crate::{
    listed::AllowedPeer,
    raw::RawBandwidth,
    values::{self, Reader, at},
};

/// Bytes a second; none is as fast as it goes.
pub type Rate = Option<u64>;

/// The section `bandwidth`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BandwidthConfig {
    /// What each peer has that no line below is about, each for itself.
    pub default_per_peer: Rate,
    /// What all streams of one peer have together, in both directions.
    pub peers: BTreeMap<AllowedPeer, Rate>,
    /// What all streams of one service have together, opened or served by this node.
    pub services: BTreeMap<ServiceName, Rate>,
}

impl BandwidthConfig {
    /// Returns what the streams of a peer have together. Where lines by name and by id are about it, the narrowest.
    pub fn of_peer(&self, names: &BTreeMap<PeerName, PeerId>, peer: &PeerId) -> Rate {
        let mut lines = self
            .peers
            .iter()
            .filter(|(one, _)| one.is(peer, names))
            .peekable();
        match lines.peek() {
            None => self.default_per_peer,
            Some(_) => lines.filter_map(|(_, rate)| *rate).min(),
        }
    }

    /// Returns what the streams of a service have together.
    pub fn of_service(&self, service: &ServiceName) -> Rate {
        self.services.get(service).copied().flatten()
    }
}

/// Resolves what the file says; everything wrong is in the reader afterwards.
pub(crate) fn resolve(
    raw: RawBandwidth,
    names: &BTreeMap<PeerName, PeerId>,
    reader: &mut Reader<'_>,
) -> BandwidthConfig {
    let default = raw
        .default_per_peer
        .and_then(|text| reader.take(at!["bandwidth", "default_per_peer"], values::rate(&text)));
    let config = BandwidthConfig {
        default_per_peer: default.flatten(),
        peers: section("peers", raw.peers, reader),
        services: section("services", raw.services, reader),
    };
    for name in config.peers.keys().filter_map(|peer| peer.unknown_name(names)) {
        reader.warning(
            at!["bandwidth", "peers", name.as_str()],
            format!("{name} is not in names: this line is about nobody"),
        );
    }
    config
}

fn section<K: Ord + std::str::FromStr<Err: std::fmt::Display>>(
    name: &str,
    raw: Option<BTreeMap<String, String>>,
    reader: &mut Reader<'_>,
) -> BTreeMap<K, Rate> {
    let mut rates = BTreeMap::new();
    for (key, rate) in raw.unwrap_or_default() {
        let here = at!["bandwidth", name, &key];
        let key = reader.take(here, values::parsed(&key));
        let rate = reader.take(here, values::rate(&rate));
        rates.extend(key.zip(rate));
    }
    rates
}
