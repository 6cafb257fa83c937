//! Printing data on standard output: JSON as the API has it, or tables and lines for people.

use std::io::{IsTerminal, Write};

use peerup_model::{ErrorCode, Failure};
use serde::Serialize;

/// Prints one line, or ends the command quietly when nobody reads on.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::BrokenPipe => std::process::exit(0),
            _ => Failure::new(
                ErrorCode::Failed,
                format!("standard output cannot be written: {error}"),
            ),
        })
}

/// Prints an object of the API as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string(value).map_err(|error| Failure::new(ErrorCode::Failed, error.to_string()))?;
    line(text)
}

/// Prints rows under headings, each column as wide as its widest cell. Nothing at all for no rows. On a terminal what
/// is wider than it is cut, which is the last column as a rule; a pipe gets all of it.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
    let most = terminal_width();
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let print = |cells: &[String; N]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        line(cut(padded.join("  ").trim_end(), most))
    };
    print(&headings.map(str::to_owned))?;
    rows.iter().try_for_each(print)
}

/// Returns the columns of the terminal; none where standard output is no terminal.
fn terminal_width() -> Option<usize> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    terminal_size::terminal_size_of(out).map(|(width, _)| usize::from(width.0))
}

/// Cuts a line to so many characters, with an ellipsis as the last.
fn cut(text: &str, most: Option<usize>) -> String {
    match most {
        Some(most) if most > 0 && text.chars().count() > most => {
            let kept: String = text.chars().take(most - 1).collect();
            format!("{}…", kept.trim_end())
        }
        _ => text.to_owned(),
    }
}

/// A number of bytes for people, in powers of 1024 like the config's.
pub(crate) fn bytes(count: u64) -> String {
    let units = ["B", "KB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = units.iter();
    let mut name = unit.next();
    while value >= 1024.0
        && let Some(next) = unit.next()
    {
        value /= 1024.0;
        name = Some(next);
    }
    format!("{value:.0} {}", name.unwrap_or(&"B"))
}

/// Returns a text, or a dash where there is none.
pub(crate) fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_wide_ends_with_an_ellipsis() {
        assert_eq!(cut("héllo wörld", Some(8)), "héllo w…");
        assert_eq!(cut("héllo wörld", Some(7)), "héllo…");
        assert_eq!(cut("héllo", Some(5)), "héllo");
        assert_eq!(cut("héllo", None), "héllo");
    }
}
