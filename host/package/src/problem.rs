//! What is wrong with a `plugin.toml`, with the place of each thing.

use std::{fmt, ops::Range};

/// Problems that one message lists before it only counts the rest.
const MAX_LISTED: usize = 20;
/// How alike two words must be for one to be proposed for the other.
const ALIKE: f64 = 0.75;

/// One thing that is wrong at one place.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The key as a dotted path such as `capability[0].name`; empty for the whole file.
    pub key: String,
    /// What is wrong, without the place.
    pub message: String,
}

impl Problem {
    /// Makes a problem of the part of a text at these bytes.
    pub(crate) fn at(
        text: &str,
        span: &Range<usize>,
        key: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let start = (0..=span.start.min(text.len()))
            .rev()
            .find(|at| text.is_char_boundary(*at));
        let before = text.get(..start.unwrap_or(0)).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: 1 + before.matches('\n').count(),
            column: 1 + before.get(line_start..).unwrap_or_default().chars().count(),
            key: visible(&key.into()),
            message: visible(&message.into()),
        }
    }
}

/// Returns whether a character shows as what it is: no control character, nothing that reorders or hides what a
/// terminal shows. A plugin's texts are read by whoever decides on its rights.
pub(crate) fn is_visible(c: char) -> bool {
    let hidden = matches!(
        c,
        '\u{00ad}' | '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    !c.is_control() && !hidden
}

/// A foreign text may be quoted in a problem; what a terminal would obey is left out.
fn visible(text: &str) -> String {
    text.chars().filter(|c| is_visible(*c)).collect()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Why a `plugin.toml` was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It is longer than what is read.
    #[error("plugin.toml has {length} bytes; at most {most} are read")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The most that is read.
        most: usize,
    },
    /// The content is wrong.
    #[error("plugin.toml is not valid{}", Listed(problems))]
    Invalid {
        /// All that is wrong, in the order of the file; never empty.
        problems: Vec<Problem>,
    },
}

struct Listed<'a>(&'a [Problem]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.0.iter().take(MAX_LISTED) {
            write!(f, "\n  {problem}")?;
        }
        match self.0.len().saturating_sub(MAX_LISTED) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// Says that a word is none of those that are known, with the nearest one.
pub(crate) fn unknown<'a>(what: &str, word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let mut nearest: Option<(f64, &str)> = None;
    for candidate in known.clone() {
        let score = strsim::jaro_winkler(word, candidate);
        if score > ALIKE && nearest.is_none_or(|(best, _)| score > best) {
            nearest = Some((score, candidate));
        }
    }
    match nearest {
        Some((_, candidate)) => format!("there is no such {what}; did you mean `{candidate}`?"),
        None => {
            let names: Vec<_> = known.collect();
            format!("there is no such {what}; there are: {}", names.join(", "))
        }
    }
}
