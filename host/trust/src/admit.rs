//! The messages of `/peerup/admit/1.0.0`: a member asks its relay to admit a peer.
//!
//! Pure codec, in the frames of `frame.rs`: one request, one response. Whether a request is granted is the
//! relay's affair.
//!
//! | message | payload |
//! | --- | --- |
//! | admit a circuit | `1`, length of peer id (1), peer id, end in Unix minutes (4, big endian) |
//! | enroll | `2`, length of peer id (1), peer id, length of name (1), name |
//! | admitted | `128` |
//! | refused | `129`, reason (1) |

use libp2p_identity::PeerId;
use peerup_model::PeerName;

use crate::frame::Fields;

/// Longest peer id in its binary form: a multihash of 64 bytes.
const MAX_PEER: usize = 66;
const MAX_NAME: usize = 63;

const CIRCUIT: u8 = 1;
const ENROLL: u8 = 2;
const ADMITTED: u8 = 128;
const REFUSED: u8 = 129;

/// The payload is no message of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other side sent an admission message that cannot be read")]
pub struct AdmitError;

/// What a member asks of its relay.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdmitRequest {
    /// The peer may open one circuit, to the member that asks and to nobody else.
    Circuit {
        /// The one-time identity of an invite.
        peer: PeerId,
        /// Until then, in minutes since the Unix epoch.
        until: u32,
    },
    /// The peer becomes a member of the relay: an entry in its `authorized_keys`.
    Enroll {
        /// The real identity.
        peer: PeerId,
        /// What the asking member calls it, for the comment.
        name: Option<PeerName>,
    },
}

impl AdmitRequest {
    /// Writes the payload.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Circuit { peer, until } => {
                let mut bytes = vec![CIRCUIT];
                push_counted(&mut bytes, &peer.to_bytes());
                bytes.extend_from_slice(&until.to_be_bytes());
                bytes
            }
            Self::Enroll { peer, name } => {
                let mut bytes = vec![ENROLL];
                push_counted(&mut bytes, &peer.to_bytes());
                push_counted(&mut bytes, name.as_ref().map_or("", PeerName::as_str).as_bytes());
                bytes
            }
        }
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// It is not exactly one request.
    pub fn decode(payload: &[u8]) -> Result<Self, AdmitError> {
        let mut fields = Fields::new(payload);
        let request = Self::read(&mut fields).ok_or(AdmitError)?;
        if fields.left() == 0 {
            Ok(request)
        } else {
            Err(AdmitError)
        }
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let kind = fields.byte()?;
        if kind != CIRCUIT && kind != ENROLL {
            return None;
        }
        let peer = PeerId::from_bytes(fields.counted(MAX_PEER)?).ok()?;
        if kind == CIRCUIT {
            let until = fields.u32()?;
            return Some(Self::Circuit { peer, until });
        }
        let name = match fields.counted(MAX_NAME)? {
            [] => None,
            bytes => Some(std::str::from_utf8(bytes).ok()?.parse().ok()?),
        };
        Some(Self::Enroll { peer, name })
    }
}

/// Why a relay admits nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AdmitRefusal {
    /// Whoever asks is no member of the relay.
    #[error("this machine is no member of the relay; have its operator authorize it")]
    NotMember,
    /// The relay enrolls for admins only.
    #[error("the relay enrolls peers for its admins only; have its operator authorize the peer")]
    EnrollmentAdmins,
    /// The relay enrolls for nobody.
    #[error("the relay enrolls nobody by itself; have its operator authorize the peer")]
    EnrollmentClosed,
    /// The relay has no room.
    #[error("the relay has no room for another peer; have its operator raise the limit")]
    Full,
    /// The request makes no sense to the relay.
    #[error("the relay does not accept the request as it is")]
    Invalid,
    /// The relay failed.
    #[error("the relay failed to admit the peer; see its log")]
    Internal,
}

impl AdmitRefusal {
    fn code(self) -> u8 {
        match self {
            Self::NotMember => 1,
            Self::EnrollmentAdmins => 2,
            Self::EnrollmentClosed => 3,
            Self::Full => 4,
            Self::Invalid => 5,
            Self::Internal => 6,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::NotMember),
            2 => Some(Self::EnrollmentAdmins),
            3 => Some(Self::EnrollmentClosed),
            4 => Some(Self::Full),
            5 => Some(Self::Invalid),
            6 => Some(Self::Internal),
            _ => None,
        }
    }
}

/// What the relay answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdmitResponse {
    /// It is done, or was done before.
    Admitted,
    /// It is not done.
    Refused(AdmitRefusal),
}

impl AdmitResponse {
    /// Writes the payload.
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Admitted => vec![ADMITTED],
            Self::Refused(reason) => vec![REFUSED, reason.code()],
        }
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// It is not exactly one response.
    pub fn decode(payload: &[u8]) -> Result<Self, AdmitError> {
        match payload {
            [ADMITTED] => Ok(Self::Admitted),
            [REFUSED, code] => AdmitRefusal::from_code(*code)
                .map(Self::Refused)
                .ok_or(AdmitError),
            _ => Err(AdmitError),
        }
    }
}

/// Peer ids and names are shorter than one byte of length can say.
fn push_counted(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.push(part.len() as u8);
    bytes.extend_from_slice(part);
}

#[cfg(test)]
mod tests;
