//! Which peer an operator means: by its whole id, or by the beginning of it.

use libp2p::PeerId;
use peerup_model::{ErrorCode, Failure};
use peerup_trust::parse_peer_id;

/// The shortest beginning of a peer id that stands for it.
const MIN_PREFIX: usize = 8;

/// Finds the peer that a text stands for: its id in any form, or a beginning that no other has.
pub(crate) fn named(text: &str, peers: &[PeerId]) -> Result<Option<PeerId>, Failure> {
    if let Ok(peer) = parse_peer_id(text) {
        return Ok(peers.contains(&peer).then_some(peer));
    }
    if text.len() < MIN_PREFIX {
        let message = format!("{text:?} is neither a peer id nor at least {MIN_PREFIX} characters of one");
        return Err(
            Failure::new(ErrorCode::Invalid, message).with_hint("`relay-server list-peers` shows the ids")
        );
    }
    let mut matching = peers.iter().filter(|peer| peer.to_string().starts_with(text));
    match (matching.next(), matching.next()) {
        (Some(_), Some(_)) => Err(Failure::new(
            ErrorCode::Invalid,
            format!("more than one peer id begins with {text}"),
        )
        .with_hint("write more of it")),
        (first, _) => Ok(first.copied()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unique_beginning_stands_for_its_peer() {
        let peers: Vec<_> = (0..2).map(|_| PeerId::random()).collect();
        let text = peers[0].to_string();

        assert_eq!(named(&text, &peers).unwrap(), Some(peers[0]));
        assert_eq!(named(&text[..text.len() - 2], &peers).unwrap(), Some(peers[0]));
        assert_eq!(named("12D3KooWNobody", &peers).unwrap(), None);
        assert_eq!(named(&text[..4], &peers).unwrap_err().code, ErrorCode::Invalid);
    }
}
