//! Runs cases, several at once where that is asked for, and keeps what each measured.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use peerup_testkit::interrupted;

use super::{Case, record::Record, stage::Stage, transcript::Transcript};
use crate::binaries::Binaries;

/// What came of a case.
struct Outcome {
    name: &'static str,
    records: Vec<Record>,
    failure: Option<String>,
}

/// Runs the cases, `jobs` at a time; one that fails does not keep the others from running. Returns the rows in
/// the order of the cases.
///
/// # Errors
/// Names every case that failed.
pub(super) fn run(cases: &[&'static Case], binaries: &Binaries, jobs: usize) -> Result<Vec<Record>> {
    let waiting: Mutex<VecDeque<&'static Case>> = Mutex::new(cases.iter().copied().collect());
    let outcomes = Mutex::new(Vec::new());
    let jobs = jobs.clamp(1, cases.len().max(1));
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(case) = next(&waiting) {
                    let transcript = if jobs == 1 {
                        Transcript::Live
                    } else {
                        Transcript::kept()
                    };
                    let outcome = run_one(case, binaries, transcript);
                    lock(&outcomes).push(outcome);
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|outcome| cases.iter().position(|case| case.name == outcome.name));
    verdict(outcomes)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn next(waiting: &Mutex<VecDeque<&'static Case>>) -> Option<&'static Case> {
    if interrupted() {
        return None;
    }
    lock(waiting).pop_front()
}

fn run_one(case: &'static Case, binaries: &Binaries, transcript: Transcript) -> Outcome {
    let start = Instant::now();
    transcript.line(&format!("\n--- lab: {}: {}", case.name, case.shows));
    let mut records = Vec::new();
    let (shown, result) = match Stage::new(binaries, transcript) {
        Err(error) => (String::new(), Err(error.context("the lab cannot be built"))),
        Ok(mut stage) => {
            let result = (case.ground)(&mut stage).and_then(|()| (case.run)(&mut stage));
            if result.is_err() {
                stage.print_tails();
            }
            records.append(&mut stage.records);
            (stage.take_transcript(), result)
        }
    };
    for record in &mut records {
        case.name.clone_into(&mut record.case);
        (record.home, record.laptop) = (case.home.to_owned(), case.laptop.to_owned());
    }
    let took = start.elapsed().as_secs_f32();
    let failure = result.err().map(|error| format!("{error:#}"));
    let verdict = match &failure {
        None => format!("--- lab: {} holds, {took:.1} s", case.name),
        Some(why) => format!("--- lab: {} FAILS, {took:.1} s: {why}", case.name),
    };
    println!("{shown}{verdict}");
    Outcome {
        name: case.name,
        records,
        failure,
    }
}

fn verdict(outcomes: Vec<Outcome>) -> Result<Vec<Record>> {
    if interrupted() {
        bail!("interrupted");
    }
    let failed: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| outcome.failure.as_ref().map(|why| (outcome.name, why)))
        .map(|(name, why)| format!("{name}: {}", brief(why)))
        .collect();
    if !failed.is_empty() {
        println!("\n--- lab: {} of {} cases fail", failed.len(), outcomes.len());
        bail!("lab cases fail:\n{}", failed.join("\n"));
    }
    Ok(outcomes.into_iter().flat_map(|outcome| outcome.records).collect())
}

/// The first lines of a failure, each cut short: all of it stands further up.
fn brief(why: &str) -> String {
    let cut = |line: &str| line.chars().take(200).collect::<String>();
    let lines = why.lines().filter(|line| !line.is_empty());
    lines.take(4).map(cut).collect::<Vec<_>>().join("\n    ")
}

/// Takes one of the cases by its name.
///
/// # Errors
/// Lists the names where it is none of them.
pub(super) fn choose(
    cases: impl Iterator<Item = &'static Case> + Clone,
    name: Option<&str>,
) -> Result<Vec<&'static Case>> {
    let chosen: Vec<&'static Case> = cases
        .clone()
        .filter(|case| name.is_none_or(|name| name == case.name))
        .collect();
    let names = || cases.map(|case| case.name).collect::<Vec<_>>().join(", ");
    (!chosen.is_empty())
        .then_some(chosen)
        .with_context(|| format!("no such case; there are: {}", names()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_names_each_case_that_fails_and_else_keeps_the_rows() {
        let outcome = |name, failure: Option<&str>| Outcome {
            name,
            records: vec![Record::default()],
            failure: failure.map(str::to_owned),
        };
        let error = verdict(vec![outcome("one", None), outcome("two", Some("lost\nlog"))]);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("two: lost\n    log"), "{error}");
        assert!(!error.contains("one"), "{error}");
        assert_eq!(verdict(vec![outcome("one", None)]).unwrap().len(), 1);
    }
}
