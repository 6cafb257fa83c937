//! Printing data on standard output: JSON as the API has it, or tables and lines for people.

use std::io::Write;

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

/// Prints rows under headings, each column as wide as its widest cell. Nothing at all for no rows.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
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
        line(padded.join("  ").trim_end())
    };
    print(&headings.map(str::to_owned))?;
    rows.iter().try_for_each(print)
}

/// Returns a text, or a dash where there is none.
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

pub(crate) fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.to_string())
}
