//! Which paths streams may take: the section `paths`, and what its lines come to for one stream.
//!
//! Every line can only narrow. A line for the peer, one for the service and one for the plugin all hold at
//! once, with what the opener asked for; `default` holds where none of them says anything.

use std::{collections::BTreeMap, fmt};

use libp2p_identity::PeerId;
use peerup_model::{PathPolicy, PeerName, PluginName, ServiceName};

use crate::{
    listed::AllowedPeer,
    raw::RawPaths,
    values::{self, Reader, at},
};

/// The section `paths`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathsConfig {
    /// What holds for a stream that no other line is about.
    pub default: PathPolicy,
    /// For the streams of these peers, in both directions.
    pub peers: BTreeMap<AllowedPeer, PathPolicy>,
    /// For the streams of these services, opened or served by this node.
    pub services: BTreeMap<ServiceName, PathPolicy>,
    /// For the streams that these plugins open or serve.
    pub plugins: BTreeMap<PluginName, PathPolicy>,
}

/// A stream whose paths are asked about.
#[derive(Debug, Clone, Copy)]
pub struct PathQuery<'a> {
    /// The peer at its other end.
    pub peer: &'a PeerId,
    /// The service that it carries, if any.
    pub service: Option<&'a ServiceName>,
    /// The plugin that opens or serves it, if any.
    pub plugin: Option<&'a PluginName>,
    /// What the opener wants; [`PathPolicy::PreferDirect`] for a stream that the peer opened.
    pub asked: PathPolicy,
}

/// What the config's lines and the opener come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathDecision {
    /// What holds.
    pub policy: PathPolicy,
    /// The line of the config that narrowed it; none where the config leaves every path open.
    pub rule: Option<PathRule>,
}

/// One line of the section, shown as it stands in the file: `paths.peers.home: direct-only`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRule {
    /// The key as a dotted path.
    pub key: String,
    /// Its value.
    pub policy: PathPolicy,
}

/// Two demands that leave no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathConflict {
    /// Two lines of the config.
    #[error("no path is left: `{one}` against `{other}`")]
    Lines {
        /// One of them.
        one: PathRule,
        /// The other.
        other: PathRule,
    },
    /// A line of the config and the opener.
    #[error("no path is left: `{rule}` against {asked}, which was asked for")]
    Asked {
        /// The line.
        rule: PathRule,
        /// What the opener wants.
        asked: PathPolicy,
    },
}

impl PathsConfig {
    /// Returns the policy that holds for one stream.
    ///
    /// # Errors
    /// One demand is direct only and another relay only.
    pub fn policy(
        &self,
        names: &BTreeMap<PeerName, PeerId>,
        peer: &PeerId,
        service: Option<&ServiceName>,
        plugin: Option<&PluginName>,
        asked: PathPolicy,
    ) -> Result<PathPolicy, PathConflict> {
        let query = PathQuery {
            peer,
            service,
            plugin,
            asked,
        };
        self.decide(names, &query).map(|decision| decision.policy)
    }

    /// Returns the policy that holds for one stream, and the line of the config that it is due to.
    ///
    /// # Errors
    /// One demand is direct only and another relay only.
    pub fn decide(
        &self,
        names: &BTreeMap<PeerName, PeerId>,
        query: &PathQuery<'_>,
    ) -> Result<PathDecision, PathConflict> {
        let mut narrowest: Option<PathRule> = None;
        for rule in self.rules(names, query) {
            match narrowest {
                _ if rule.policy == PathPolicy::PreferDirect => {}
                Some(one) if one.policy != rule.policy => {
                    return Err(PathConflict::Lines { one, other: rule });
                }
                Some(_) => {}
                None => narrowest = Some(rule),
            }
        }
        match (narrowest, query.asked) {
            (None, policy) => Ok(PathDecision { policy, rule: None }),
            (Some(rule), asked) if asked == PathPolicy::PreferDirect || asked == rule.policy => {
                Ok(PathDecision {
                    policy: rule.policy,
                    rule: Some(rule),
                })
            }
            (Some(rule), asked) => Err(PathConflict::Asked { rule, asked }),
        }
    }

    /// Returns the lines that are about a stream: at most one of `default`, else all others.
    fn rules(&self, names: &BTreeMap<PeerName, PeerId>, query: &PathQuery<'_>) -> Vec<PathRule> {
        let peers = self.peers.iter().filter(|(peer, _)| peer.is(query.peer, names));
        let mut rules: Vec<PathRule> = peers
            .map(|(peer, policy)| PathRule::new("paths.peers", peer, *policy))
            .collect();
        let service = query.service.and_then(|name| self.services.get_key_value(name));
        rules.extend(service.map(|(name, policy)| PathRule::new("paths.services", name, *policy)));
        let plugin = query.plugin.and_then(|name| self.plugins.get_key_value(name));
        rules.extend(plugin.map(|(name, policy)| PathRule::new("paths.plugins", name, *policy)));
        if rules.is_empty() {
            rules.push(PathRule::new("paths", &"default", self.default));
        }
        rules
    }
}

impl PathRule {
    fn new(section: &str, name: &dyn fmt::Display, policy: PathPolicy) -> Self {
        Self {
            key: format!("{section}.{name}"),
            policy,
        }
    }
}

impl fmt::Display for PathRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.policy)
    }
}

/// Resolves what the file says; everything wrong is in the reader afterwards.
pub(crate) fn resolve<P>(
    raw: RawPaths,
    names: &BTreeMap<PeerName, PeerId>,
    plugins: &BTreeMap<PluginName, P>,
    reader: &mut Reader<'_>,
) -> PathsConfig {
    let default = raw
        .default
        .and_then(|text| reader.take(at!["paths", "default"], values::parsed(&text)));
    let config = PathsConfig {
        default: default.unwrap_or_default(),
        peers: section("peers", raw.peers, reader),
        services: section("services", raw.services, reader),
        plugins: section("plugins", raw.plugins, reader),
    };
    for name in config.peers.keys().filter_map(|peer| peer.unknown_name(names)) {
        reader.warning(
            at!["paths", "peers", name.as_str()],
            format!("{name} is not in names: this line is about nobody"),
        );
    }
    for name in config.plugins.keys().filter(|name| !plugins.contains_key(*name)) {
        reader.warning(
            at!["paths", "plugins", name.as_str()],
            format!("{name} is not in plugins: this line is about nothing"),
        );
    }
    config
}

fn section<K: Ord + std::str::FromStr<Err: fmt::Display>>(
    name: &str,
    raw: Option<BTreeMap<String, String>>,
    reader: &mut Reader<'_>,
) -> BTreeMap<K, PathPolicy> {
    let mut policies = BTreeMap::new();
    for (key, policy) in raw.unwrap_or_default() {
        let here = at!["paths", name, &key];
        let key = reader.take(here, values::parsed(&key));
        let policy = reader.take(here, values::parsed(&policy));
        policies.extend(key.zip(policy));
    }
    policies
}
