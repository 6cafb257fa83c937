//! What stands in the frames of the pairing protocol.
//!
//! Pure codec: every message is exactly its fields, and nothing may follow them.

use crate::frame::Fields;

/// Longest name on the wire, in bytes: a label.
pub(crate) const MAX_NAME: usize = 63;
pub(crate) const KEY_BYTES: usize = 32;
pub(crate) const NONCE_BYTES: usize = 32;
pub(crate) const SIGNATURE_BYTES: usize = 64;
pub(crate) const MAC_BYTES: usize = 32;

const HELLO: u8 = 1;
const ANSWER: u8 = 2;
const ACK: u8 = 3;
const REFUSAL: u8 = 4;

/// Why the inviter's side ends a pairing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Somebody joined with this code already.
    #[error("the invite code has been used already; ask for a new one")]
    Used,
    /// The invite has ended, by the inviter's clock.
    #[error("the invite code has expired; ask for a new one")]
    Expired,
    /// The proof or the signature does not hold.
    #[error("the other side did not accept the proof of the invite code; check the code")]
    WrongProof,
    /// The inviter could not finish for reasons of its own.
    #[error("the other side failed to finish the pairing; see its log")]
    Internal,
}

impl Refusal {
    fn code(self) -> u8 {
        match self {
            Self::Used => 1,
            Self::Expired => 2,
            Self::WrongProof => 3,
            Self::Internal => 4,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Used),
            2 => Some(Self::Expired),
            3 => Some(Self::WrongProof),
            4 => Some(Self::Internal),
            _ => None,
        }
    }

    /// Writes the payload of a refusal frame.
    pub fn encode(self) -> Vec<u8> {
        vec![REFUSAL, self.code()]
    }

    /// Reads the payload of a frame as a refusal; none where it is another message or none.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        match payload {
            [REFUSAL, code] => Self::from_code(*code),
            _ => None,
        }
    }
}

/// The joiner's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) identity: [u8; KEY_BYTES],
    pub(crate) nonce: [u8; NONCE_BYTES],
    pub(crate) name: Vec<u8>,
    pub(crate) signature: [u8; SIGNATURE_BYTES],
    pub(crate) mac: [u8; MAC_BYTES],
}

/// The inviter's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) nonce: [u8; NONCE_BYTES],
    pub(crate) name: Vec<u8>,
    pub(crate) mac: [u8; MAC_BYTES],
}

/// Any message of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Hello(Box<Hello>),
    Answer(Answer),
    Ack { mac: [u8; MAC_BYTES] },
    Refusal(Refusal),
}

impl Message {
    /// Returns what to call it in an error.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Answer(_) => "answer",
            Self::Ack { .. } => "acknowledgement",
            Self::Refusal(_) => "refusal",
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => {
                let mut bytes = vec![HELLO];
                bytes.extend_from_slice(&hello.identity);
                bytes.extend_from_slice(&hello.nonce);
                push_name(&mut bytes, &hello.name);
                bytes.extend_from_slice(&hello.signature);
                bytes.extend_from_slice(&hello.mac);
                bytes
            }
            Self::Answer(answer) => {
                let mut bytes = vec![ANSWER];
                bytes.extend_from_slice(&answer.nonce);
                push_name(&mut bytes, &answer.name);
                bytes.extend_from_slice(&answer.mac);
                bytes
            }
            Self::Ack { mac } => [&[ACK][..], mac].concat(),
            Self::Refusal(refusal) => refusal.encode(),
        }
    }

    /// Reads a payload; none where it is not exactly one message.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(payload);
        let message = match fields.byte()? {
            HELLO => Self::Hello(Box::new(Hello {
                identity: fields.array()?,
                nonce: fields.array()?,
                name: fields.counted(MAX_NAME)?.to_vec(),
                signature: fields.array()?,
                mac: fields.array()?,
            })),
            ANSWER => Self::Answer(Answer {
                nonce: fields.array()?,
                name: fields.counted(MAX_NAME)?.to_vec(),
                mac: fields.array()?,
            }),
            ACK => Self::Ack { mac: fields.array()? },
            REFUSAL => Self::Refusal(Refusal::from_code(fields.byte()?)?),
            _ => return None,
        };
        (fields.left() == 0).then_some(message)
    }
}

/// Names are cut to [`MAX_NAME`] before they come here, so one byte holds the length.
fn push_name(bytes: &mut Vec<u8>, name: &[u8]) {
    bytes.push(name.len() as u8);
    bytes.extend_from_slice(name);
}
