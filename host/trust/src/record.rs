//! What a peer tells about its addresses through the private DHT: signed by the peer, readable only by who knows it.
//!
//! Pure codec; time comes in as an argument. The signature is what makes a record true: whoever carries or stores
//! it can neither change it nor make one up. The encryption keeps it from those that do not know the peer's id
//! already, such as somebody who reads a relay's memory; it is no secret from a member. `docs/WIRE.md` has the
//! bytes.

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _,
    aead::{Aead as _, Payload},
};
use hkdf::Hkdf;
use jiff::{SignedDuration, Timestamp};
use libp2p_identity::{Keypair, PeerId, PublicKey, ed25519};
use multiaddr::Multiaddr;
use sha2::{Digest as _, Sha256};

use crate::{
    frame::Fields,
    peer_text::peer_of_key,
    random::{RandomError, random_bytes},
};

/// Longest sealed record, in bytes.
pub const MAX_RECORD: usize = 2048;
/// Addresses in one record.
pub const MAX_RECORD_ADDRESSES: usize = 16;
/// Longest address in a record, in bytes of its binary form.
pub const MAX_RECORD_ADDRESS: usize = 128;
/// How long a record holds from the moment it was issued.
pub const RECORD_TTL: SignedDuration = SignedDuration::from_mins(30);
/// How far the clocks of two machines may be apart.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

const NETWORK: &[u8] = b"peerup/kad/1";
const KEY_INFO: &[u8] = b"address-record";
const SIGNED: &[u8] = b"peerup/address-record/1";
const VERSION: u8 = 1;
const NONCE: usize = 12;
const TAG: usize = 16;
const SIGNATURE: usize = 64;
/// Version, public key, both times, number of addresses.
const HEAD: usize = 1 + 32 + 8 + 8 + 1;
/// What is left for addresses, each with its byte of length.
const ROOM: usize = MAX_RECORD - NONCE - TAG - SIGNATURE - HEAD;

/// Why there is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Only Ed25519 identities have records.
    #[error("the peer's identity is no Ed25519 key")]
    NotEd25519,
    /// The sealed record is above [`MAX_RECORD`].
    #[error("an address record of {0} bytes is longer than the {MAX_RECORD} that are allowed")]
    TooLong(usize),
    /// It was not sealed for this peer, or was changed since.
    #[error("the address record is not one of this peer, or was changed on the way")]
    Sealed,
    /// What was sealed is no record.
    #[error("the address record cannot be read")]
    Malformed,
    /// The peer did not sign it.
    #[error("the address record is not signed by its peer")]
    Signature,
    /// It is over.
    #[error("the address record has expired")]
    Expired,
    /// It was issued in the future; one of the clocks is wrong.
    #[error("the address record comes from the future; check the clocks of both machines")]
    Early,
    /// The system gives no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Where a peer says that it can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRecord {
    /// Whose record it is.
    pub peer: PeerId,
    /// When the peer made it, in whole seconds. Of two records the later one counts.
    pub issued: Timestamp,
    /// From then on it counts no more; at most [`RECORD_TTL`] after it was issued.
    pub expires: Timestamp,
    /// Direct addresses and circuits, at most [`MAX_RECORD_ADDRESSES`], the best first.
    pub addresses: Vec<Multiaddr>,
}

impl AddressRecord {
    /// Writes, signs and seals a record of `keypair`'s owner that holds from `now` for [`RECORD_TTL`].
    ///
    /// Addresses past the bounds are left out: those too long, and the last where there are too many.
    ///
    /// # Errors
    /// The key is no Ed25519 key, or the system gives no random bytes.
    pub fn seal(keypair: &Keypair, addresses: &[Multiaddr], now: Timestamp) -> Result<Vec<u8>, RecordError> {
        let nonce = random_bytes::<NONCE>()?;
        seal_with(keypair, addresses, now, &nonce)
    }

    /// Opens and checks a record that is said to be `peer`'s.
    ///
    /// # Errors
    /// It is not, or does not hold at `now`; the clocks of both machines may be five minutes apart.
    pub fn open(peer: &PeerId, sealed: &[u8], now: Timestamp) -> Result<Self, RecordError> {
        if sealed.len() > MAX_RECORD {
            return Err(RecordError::TooLong(sealed.len()));
        }
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE>().ok_or(RecordError::Sealed)?;
        let payload = Payload {
            msg: ciphertext,
            aad: &record_key(peer),
        };
        let content = cipher(peer)
            .decrypt(&(*nonce).into(), payload)
            .map_err(|_| RecordError::Sealed)?;
        let record = Self::verify(peer, &content)?;
        if now >= after(record.expires, CLOCK_SKEW) {
            return Err(RecordError::Expired);
        }
        if record.issued > after(now, CLOCK_SKEW) {
            return Err(RecordError::Early);
        }
        Ok(record)
    }

    /// Returns whether this record is to replace the other.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        self.issued > other.issued
    }

    fn verify(peer: &PeerId, content: &[u8]) -> Result<Self, RecordError> {
        let (body, signature) = content
            .split_last_chunk::<SIGNATURE>()
            .ok_or(RecordError::Malformed)?;
        let (key, record) = Self::read(body).ok_or(RecordError::Malformed)?;
        let signed = record.peer == *peer && PublicKey::from(key).verify(&signed_text(body), signature);
        if signed {
            Ok(record)
        } else {
            Err(RecordError::Signature)
        }
    }

    fn read(body: &[u8]) -> Option<(ed25519::PublicKey, Self)> {
        let mut fields = Fields::new(body);
        if fields.byte()? != VERSION {
            return None;
        }
        let key = ed25519::PublicKey::try_from_bytes(&fields.array::<32>()?).ok()?;
        let issued = read_time(&mut fields)?;
        let expires = read_time(&mut fields)?;
        if expires <= issued || expires.duration_since(issued) > RECORD_TTL {
            return None;
        }
        let count = usize::from(fields.byte()?);
        if count > MAX_RECORD_ADDRESSES {
            return None;
        }
        let addresses = (0..count)
            .map(|_| Multiaddr::try_from(fields.counted(MAX_RECORD_ADDRESS)?.to_vec()).ok())
            .collect::<Option<Vec<_>>>()?;
        let record = Self {
            peer: peer_of_key(&key),
            issued,
            expires,
            addresses,
        };
        (fields.left() == 0).then_some((key, record))
    }
}

/// Returns the key under which a peer's record lies in the DHT: SHA-256 of `peerup/kad/1` and the peer id.
pub fn record_key(peer: &PeerId) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(NETWORK);
    hash.update(peer.to_bytes());
    hash.finalize().into()
}

fn seal_with(
    keypair: &Keypair,
    addresses: &[Multiaddr],
    now: Timestamp,
    nonce: &[u8; NONCE],
) -> Result<Vec<u8>, RecordError> {
    let key = keypair
        .public()
        .try_into_ed25519()
        .map_err(|_| RecordError::NotEd25519)?;
    let peer = peer_of_key(&key);
    let mut content = write(&key, &choose(addresses), now, after(now, RECORD_TTL));
    // Ed25519 keys always sign; the error is there for key types that a hardware module may hold.
    let signature = keypair
        .sign(&signed_text(&content))
        .map_err(|_| RecordError::NotEd25519)?;
    content.extend_from_slice(&signature);
    let payload = Payload {
        msg: &content,
        aad: &record_key(&peer),
    };
    let ciphertext = cipher(&peer)
        .encrypt(&(*nonce).into(), payload)
        .map_err(|_| RecordError::TooLong(content.len()))?;
    let mut sealed = nonce.to_vec();
    sealed.extend(ciphertext);
    Ok(sealed)
}

/// Leaves out what does not fit.
fn choose(addresses: &[Multiaddr]) -> Vec<&Multiaddr> {
    let mut chosen = Vec::new();
    let mut left = ROOM;
    for address in addresses {
        let needed = 1 + address.len();
        if chosen.len() < MAX_RECORD_ADDRESSES && address.len() <= MAX_RECORD_ADDRESS && needed <= left {
            left -= needed;
            chosen.push(address);
        }
    }
    chosen
}

/// Number and lengths of the addresses fit in a byte each: `choose` and `read` see to it.
fn write(
    key: &ed25519::PublicKey,
    addresses: &[&Multiaddr],
    issued: Timestamp,
    expires: Timestamp,
) -> Vec<u8> {
    let mut body = vec![VERSION];
    body.extend_from_slice(&key.to_bytes());
    body.extend_from_slice(&issued.as_second().to_be_bytes());
    body.extend_from_slice(&expires.as_second().to_be_bytes());
    body.push(addresses.len() as u8);
    for address in addresses {
        body.push(address.len() as u8);
        body.extend_from_slice(address.as_ref());
    }
    body
}

/// For the fuzzer: what is inside a seal that it could never break.
pub(crate) fn read_and_write(body: &[u8]) {
    if let Some((key, record)) = AddressRecord::read(body) {
        let addresses: Vec<_> = record.addresses.iter().collect();
        assert_eq!(write(&key, &addresses, record.issued, record.expires), body);
    }
}

fn read_time(fields: &mut Fields<'_>) -> Option<Timestamp> {
    let seconds = fields.array().map(i64::from_be_bytes)?;
    (seconds >= 0)
        .then(|| Timestamp::from_second(seconds).ok())
        .flatten()
}

fn signed_text(body: &[u8]) -> Vec<u8> {
    [SIGNED, body].concat()
}

fn cipher(peer: &PeerId) -> ChaCha20Poly1305 {
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(Some(NETWORK), &peer.to_bytes())
        .expand(KEY_INFO, &mut key)
        .expect("HKDF-SHA256 gives up to 8160 bytes and 32 are asked for");
    ChaCha20Poly1305::new(&key.into())
}

/// The end of time is as good as any moment after it.
fn after(at: Timestamp, span: SignedDuration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
