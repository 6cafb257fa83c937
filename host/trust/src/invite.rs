//! Invite codes, version 2: what one person reads to another so that two machines find and trust each other.
//!
//! Pure. Reading a code decides nothing about trust: the pairing handshake does.

use data_encoding::BASE32_NOPAD;
use jiff::Timestamp;
use libp2p_identity::{Keypair, PeerId, ed25519};
use multiaddr::{Multiaddr, Protocol};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    frame::Fields,
    peer_text::{ed25519_key_of, peer_of_key},
    token::{TOKEN_BYTES, Token},
};

/// Longest text that is looked at. The longest code has 1845 characters, line breaks come on top.
pub const MAX_CODE_TEXT: usize = 4096;
/// Most relays in a code.
pub const MAX_INVITE_RELAYS: usize = 3;
/// Longest relay address in a code, in its binary form.
pub const MAX_INVITE_ADDRESS: usize = 255;

const VERSION: u8 = 2;
const OLD_VERSION: u8 = 1;
const KEY_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;
const GROUP: usize = 4;
const SECONDS_PER_MINUTE: i64 = 60;
/// Version, token, key, expiry and count.
const HEAD_BYTES: usize = 1 + TOKEN_BYTES + KEY_BYTES + 4 + 1;

/// Why a code was not read, or an invite not made. The number of a relay is counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// Nothing but spaces and dashes.
    #[error("the invite code is empty")]
    Empty,
    /// Longer than [`MAX_CODE_TEXT`].
    #[error("this is too long for an invite code: {0} characters")]
    TooLong(usize),
    /// A character that no code has.
    #[error(
        "the invite code has {character:?} at position {position}: only A to Z and 2 to 7 occur in a code"
    )]
    NotBase32 {
        /// Counted in characters from 1, dashes and spaces included.
        position: usize,
        /// The character.
        character: char,
    },
    /// The number of characters is that of no code.
    #[error("the invite code is cut short or has a character too many")]
    Incomplete,
    /// Fewer bytes than the shortest code.
    #[error("the invite code is too short: {0} bytes")]
    TooShort(usize),
    /// A code of the Go original.
    #[error(
        "this is an invite code of the old system (version 1); have the other side make one with peerup invite"
    )]
    OldVersion,
    /// A code of a later version, or no code at all.
    #[error(
        "the invite code has version {0}, this program reads version 2; update it, or check the first characters"
    )]
    UnknownVersion(u8),
    /// A typing mistake.
    #[error("the invite code does not add up: a character is wrong or a part is missing")]
    Checksum,
    /// The inviter's key is no point of the curve, or one that anybody can sign for.
    #[error("the invite code holds no valid key of the inviter")]
    InviterKey,
    /// A relay's key is none.
    #[error("the invite code holds no valid key of relay {0}")]
    RelayKey(usize),
    /// No relay, or too many.
    #[error("an invite code names 1 to {MAX_INVITE_RELAYS} relays, not {0}")]
    RelayCount(usize),
    /// A field goes on beyond the end.
    #[error("the invite code ends in the middle of a field")]
    Truncated,
    /// An address that is no multiaddr, or is none in its one proper form, or is too long.
    #[error("the address of relay {0} in the invite is not a valid address")]
    Address(usize),
    /// An address that does not begin with an IP address or a DNS name and a port.
    #[error("the address of relay {number} in the invite cannot be dialled: {address}")]
    Undialable {
        /// Which one.
        number: usize,
        /// The address.
        address: Multiaddr,
    },
    /// An address that names a peer: the key stands beside it, and two could disagree.
    #[error("the address of relay {number} in the invite names a peer: {address}")]
    NamesPeer {
        /// Which one.
        number: usize,
        /// The address.
        address: Multiaddr,
    },
    /// Something follows the code.
    #[error("the invite code is followed by {0} bytes that do not belong to it")]
    TrailingBytes(usize),
}

/// A relay, as a code names it.
///
/// An entry whose key is the inviter's own means that the inviter itself listens at this address: the
/// joiner dials it there, and two machines that reach each other pair without any relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteRelay {
    key: ed25519::PublicKey,
    address: Multiaddr,
}

impl InviteRelay {
    /// Creates an entry. The address carries no peer id.
    ///
    /// # Errors
    /// `RelayKey`, `Address`, `Undialable` or `NamesPeer`, each with the number 1.
    pub fn new(key: ed25519::PublicKey, address: Multiaddr) -> Result<Self, InviteError> {
        Self::numbered(1, key, address)
    }

    /// Creates an entry from an address as configs write it, with the relay's `/p2p/<id>` at its end.
    ///
    /// # Errors
    /// As [`InviteRelay::new`]; `RelayKey` also where no id stands there or it is not one of an Ed25519 key.
    pub fn from_address(address: &Multiaddr) -> Result<Self, InviteError> {
        let mut address = address.clone();
        match address.pop() {
            Some(Protocol::P2p(peer)) => {
                Self::new(ed25519_key_of(&peer).ok_or(InviteError::RelayKey(1))?, address)
            }
            _ => Err(InviteError::RelayKey(1)),
        }
    }

    fn numbered(number: usize, key: ed25519::PublicKey, address: Multiaddr) -> Result<Self, InviteError> {
        if is_weak(&key) {
            return Err(InviteError::RelayKey(number));
        }
        check_address(number, &address)?;
        Ok(Self { key, address })
    }

    /// Returns the relay's public key.
    pub fn key(&self) -> &ed25519::PublicKey {
        &self.key
    }

    /// Returns the relay's peer id.
    pub fn peer(&self) -> PeerId {
        peer_of_key(&self.key)
    }

    /// Returns the address, without a peer id.
    pub fn address(&self) -> &Multiaddr {
        &self.address
    }

    /// Returns the address with the relay's peer id at its end, as configs write it.
    pub fn full_address(&self) -> Multiaddr {
        self.address.clone().with(Protocol::P2p(self.peer()))
    }
}

/// What a code says. `Debug` leaves the token out; the text of the code is as secret as the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    token: Token,
    inviter: ed25519::PublicKey,
    expires: u32,
    relays: Vec<InviteRelay>,
}

impl Invite {
    /// Creates an invite that ends at `expires`, in minutes since the Unix epoch.
    ///
    /// # Errors
    /// `InviterKey`, or `RelayCount` where there are not 1 to [`MAX_INVITE_RELAYS`] relays.
    pub fn new(
        token: Token,
        inviter: ed25519::PublicKey,
        expires: u32,
        relays: Vec<InviteRelay>,
    ) -> Result<Self, InviteError> {
        if is_weak(&inviter) {
            return Err(InviteError::InviterKey);
        }
        check_relay_count(relays.len())?;
        Ok(Self {
            token,
            inviter,
            expires,
            relays,
        })
    }

    /// Returns the secret.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Returns the inviter's public key.
    pub fn inviter(&self) -> &ed25519::PublicKey {
        &self.inviter
    }

    /// Returns the inviter's peer id.
    pub fn inviter_peer(&self) -> PeerId {
        peer_of_key(&self.inviter)
    }

    /// Returns the end, in minutes since the Unix epoch.
    pub fn expires_minutes(&self) -> u32 {
        self.expires
    }

    /// Returns the end. From this moment on the invite is of no use.
    pub fn expires(&self) -> Timestamp {
        minutes_to_timestamp(self.expires)
    }

    /// Returns whether the invite is of no use any more, by this machine's clock.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires()
    }

    /// Returns the relays, 1 to [`MAX_INVITE_RELAYS`]. One of them may be the inviter itself.
    pub fn relays(&self) -> &[InviteRelay] {
        &self.relays
    }

    /// Returns the relays that are the inviter itself, then those that are others.
    pub fn direct_and_relayed(&self) -> (Vec<&InviteRelay>, Vec<&InviteRelay>) {
        self.relays.iter().partition(|relay| relay.key == self.inviter)
    }

    /// Derives the identity under which the joiner dials.
    pub fn one_time_keypair(&self) -> Keypair {
        self.token.one_time_keypair(&self.inviter)
    }

    /// Writes the code: base32 in upper case, a dash after every four characters.
    pub fn encode(&self) -> String {
        let bytes = self.to_bytes();
        let text = Zeroizing::new(BASE32_NOPAD.encode(&bytes));
        let mut code = String::with_capacity(text.len() + text.len() / GROUP);
        for (index, character) in text.chars().enumerate() {
            if index > 0 && index % GROUP == 0 {
                code.push('-');
            }
            code.push(character);
        }
        code
    }

    /// Reads a code; dashes, white space and case do not count.
    ///
    /// # Errors
    /// Anything that is not exactly one code of this version.
    pub fn decode(text: &str) -> Result<Self, InviteError> {
        let bytes = Zeroizing::new(bytes_of(text)?);
        match bytes.first() {
            Some(&VERSION) => {}
            Some(&OLD_VERSION) => return Err(InviteError::OldVersion),
            Some(version) => return Err(InviteError::UnknownVersion(*version)),
            None => return Err(InviteError::TooShort(0)),
        }
        if bytes.len() < HEAD_BYTES + CHECKSUM_BYTES {
            return Err(InviteError::TooShort(bytes.len()));
        }
        Self::from_body(verified_body(&bytes)?)
    }

    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(vec![VERSION]);
        bytes.extend_from_slice(self.token.as_bytes());
        bytes.extend_from_slice(&self.inviter.to_bytes());
        bytes.extend_from_slice(&self.expires.to_be_bytes());
        // Both counts are checked when an invite is made, so neither cast cuts anything.
        bytes.push(self.relays.len() as u8);
        for relay in &self.relays {
            bytes.extend_from_slice(&relay.key.to_bytes());
            bytes.push(relay.address.len() as u8);
            bytes.extend_from_slice(relay.address.as_ref());
        }
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// Reads the bytes between the version, which is known, and the checksum, which held.
    fn from_body(body: &[u8]) -> Result<Self, InviteError> {
        let mut fields = Fields::new(body);
        let cut = InviteError::Truncated;
        fields.byte().ok_or_else(|| cut.clone())?;
        let token = Token::from_bytes(fields.array().ok_or_else(|| cut.clone())?);
        let inviter = fields.array::<KEY_BYTES>().ok_or_else(|| cut.clone())?;
        let inviter = ed25519::PublicKey::try_from_bytes(&inviter).map_err(|_| InviteError::InviterKey)?;
        let expires = fields.u32().ok_or_else(|| cut.clone())?;
        let count = usize::from(fields.byte().ok_or_else(|| cut.clone())?);
        check_relay_count(count)?;
        let relays = (1..=count)
            .map(|number| read_relay(number, &mut fields))
            .collect::<Result<_, _>>()?;
        match fields.left() {
            0 => Self::new(token, inviter, expires, relays),
            left => Err(InviteError::TrailingBytes(left)),
        }
    }
}

/// Returns the moment that a number of minutes since the Unix epoch stands for. What lies beyond the year
/// 9999 becomes the last moment of it.
pub fn minutes_to_timestamp(minutes: u32) -> Timestamp {
    Timestamp::from_second(i64::from(minutes) * SECONDS_PER_MINUTE).unwrap_or(Timestamp::MAX)
}

/// Returns the first whole minute since the Unix epoch that is not before the moment.
pub fn timestamp_to_minutes(moment: Timestamp) -> u32 {
    let seconds = moment.as_second() + i64::from(moment.subsec_nanosecond() > 0);
    let minutes = seconds
        .saturating_add(SECONDS_PER_MINUTE - 1)
        .div_euclid(SECONDS_PER_MINUTE);
    u32::try_from(minutes.max(0)).unwrap_or(u32::MAX)
}

fn read_relay(number: usize, fields: &mut Fields<'_>) -> Result<InviteRelay, InviteError> {
    let key = fields.array::<KEY_BYTES>().ok_or(InviteError::Truncated)?;
    let key = ed25519::PublicKey::try_from_bytes(&key).map_err(|_| InviteError::RelayKey(number))?;
    let address = fields.counted(MAX_INVITE_ADDRESS).ok_or(InviteError::Truncated)?;
    let address = Multiaddr::try_from(address.to_vec()).map_err(|_| InviteError::Address(number))?;
    InviteRelay::numbered(number, key, address)
}

/// Returns everything before the checksum, once that holds. Where it does not, but would with fewer bytes,
/// something was pasted behind the code.
fn verified_body(bytes: &[u8]) -> Result<&[u8], InviteError> {
    let holds = |length: usize| {
        let (body, sum) = bytes.get(..length)?.split_last_chunk::<CHECKSUM_BYTES>()?;
        (checksum(body) == *sum).then_some(body)
    };
    if let Some(body) = holds(bytes.len()) {
        return Ok(body);
    }
    match structural_length(bytes) {
        Some(length) if length < bytes.len() && holds(length).is_some() => {
            Err(InviteError::TrailingBytes(bytes.len() - length))
        }
        _ => Err(InviteError::Checksum),
    }
}

/// Returns how long a code is by its own count and lengths.
fn structural_length(bytes: &[u8]) -> Option<usize> {
    let mut fields = Fields::new(bytes);
    fields.bytes(HEAD_BYTES - 1)?;
    for _ in 0..fields.byte()? {
        fields.bytes(KEY_BYTES)?;
        fields.counted(MAX_INVITE_ADDRESS)?;
    }
    fields.bytes(CHECKSUM_BYTES)?;
    Some(bytes.len() - fields.left())
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest: [u8; 32] = Sha256::digest(body).into();
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}

fn bytes_of(text: &str) -> Result<Vec<u8>, InviteError> {
    if text.len() > MAX_CODE_TEXT {
        return Err(InviteError::TooLong(text.chars().count()));
    }
    let mut symbols = Zeroizing::new(Vec::with_capacity(text.len()));
    for (index, character) in text.chars().enumerate() {
        match character.to_ascii_uppercase() {
            '-' => {}
            space if space.is_whitespace() => {}
            symbol @ ('A'..='Z' | '2'..='7') => symbols.push(symbol as u8),
            _ => {
                return Err(InviteError::NotBase32 {
                    position: index + 1,
                    character,
                });
            }
        }
    }
    if symbols.is_empty() {
        return Err(InviteError::Empty);
    }
    // Besides the length this refuses bits behind the last byte, so that each invite has one code only.
    BASE32_NOPAD.decode(&symbols).map_err(|_| InviteError::Incomplete)
}

fn check_relay_count(count: usize) -> Result<(), InviteError> {
    if (1..=MAX_INVITE_RELAYS).contains(&count) {
        Ok(())
    } else {
        Err(InviteError::RelayCount(count))
    }
}

fn check_address(number: usize, address: &Multiaddr) -> Result<(), InviteError> {
    let bad = || InviteError::Address(number);
    if address.is_empty() || address.len() > MAX_INVITE_ADDRESS {
        return Err(bad());
    }
    // A text inside the binary form may hold slashes or line breaks and so become other components once it
    // is written into a config: only an address that survives being written and read is taken.
    let text = address.to_string();
    if !text.chars().all(|c| c.is_ascii_graphic())
        || !text.parse().is_ok_and(|again: Multiaddr| again == *address)
    {
        return Err(bad());
    }
    if address
        .iter()
        .any(|part| matches!(part, Protocol::P2p(_) | Protocol::P2pCircuit))
    {
        return Err(InviteError::NamesPeer {
            number,
            address: address.clone(),
        });
    }
    if is_dialable(address) {
        return Ok(());
    }
    Err(InviteError::Undialable {
        number,
        address: address.clone(),
    })
}

fn is_dialable(address: &Multiaddr) -> bool {
    let mut parts = address.iter();
    let host = match parts.next() {
        Some(Protocol::Ip4(ip)) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        Some(Protocol::Ip6(ip)) => !ip.is_unspecified() && !ip.is_multicast(),
        Some(Protocol::Dnsaddr(name)) => return is_host_name(&name),
        Some(Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name)) => is_host_name(&name),
        _ => false,
    };
    host && matches!(parts.next(), Some(Protocol::Tcp(1..) | Protocol::Udp(1..)))
}

fn is_host_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (1..=253).contains(&name.len()) && name.chars().all(allowed)
}

/// Returns whether the key is a point of small order, for which anybody can make signatures.
fn is_weak(key: &ed25519::PublicKey) -> bool {
    ed25519_dalek::VerifyingKey::from_bytes(&key.to_bytes()).is_ok_and(|key| key.is_weak())
}

#[cfg(test)]
mod tests;
