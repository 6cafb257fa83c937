//! Names of environment variables.

use std::{fmt, str::FromStr};

use super::GrantError;

/// The longest name.
const MAX_NAME_BYTES: usize = 128;

/// The exact name of an environment variable: letters, digits and `_`, not starting with a digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VariableName(String);

impl VariableName {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VariableName {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let fits = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let starts = text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        if !fits || !starts || text.len() > MAX_NAME_BYTES {
            return Err(GrantError::Variable(text.chars().take(80).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for VariableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
