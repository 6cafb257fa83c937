//! The matrix as docs/DENIALS.md.

use std::fmt::Write;

use super::{Place, rows::Row};

/// What a call came to in one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    /// The row has no such column.
    Void,
    Denied(String),
    Passes(String),
    Absent(String),
    Limit(String),
}

impl Cell {
    /// The same with another text.
    pub(super) fn map(self, change: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Void => Self::Void,
            Self::Denied(text) => Self::Denied(change(&text)),
            Self::Passes(text) => Self::Passes(change(&text)),
            Self::Absent(text) => Self::Absent(change(&text)),
            Self::Limit(text) => Self::Limit(change(&text)),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Void => "-",
            Self::Denied(_) => "denied",
            Self::Passes(_) => "passes",
            Self::Absent(_) => "fails",
            Self::Limit(_) => "limit",
        }
    }

    fn told(&self) -> Option<String> {
        match self {
            Self::Void => None,
            Self::Passes(text) => Some(format!("passes: {text}")),
            Self::Denied(text) => Some(format!("`denied`: {text}")),
            Self::Absent(text) => Some(format!("the system's error: {text}")),
            Self::Limit(text) => Some(format!("`limit`: {text}")),
        }
    }
}

/// A row with what it came to in each version.
pub(super) struct Line<'a> {
    row: &'a Row,
    pub(super) cells: Vec<(&'static str, [Cell; 3])>,
}

impl<'a> Line<'a> {
    pub(super) fn new(row: &'a Row) -> Self {
        Self {
            row,
            cells: Vec::new(),
        }
    }
}

const HEAD: &str = "\
# Denials

What each call of the contract comes to without its grant, with the same key granted for something else, and with its
grant, in every version of the contract that is served. A test makes each of these calls from a plugin built for that
version and compares both the outcome and the text with this page; it also fails where a function of the contract has no
row here and is not listed below as one that needs no grant.

```sh
cargo test --workspace --test engine denials                  # compares
UPDATE_DOCS=1 cargo test --workspace --test engine denials    # writes this page; an open door fails all the same
```

The plugin is called `probe`. `/srv` and port 9000 stand for a folder and a server of the test. Two plugins make the
calls, `plugins/test-guests/probe` and, from the same sources on the bindings of 0.1.0, `plugins/test-guests/probe-0-1-0`;
both are built with the tests.

- *denied*: the call fails with `denied`, and `denials` of `plugin inspect` grows by one.
- *fails*: folders and variables that are not granted do not exist for the plugin, and one granted for reading cannot be
  written to. It is the system's own error, and nothing is counted.
- *limit*: the grant is there and too small.
- *passes*: the grants let the call through; what it got stands below (`peers.read` alone gives peers without addresses).
- *-*: there is nothing else that the key could be granted for; or, for names that lead away from this machine, the test
  would send packets to others.
- *not in this version*: the contract of that version has no such function.

`inbound` is a stream that a peer opens: the plugin is asked to serve the protocol. `wasi` calls go through WASI and not
through the contract; WASI has no sockets here, a plugin that imports them does not load.
";

/// Returns the whole page.
pub(super) fn text(versions: &[&str], lines: &[Line<'_>], place: &Place) -> String {
    let mut out = format!("{HEAD}\n## What happens\n\n| | needs | call | on |");
    for version in versions {
        write!(out, " {version}: not granted | granted elsewhere | granted |").unwrap();
    }
    out.push_str("\n|");
    out.push_str(&" --- |".repeat(4 + 3 * versions.len()));
    out.push('\n');
    for (number, line) in (1..).zip(lines) {
        let row = line.row;
        write!(
            out,
            "| [{number}](#{number}) | {} | `{}` | {} |",
            row.capability,
            row.call,
            on(row)
        )
        .unwrap();
        for version in versions {
            match line.cells.iter().find(|(known, _)| known == version) {
                Some((_, cells)) => cells
                    .iter()
                    .for_each(|cell| write!(out, " {} |", cell.word()).unwrap()),
                None => out.push_str(" not in this version | | |"),
            }
        }
        out.push('\n');
    }
    out.push_str("\n## Calls that need no grant\n\n");
    for free in super::rows::FREE {
        writeln!(out, "- `{free}`").unwrap();
    }
    out.push_str(
        "\nThose of a handle needed a grant where the handle was made.\n\n## What the plugin is told\n",
    );
    for (number, line) in (1..).zip(lines) {
        describe(&mut out, number, line, place);
    }
    out
}

fn on(row: &Row) -> String {
    match row.on {
        "" => String::new(),
        on => format!("`{on}`"),
    }
}

fn describe(out: &mut String, number: usize, line: &Line<'_>, place: &Place) {
    let row = line.row;
    writeln!(out, "\n### {number}\n\n`{}` {}\n", row.call, on(row)).unwrap();
    let columns = [
        ("not granted", Some("{}")),
        ("granted elsewhere", row.elsewhere.map(|(_, grants)| grants)),
        ("granted", row.granted.map(|(_, grants)| grants)),
    ];
    for (index, (column, grants)) in columns.into_iter().enumerate() {
        let Some(grants) = grants else { continue };
        let granted: Vec<String> = place
            .grants(grants)
            .lines()
            .iter()
            .map(|line| format!("`{}`", place.clean(line)))
            .collect();
        let granted = match granted.is_empty() {
            true => String::new(),
            false => format!(" ({})", granted.join(", ")),
        };
        let told: Vec<(&str, String)> = line
            .cells
            .iter()
            .filter_map(|(version, cells)| Some((*version, cells.get(index)?.told()?)))
            .collect();
        let same = told
            .windows(2)
            .all(|pair| matches!(pair, [one, other] if one.1 == other.1));
        match told.first() {
            Some((_, text)) if same => writeln!(out, "- {column}{granted}: {text}").unwrap(),
            _ => {
                for (version, text) in told {
                    writeln!(out, "- {column}{granted}, {version}: {text}").unwrap();
                }
            }
        }
    }
}
