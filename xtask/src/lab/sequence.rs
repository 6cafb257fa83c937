//! A stream that lives through a whole case: numbered blocks both ways, each byte looked at.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use peerup_testkit::Process;

use super::stage::SOON;

/// The last answer, where the path has just changed under it.
const LAST_ANSWER: Duration = Duration::from_secs(70);

/// The client's end.
pub(super) struct Sequence {
    process: Process,
    /// From the connect to the first byte.
    pub(super) first_byte: Duration,
}

/// What a sequence that ended in good order went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole {
    /// Blocks that went there and back.
    pub(super) blocks: u64,
    /// The longest that one of them took.
    pub(super) longest: Duration,
}

impl Sequence {
    /// Starts the client and waits for the first block's return.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let mut process = Process::spawn_with_input("sequence", command)?;
        let line = process.wait_for_line("its first byte", SOON, |line| line.starts_with("open "))?;
        let first_byte = milliseconds(&line, "open ").context(line)?;
        Ok(Self { process, first_byte })
    }

    /// Returns whether it still runs.
    pub(super) fn alive(&mut self) -> Result<bool> {
        Ok(self.process.exited()?.is_none())
    }

    /// Ends it.
    ///
    /// # Errors
    /// Where it had ended before, or a byte was wrong.
    pub(super) fn finish(mut self) -> Result<Whole> {
        self.process.close_input();
        let finished = self.process.finish(LAST_ANSWER)?;
        let whole = finished.stdout.lines().find_map(read_whole);
        ensure!(
            finished.code == 0 && whole.is_some(),
            "a stream was lost: {}{}",
            finished.stdout,
            finished.stderr
        );
        whole.context("no count")
    }
}

fn read_whole(line: &str) -> Option<Whole> {
    let (blocks, longest) = line.strip_prefix("whole ")?.split_once(' ')?;
    Some(Whole {
        blocks: blocks.parse().ok()?,
        longest: Duration::from_millis(longest.parse().ok()?),
    })
}

/// Returns the milliseconds behind a label.
pub(super) fn milliseconds(line: &str, label: &str) -> Option<Duration> {
    let number: f64 = line.strip_prefix(label)?.trim().parse().ok()?;
    Duration::try_from_secs_f64(number / 1000.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_read() {
        let whole = Whole {
            blocks: 120,
            longest: Duration::from_millis(35),
        };
        assert_eq!(read_whole("whole 120 35"), Some(whole));
        assert_eq!(read_whole("ended after 3 end of stream"), None);
    }

    #[test]
    fn milliseconds_stand_behind_their_label() {
        assert_eq!(
            milliseconds("open 24.5", "open "),
            Some(Duration::from_micros(24_500))
        );
        assert_eq!(milliseconds("ended", "open "), None);
        assert_eq!(milliseconds("open -1", "open "), None);
    }
}
