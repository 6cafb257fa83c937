//! Names of services, peers and plugins: checked once, where they enter.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Service names whose protocol id would be one of the core's.
pub const RESERVED_SERVICE_NAMES: &[&str] = &["admit", "invite", "kad", "names", "p", "ping"];

/// A DNS label's length.
const MAX_LABEL: usize = 63;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing was given.
    #[error("the name is empty")]
    Empty,
    /// Longer than a DNS label.
    #[error("the name {name:?} has {length} characters; at most {MAX_LABEL} are allowed")]
    TooLong {
        /// The name, cut short.
        name: String,
        /// Its length in characters.
        length: usize,
    },
    /// A character that a label cannot hold.
    #[error(
        "the name {name:?} is not valid: use lower-case letters, digits and dashes, with a letter or digit at both ends"
    )]
    Form {
        /// The name as given.
        name: String,
    },
    /// A service name that the core's protocols use.
    #[error("the service name {name:?} is reserved for a protocol of peerup itself; choose another")]
    Reserved {
        /// The name as given.
        name: String,
    },
}

fn check_label(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    let length = text.chars().count();
    if length > MAX_LABEL {
        return Err(NameError::TooLong {
            name: text.chars().take(MAX_LABEL).collect(),
            length,
        });
    }
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !text.chars().all(inner) || text.starts_with('-') || text.ends_with('-') {
        return Err(NameError::Form {
            name: text.to_owned(),
        });
    }
    Ok(())
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check_label(text)?;
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

label! {
    /// A service: `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`, and not reserved.
    ServiceName, |text| {
        if RESERVED_SERVICE_NAMES.contains(&text) {
            return Err(NameError::Reserved { name: text.to_owned() });
        }
        Ok(())
    }
}
label! {
    /// What the operator calls a peer. Same form as a DNS label, lower case.
    PeerName, |_| Ok(())
}
label! {
    /// A plugin. Same form as a DNS label, lower case.
    PluginName, |_| Ok(())
}

label! {
    /// A proxy of the config. Same form as a DNS label, lower case.
    ProxyName, |_| Ok(())
}

label! {
    /// A rule or a target of the alerts. Same form as a DNS label, lower case.
    AlertName, |_| Ok(())
}

impl PeerName {
    /// Makes a name out of what a peer calls itself: lower case, everything but letters, digits and
    /// dashes left out, cut to a label. Returns none where nothing usable is left.
    pub fn filtered(text: &str) -> Option<Self> {
        let kept: String = text
            .chars()
            .map(|c| c.to_ascii_lowercase())
            .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-')
            .take(MAX_LABEL)
            .collect();
        kept.trim_matches('-').parse().ok()
    }

    /// Returns this name, or with `-2`, `-3`, ... the first that is not taken.
    #[must_use]
    pub fn unless_taken(&self, taken: impl Fn(&str) -> bool) -> Self {
        if !taken(&self.0) {
            return self.clone();
        }
        let mut number = 2_u64;
        loop {
            let suffix = format!("-{number}");
            let stem: String = self.0.chars().take(MAX_LABEL - suffix.len()).collect();
            let candidate = format!("{}{suffix}", stem.trim_end_matches('-'));
            if !taken(&candidate) {
                return Self(candidate);
            }
            number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_labels_and_refuses_everything_else() {
        for good in ["a", "web", "my-web-2", "0", &"x".repeat(63)] {
            assert!(good.parse::<ServiceName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a_b",
            "a.b",
            "a/b",
            "ä",
            " a",
            &"x".repeat(64),
        ] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn refuses_reserved_service_names_but_not_peer_names() {
        assert_eq!(
            "ping".parse::<ServiceName>(),
            Err(NameError::Reserved { name: "ping".into() })
        );
        assert!("ping".parse::<PeerName>().is_ok());
    }

    #[test]
    fn numbers_a_name_that_is_taken() {
        let name: PeerName = "home".parse().unwrap();
        assert_eq!(
            name.unless_taken(|n| n == "home" || n == "home-2").as_str(),
            "home-3"
        );
        let long: PeerName = "x".repeat(63).parse().unwrap();
        let next = long.unless_taken(|n| n == long.as_str());
        assert_eq!(next.as_str().len(), 63);
        assert!(next.as_str().ends_with("-2"));
    }

    proptest! {
        #[test]
        fn a_filtered_name_is_a_name(text in ".{0,100}") {
            if let Some(name) = PeerName::filtered(&text) {
                prop_assert!(name.as_str().parse::<PeerName>().is_ok());
            }
        }
    }
}
