//! Which path a stream may take, as the config in force says it, in the words of its lines.
//!
//! Asked each time a stream is opened, served or looked at again, so that a change of the config is live.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use libp2p_identity::PeerId;
use peerup_config::{NodeConfig, PathDecision, PathQuery, PathRule};
use peerup_model::{ErrorCode, Failure, PathKind, PathPolicy, ServiceName};

/// How long nothing more is logged of a peer whose stream was refused for its path.
const QUIET_TIME: Duration = Duration::from_secs(60);
/// Peers of which that is remembered; a refusal of one more is not logged. More than a gate lists as a rule.
const MAX_LOGGED: usize = 1024;

/// Returns the service whose protocol this is, if it is one's.
pub(crate) fn service_of(protocol: &str) -> Option<ServiceName> {
    let name = protocol.strip_prefix("/peerup/")?.strip_suffix("/1.0.0")?;
    name.parse().ok()
}

/// Decides which paths a stream that this node opens may take.
pub(crate) fn decide(config: &NodeConfig, query: &PathQuery<'_>) -> Result<PathDecision, Failure> {
    config.paths.decide(&config.names, query).map_err(|conflict| {
        Failure::new(ErrorCode::Invalid, conflict.to_string())
            .with_hint("change one of the two; a changed config is in force after: peerup daemon reload")
    })
}

/// Returns why a stream may not take this path, naming the lines of the config; none where it may.
pub(crate) fn forbidden(config: &NodeConfig, query: &PathQuery<'_>, path: PathKind) -> Option<String> {
    let way = if path.is_relayed() { "relayed" } else { "direct" };
    match config.paths.decide(&config.names, query) {
        Err(conflict) => Some(conflict.to_string()),
        Ok(decision) if decision.policy.allows(path) => None,
        Ok(decision) => {
            let rule = decision.rule.map(|rule| format!(": `{rule}`"));
            Some(format!("no {way} path is allowed{}", rule.unwrap_or_default()))
        }
    }
}

/// Adds to a failure the line of the config that left fewer paths to try.
pub(crate) fn blame(failure: Failure, rule: Option<&PathRule>) -> Failure {
    let Some(rule) = rule.filter(|_| failure.code == ErrorCode::Unreachable) else {
        return failure;
    };
    let left = match rule.policy {
        PathPolicy::RelayOnly => "a relayed",
        PathPolicy::DirectOnly | PathPolicy::PreferDirect => "a direct",
    };
    let message = format!(
        "{}; the config allows only {left} path: `{rule}`",
        failure.message
    );
    let hint = failure.hint.unwrap_or_default();
    Failure::new(failure.code, message).with_hint(format!(
        "change that line and run: peerup daemon reload; or, {hint}"
    ))
}

/// Of which peers a refusal was logged lately: a peer that keeps trying does not fill the log.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    last: Mutex<HashMap<PeerId, Instant>>,
}

impl RefusalLog {
    /// Returns whether a refusal of this peer is to be logged now, and notes it if so.
    pub(crate) fn is_due(&self, peer: PeerId, now: Instant) -> bool {
        // A panic while the lock is held leaves a map that is whole.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|_, at| now.saturating_duration_since(*at) < QUIET_TIME);
        if last.contains_key(&peer) || last.len() >= MAX_LOGGED {
            return false;
        }
        last.insert(peer, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use peerup_model::{PluginName, Transport};

    use super::*;

    fn peer(seed: u8) -> PeerId {
        libp2p_identity::Keypair::ed25519_from_bytes([seed; 32])
            .unwrap()
            .public()
            .to_peer_id()
    }

    #[test]
    fn a_service_is_read_out_of_its_protocol_and_nothing_else_is() {
        assert_eq!(service_of("/peerup/web/1.0.0").unwrap().as_str(), "web");
        for other in [
            "/peerup/ping/1.0.0",
            "/pingpong/1.0.0",
            "/peerup/invite/2.0.0",
            "/peerup//1.0.0",
            "",
        ] {
            assert_eq!(service_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_refusal_is_logged_once_a_minute_for_each_peer() {
        let (log, start) = (RefusalLog::default(), Instant::now());
        assert!(log.is_due(peer(1), start) && log.is_due(peer(2), start));
        assert!(!log.is_due(peer(1), start + QUIET_TIME - Duration::from_secs(1)));
        assert!(log.is_due(peer(1), start + QUIET_TIME));
        assert!(!log.is_due(peer(1), start + QUIET_TIME));
    }

    #[test]
    fn a_path_that_is_not_allowed_is_refused_in_the_words_of_the_config() {
        let text = format!(
            "paths: {{peers: {{{}: relay-only}}, services: {{web: direct-only}}}}",
            peer(1)
        );
        let config = peerup_config::parse_node(&text, std::path::Path::new("/x/config.yaml")).unwrap();
        let (web, plugin): (ServiceName, PluginName) = ("web".parse().unwrap(), "ping".parse().unwrap());
        let why = |peer: PeerId, service: Option<&ServiceName>, path| {
            let query = PathQuery {
                peer: &peer,
                service,
                plugin: Some(&plugin),
                asked: PathPolicy::PreferDirect,
            };
            forbidden(&config.config, &query, path)
        };
        let (direct, relayed) = (PathKind::Direct(Transport::Quic), PathKind::Relayed(peer(9)));
        assert_eq!(why(peer(1), None, relayed), None);
        let refused = why(peer(1), None, direct).unwrap();
        assert!(
            refused.contains(&format!("`paths.peers.{}: relay-only`", peer(1))),
            "{refused}"
        );
        assert_eq!(why(peer(2), Some(&web), direct), None);
        assert_eq!(
            why(peer(2), Some(&web), relayed).unwrap(),
            "no relayed path is allowed: `paths.services.web: direct-only`"
        );
        let conflict = why(peer(1), Some(&web), direct).unwrap();
        assert!(conflict.starts_with("no path is left: "), "{conflict}");
    }
}
