//! `doctor`: what is wrong with this node and its machine, what that means, and what to do.

use peerup_daemon::{Check, DoctorOptions, State};
use peerup_model::Failure;

use crate::{arguments::Doctor, context::Context, output};

pub(crate) async fn run(context: &Context, arguments: Doctor) -> Result<(), Failure> {
    let options = DoctorOptions {
        fix: arguments.fix,
        root: arguments.root,
    };
    let report = peerup_daemon::doctor(context.config_path(), options).await;
    if context.json {
        output::json(&report)?;
    } else {
        for check in &report.checks {
            output::line(text(check, context.paint))?;
        }
    }
    report.verdict()
}

/// Returns a check as lines: the verdict with what was found, then what it means, what was done, what to do.
fn text(check: &Check, paint: bool) -> String {
    let (label, colour) = match check.state {
        State::Ok => ("[ok]", "\x1b[32m"),
        State::Warning => ("[warn]", "\x1b[33m"),
        State::Problem => ("[FAIL]", "\x1b[1;31m"),
        State::Skipped => ("[skip]", "\x1b[2m"),
    };
    let label = format!("{label:<6}");
    let label = match paint {
        true => format!("{colour}{label}\x1b[0m"),
        false => label,
    };
    let mut found = check.found.lines();
    let mut lines = vec![format!(
        "{label} {}: {}",
        check.name,
        found.next().unwrap_or_default()
    )];
    lines.extend(found.map(|line| format!("       {line}")));
    let rest = [
        ("", &check.meaning),
        ("done: ", &check.fixed),
        ("next: ", &check.next),
    ];
    for (word, text) in rest {
        let text = text.iter().flat_map(|text| text.lines());
        lines.extend(text.map(|line| format!("       {word}{line}")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check() -> Check {
        Check {
            name: "dns",
            state: State::Problem,
            found: "a: no\nb: no".to_owned(),
            meaning: Some("not found".to_owned()),
            next: Some("getent a".to_owned()),
            fixed: None,
        }
    }

    #[test]
    fn a_check_is_told_from_the_verdict_to_the_next_step() {
        let told = "[FAIL] dns: a: no\n       b: no\n       not found\n       next: getent a";
        assert_eq!(text(&check(), false), told);
    }

    #[test]
    fn only_the_verdict_is_painted() {
        let told = text(&check(), true);
        assert!(told.starts_with("\x1b[1;31m[FAIL]\x1b[0m dns"), "{told:?}");
        assert_eq!(told.matches('\x1b').count(), 2);
    }
}
