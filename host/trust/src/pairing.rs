//! The pairing handshake of `/peerup/invite/2.0.0`: three messages that make two machines know each other.
//!
//! Pure. The caller moves the payloads in frames (`encode_frame`), sets the deadline, and sees to it that the
//! joiner's connection runs under the one-time identity and the inviter's under its real one. Each state is
//! consumed by the message that ends it, so no message is taken twice.
//!
//! | message | payload |
//! | --- | --- |
//! | hello | `1`, joiner's Ed25519 key (32), nonce (32), length of name (1), name, signature (64), HMAC (32) |
//! | answer | `2`, nonce (32), length of name (1), name, HMAC (32) |
//! | acknowledgement | `3`, HMAC (32) |
//! | refusal | `4`, code (1): 1 used, 2 expired, 3 wrong proof, 4 internal |
//!
//! The transcript holds the inviter's key, the joiner's key, the one-time peer id, the joiner's nonce and
//! name, and, from the answer on, the signature, the inviter's nonce and name; each with its length before it.
//! Every signature and HMAC begins with a context of its own, so none can stand in for another.

mod message;

use hmac::{Hmac, KeyInit as _, Mac as _};
use libp2p_identity::{Keypair, PeerId, ed25519};
use peerup_model::PeerName;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::{invite::Invite, peer_text::peer_of_key, token::Token};

pub(crate) use message::Message;
pub use message::Refusal;

use message::{Answer, Hello, MAC_BYTES, NONCE_BYTES};

const SIGNATURE_CONTEXT: &[u8] = b"peerup/invite/2 signature of the joiner";
const HELLO_CONTEXT: &[u8] = b"peerup/invite/2 proof of the joiner";
const ANSWER_CONTEXT: &[u8] = b"peerup/invite/2 proof of the inviter";
const ACK_CONTEXT: &[u8] = b"peerup/invite/2 acknowledgement";

/// Why a pairing ended without a pair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PairingError {
    /// A payload that is no message.
    #[error("the other side sent a message that cannot be read")]
    Malformed,
    /// A message out of turn.
    #[error("the other side sent a {found} where a {expected} was due")]
    OutOfTurn {
        /// What was due.
        expected: &'static str,
        /// What came.
        found: &'static str,
    },
    /// The other side says no.
    #[error("{0}")]
    Refused(Refusal),
    /// The HMAC does not hold: the other side does not know the token, or somebody changed a message.
    #[error("the other side does not prove that it knows the invite code")]
    Proof,
    /// The signature does not hold, or the key is none.
    #[error("the other side does not prove that its identity is its own")]
    Signature,
    /// Both sides have one identity.
    #[error("a machine cannot pair with itself")]
    OwnIdentity,
    /// The local identity is of another kind.
    #[error("pairing needs an Ed25519 identity")]
    NotEd25519,
}

impl PairingError {
    /// Returns what the inviter tells the joiner; none where the joiner is the one who refused.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused(_) => None,
            Self::Proof | Self::Signature => Some(Refusal::WrongProof),
            _ => Some(Refusal::Internal),
        }
    }
}

/// Who the other side turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paired {
    /// Its real identity, proven.
    pub peer: PeerId,
    /// What it calls itself, made into a name; none where nothing of it can stand in one.
    pub name: Option<PeerName>,
}

/// The joiner, waiting for the answer.
#[derive(Debug)]
pub struct Joiner {
    token: Token,
    inviter: PeerId,
    transcript: Transcript,
}

impl Joiner {
    /// Begins a pairing. Returns the state and the payload of the hello. `identity` is the joiner's real
    /// one, `name` what the inviter shall call it, `nonce` fresh random bytes.
    ///
    /// # Errors
    /// `NotEd25519` or `OwnIdentity`.
    pub fn start(
        invite: &Invite,
        identity: &Keypair,
        name: &str,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<(Self, Vec<u8>), PairingError> {
        let keys = identity
            .clone()
            .try_into_ed25519()
            .map_err(|_| PairingError::NotEd25519)?;
        if keys.public() == *invite.inviter() {
            return Err(PairingError::OwnIdentity);
        }
        let name = wire_name(name);
        let key = keys.public().to_bytes();
        let mut transcript = Transcript::default();
        transcript.begin(
            invite.inviter(),
            &key,
            invite.one_time_keypair().public().to_peer_id(),
        );
        transcript.add(&nonce);
        transcript.add(&name);
        let signature = <[u8; 64]>::try_from(keys.sign(&transcript.in_context(SIGNATURE_CONTEXT)))
            .map_err(|_| PairingError::NotEd25519)?;
        transcript.add(&signature);
        let hello = Hello {
            identity: key,
            nonce,
            name,
            signature,
            mac: transcript.mac(invite.token(), HELLO_CONTEXT),
        };
        let joiner = Self {
            token: invite.token().clone(),
            inviter: invite.inviter_peer(),
            transcript,
        };
        Ok((joiner, Message::Hello(Box::new(hello)).encode()))
    }

    /// Takes the inviter's answer. Returns who that is, for `authorized_keys`, and the payload of the
    /// acknowledgement.
    ///
    /// # Errors
    /// `Refused` with the inviter's reason, `Proof`, `Malformed` or `OutOfTurn`.
    pub fn handle_answer(self, payload: &[u8]) -> Result<(Paired, Vec<u8>), PairingError> {
        let mut transcript = self.transcript;
        let answer = match read(payload)? {
            Message::Answer(answer) => answer,
            other => return Err(out_of_turn("answer", &other)),
        };
        transcript.add(&answer.nonce);
        transcript.add(&answer.name);
        check(&transcript.mac(&self.token, ANSWER_CONTEXT), &answer.mac)?;
        transcript.add(&answer.mac);
        let ack = Message::Ack {
            mac: transcript.mac(&self.token, ACK_CONTEXT),
        };
        let paired = Paired {
            peer: self.inviter,
            name: read_name(&answer.name),
        };
        Ok((paired, ack.encode()))
    }
}

/// The inviter, waiting for the hello.
#[derive(Debug)]
pub struct Inviter {
    token: Token,
    identity: ed25519::PublicKey,
    one_time: PeerId,
    name: Vec<u8>,
    nonce: [u8; NONCE_BYTES],
}

impl Inviter {
    /// Begins on the inviter's side. `identity` is its real public key, `one_time` the peer that the
    /// connection authenticated, `name` what the joiner shall call the inviter, `nonce` fresh random bytes.
    pub fn new(
        token: Token,
        identity: ed25519::PublicKey,
        one_time: PeerId,
        name: &str,
        nonce: [u8; NONCE_BYTES],
    ) -> Self {
        Self {
            token,
            identity,
            one_time,
            name: wire_name(name),
            nonce,
        }
    }

    /// Takes the joiner's hello. Returns the state that waits for the acknowledgement, who the joiner is, and
    /// the payload of the answer.
    ///
    /// # Errors
    /// `Proof`, `Signature`, `OwnIdentity`, `Malformed` or `OutOfTurn`; [`PairingError::refusal`] says what
    /// to send then.
    pub fn handle_hello(self, payload: &[u8]) -> Result<(InviterAwaitingAck, Paired, Vec<u8>), PairingError> {
        let hello = match read(payload)? {
            Message::Hello(hello) => hello,
            other => return Err(out_of_turn("hello", &other)),
        };
        let mut transcript = Transcript::default();
        transcript.begin(&self.identity, &hello.identity, self.one_time);
        transcript.add(&hello.nonce);
        transcript.add(&hello.name);
        let signed = transcript.in_context(SIGNATURE_CONTEXT);
        transcript.add(&hello.signature);
        // The proof comes first: whoever does not know the token learns nothing about the rest.
        check(&transcript.mac(&self.token, HELLO_CONTEXT), &hello.mac)?;
        let joiner = verified_key(&hello, &signed)?;
        if joiner == self.identity {
            return Err(PairingError::OwnIdentity);
        }
        transcript.add(&self.nonce);
        transcript.add(&self.name);
        let mac = transcript.mac(&self.token, ANSWER_CONTEXT);
        transcript.add(&mac);
        let answer = Answer {
            nonce: self.nonce,
            name: self.name,
            mac,
        };
        let waiting = InviterAwaitingAck {
            expected: transcript.mac(&self.token, ACK_CONTEXT),
        };
        let paired = Paired {
            peer: peer_of_key(&joiner),
            name: read_name(&hello.name),
        };
        Ok((waiting, paired, Message::Answer(answer).encode()))
    }
}

/// The inviter, waiting for the acknowledgement.
#[derive(Debug)]
pub struct InviterAwaitingAck {
    expected: [u8; MAC_BYTES],
}

impl InviterAwaitingAck {
    /// Takes the joiner's acknowledgement. Only after that is the joiner known to have finished.
    ///
    /// # Errors
    /// `Proof`, `Refused`, `Malformed` or `OutOfTurn`.
    pub fn handle_ack(self, payload: &[u8]) -> Result<(), PairingError> {
        match read(payload)? {
            Message::Ack { mac } => check(&self.expected, &mac),
            other => Err(out_of_turn("acknowledgement", &other)),
        }
    }
}

/// What both sides have said so far, each part with its length before it.
#[derive(Debug, Clone, Default)]
struct Transcript(Vec<u8>);

impl Transcript {
    fn begin(&mut self, inviter: &ed25519::PublicKey, joiner: &[u8], one_time: PeerId) {
        self.add(&inviter.to_bytes());
        self.add(joiner);
        self.add(&one_time.to_bytes());
    }

    /// Every part is far shorter than the two bytes of its length can say.
    fn add(&mut self, part: &[u8]) {
        self.0.extend_from_slice(&(part.len() as u16).to_be_bytes());
        self.0.extend_from_slice(part);
    }

    fn in_context(&self, context: &[u8]) -> Vec<u8> {
        let mut bytes = Self::default();
        bytes.add(context);
        bytes.0.extend_from_slice(&self.0);
        bytes.0
    }

    fn mac(&self, token: &Token, context: &[u8]) -> [u8; MAC_BYTES] {
        Hmac::<Sha256>::new_from_slice(token.as_bytes())
            .expect("HMAC takes a key of any length")
            .chain_update(self.in_context(context))
            .finalize()
            .into_bytes()
            .into()
    }
}

fn read(payload: &[u8]) -> Result<Message, PairingError> {
    match Message::decode(payload) {
        None => Err(PairingError::Malformed),
        Some(Message::Refusal(refusal)) => Err(PairingError::Refused(refusal)),
        Some(message) => Ok(message),
    }
}

fn out_of_turn(expected: &'static str, found: &Message) -> PairingError {
    PairingError::OutOfTurn {
        expected,
        found: found.name(),
    }
}

fn check(expected: &[u8; MAC_BYTES], found: &[u8; MAC_BYTES]) -> Result<(), PairingError> {
    if expected.ct_eq(found).into() {
        Ok(())
    } else {
        Err(PairingError::Proof)
    }
}

/// Checks the joiner's signature strictly, so that no key of small order passes for an identity.
fn verified_key(hello: &Hello, signed: &[u8]) -> Result<ed25519::PublicKey, PairingError> {
    let refused = |_| PairingError::Signature;
    let key = ed25519_dalek::VerifyingKey::from_bytes(&hello.identity).map_err(refused)?;
    let signature = ed25519_dalek::Signature::from_bytes(&hello.signature);
    key.verify_strict(signed, &signature).map_err(refused)?;
    ed25519::PublicKey::try_from_bytes(&hello.identity).map_err(|_| PairingError::Signature)
}

/// Makes what the own machine is called fit for the wire; nothing where no usable character is in it.
fn wire_name(name: &str) -> Vec<u8> {
    PeerName::filtered(name).map_or_else(Vec::new, |name| name.as_str().as_bytes().to_vec())
}

fn read_name(bytes: &[u8]) -> Option<PeerName> {
    PeerName::filtered(&String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests;
