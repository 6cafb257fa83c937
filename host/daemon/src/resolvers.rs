//! The name chain: a whole peer id stands for itself; then the plugins of `resolvers:` are asked, in their order;
//! then the text may be the beginning of a known peer id.
//!
//! Answers are kept as long as they say. Whoever answers decides only which peer is meant: that peer still has to be
//! in `authorized_keys` and to prove its key.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use libp2p_identity::PeerId;
use peerup_config::NodeConfig;
use peerup_model::{ErrorCode, Failure, PeerName};

use crate::{
    names::{self, Source},
    resolver_cache::{Known, ResolverCache},
    supervisor::Supervisor,
};

/// The longest text that is taken for a name: that of a name in the DNS.
const MAX_NAME: usize = 253;

/// What the tiers have answered under the config in force.
#[derive(Debug, Default)]
pub(crate) struct Resolvers {
    kept: Mutex<(Option<Arc<NodeConfig>>, ResolverCache)>,
}

impl Resolvers {
    /// The answers that hold under this config.
    fn under(&self, config: &Arc<NodeConfig>) -> MutexGuard<'_, (Option<Arc<NodeConfig>>, ResolverCache)> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.0.as_ref().is_some_and(|known| Arc::ptr_eq(known, config)) {
            kept.0 = Some(config.clone());
            kept.1.clear();
        }
        kept
    }
}

/// Where a name is looked for: the config in force, the plugins that run, the ids that may be shortened.
pub(crate) struct Chain<'a> {
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) plugins: &'a Supervisor,
    pub(crate) known: BTreeSet<PeerId>,
}

impl Resolvers {
    /// Finds out who a text stands for. Waits for the plugins that know.
    ///
    /// # Errors
    /// Nobody knows it, or the prefix fits several ids.
    pub(crate) async fn resolve(&self, chain: Chain<'_>, text: &str) -> Result<(PeerId, Source), Failure> {
        if let Some(peer) = names::whole_id(text) {
            return Ok((peer, Source::PeerId));
        }
        let name = text.to_ascii_lowercase();
        let mut silent = Vec::new();
        if is_name(&name)
            && let Some(known) = self.ask(&chain, &name, &mut silent).await
        {
            return Ok((known.peer, Source::Plugin(known.source)));
        }
        names::by_prefix(&chain.config, &chain.known, text).map_err(|failure| told(failure, &silent))
    }

    /// Asks the tiers in their order. Those that could not be asked are told apart from those that do not know.
    async fn ask(&self, chain: &Chain<'_>, name: &str, silent: &mut Vec<String>) -> Option<Known> {
        let config = &chain.config;
        if let Some(kept) = self.under(config).1.get(name, Instant::now()) {
            return kept;
        }
        for tier in &config.resolvers {
            let answer = match chain.plugins.enter(tier) {
                Some(lease) => lease.plugin().resolve(name).await.map_err(|error| {
                    chain.plugins.note(&lease, &error);
                    error.to_string()
                }),
                None => Err("it does not run; see: peerup plugin list".to_owned()),
            };
            match answer {
                Ok(Some(answer)) => {
                    let known = Known {
                        peer: answer.peer,
                        source: tier.clone(),
                    };
                    // Not where an earlier tier, which comes first once it answers again, could not be asked.
                    if silent.is_empty() {
                        let mut kept = self.under(config);
                        kept.1.keep(name, known.clone(), answer.ttl, Instant::now());
                    }
                    return Some(known);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(plugin = %tier, name, error, "a resolver did not answer");
                    silent.push(format!("{tier}: {error}"));
                    // A name of the operator's own is nobody else's to answer.
                    if name
                        .parse::<PeerName>()
                        .is_ok_and(|name| config.names.contains_key(&name))
                    {
                        return None;
                    }
                }
            }
        }
        if silent.is_empty() {
            self.under(config).1.keep_unknown(name, Instant::now());
        }
        None
    }
}

/// Says which tiers could not be asked, so that nobody takes the name for one that does not exist.
fn told(failure: Failure, silent: &[String]) -> Failure {
    if silent.is_empty() || failure.code != ErrorCode::NotFound {
        return failure;
    }
    let why = format!(
        "{}; not all could be asked: {}",
        failure.message,
        silent.join("; ")
    );
    let hint = failure.hint.clone();
    let failure = Failure::new(failure.code, why);
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// Whether a text can be a name at all. Plugins get no other.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !text.is_empty() && text.len() <= MAX_NAME && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_asked_for_names_only() {
        assert!(is_name("home") && is_name("nas.example.org") && is_name("a_b"));
        for text in ["", "a b", "a/b", "héllo", "a\n", &"x".repeat(254)] {
            assert!(!is_name(text), "{text:?}");
        }
    }

    #[test]
    fn a_tier_that_could_not_be_asked_is_named() {
        let failure = Failure::new(ErrorCode::NotFound, "no peer is known by the name \"x\"")
            .with_hint("known names: a");
        let told = told(failure, &["names-dns: timed out".to_owned()]);
        assert!(told.message.contains("names-dns: timed out"), "{told:?}");
        assert_eq!(told.hint.as_deref(), Some("known names: a"));
    }

    #[test]
    fn a_new_config_forgets_what_was_answered() {
        let config = |text: &str| {
            let path = std::path::Path::new("/x/config.yaml");
            Arc::new(peerup_config::parse_node(text, path).unwrap().config)
        };
        let resolvers = Resolvers::default();
        let old = config("version: 1\n");
        resolvers.under(&old).1.keep_unknown("home", Instant::now());
        assert!(resolvers.under(&old).1.get("home", Instant::now()).is_some());
        assert!(
            resolvers
                .under(&config("version: 1\n"))
                .1
                .get("home", Instant::now())
                .is_none()
        );
    }
}
