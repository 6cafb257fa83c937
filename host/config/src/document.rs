//! A YAML document as a tree that knows where each node stands in the text.
//!
//! Diagnosis and editing both work on it, so both see the file as the schema's own parser sees it. Anchors,
//! aliases, tags, several documents and keys that are not plain text have no place in a config and are
//! refused here; so are duplicate keys.

use serde_saphyr::granit_parser::{
    self, Event, Parser, ScalarStyle, ScanError, Span, StrInput, StructureStyle,
};

use crate::{error::Problem, position::Position};

/// Levels of nesting; the schema needs six, a plugin's own settings a few more.
const MAX_DEPTH: usize = 32;

/// A value with its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) position: Position,
    /// First byte of its text.
    pub(crate) start: usize,
    /// One past the last byte of its text; for a block collection, of its last child.
    pub(crate) end: usize,
    pub(crate) content: Content,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A plain `null`, `~` or nothing at all.
    Null,
    Scalar(String),
    List {
        flow: bool,
        items: Vec<Node>,
    },
    Map {
        flow: bool,
        entries: Vec<Entry>,
    },
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_position: Position,
    /// First byte of the key.
    pub(crate) key_start: usize,
    /// One past the last byte of the key, before the colon.
    pub(crate) key_end: usize,
    pub(crate) value: Node,
}

impl Node {
    /// Parses the whole text. An empty text is `Null`.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        Builder {
            // Comments are not needed here, and a long run of them would meet a limit of the parser.
            parser: Parser::new_from_str_with_options(text, granit_parser::options! { emit_comments: false }),
            text,
            above: Vec::new(),
        }
        .document()
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map { entries, .. } => entries,
            _ => &[],
        }
    }

    pub(crate) fn items(&self) -> &[Self] {
        match &self.content {
            Content::List { items, .. } => items,
            _ => &[],
        }
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Returns the place of a path as far as it exists: its key, else that of the nearest parent.
    pub(crate) fn position_of(&self, path: &[Step]) -> Position {
        let mut node = self;
        let mut position = match node.entries().first() {
            Some(first) => first.key_position,
            None => node.position,
        };
        for step in path {
            match step {
                Step::Key(key) => match node.entry(key) {
                    Some(entry) => {
                        position = entry.key_position;
                        node = &entry.value;
                    }
                    None => break,
                },
                Step::Item(index) => match node.items().get(*index) {
                    Some(item) => {
                        position = item.position;
                        node = item;
                    }
                    None => break,
                },
            }
        }
        position
    }

    /// Returns the node at a path.
    pub(crate) fn at(&self, path: &[Step]) -> Option<&Self> {
        path.iter().try_fold(self, |node, step| match step {
            Step::Key(key) => node.entry(key).map(|entry| &entry.value),
            Step::Item(index) => node.items().get(*index),
        })
    }

    /// Returns the single value at a path.
    pub(crate) fn text_at(&self, path: &[Step]) -> Option<&str> {
        match &self.at(path)?.content {
            Content::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the path to the deepest node whose key or value starts at or before this place.
    pub(crate) fn path_at(&self, line: usize, column: usize) -> Vec<Step> {
        let before = |position: Position| (position.line, position.column) <= (line, column);
        let mut path = Vec::new();
        let mut node = self;
        loop {
            if let Some(entry) = node
                .entries()
                .iter()
                .rev()
                .find(|entry| before(entry.key_position))
            {
                path.push(Step::Key(entry.key.clone()));
                node = &entry.value;
            } else if let Some((index, item)) = node
                .items()
                .iter()
                .enumerate()
                .rev()
                .find(|(_, item)| before(item.position))
            {
                path.push(Step::Item(index));
                node = item;
            } else {
                return path;
            }
        }
    }
}

/// One step of a path into the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Item(usize),
}

/// Writes a path the way people read it: `services.web.allow[2]`.
pub(crate) fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            Step::Item(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    text: &'a str,
    /// Keys above the one that is being read.
    above: Vec<String>,
}

impl<'a> Builder<'a> {
    fn document(mut self) -> Result<Node, Problem> {
        let mut root = None;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                _ if root.is_some() => {
                    return Err(refused(
                        &span,
                        "a config is one YAML document; this starts another",
                    ));
                }
                event => root = Some(self.node(event, span, 0)?),
            }
        }
        Ok(root.unwrap_or(Node {
            position: Position::START,
            start: self.text.len(),
            end: self.text.len(),
            content: Content::Null,
        }))
    }

    /// The next event that is not a comment.
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Problem> {
        loop {
            match self.parser.next_event() {
                None => return Ok(None),
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(found)) => return Ok(Some(found)),
                Some(Err(error)) => return Err(syntax(&error)),
            }
        }
    }

    fn next_in(&mut self, span: &Span) -> Result<(Event<'a>, Span), Problem> {
        self.next()?
            .ok_or_else(|| refused(span, "the file ends inside this value"))
    }

    fn bytes(&self, span: &Span) -> (usize, usize) {
        let range = span.byte_range().unwrap_or(0..0);
        let end = range.end.min(self.text.len());
        (range.start.min(end), end)
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Problem> {
        if depth > MAX_DEPTH {
            return Err(refused(&span, "values are nested too deeply here"));
        }
        let position = Position::of(&span.start);
        let (start, mut end) = self.bytes(&span);
        let content = match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_extras(&span, anchor, tag.is_some())?;
                let null = style == ScalarStyle::Plain && is_null(&text);
                if null {
                    Content::Null
                } else {
                    Content::Scalar(text.into_owned())
                }
            }
            Event::SequenceStart(style, anchor, tag) => {
                refuse_extras(&span, anchor, tag.is_some())?;
                let flow = style == StructureStyle::Flow;
                let (items, last) = self.items(&span, depth)?;
                end = if flow {
                    last
                } else {
                    items.last().map_or(end, |item| item.end)
                };
                Content::List { flow, items }
            }
            Event::MappingStart(style, anchor, tag) => {
                refuse_extras(&span, anchor, tag.is_some())?;
                let flow = style == StructureStyle::Flow;
                let (entries, last) = self.entries(&span, depth)?;
                end = if flow {
                    last
                } else {
                    entries
                        .last()
                        .map_or(end, |entry| entry.value.end.max(entry.key_end))
                };
                Content::Map { flow, entries }
            }
            _ => {
                return Err(refused(
                    &span,
                    "aliases (`*name`) are not used in a config; write the value out",
                ));
            }
        };
        Ok(Node {
            position,
            start,
            end: end.max(start),
            content,
        })
    }

    fn items(&mut self, opened: &Span, depth: usize) -> Result<(Vec<Node>, usize), Problem> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next_in(opened)?;
            if event == Event::SequenceEnd {
                return Ok((items, self.bytes(&span).1));
            }
            let mut item = self.node(event, span, depth + 1)?;
            if matches!(item.content, Content::Null) && item.start == item.end {
                let before = self.text.get(..item.start).unwrap_or_default();
                item.start = before.trim_end().len();
                item.end = item.start;
            }
            items.push(item);
        }
    }

    fn entries(&mut self, opened: &Span, depth: usize) -> Result<(Vec<Entry>, usize), Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = std::collections::HashMap::new();
        loop {
            let (event, span) = self.next_in(opened)?;
            if event == Event::MappingEnd {
                return Ok((entries, self.bytes(&span).1));
            }
            let Event::Scalar(key, style, anchor, tag) = event else {
                return Err(refused(&span, "a key has to be plain text"));
            };
            refuse_extras(&span, anchor, tag.is_some())?;
            if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
                return Err(refused(&span, "a key has to be plain text on one line"));
            }
            let key = key.into_owned();
            let key_position = Position::of(&span.start);
            if let Some(first) = seen.insert(key.clone(), key_position.line) {
                self.above.push(key);
                return Err(Problem::at(
                    key_position,
                    self.above.join("."),
                    format!("this key already stands on line {first}; keep one of the two"),
                ));
            }
            let (key_start, key_end) = self.bytes(&span);
            let (event, span) = self.next_in(opened)?;
            self.above.push(key.clone());
            let mut value = self.node(event, span, depth + 1)?;
            self.above.pop();
            if matches!(value.content, Content::Null) && value.start == value.end {
                // The parser places a value that is not there wherever it stopped looking.
                value.start = self.after_colon(key_end);
                value.end = value.start;
            }
            entries.push(Entry {
                key,
                key_position,
                key_start,
                key_end,
                value,
            });
        }
    }
}

impl Builder<'_> {
    /// Returns the byte after the colon of a key, or after the key where it has none.
    fn after_colon(&self, key_end: usize) -> usize {
        let rest = self.text.get(key_end..).unwrap_or_default();
        match rest.trim_start_matches([' ', '\t']).strip_prefix(':') {
            Some(after) => self.text.len() - after.len(),
            None => key_end,
        }
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn refuse_extras(span: &Span, anchor: usize, tagged: bool) -> Result<(), Problem> {
    if anchor != 0 {
        return Err(refused(
            span,
            "anchors (`&name`) are not used in a config; write the value out",
        ));
    }
    if tagged {
        return Err(refused(span, "tags (`!name`) are not used in a config"));
    }
    Ok(())
}

fn refused(span: &Span, message: &str) -> Problem {
    Problem::at(Position::of(&span.start), "", message)
}

fn syntax(error: &ScanError) -> Problem {
    Problem::at(
        Position::of(error.marker()),
        "",
        format!("this is not valid YAML: {}", error.info()),
    )
}
