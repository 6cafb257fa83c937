//! Peer ids as text and as keys: every form that libp2p reads.

use libp2p_identity::{PeerId, PublicKey, ed25519};

/// No form of a peer id that occurs is longer; longer text is refused before any work.
const MAX_PEER_TEXT: usize = 128;

/// CID version 1 and the codec of a libp2p key, before the multihash.
const CID_PREFIX: &[u8] = &[0x01, 0x72];

/// The text is no peer id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a peer id: one starts with 12D3KooW, Qm, bafz or k51")]
pub struct PeerIdError(String);

/// Reads a peer id: base58btc (`12D3KooW...`, `Qm...`) or a CID of version 1 in base32, base36, base58btc or
/// base16 (`bafz...`, `k51...`, `z...`, `f...`).
///
/// # Errors
/// The text is neither.
pub fn parse_peer_id(text: &str) -> Result<PeerId, PeerIdError> {
    let refused = || PeerIdError(crate::text::plain(text, 80));
    if text.len() > MAX_PEER_TEXT || !text.is_ascii() {
        return Err(refused());
    }
    if text.starts_with("Qm") || text.starts_with('1') {
        return text.parse().map_err(|_| refused());
    }
    let bytes = decode_multibase(text).ok_or_else(refused)?;
    let multihash = bytes.strip_prefix(CID_PREFIX).ok_or_else(refused)?;
    PeerId::from_bytes(multihash).map_err(|_| refused())
}

/// Returns the Ed25519 key that the peer id carries, where it carries one.
pub fn ed25519_key_of(peer: &PeerId) -> Option<ed25519::PublicKey> {
    let bytes = peer.to_bytes();
    // The identity multihash: code 0, one byte of length, the public key's protobuf.
    let key = bytes.strip_prefix(&[0x00, 36])?;
    PublicKey::try_decode_protobuf(key).ok()?.try_into_ed25519().ok()
}

/// Returns the peer id of an Ed25519 key.
pub fn peer_of_key(key: &ed25519::PublicKey) -> PeerId {
    PublicKey::from(key.clone()).to_peer_id()
}

fn decode_multibase(text: &str) -> Option<Vec<u8>> {
    const BASE58: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    const BASE36: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let (base, digits) = text.split_at_checked(1)?;
    let upper = || digits.to_ascii_uppercase();
    match base {
        "b" | "B" => data_encoding::BASE32_NOPAD.decode(upper().as_bytes()).ok(),
        "f" | "F" => data_encoding::HEXUPPER.decode(upper().as_bytes()).ok(),
        "k" | "K" => decode_number(BASE36, digits.to_ascii_lowercase().as_bytes()),
        "z" => decode_number(BASE58, digits.as_bytes()),
        _ => None,
    }
}

/// Reads digits as one large number, big endian; each leading zero digit is a zero byte.
fn decode_number(alphabet: &[u8], digits: &[u8]) -> Option<Vec<u8>> {
    let base = u32::try_from(alphabet.len()).ok()?;
    let mut little: Vec<u8> = Vec::new();
    for digit in digits {
        let mut carry = u32::try_from(alphabet.iter().position(|symbol| symbol == digit)?).ok()?;
        for byte in &mut little {
            carry += u32::from(*byte) * base;
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
        while carry > 0 {
            little.push((carry & 0xff) as u8);
            carry >>= 8;
        }
    }
    let zeros = digits
        .iter()
        .take_while(|digit| Some(*digit) == alphabet.first())
        .count();
    let mut bytes = vec![0; zeros];
    bytes.extend(little.iter().rev());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE58: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

    fn cid() -> Vec<u8> {
        let peer: PeerId = BASE58.parse().unwrap();
        [CID_PREFIX, &peer.to_bytes()].concat()
    }

    #[test]
    fn reads_base58_and_every_cid_form() {
        let peer: PeerId = BASE58.parse().unwrap();
        let lower = data_encoding::BASE32_NOPAD.encode(&cid()).to_lowercase();
        assert!(lower.starts_with("afzaa"));
        let forms = [
            BASE58.to_owned(),
            format!("b{lower}"),
            format!("B{}", lower.to_uppercase()),
            format!("f{}", data_encoding::HEXLOWER.encode(&cid())),
        ];
        for form in forms {
            assert_eq!(parse_peer_id(&form), Ok(peer), "{form}");
        }
    }

    #[test]
    fn reads_the_forms_in_other_bases() {
        // Computed by a program of its own from the bytes of the CID.
        let peer: PeerId = BASE58.parse().unwrap();
        for form in [
            "k51qzi5uqu5djmw2yvf8kk5cdjc1ddc00o4d5sjwi6f79xzcay9j3gkddw5uu4",
            "z5AanNVJCxnQAAagES5H8EPxirrGfxGL13JfjVfELpdQ4rkD91Ki5Uf",
            "bafzaajaiaejcbcui4poxicprsx6vfwznhs5f24wkm4e36hmucin7g5eiag2a6324",
        ] {
            assert_eq!(parse_peer_id(form), Ok(peer), "{form}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for bad in [
            "",
            "b",
            "k",
            "z",
            "x",
            "12D3",
            "bafybeigdyrzt",
            "Qm",
            "ä",
            &"1".repeat(200),
        ] {
            assert!(parse_peer_id(bad).is_err(), "{bad}");
        }
        let other_codec = [&[0x01, 0x70], &cid()[2..]].concat();
        let text = format!(
            "b{}",
            data_encoding::BASE32_NOPAD.encode(&other_codec).to_lowercase()
        );
        assert!(parse_peer_id(&text).is_err());
    }

    #[test]
    fn finds_the_key_in_a_peer_id() {
        let key = libp2p_identity::Keypair::generate_ed25519()
            .public()
            .try_into_ed25519()
            .unwrap();
        assert_eq!(ed25519_key_of(&peer_of_key(&key)), Some(key));
        assert_eq!(ed25519_key_of(&PeerId::random()), None);
    }
}
