//! The marker of a config that waits to be confirmed, and how its deadline is read after a restart, a reboot or a
//! clock that was set.

use std::{fmt, str::FromStr, time::Duration};

use peerup_model::{Deadline, Now, ServiceName, SteadyDeadline};
use serde::{Deserialize, Serialize};

/// The version of the marker's form that this release writes.
const MARKER_VERSION: u32 = 1;
/// Most checks of one apply; each is tried again and again.
pub const MAX_CHECKS: usize = 16;

/// A config that was applied and reverts unless somebody confirms it. Written as JSON, one file, all at once: the
/// config from before is part of it, so there is never a marker without its way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    version: u32,
    /// When it was applied, in milliseconds since 1970.
    pub applied_ms: u64,
    /// When it reverts, in milliseconds since 1970.
    pub deadline_ms: u64,
    /// The whole time that was given.
    pub timeout_ms: u64,
    /// The same deadline on the clock of one boot.
    pub steady: Option<SteadyDeadline>,
    /// Who applied it, in words.
    pub by: String,
    /// What has to hold for it to be confirmed without anybody's word.
    pub checks: Vec<ConfirmCheck>,
    /// The text of the config from before.
    pub before: String,
}

impl Pending {
    /// A config that is applied now and has this long.
    pub fn new(
        before: String,
        by: String,
        timeout: Duration,
        checks: Vec<ConfirmCheck>,
        clock: (Now, Option<&str>),
    ) -> Self {
        let (now, boot) = clock;
        let Deadline {
            applied_ms,
            deadline_ms,
            timeout_ms,
            steady,
        } = Deadline::new(timeout, now, boot);
        Self {
            version: MARKER_VERSION,
            applied_ms,
            deadline_ms,
            timeout_ms,
            steady,
            by,
            checks,
            before,
        }
    }

    /// Reads a marker.
    ///
    /// # Errors
    /// It is damaged, or of a later release.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let marker: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match marker.version {
            MARKER_VERSION => Ok(marker),
            other => Err(format!(
                "it has version {other}, and this release knows {MARKER_VERSION}"
            )),
        }
    }

    /// Returns how long it still has, never more than it was given. Within the boot in which it was applied the clock
    /// of that boot decides, whatever became of the wall clock; after a reboot the wall clock does.
    pub fn left(&self, now: Now, boot: Option<&str>) -> Duration {
        let deadline = Deadline {
            applied_ms: self.applied_ms,
            deadline_ms: self.deadline_ms,
            timeout_ms: self.timeout_ms,
            steady: self.steady.clone(),
        };
        deadline.left(now, boot)
    }
}

/// Something that has to hold for a config to be confirmed without anybody's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ConfirmCheck {
    /// The peer answers a ping.
    Ping(String),
    /// The peer's service takes a connection.
    Connect(String, ServiceName),
    /// A relay holds a reservation.
    Relay,
}

impl FromStr for ConfirmCheck {
    type Err = ConfirmCheckError;

    fn from_str(text: &str) -> Result<Self, ConfirmCheckError> {
        let refused = || ConfirmCheckError(text.to_owned());
        match text.split_once(':') {
            None if text == "relay" => Ok(Self::Relay),
            Some(("ping", peer)) if !peer.is_empty() => Ok(Self::Ping(peer.to_owned())),
            Some(("connect", target)) => match target.split_once('/') {
                Some((peer, service)) if !peer.is_empty() => {
                    let service = service.parse().map_err(|_| refused())?;
                    Ok(Self::Connect(peer.to_owned(), service))
                }
                _ => Err(refused()),
            },
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for ConfirmCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ping(peer) => write!(f, "ping:{peer}"),
            Self::Connect(peer, service) => write!(f, "connect:{peer}/{service}"),
            Self::Relay => f.write_str("relay"),
        }
    }
}

impl TryFrom<String> for ConfirmCheck {
    type Error = ConfirmCheckError;

    fn try_from(text: String) -> Result<Self, ConfirmCheckError> {
        text.parse()
    }
}

impl From<ConfirmCheck> for String {
    fn from(check: ConfirmCheck) -> Self {
        check.to_string()
    }
}

/// A text that is no check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no check; write ping:PEER, connect:PEER/SERVICE or relay")]
pub struct ConfirmCheckError(String);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const APPLIED: Now = Now {
        wall_ms: 1_000_000,
        steady_ms: 50_000,
    };

    fn marker() -> Pending {
        let timeout = Duration::from_secs(300);
        Pending::new(
            "old".into(),
            "root".into(),
            timeout,
            vec![ConfirmCheck::Relay],
            (APPLIED, Some("a")),
        )
    }

    #[test]
    fn within_a_boot_a_clock_that_is_set_changes_nothing() {
        let marker = marker();
        for wall_ms in [0, APPLIED.wall_ms, u64::MAX] {
            let now = Now {
                wall_ms,
                steady_ms: APPLIED.steady_ms + 100_000,
            };
            assert_eq!(marker.left(now, Some("a")), Duration::from_secs(200));
        }
    }

    #[test]
    fn after_a_reboot_the_wall_clock_counts_and_never_gives_more_than_the_whole_time() {
        let marker = marker();
        let at = |wall_ms| {
            marker.left(
                Now {
                    wall_ms,
                    steady_ms: 0,
                },
                Some("b"),
            )
        };
        assert_eq!(at(APPLIED.wall_ms + 100_000), Duration::from_secs(200));
        assert_eq!(at(APPLIED.wall_ms + 300_000), Duration::ZERO);
        assert_eq!(at(0), Duration::from_secs(300));
    }

    #[test]
    fn checks_are_read_as_they_are_shown() {
        for text in ["ping:home", "connect:home/web", "relay"] {
            assert_eq!(text.parse::<ConfirmCheck>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "ping",
            "ping:",
            "connect:home",
            "connect:/web",
            "connect:home/",
            "relay:x",
            "pong:home",
        ] {
            assert!(bad.parse::<ConfirmCheck>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_marker_reads_back_and_a_damaged_one_is_told() {
        let bytes = serde_json::to_vec(&marker()).unwrap();
        assert_eq!(Pending::read(&bytes).unwrap(), marker());
        for bad in [&bytes[..bytes.len() / 2], b"", b"{}", b"[1]"] {
            assert!(Pending::read(bad).is_err());
        }
        let later = String::from_utf8(bytes)
            .unwrap()
            .replace("\"version\":1", "\"version\":2");
        assert!(Pending::read(later.as_bytes()).unwrap_err().contains("version 2"));
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Pending::read(&bytes);
        }
    }
}
