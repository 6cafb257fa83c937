//! Who a name stands for without asking anybody: a whole peer id itself, else the `names:` map, then a unique prefix
//! of an id. What a node that runs makes of a name is in `resolvers`.

use std::collections::BTreeSet;

use libp2p_identity::PeerId;
use peerup_config::{AllowedPeer, NodeConfig, ServiceAccess};
use peerup_model::{ErrorCode, Failure, PeerName, PluginName};

/// The shortest prefix of a peer id that stands for it. Every Ed25519 id begins with the same eight
/// characters, so in practice one needs a few more for it to be unique.
const SHORTEST_PREFIX: usize = 8;

/// The shortest peer id of a key: that of a SHA-256 hash. Shorter text that happens to parse is a name.
const SHORTEST_ID: usize = 46;
/// A whole peer id is no longer. Decoding base58 takes a time that grows with the square of its length.
pub(crate) const LONGEST_ID: usize = 128;

/// How the peer ids of keys begin, in lower case.
const ID_BEGINNINGS: [&str; 2] = ["12d3koow", "16uiu2ha"];

/// The plugin that answers from the `names:` map of the config.
const LOCAL_NAMES: &str = "names-local";

/// The tier that knew a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The plugin that said so.
    Plugin(PluginName),
    /// The text was a peer id, or the beginning of one that is known here.
    PeerId,
}

impl Source {
    /// Returns the tier's name in the API.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Plugin(name) => name.as_str(),
            Self::PeerId => "peer-id",
        }
    }

    fn local() -> Self {
        Self::Plugin(
            LOCAL_NAMES
                .parse()
                .expect("the plugin's name is a valid one, as the tests use it"),
        )
    }
}

/// Finds out who a text stands for. `known` are ids that a prefix may stand for.
///
/// # Errors
/// Nothing is known by that name, or the prefix fits several ids.
pub fn resolve(
    config: &NodeConfig,
    known: &BTreeSet<PeerId>,
    text: &str,
) -> Result<(PeerId, Source), Failure> {
    if let Some(peer) = whole_id(text) {
        return Ok((peer, Source::PeerId));
    }
    let lower = text.to_ascii_lowercase();
    if let Ok(name) = lower.parse::<PeerName>()
        && let Some(peer) = config.names.get(&name)
    {
        return Ok((*peer, Source::local()));
    }
    by_prefix(config, known, text)
}

/// Returns the peer id where the text is a whole one. Asked before the names, which have no case: whoever calls itself
/// by another's id in lower case gets nothing by it.
pub(crate) fn whole_id(text: &str) -> Option<PeerId> {
    (SHORTEST_ID..=LONGEST_ID)
        .contains(&text.len())
        .then(|| text.parse().ok())
        .flatten()
}

/// Finds the one known peer id that begins with the text.
///
/// # Errors
/// There is none, or there are several.
pub(crate) fn by_prefix(
    config: &NodeConfig,
    known: &BTreeSet<PeerId>,
    text: &str,
) -> Result<(PeerId, Source), Failure> {
    let fits: Vec<PeerId> = if text.len() >= SHORTEST_PREFIX {
        known
            .iter()
            .filter(|peer| peer.to_base58().starts_with(text))
            .copied()
            .collect()
    } else {
        Vec::new()
    };
    match fits.as_slice() {
        [peer] => Ok((*peer, Source::PeerId)),
        [] => Err(unknown(config, text)),
        several => Err(Failure::new(
            ErrorCode::Invalid,
            format!("{text} is the beginning of {} known peer ids", several.len()),
        )
        .with_hint("give more of it")),
    }
}

fn unknown(config: &NodeConfig, text: &str) -> Failure {
    let is_named = text
        .parse()
        .is_ok_and(|name: PeerName| config.names.contains_key(&name));
    let names: Vec<&str> = config.names.keys().map(PeerName::as_str).take(8).collect();
    let hint = if is_named {
        // It stands in the config, and nobody reads it there.
        format!(
            "what knows the names of the config does not run; start it with: peerup plugin enable {LOCAL_NAMES}"
        )
    } else if names.is_empty() {
        "no names are known yet; give the peer id, or pair with: peerup invite".to_owned()
    } else {
        format!("known names: {}; or give the peer id", names.join(", "))
    };
    Failure::new(
        ErrorCode::NotFound,
        format!("no peer is known by the name {text:?}"),
    )
    .with_hint(hint)
}

/// Returns whether a name could be taken for a peer id or the beginning of one.
pub(crate) fn reads_like_peer_id(name: &PeerName) -> bool {
    let name = name.as_str();
    let hash = name.starts_with("qm") && name.len() == SHORTEST_ID;
    hash || ID_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// Returns whether a name is not free for a peer that calls itself so. An `allow` list may name somebody who is not known
/// yet; that name is for the operator to give.
pub(crate) fn is_taken(config: &NodeConfig, name: &str) -> bool {
    let given = config.names.keys().any(|taken| taken.as_str() == name);
    let awaited = || {
        config.services.values().any(|service| match &service.access {
            ServiceAccess::Everyone => false,
            ServiceAccess::Only(allowed) => allowed
                .iter()
                .any(|one| matches!(one, AllowedPeer::Name(awaited) if awaited.as_str() == name)),
        })
    };
    given || awaited()
}

/// Refuses a name that the operator gives to a peer, where another peer has it or the peer has another one.
///
/// # Errors
/// Says which of the two it is.
pub fn check_chosen(config: &NodeConfig, name: &PeerName, peer: &PeerId) -> Result<(), Failure> {
    let conflict = |what: String, hint: &str| Err(Failure::new(ErrorCode::Conflict, what).with_hint(hint));
    match (config.names.get(name), name_of(config, peer)) {
        (Some(other), _) if other != peer => conflict(
            format!("another peer is called {name} already: {other}"),
            "give another name with --name, or change names: in the config",
        ),
        (None, Some(known)) => conflict(
            format!("{peer} is called {known} already"),
            "leave --name out, or change names: in the config",
        ),
        _ => Ok(()),
    }
}

/// Returns what the operator calls a peer.
pub fn name_of<'a>(config: &'a NodeConfig, peer: &PeerId) -> Option<&'a PeerName> {
    config
        .names
        .iter()
        .find(|(_, id)| *id == peer)
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use libp2p_identity::Keypair;

    use super::*;

    fn config(names: &[(&str, PeerId)]) -> NodeConfig {
        let mut text = "version: 1\nnames:\n".to_owned();
        for (name, id) in names {
            text.push_str(&format!("  {name}: {id}\n"));
        }
        peerup_config::parse_node(&text, std::path::Path::new("/x/config.yaml"))
            .unwrap()
            .config
    }

    fn peer() -> PeerId {
        Keypair::generate_ed25519().public().to_peer_id()
    }

    #[test]
    fn a_name_wins_over_everything_and_has_no_case() {
        let home = peer();
        let found = resolve(&config(&[("home", home)]), &BTreeSet::new(), "Home").unwrap();
        assert_eq!(found, (home, Source::local()));
    }

    #[test]
    fn a_peer_id_stands_for_itself_and_a_unique_prefix_for_its_id() {
        let (one, two) = (peer(), peer());
        let known = BTreeSet::from([one, two]);
        let none = config(&[("x", one)]);
        assert_eq!(
            resolve(&none, &known, &two.to_base58()).unwrap(),
            (two, Source::PeerId)
        );
        assert_eq!(
            resolve(&none, &known, &two.to_base58()[..30]).unwrap(),
            (two, Source::PeerId)
        );
        assert_eq!(
            resolve(&none, &known, "12D3KooW").unwrap_err().code,
            ErrorCode::Invalid
        );
        assert_eq!(
            resolve(&none, &known, "12D3Koo").unwrap_err().code,
            ErrorCode::NotFound
        );
    }

    #[test]
    fn nobody_takes_over_a_peer_id_by_calling_itself_by_it() {
        let (victim, thief) = (peer(), peer());
        let lower = victim.to_base58().to_ascii_lowercase();
        let found = resolve(&config(&[(&lower, thief)]), &BTreeSet::new(), &victim.to_base58()).unwrap();
        assert_eq!(found, (victim, Source::PeerId));
        assert!(reads_like_peer_id(&lower.parse().unwrap()));
        assert!(reads_like_peer_id(&lower[..12].parse().unwrap()));
        assert!(!reads_like_peer_id(&"laptop".parse().unwrap()));
        // Two characters that decode to an empty hash are a name all the same.
        let eleven = peer();
        let found = resolve(&config(&[("11", eleven)]), &BTreeSet::new(), "11").unwrap();
        assert_eq!(found, (eleven, Source::local()));
    }

    #[test]
    fn a_name_that_an_allow_list_waits_for_is_only_the_operators_to_give() {
        let text =
            "version: 1\nservices:\n  web:\n    local_address: localhost:80\n    allow: [bob]\nnames: {}\n";
        let config = peerup_config::parse_node(text, std::path::Path::new("/x/config.yaml"))
            .unwrap()
            .config;
        assert!(is_taken(&config, "bob"));
        assert!(!is_taken(&config, "eve"));
    }

    #[test]
    fn an_unknown_name_tells_which_are_known() {
        let failure = resolve(&config(&[("home", peer())]), &BTreeSet::new(), "hom").unwrap_err();
        assert!(failure.hint.unwrap().contains("home"));
    }
}
