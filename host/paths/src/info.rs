//! The message in which two members tell each other how they can be reached: protocol `/peerup/path/1.0.0`.
//!
//! Version byte 1, a byte of flags (bit 0: wants a direct path), a byte on the NAT (two bits each, from the lowest:
//! kind, port preserving, CGNAT, UDP; 0 is unknown in all), the number of candidates, then each candidate as one
//! byte of length and a binary multiaddr. What follows is for later additions and ignored. The sender is known from
//! the connection; the candidates are its claim, and whoever dials them must expect anything.

use std::net::IpAddr;

use multiaddr::{Multiaddr, Protocol};
use thiserror::Error;

use crate::{
    nat::{NatKind, NatVerdict, UdpVerdict},
    reach::{AddressScope, scope},
};

/// The largest message in bytes.
pub const MAX_PATH_INFO: usize = 2048;
/// The most candidates in one message.
pub const MAX_CANDIDATES: usize = 16;
/// The most names among them. Each look-up that nobody answers holds a thread for half a minute.
const MAX_NAMES: usize = 2;
/// The longest candidate in bytes, as a binary multiaddr.
pub const MAX_CANDIDATE: usize = 128;

const VERSION: u8 = 1;
const WANTS_DIRECT: u8 = 1;

/// What a member tells another one of its NAT.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct PathNat {
    /// How the NAT chooses ports.
    pub kind: NatKind,
    /// Whether the outside port is the local one.
    pub port_preserving: Option<bool>,
    /// Whether the provider has a NAT of its own.
    pub cgnat: Option<bool>,
    /// Whether UDP works.
    pub udp: UdpVerdict,
}

impl From<&NatVerdict> for PathNat {
    fn from(verdict: &NatVerdict) -> Self {
        Self {
            kind: verdict.kind,
            port_preserving: verdict.port_preserving,
            cgnat: verdict.cgnat,
            udp: verdict.udp,
        }
    }
}

impl PathNat {
    fn to_byte(self) -> u8 {
        let kind = match self.kind {
            NatKind::Unknown => 0,
            NatKind::None => 1,
            NatKind::EndpointIndependent => 2,
            NatKind::Symmetric => 3,
        };
        let udp = match self.udp {
            UdpVerdict::Unknown => 0,
            UdpVerdict::Ok => 1,
            UdpVerdict::Blocked => 2,
        };
        kind | known_bits(self.port_preserving) << 2 | known_bits(self.cgnat) << 4 | udp << 6
    }

    fn from_byte(byte: u8) -> Self {
        Self {
            kind: match byte & 3 {
                1 => NatKind::None,
                2 => NatKind::EndpointIndependent,
                3 => NatKind::Symmetric,
                _ => NatKind::Unknown,
            },
            port_preserving: known_from_bits(byte >> 2),
            cgnat: known_from_bits(byte >> 4),
            udp: match byte >> 6 {
                1 => UdpVerdict::Ok,
                2 => UdpVerdict::Blocked,
                _ => UdpVerdict::Unknown,
            },
        }
    }
}

fn known_bits(value: Option<bool>) -> u8 {
    value.map_or(0, |value| 1 + u8::from(value))
}

fn known_from_bits(bits: u8) -> Option<bool> {
    match bits & 3 {
        1 => Some(false),
        2 => Some(true),
        _ => None,
    }
}

/// How a member can be reached, in its own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathInfo {
    /// Whether it asks the other side to try for a direct path now.
    pub wants_direct: bool,
    /// What it knows of its NAT.
    pub nat: PathNat,
    /// Where it may be reached directly, the best first.
    pub candidates: Vec<Multiaddr>,
}

/// Why bytes are no [`PathInfo`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PathInfoError {
    /// It is longer than [`MAX_PATH_INFO`].
    #[error("the path message is longer than {MAX_PATH_INFO} bytes")]
    TooLong,
    /// It ends in the middle.
    #[error("the path message is cut short")]
    CutShort,
    /// Its version is not 1.
    #[error("the path message has version {0}, this node speaks 1")]
    Version(u8),
    /// It has more than [`MAX_CANDIDATES`] candidates.
    #[error("the path message has {0} candidates, {MAX_CANDIDATES} are allowed")]
    TooManyCandidates(u8),
    /// A candidate is longer than [`MAX_CANDIDATE`].
    #[error("the path message has a candidate of {0} bytes, {MAX_CANDIDATE} are allowed")]
    CandidateTooLong(u8),
}

impl PathInfo {
    /// Writes the message. Candidates that [`is_candidate`] refuses and those that do not fit any more are left out.
    pub fn encode(&self) -> Vec<u8> {
        let mut candidates = Vec::new();
        let mut count = 0_u8;
        for candidate in self.candidates.iter().filter(|one| is_candidate(one)) {
            let bytes = candidate.as_ref();
            let fits = HEADER + candidates.len() + 1 + bytes.len() <= MAX_PATH_INFO;
            let Ok(length) = u8::try_from(bytes.len()) else {
                continue;
            };
            if bytes.len() > MAX_CANDIDATE || !fits {
                continue;
            }
            if usize::from(count) >= MAX_CANDIDATES {
                break;
            }
            candidates.push(length);
            candidates.extend_from_slice(bytes);
            count += 1;
        }
        let flags = if self.wants_direct { WANTS_DIRECT } else { 0 };
        let mut message = vec![VERSION, flags, self.nat.to_byte(), count];
        message.append(&mut candidates);
        message
    }

    /// Reads a message. Candidates of a kind that this node does not know or does not dial are left out, and so are
    /// names past the second.
    pub fn decode(bytes: &[u8]) -> Result<Self, PathInfoError> {
        if bytes.len() > MAX_PATH_INFO {
            return Err(PathInfoError::TooLong);
        }
        let (version, rest) = bytes.split_first().ok_or(PathInfoError::CutShort)?;
        if *version != VERSION {
            return Err(PathInfoError::Version(*version));
        }
        let ([flags, nat, count], mut rest) = rest.split_first_chunk().ok_or(PathInfoError::CutShort)?;
        if usize::from(*count) > MAX_CANDIDATES {
            return Err(PathInfoError::TooManyCandidates(*count));
        }
        let (mut candidates, mut names) = (Vec::new(), 0);
        for _ in 0..*count {
            let candidate = take_candidate(&mut rest)?;
            if let Ok(address) = Multiaddr::try_from(candidate.to_vec())
                && is_candidate(&address)
            {
                names += usize::from(is_named(&address));
                if !is_named(&address) || names <= MAX_NAMES {
                    candidates.push(address);
                }
            }
        }
        Ok(Self {
            wants_direct: flags & WANTS_DIRECT != 0,
            nat: PathNat::from_byte(*nat),
            candidates,
        })
    }
}

/// Version, flags, NAT and count.
const HEADER: usize = 4;

fn take_candidate<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], PathInfoError> {
    let (length, after) = rest.split_first().ok_or(PathInfoError::CutShort)?;
    if usize::from(*length) > MAX_CANDIDATE {
        return Err(PathInfoError::CandidateTooLong(*length));
    }
    let (candidate, after) = after
        .split_at_checked(usize::from(*length))
        .ok_or(PathInfoError::CutShort)?;
    *rest = after;
    Ok(candidate)
}

/// Whether it has to be looked up before it is dialled.
fn is_named(address: &Multiaddr) -> bool {
    let host = address.iter().next();
    matches!(
        host,
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_))
    )
}

/// Returns whether the address is a direct one that another machine may dial: an IP address or a DNS name with a
/// port, no circuit, and nothing that means this machine, everyone or no one.
pub fn is_candidate(address: &Multiaddr) -> bool {
    let mut parts = address.iter();
    let host = match parts.next() {
        Some(Protocol::Ip4(ip)) => is_dialable(ip.into()),
        Some(Protocol::Ip6(ip)) => is_dialable(ip.into()),
        Some(Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name)) => is_remote_name(&name),
        _ => false,
    };
    let port = match parts.next() {
        Some(Protocol::Tcp(port) | Protocol::Udp(port)) => port != 0,
        _ => false,
    };
    host && port && !parts.any(|part| matches!(part, Protocol::P2pCircuit))
}

fn is_dialable(ip: IpAddr) -> bool {
    !matches!(scope(ip), AddressScope::Loopback | AddressScope::Unusable)
}

fn is_remote_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    let is_local = name.eq_ignore_ascii_case("localhost")
        || name
            .rsplit_once('.')
            .is_some_and(|(_, last)| last.eq_ignore_ascii_case("localhost"));
    !name.is_empty() && !is_local
}
