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

/// Prints rows under headings, each column as wide as its widest cell. Nothing at all for no rows. On a terminal the
/// widest columns give way until a row fits; a pipe gets all of it.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
    let lines = lay_out(headings, rows, terminal_width());
    lines.iter().try_for_each(line)
}

/// Between two columns.
const GAP: &str = "  ";
/// The least that a column of ids or long texts is shortened to; one that is narrower stays as it is.
const NARROWEST: usize = 12;

/// Returns the lines of a table, no wider than `most` where the narrowest columns fit into it.
fn lay_out<const N: usize>(headings: [&str; N], rows: &[[String; N]], most: Option<usize>) -> Vec<String> {
    let mut widths = headings.map(width);
    let least = widths.map(|heading| heading.max(NARROWEST));
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(cell));
        }
    }
    if let Some(most) = most.filter(|most| *most > 0) {
        let room = most.saturating_sub(GAP.len() * N.saturating_sub(1));
        widths = narrow(widths, least, room);
    }
    let print = |cells: &[String; N]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{:<width$}", shorten(cell, width)))
            .collect();
        // Where not even the narrowest columns fit, the last ones go.
        cut(padded.join(GAP).trim_end(), most)
    };
    let heading = headings.map(str::to_owned);
    std::iter::once(&heading).chain(rows).map(print).collect()
}

/// Makes the widest columns narrower until all fit into the room, but none narrower than its least.
fn narrow<const N: usize>(widths: [usize; N], least: [usize; N], room: usize) -> [usize; N] {
    let limited = |limit: usize| {
        let mut narrowed = widths;
        for (width, least) in narrowed.iter_mut().zip(least) {
            *width = (*width).min(limit.max(least));
        }
        narrowed
    };
    let fits = |widths: &[usize; N]| widths.iter().sum::<usize>() <= room;
    let widest = widths.iter().copied().max().unwrap_or_default();
    let found = (1..=widest).rev().map(limited).find(fits);
    let mut narrowed = found.unwrap_or_else(|| limited(0));
    // The one limit for all may leave a few places; the first columns get them.
    let mut left = room.saturating_sub(narrowed.iter().sum());
    for (width, natural) in narrowed.iter_mut().zip(widths) {
        let more = left.min(natural - *width);
        *width += more;
        left -= more;
    }
    narrowed
}

/// How many columns a text takes.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// Shortens a cell to so many characters. Of a peer id the end is left as well: all of them begin alike.
fn shorten(cell: &str, most: usize) -> String {
    let is_id = ["12D3Koo", "16Uiu2", "Qm"]
        .iter()
        .any(|start| cell.starts_with(start))
        && width(cell) > 40
        && cell.chars().all(|character| character.is_ascii_alphanumeric());
    if !is_id || width(cell) <= most || most < 3 {
        return cut(cell, Some(most));
    }
    let end = (most - 1) / 2;
    let start: String = cell.chars().take(most - 1 - end).collect();
    let end: String = cell.chars().skip(width(cell) - end).collect();
    format!("{start}…{end}")
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
        Some(most) if most > 0 && width(text) > most => {
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

    const ID: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

    fn cells<const N: usize>(cells: [&str; N]) -> [String; N] {
        cells.map(str::to_owned)
    }

    #[test]
    fn every_column_of_relays_and_peers_shows_in_80_columns() {
        let address = format!("/dns4/relay.example.org/udp/7777/quic-v1/p2p/{ID}");
        let error = "the relay does not let this node in; it has to be authorized there";
        let relays = [cells([ID, &address, "refused", error])];
        let shown = lay_out(["RELAY", "ADDRESSES", "STATE", "LAST ERROR"], &relays, Some(80));
        assert_eq!(
            shown,
            [
                "RELAY                    ADDRESSES               STATE    LAST ERROR",
                "12D3KooWK99…V3fyKSUKPH5  /dns4/relay.example.o…  refused  the relay does not le…",
            ]
        );
    }

    #[test]
    fn what_fits_or_goes_to_a_pipe_stays_whole() {
        let rows = [cells(["home", ID, "reserved"]), cells(["büro", "-", ""])];
        let whole = [
            format!("NAME  {:<52}  STATE", "ID"),
            format!("home  {ID}  reserved"),
            "büro  -".to_owned(),
        ];
        for most in [None, Some(0), Some(500), Some(68)] {
            assert_eq!(lay_out(["NAME", "ID", "STATE"], &rows, most), whole, "{most:?}");
        }
        assert_ne!(lay_out(["NAME", "ID", "STATE"], &rows, Some(67)), whole);
    }

    #[test]
    fn an_id_keeps_its_end_and_a_text_its_start() {
        for (cell, most, shown) in [
            (ID, 52, ID),
            (ID, 14, "12D3Koo…SUKPH5"),
            (ID, 12, "12D3Ko…UKPH5"),
            (ID, 2, "1…"),
            ("a long text about something", 12, "a long text…"),
            ("grüße aus köln", 9, "grüße au…"),
            ("short", 5, "short"),
        ] {
            assert_eq!(shorten(cell, most), shown);
        }
    }

    /// Every table of three columns with cells of these lengths, at every width.
    #[test]
    fn a_table_is_never_wider_than_the_terminal_and_its_columns_stand_under_their_headings() {
        let headings = ["ONE", "THE SECOND", "LAST"];
        let lengths = [0, 1, 5, 11, 12, 13, 30, 70];
        let text = |letter: &str, length: usize| letter.repeat(length);
        for one in lengths {
            for two in lengths {
                for three in lengths {
                    let rows = [
                        cells(["-", "-", "-"]),
                        [text("ä", one), text("b", two), text("c", three)],
                    ];
                    let natural = [one.max(3), two.max(10), three.max(4)];
                    let least: usize = natural.iter().map(|width| width.min(&NARROWEST)).sum();
                    let whole = lay_out(headings, &rows, None);
                    for most in 1..160 {
                        let shown = lay_out(headings, &rows, Some(most));
                        assert!(shown.iter().all(|line| width(line) <= most), "{most}: {shown:#?}");
                        if natural.iter().sum::<usize>() + 4 <= most {
                            assert_eq!(shown, whole);
                        }
                        if least + 4 > most {
                            continue;
                        }
                        // The heading and the dash of each column stand at one place.
                        let place = |line: &str, what: &str| {
                            line.match_indices(what).map(|(at, _)| at).collect::<Vec<_>>()
                        };
                        let starts = headings.map(|heading| place(&shown[0], heading)[0]);
                        assert_eq!(place(&shown[1], "-"), starts, "{most}: {shown:#?}");
                    }
                }
            }
        }
    }
}
