//! Several measurements of one figure: the least, the middle, the most, and against what must hold.

use std::{fmt::Write, time::Duration};

use anyhow::{Context, Result};

/// A figure of several runs.
#[derive(Debug, Clone)]
pub(super) struct Spread {
    /// What was measured.
    pub(super) name: &'static str,
    /// What it must not exceed in any run.
    pub(super) limit: Duration,
    /// The runs.
    pub(super) runs: Vec<Duration>,
}

impl Spread {
    /// Without a run yet.
    pub(super) fn new(name: &'static str, limit: Duration) -> Self {
        Self {
            name,
            limit,
            runs: Vec::new(),
        }
    }

    /// The least, the median (of an even number the mean of the two in the middle) and the most.
    pub(super) fn summary(&self) -> Option<[Duration; 3]> {
        let mut sorted = self.runs.clone();
        sorted.sort_unstable();
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let lower = if sorted.len().is_multiple_of(2) {
            *sorted.get(middle.checked_sub(1)?)?
        } else {
            upper
        };
        Some([*sorted.first()?, (lower + upper) / 2, *sorted.last()?])
    }

    /// How many runs are above the limit.
    pub(super) fn above(&self) -> usize {
        self.runs.iter().filter(|run| **run > self.limit).count()
    }
}

/// Returns the figures as a Markdown table, in seconds.
///
/// # Errors
/// Where a figure has no run.
pub(super) fn table(spreads: &[Spread], measured: &str) -> Result<String> {
    let mut out = format!("{measured}\n\n");
    writeln!(
        out,
        "| | must hold, s | runs | least | median | most | runs above |"
    )?;
    writeln!(out, "| --- | --- | --- | --- | --- | --- | --- |")?;
    for spread in spreads {
        let [least, median, most] = spread
            .summary()
            .with_context(|| format!("{}: no run", spread.name))?
            .map(|time| format!("{:.3}", time.as_secs_f64()));
        writeln!(
            out,
            "| {} | {} | {} | {least} | {median} | {most} | {} |",
            spread.name,
            spread.limit.as_secs_f64(),
            spread.runs.len(),
            spread.above(),
        )?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(milliseconds: &[u64]) -> Spread {
        let mut spread = Spread::new("it", Duration::from_millis(200));
        spread.runs = milliseconds.iter().copied().map(Duration::from_millis).collect();
        spread
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_two_runs() {
        let times = |milliseconds: [u64; 3]| Some(milliseconds.map(Duration::from_millis));
        assert_eq!(spread(&[30, 10, 20]).summary(), times([10, 20, 30]));
        assert_eq!(spread(&[40, 10, 20, 30]).summary(), times([10, 25, 40]));
        assert_eq!(spread(&[5]).summary(), times([5, 5, 5]));
        assert_eq!(spread(&[]).summary(), None);
    }

    #[test]
    fn a_run_at_the_limit_is_not_above_it() {
        assert_eq!(spread(&[199, 200, 201]).above(), 1);
        let text = table(&[spread(&[100, 300])], "here").unwrap();
        assert!(
            text.ends_with("| it | 0.2 | 2 | 0.100 | 0.200 | 0.300 | 1 |\n"),
            "{text}"
        );
        assert!(table(&[spread(&[])], "here").is_err());
    }
}
