//! What a case of the matrix measured, and the table that `docs/NAT.md` shows of it.

use std::{fmt::Write, time::Duration};

use anyhow::Result;

/// One row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// The case.
    pub(super) case: String,
    /// What home is behind.
    pub(super) home: String,
    /// What the laptop is behind.
    pub(super) laptop: String,
    /// `DIRECT` or `RELAYED`, at the end of the case.
    pub(super) path: String,
    /// `quic`, `tcp` or `websocket`.
    pub(super) transport: String,
    /// From the connect to the first byte of the first tunnel.
    pub(super) first_byte: Option<Duration>,
    /// From that byte to the direct path.
    pub(super) direct: Option<Duration>,
    /// What else was measured.
    pub(super) remark: String,
}

/// Returns the rows as a Markdown table with what they were measured on.
///
/// # Errors
/// Never in practice: writing into a string.
pub(super) fn table(records: &[Record], machine: &str, date: &str) -> Result<String> {
    let mut out = String::new();
    writeln!(out, "{machine}; {date}.\n")?;
    writeln!(
        out,
        "| case | home is behind | laptop is behind | path | transport | first byte ms | direct after ms | and |"
    )?;
    writeln!(out, "| --- | --- | --- | --- | --- | --- | --- | --- |")?;
    for record in records {
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            record.case,
            record.home,
            record.laptop,
            cell(&record.path),
            cell(&record.transport),
            milliseconds(record.first_byte),
            milliseconds(record.direct),
            cell(&record.remark),
        )?;
    }
    Ok(out)
}

fn cell(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn milliseconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.as_millis().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_dash_for_what_was_not_measured() {
        let record = Record {
            case: "symmetric-both".to_owned(),
            home: "symmetric".to_owned(),
            laptop: "symmetric".to_owned(),
            path: "RELAYED".to_owned(),
            first_byte: Some(Duration::from_micros(12_900)),
            ..Record::default()
        };
        let text = table(&[record], "a machine", "2026-01-01").unwrap();
        assert!(
            text.ends_with("| symmetric-both | symmetric | symmetric | RELAYED | - | 12 | - | - |\n"),
            "{text}"
        );
    }
}
