//! What an examination came to: one finding for each check, and the verdict over all of them.
//!
//! Pure. How bad a finding is, is decided by the check that made it; this only keeps, orders and counts.

use peerup_model::{ErrorCode, Failure};
use serde::Serialize;

/// How a check came out, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It could not be checked here and now; `next` says what is missing.
    Skipped,
    /// As it should be.
    Ok,
    /// It works, and something is slower, less safe or about to break.
    Warning,
    /// It does not work until somebody mends it.
    Problem,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// A stable word. `relay` stands once for each configured address, others at most once.
    pub name: &'static str,
    /// How it came out, after what was mended.
    pub state: State,
    /// What was seen. More than one line where several things are wrong.
    pub found: String,
    /// What that means for this node.
    pub meaning: Option<String>,
    /// The next step: a command where there is one.
    pub next: Option<String>,
    /// What was done about it, where mending was asked for.
    pub fixed: Option<String>,
}

impl Check {
    /// All is well.
    pub(crate) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Ok,
            found: found.into(),
            meaning: None,
            next: None,
            fixed: None,
        }
    }

    /// It could not be checked.
    pub(crate) fn skipped(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            state: State::Skipped,
            ..Self::ok(name, found)
        }
    }

    /// Something is not as it should be.
    pub(crate) fn warning(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            state: State::Warning,
            ..Self::ok(name, found)
        }
    }

    /// Something does not work.
    pub(crate) fn problem(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            state: State::Problem,
            ..Self::ok(name, found)
        }
    }

    /// Says what it means.
    #[must_use]
    pub(crate) fn meaning(mut self, meaning: impl Into<String>) -> Self {
        self.meaning = Some(meaning.into());
        self
    }

    /// Says the next step.
    #[must_use]
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Says what was done.
    #[must_use]
    pub(crate) fn fixed(mut self, done: Option<String>) -> Self {
        self.fixed = done;
        self
    }
}

/// All checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order in which a person mends them: files first, then the machine, then the network.
    pub checks: Vec<Check>,
    /// Whether nothing is worse than a warning.
    pub ok: bool,
}

impl Report {
    pub(crate) fn new(checks: Vec<Check>) -> Self {
        let ok = checks.iter().all(|check| check.state != State::Problem);
        Self { checks, ok }
    }

    /// Returns how many checks came out like this.
    pub fn count(&self, state: State) -> usize {
        self.checks.iter().filter(|check| check.state == state).count()
    }

    /// Returns the failure that a command ends with.
    ///
    /// # Errors
    /// `CheckFailed` where a problem is left.
    pub fn verdict(&self) -> Result<(), Failure> {
        let (problems, warnings) = (self.count(State::Problem), self.count(State::Warning));
        if problems == 0 {
            return Ok(());
        }
        let text = format!(
            "{}, {}",
            counted(problems, "problem"),
            counted(warnings, "warning")
        );
        let hint = "do what stands behind each \"next\"; peerup doctor --fix mends modes, a stale socket and buffer sizes";
        Err(Failure::new(ErrorCode::CheckFailed, text).with_hint(hint))
    }
}

/// Returns a number with its noun.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_problem_makes_the_verdict_bad() {
        let fine = [
            Check::ok("a", ""),
            Check::skipped("b", ""),
            Check::warning("c", ""),
        ];
        let report = Report::new(fine.to_vec());
        assert!(report.ok);
        assert_eq!(report.verdict(), Ok(()));

        let report = Report::new(vec![Check::warning("a", ""), Check::problem("b", "")]);
        assert!(!report.ok);
        let failure = report.verdict().unwrap_err();
        assert_eq!(failure.code.exit_code(), 7);
        assert_eq!(failure.message, "1 problem, 1 warning");
    }

    #[test]
    fn the_shape_for_programs_is_kept() {
        let check = Check::warning("clock", "late").meaning("m").next("n");
        let value = serde_json::to_value(Report::new(vec![check])).unwrap();
        let expected = serde_json::json!({
            "checks": [{
                "name": "clock", "state": "warning", "found": "late", "meaning": "m", "next": "n", "fixed": null,
            }],
            "ok": true,
        });
        assert_eq!(value, expected);
    }
}
