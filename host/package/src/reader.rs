//! Reads the tables of a TOML document key by key and gathers everything that is wrong with its place.
//!
//! Knows no key of its own: `manifest` and `settings` say which there are.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::problem::{Problem, is_visible, unknown};

/// What is read, and what was wrong with it so far.
#[derive(Debug)]
pub(crate) struct Reader<'t> {
    text: &'t str,
    problems: Vec<Problem>,
}

/// One table of the document with its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'a, 't> {
    entries: &'a DeTable<'t>,
    start: usize,
    path: &'a str,
}

/// What a text may look like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    /// The most bytes; there is at least one, and each character shows as what it is.
    pub(crate) bytes: usize,
}

impl<'t> Reader<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self {
            text,
            problems: Vec::new(),
        }
    }

    /// Reads a document; a part that is no TOML is a problem, and the rest is read.
    pub(crate) fn document(&mut self) -> Spanned<DeTable<'t>> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let span = error.span().unwrap_or_default();
            let message = error.message().replace('\n', "; ");
            self.problems.push(Problem::at(self.text, &span, "", message));
        }
        document
    }

    /// Returns what was wrong, in the order of the text.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        self.problems
            .sort_by_key(|problem| (problem.line, problem.column));
        self.problems
    }

    pub(crate) fn problem(
        &mut self,
        span: &Range<usize>,
        key: impl Into<String>,
        message: impl Into<String>,
    ) {
        let problem = Problem::at(self.text, span, key, message);
        self.problems.push(problem);
    }

    /// Complains about every key that is not among these.
    pub(crate) fn keys(&mut self, table: Table<'_, '_>, known: &[&str]) {
        for key in table.entries.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let message = unknown("key", name, known.iter().copied());
                self.problem(&key.span(), table.path_of(name), message);
            }
        }
    }

    /// Reads a text that must be there.
    pub(crate) fn text(&mut self, table: Table<'_, '_>, key: &str, bound: Bound) -> Option<Spanned<String>> {
        if table.get(key).is_none() {
            let start = table.start..table.start;
            self.problem(&start, table.path_of(key), "is missing");
            return None;
        }
        self.optional_text(table, key, bound)
    }

    /// Reads a text that may be left out.
    pub(crate) fn optional_text(
        &mut self,
        table: Table<'_, '_>,
        key: &str,
        bound: Bound,
    ) -> Option<Spanned<String>> {
        let value = table.get(key)?;
        self.one_text(value, &table.path_of(key), bound)
    }

    fn one_text(&mut self, value: &Spanned<DeValue<'_>>, key: &str, bound: Bound) -> Option<Spanned<String>> {
        let span = value.span();
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(value, key, "a text in quotes");
            return None;
        };
        let wrong = if text.is_empty() {
            "is empty".to_owned()
        } else if text.len() > bound.bytes {
            format!("is longer than {} bytes", bound.bytes)
        } else if !text.chars().all(is_visible) {
            "has more than one line, or a character that does not show".to_owned()
        } else {
            return Some(Spanned::new(span, text.to_owned()));
        };
        self.problem(&span, key, wrong);
        None
    }

    /// Reads a switch; false where it is left out.
    pub(crate) fn switch(&mut self, table: Table<'_, '_>, key: &str) -> bool {
        let Some(value) = table.get(key) else {
            return false;
        };
        match value.get_ref().as_bool() {
            Some(on) => on,
            None => {
                self.wrong_type(value, &table.path_of(key), "true or false");
                false
            }
        }
    }

    /// Reads a list of texts; empty where it is left out.
    pub(crate) fn texts(
        &mut self,
        table: Table<'_, '_>,
        key: &str,
        bound: Bound,
        most: usize,
    ) -> Vec<Spanned<String>> {
        let path = table.path_of(key);
        let Some(items) = self.list(table, key, most) else {
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (index, item) in items.iter().enumerate() {
            texts.extend(self.one_text(item, &format!("{path}[{index}]"), bound));
        }
        texts
    }

    /// Returns the items of a list that is no longer than `most`.
    pub(crate) fn list<'a>(
        &mut self,
        table: Table<'a, '_>,
        key: &str,
        most: usize,
    ) -> Option<&'a [Spanned<DeValue<'a>>]> {
        let value = table.get(key)?;
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(value, &table.path_of(key), "a list");
            return None;
        };
        if items.len() > most {
            let span = value.span();
            self.problem(&span, table.path_of(key), format!("has more than {most} entries"));
            return None;
        }
        Some(items)
    }

    /// Calls `read` with each table of a list of tables.
    pub(crate) fn tables<T>(
        &mut self,
        table: Table<'_, '_>,
        key: &str,
        most: usize,
        mut read: impl FnMut(&mut Self, Table<'_, '_>) -> Option<T>,
    ) -> Vec<T> {
        let path = table.path_of(key);
        let Some(items) = self.list(table, key, most) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match Table::of(item, &path) {
                Some(table) => found.extend(read(self, table)),
                None => self.wrong_type(item, &path, "a table"),
            }
        }
        found
    }

    pub(crate) fn wrong_type(&mut self, value: &Spanned<DeValue<'_>>, key: &str, expected: &str) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.problem(&value.span(), key, format!("expected {expected}, found {found}"));
    }
}

impl<'a, 't> Table<'a, 't> {
    /// The whole document.
    pub(crate) fn root(document: &'a Spanned<DeTable<'t>>) -> Self {
        Self {
            entries: document.get_ref(),
            start: 0,
            path: "",
        }
    }

    /// A value that is a table, under this path.
    pub(crate) fn of(value: &'a Spanned<DeValue<'t>>, path: &'a str) -> Option<Self> {
        Some(Self {
            entries: value.get_ref().as_table()?,
            start: value.span().start,
            path,
        })
    }

    pub(crate) fn get(self, key: &str) -> Option<&'a Spanned<DeValue<'t>>> {
        self.entries.get(key)
    }

    pub(crate) fn entries(self) -> impl Iterator<Item = (&'a str, Range<usize>, &'a Spanned<DeValue<'t>>)> {
        self.entries.iter().map(|(key, value)| {
            let name: &str = key.get_ref();
            (name, key.span(), value)
        })
    }

    pub(crate) fn path_of(self, key: &str) -> String {
        match self.path {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    pub(crate) fn span(self) -> Range<usize> {
        self.start..self.start
    }
}

/// Turns one plain value into JSON; none for lists, tables, dates and numbers that JSON does not have.
pub(crate) fn plain_value(value: &DeValue<'_>) -> Option<serde_json::Value> {
    match value {
        DeValue::String(text) => Some(serde_json::Value::from(text.as_ref())),
        DeValue::Boolean(on) => Some(serde_json::Value::from(*on)),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(serde_json::Value::from(parsed))
        }
        DeValue::Float(number) => {
            let parsed: f64 = number.as_str().parse().ok()?;
            serde_json::Number::from_f64(parsed).map(serde_json::Value::Number)
        }
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
