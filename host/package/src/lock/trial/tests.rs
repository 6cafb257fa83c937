//! Which package holds, for any clocks.

use peerup_model::SteadyDeadline;
use proptest::prelude::*;

use super::*;

const DIGESTS: [&str; 2] = [
    "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
];

fn text(trial: Option<&Trial>) -> String {
    let package = |table: &str, version: &str, digest: &str| {
        format!(
            "[plugin.{table}]\nversion = \"{version}\"\ncontract = \"0.1.1\"\ndigest = \"{digest}\"\nsource = \"file:/p\"\ninstalled = \"2026-01-01T00:00:00Z\"\n"
        )
    };
    let trial = trial.map(|trial| {
        let deadline = &trial.deadline;
        let steady = deadline.steady.as_ref().map(|steady| {
            format!(
                "[plugin.trial.deadline.steady]\nboot = \"{}\"\ndeadline_ms = {}\n",
                steady.boot, steady.deadline_ms
            )
        });
        format!(
            "[plugin.trial]\nby = \"{}\"\n[plugin.trial.deadline]\napplied_ms = {}\ndeadline_ms = {}\ntimeout_ms = {}\n{}",
            trial.by,
            deadline.applied_ms,
            deadline.deadline_ms,
            deadline.timeout_ms,
            steady.unwrap_or_default()
        )
    });
    format!(
        "version = 1\n[[plugin]]\nname = \"chess\"\n{}{}{}",
        package("current", "2.0.0", DIGESTS[1]),
        package("previous", "1.0.0", DIGESTS[0]),
        trial.unwrap_or_default()
    )
}

fn chess() -> PluginName {
    "chess".parse().unwrap()
}

fn times() -> impl Strategy<Value = Now> {
    (0..4_000_000_u64, 0..4_000_000_u64).prop_map(|(wall_ms, steady_ms)| Now { wall_ms, steady_ms })
}

proptest! {
    /// Whatever the clocks say: before its time an upgrade holds, after it the version before does, and what the disk is
    /// told to say is what holds already.
    #[test]
    fn what_holds_is_what_is_written(
        began in times(), now in times(), timeout in 1_000..2_000_000_u64,
        boot in prop_oneof![Just(None), Just(Some("a"))], later in prop_oneof![Just(None), Just(Some("a")), Just(Some("b"))],
        damaged in any::<bool>(),
    ) {
        let timeout = Duration::from_millis(timeout);
        let trial = Trial::new("a test", Vec::new(), Deadline::new(timeout, began, boot));
        let mut lock = LockFile::parse(&text(Some(&trial))).unwrap();
        prop_assert_eq!(lock.get(&chess()).unwrap().trial.as_ref(), Some(&trial));
        let before = lock.clone();
        let plugin = before.get(&chess()).unwrap();
        let standing = plugin.standing(now, later);
        let holds = plugin.in_force(now, later).clone();
        if boot.is_some() && boot == later {
            let passed = now.steady_ms.saturating_sub(began.steady_ms);
            prop_assert_eq!(standing == Standing::Over, Duration::from_millis(passed) >= timeout);
        }
        let whole = |_: &PluginName, _: &LockedPackage| match damaged {
            true => WayBack::Broken("it is damaged".to_owned()),
            false => WayBack::Whole,
        };
        prop_assert!(lock.expire(now, later, |_, _| WayBack::Unknown).is_empty() && lock == before);
        let expired = lock.expire(now, later, whole);
        match standing {
            Standing::Waits(left) => {
                prop_assert!(left <= timeout && !left.is_zero());
                prop_assert!(expired.is_empty() && lock == before);
                prop_assert_eq!(holds.version, "2.0.0");
            }
            Standing::Over => {
                prop_assert_eq!(expired.len(), 1);
                let after = lock.get(&chess()).unwrap();
                prop_assert_eq!(&after.trial, &None);
                prop_assert_eq!(expired[0].kept.is_some(), damaged);
                prop_assert_eq!(&holds.version, "1.0.0");
                let now_named = if damaged { "2.0.0" } else { "1.0.0" };
                prop_assert_eq!(&after.current.version, now_named);
                // Once is enough.
                prop_assert!(lock.expire(now, later, |_, _| WayBack::Whole).is_empty());
            }
            Standing::Settled => prop_assert!(false, "it waits or is over"),
        }
        prop_assert_eq!(&LockFile::parse(&lock.to_text()).unwrap(), &lock);
    }

    /// A person's word ends it at any time, and no clock brings it back.
    #[test]
    fn what_is_confirmed_stays(began in times(), now in times()) {
        let deadline = Deadline::new(Duration::from_secs(60), began, Some("a"));
        let mut lock = LockFile::parse(&text(Some(&Trial::new("a test", Vec::new(), deadline)))).unwrap();
        prop_assert_eq!(&lock.confirm(&chess()).unwrap().version, "2.0.0");
        prop_assert_eq!(lock.get(&chess()).unwrap().standing(now, Some("a")), Standing::Settled);
        prop_assert!(lock.expire(now, Some("b"), |_, _| WayBack::Whole).is_empty());
        prop_assert_eq!(lock.confirm(&chess()).map(drop), Err(ConfirmError::NotWaiting(chess())));
    }
}

#[test]
fn a_marker_without_a_version_before_is_no_marker() {
    let deadline = Deadline {
        applied_ms: 0,
        deadline_ms: 1,
        timeout_ms: 1,
        steady: Some(SteadyDeadline {
            boot: "a".to_owned(),
            deadline_ms: 1,
        }),
    };
    let mut lock = LockFile::parse(&text(Some(&Trial::new("x", Vec::new(), deadline)))).unwrap();
    let late = Now {
        wall_ms: 9,
        steady_ms: 9,
    };
    let mut plugin = lock.get(&chess()).unwrap().clone();
    assert_eq!(plugin.standing(late, Some("a")), Standing::Over);
    plugin.previous = None;
    assert_eq!(plugin.standing(late, Some("a")), Standing::Settled);
    assert_eq!(plugin.in_force(late, Some("a")).version, "2.0.0");
    lock.roll_back(&chess());
    let back = lock.get(&chess()).unwrap();
    assert_eq!((back.current.version.as_str(), &back.trial), ("1.0.0", &None));
}

#[test]
fn who_upgraded_is_a_short_line() {
    let trial = Trial::new(
        &format!("a\n{}", "b".repeat(500)),
        Vec::new(),
        Deadline::new(
            Duration::from_secs(1),
            Now {
                wall_ms: 0,
                steady_ms: 0,
            },
            None,
        ),
    );
    assert_eq!((trial.by.len(), trial.by.contains('\n')), (MAX_BY, false));
}
