//! What became of upgrades between two looks at the lock file. Pure.

use std::collections::BTreeMap;

use peerup_model::PluginName;
use peerup_package::{Expired, LockFile, LockedPackage, Trial};
use serde_json::{Value, json};

/// An upgrade that waits, as a look found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) trial: Trial,
    pub(crate) current: LockedPackage,
    pub(crate) previous: LockedPackage,
}

/// What happened to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// It waits from now on.
    Waits(Box<Known>),
    /// It is there to stay.
    Confirmed { version: String },
    /// The version before is back.
    Reverted {
        rejected: String,
        version: String,
        /// Somebody asked for it; else its time was over.
        is_asked: bool,
    },
    /// Its time was over, and the version before cannot be read.
    Stayed { version: String, reason: String },
}

/// Returns what waits.
pub(crate) fn known(lock: &LockFile) -> BTreeMap<PluginName, Known> {
    let waits = lock.plugins().filter_map(|plugin| {
        let known = Known {
            trial: plugin.trial.clone()?,
            current: plugin.current.clone(),
            previous: plugin.previous.clone()?,
        };
        Some((plugin.name.clone(), known))
    });
    waits.collect()
}

/// Compares two looks. `expired` are those that the later one found over.
pub(crate) fn news(
    before: &BTreeMap<PluginName, Known>,
    after: &BTreeMap<PluginName, Known>,
    lock: &LockFile,
    expired: &[Expired],
) -> Vec<(PluginName, News)> {
    let mut all = Vec::new();
    for one in expired {
        let version = lock.get(&one.name).map(|plugin| plugin.current.version.clone());
        let what = match &one.kept {
            Some(reason) => News::Stayed {
                version: one.upgraded.version.clone(),
                reason: reason.clone(),
            },
            None => News::Reverted {
                rejected: one.upgraded.version.clone(),
                version: version.unwrap_or_default(),
                is_asked: false,
            },
        };
        all.push((one.name.clone(), what));
    }
    let is_expired = |name: &PluginName| expired.iter().any(|one| one.name == *name);
    for (name, was) in before.iter().filter(|(name, _)| !is_expired(name)) {
        let is_same = after.get(name).is_some_and(|now| now.trial == was.trial);
        let Some(plugin) = lock.get(name).filter(|_| !is_same) else {
            continue;
        };
        let what = match plugin.current.digest == was.current.digest {
            true => News::Confirmed {
                version: was.current.version.clone(),
            },
            false => News::Reverted {
                rejected: was.current.version.clone(),
                version: plugin.current.version.clone(),
                is_asked: true,
            },
        };
        all.push((name.clone(), what));
    }
    for (name, now) in after {
        if before.get(name).is_none_or(|was| was.trial != now.trial) {
            all.push((name.clone(), News::Waits(Box::new(now.clone()))));
        }
    }
    all
}

impl News {
    /// Returns the word for how it ended and the version that waited; none where it has not ended.
    pub(crate) fn end(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Waits(_) => None,
            Self::Confirmed { version } => Some(("confirmed", version)),
            Self::Reverted { rejected, .. } => Some(("reverted", rejected)),
            Self::Stayed { version, .. } => Some(("stayed", version)),
        }
    }

    /// Returns the word and the detail of the audit log. `unmet` says of each check why it was not met.
    pub(crate) fn in_words(&self, unmet: &[Option<String>]) -> (&'static str, Value) {
        match self {
            Self::Waits(known) => (
                "upgrade-waits",
                json!({
                    "version": known.current.version, "previous": known.previous.version,
                    "deadline": peerup_ops::rfc3339(known.trial.deadline.deadline_ms), "by": known.trial.by,
                }),
            ),
            Self::Confirmed { version } => ("upgrade-confirmed", json!({ "version": version })),
            Self::Reverted {
                rejected,
                version,
                is_asked,
            } => {
                let reasons: Vec<&str> = unmet.iter().flatten().map(String::as_str).collect();
                let reason = match (is_asked, reasons.is_empty()) {
                    (true, _) => "a rollback was asked for".to_owned(),
                    (false, true) => "nobody confirmed it in time".to_owned(),
                    (false, false) => format!("not met in time: {}", reasons.join("; ")),
                };
                (
                    "upgrade-reverted",
                    json!({ "version": version, "rejected": rejected, "reason": reason }),
                )
            }
            Self::Stayed { version, reason } => {
                ("upgrade-stayed", json!({ "version": version, "reason": reason }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use peerup_model::{Deadline, Now};
    use peerup_package::WayBack;

    use super::*;

    fn lock(current: &str, previous: &str, deadline: Option<u64>) -> LockFile {
        let package = |table: &str, version: &str| {
            format!(
                "[plugin.{table}]\nversion = \"{version}\"\ncontract = \"0.1.1\"\ndigest = \"sha256:{}\"\nsource = \"file:/p\"\ninstalled = \"2026-01-01T00:00:00Z\"\n",
                version.repeat(64)
            )
        };
        let text = format!(
            "version = 1\n[[plugin]]\nname = \"chess\"\n{}{}",
            package("current", current),
            package("previous", previous)
        );
        let mut lock = LockFile::parse(&text).unwrap();
        if let Some(wall_ms) = deadline {
            let now = Now {
                wall_ms,
                steady_ms: wall_ms,
            };
            let deadline = Deadline::new(std::time::Duration::from_millis(1), now, None);
            lock.begin_trial(
                &"chess".parse().unwrap(),
                Trial::new("a test", Vec::new(), deadline),
            );
        }
        lock
    }

    fn words(before: &LockFile, after: &LockFile, expired: &[Expired]) -> Vec<&'static str> {
        let told = news(&known(before), &known(after), after, expired);
        told.iter().map(|(_, what)| what.in_words(&[]).0).collect()
    }

    #[test]
    fn each_end_has_its_word_and_is_told_once() {
        let (settled, waits) = (lock("1", "0", None), lock("2", "1", Some(5)));
        assert_eq!(words(&settled, &waits, &[]), ["upgrade-waits"]);
        assert_eq!(words(&waits, &waits, &[]), Vec::<&str>::new());
        assert_eq!(words(&waits, &lock("2", "1", None), &[]), ["upgrade-confirmed"]);
        let back = lock("1", "2", None);
        assert_eq!(words(&waits, &back, &[]), ["upgrade-reverted"]);
        assert_eq!(words(&back, &back, &[]), Vec::<&str>::new());
        // Two changes between two looks.
        let again = lock("3", "2", Some(9));
        assert_eq!(words(&waits, &again, &[]), ["upgrade-reverted", "upgrade-waits"]);

        let mut over = waits.clone();
        let late = Now {
            wall_ms: 99,
            steady_ms: 99,
        };
        let expired = over.expire(late, None, |_, _| WayBack::Whole);
        assert_eq!(words(&waits, &over, &expired), ["upgrade-reverted"]);
        // One that a start finds over was never seen before.
        assert_eq!(words(&settled, &over, &expired), ["upgrade-reverted"]);
        let mut over = waits.clone();
        let expired = over.expire(late, None, |_, _| WayBack::Broken("damaged".to_owned()));
        assert_eq!(words(&waits, &over, &expired), ["upgrade-stayed"]);
    }
}
