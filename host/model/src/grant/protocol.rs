//! Patterns of protocol ids.

use std::{fmt, str::FromStr};

use super::GrantError;
use crate::protocol::{
    ADMIT_PROTOCOL, HOLE_PUNCH_PROTOCOL, INVITE_PROTOCOL, KAD_PROTOCOL, NAMES_PROTOCOL, REACH_PROTOCOL,
};

/// A protocol id, or `/peerup/*/1.0.0` for every service. Never covers a protocol of the core, nor
/// another plugin's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolPattern(String);

impl ProtocolPattern {
    /// Returns whether it covers everything that the other one covers.
    pub fn covers(&self, other: &Self) -> bool {
        self == other || self.matches(&other.0)
    }

    /// Returns whether it is this protocol id and no pattern.
    pub fn is_exactly(&self, protocol: &str) -> bool {
        !self.0.contains('*') && self.matches(protocol)
    }

    /// Returns whether it covers this protocol id.
    pub fn matches(&self, protocol: &str) -> bool {
        let core = [
            ADMIT_PROTOCOL,
            INVITE_PROTOCOL,
            KAD_PROTOCOL,
            NAMES_PROTOCOL,
            REACH_PROTOCOL,
            HOLE_PUNCH_PROTOCOL,
        ];
        if core.contains(&protocol) {
            return false;
        }
        match self.0.split_once('*') {
            None => self.0 == protocol,
            Some((head, tail)) => {
                let middle = protocol
                    .strip_prefix(head)
                    .and_then(|rest| rest.strip_suffix(tail));
                middle.is_some_and(|name| name.parse::<crate::ServiceName>().is_ok())
            }
        }
    }
}

impl FromStr for ProtocolPattern {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let refused = || GrantError::Protocol(text.to_owned());
        if !text.starts_with('/') || text.len() > 140 || text.contains(char::is_whitespace) {
            return Err(refused());
        }
        if text.contains('*') && text != "/peerup/*/1.0.0" {
            return Err(refused());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ProtocolPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
