//! Sizes in bytes as the operator writes them.

use std::{fmt, str::FromStr};

use super::GrantError;

/// The units, largest first, with the power of two that each stands for.
const UNITS: [(&str, u32); 4] = [("TB", 40), ("GB", 30), ("MB", 20), ("KB", 10)];

/// A number of bytes. Written with a unit, such as `512KB`, `64MB` or `1GB`; every unit is a power of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// Creates a size of this many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Returns the number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let refused = || GrantError::Size(text.chars().take(40).collect());
        let trimmed = text.trim();
        let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = trimmed.split_at_checked(digits).ok_or_else(refused)?;
        let number: u64 = number.parse().map_err(|_| refused())?;
        let shift = match unit.trim().to_ascii_lowercase().as_str() {
            "" if number == 0 => 0,
            "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(refused()),
        };
        let bytes = number.checked_mul(1 << shift);
        bytes
            .map(Self)
            .ok_or_else(|| GrantError::SizeTooLarge(text.chars().take(40).collect()))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS
            .iter()
            .find(|(_, shift)| self.0 > 0 && self.0.trailing_zeros() >= *shift);
        match exact {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}
