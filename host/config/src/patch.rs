//! Changes single values in the text of a YAML document and leaves every other byte alone.
//!
//! Works on the spans of `document`. It covers block style and flow style as they occur in a config and
//! refuses the rest. It proves nothing: whoever calls it reads the result back and compares.

use crate::document::{Content, Entry, Node};

/// A value to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Bool(bool),
    List(Vec<String>),
    Map(Vec<(String, Value)>),
    /// A value below comment lines, one for each text; flow style leaves them out.
    Commented(Vec<String>, Box<Value>),
}

/// The text is written in a way that is not handled here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unpatchable;

type Patched = Result<String, Unpatchable>;

/// Sets the value at a path of keys; what is missing on the way is made.
pub(crate) fn set(text: &str, path: &[&str], value: &Value) -> Patched {
    let root = Node::parse(text).map_err(|_| Unpatchable)?;
    let place = Place::find(&root, path);
    match (place.missing, place.entry) {
        ([], Some(entry)) => replace(text, entry, value),
        ([], None) => Err(Unpatchable),
        ([key, below @ ..], _) => insert(text, &place, key, &nested(below, value)),
    }
}

/// Removes the entry at a path of keys. Lines that hold nothing but a comment stay.
pub(crate) fn remove(text: &str, path: &[&str]) -> Patched {
    remove_entry(text, path, Comments::Stay)
}

/// Removes the entry at a path of keys with the comments inside of it.
pub(crate) fn remove_with_comments(text: &str, path: &[&str]) -> Patched {
    remove_entry(text, path, Comments::Go)
}

/// What becomes of lines that hold nothing but a comment and stand inside of what is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comments {
    Stay,
    Go,
}

fn remove_entry(text: &str, path: &[&str], comments: Comments) -> Patched {
    let root = Node::parse(text).map_err(|_| Unpatchable)?;
    let (last, parents) = path.split_last().ok_or(Unpatchable)?;
    let place = Place::find(&root, parents);
    if !place.missing.is_empty() {
        return Err(Unpatchable);
    }
    let entries = place.node.entries();
    let index = entries
        .iter()
        .position(|entry| entry.key == *last)
        .ok_or(Unpatchable)?;
    match &place.node.content {
        Content::Map { flow: false, .. } => {
            let entry = entries.get(index).ok_or(Unpatchable)?;
            only_spaces_before(text, entry.key_start)?;
            let end = entry.value.end.max(entry.key_end);
            match comments {
                Comments::Stay => remove_lines(text, entry.key_start, end),
                Comments::Go => splice(text, line_start(text, entry.key_start), line_end(text, end), ""),
            }
        }
        _ => {
            let spans: Vec<_> = entries
                .iter()
                .map(|entry| (entry.key_start, entry.value.end))
                .collect();
            remove_in_flow(text, place.node, &spans, index)
        }
    }
}

/// Adds an item to the end of the list at a path of keys; a missing list is made.
pub(crate) fn append(text: &str, path: &[&str], item: &str) -> Patched {
    let root = Node::parse(text).map_err(|_| Unpatchable)?;
    let place = Place::find(&root, path);
    let list = Value::List(vec![item.to_owned()]);
    if !place.missing.is_empty() {
        return set(text, path, &list);
    }
    match (&place.node.content, place.node.items(), place.entry) {
        (Content::List { flow: false, .. }, [first, ..], _) => {
            let last = place.node.items().last().ok_or(Unpatchable)?;
            let dash = dash_before(text, first.start)?;
            let line = format!("{dash}- {}{}", scalar(item), line_ending(text));
            insert_lines(text, last.end, &line)
        }
        (Content::List { flow: true, .. }, [.., last], _) => {
            splice(text, last.end, last.end, &format!(", {}", scalar(item)))
        }
        (Content::List { .. }, [], Some(entry)) if !place.in_flow && is_one_line(text, &entry.value) => {
            let emptied = cut_value(text, entry)?;
            append(&emptied, path, item)
        }
        (Content::List { flow: true, .. }, [], _) => {
            let inside = place.node.start + 1;
            splice(text, inside, inside, &scalar(item))
        }
        (Content::Null, _, Some(entry)) => fill(text, &place, entry, &list),
        _ => Err(Unpatchable),
    }
}

/// Removes an item, counted from 0, from the list at a path of keys.
pub(crate) fn remove_item(text: &str, path: &[&str], index: usize) -> Patched {
    let root = Node::parse(text).map_err(|_| Unpatchable)?;
    let place = Place::find(&root, path);
    if !place.missing.is_empty() {
        return Err(Unpatchable);
    }
    let items = place.node.items();
    let item = items.get(index).ok_or(Unpatchable)?;
    match &place.node.content {
        Content::List { flow: false, .. } => {
            dash_before(text, item.start)?;
            remove_lines(text, item.start, item.end)
        }
        _ => {
            let spans: Vec<_> = items.iter().map(|item| (item.start, item.end)).collect();
            remove_in_flow(text, place.node, &spans, index)
        }
    }
}

/// Writes an entry as block-style lines: what a person would add by hand.
pub(crate) fn lines(path: &[&str], value: &Value) -> String {
    match path {
        [key, below @ ..] => block(key, &nested(below, value), "", "\n"),
        [] => String::new(),
    }
}

/// How far a path exists.
struct Place<'a> {
    /// The deepest node on the path that exists.
    node: &'a Node,
    /// The entry that holds that node; none for the root.
    entry: Option<&'a Entry>,
    /// Whether that entry stands inside a flow collection.
    in_flow: bool,
    /// The rest of the path.
    missing: &'a [&'a str],
}

impl<'a> Place<'a> {
    fn find(root: &'a Node, path: &'a [&'a str]) -> Self {
        let mut place = Self {
            node: root,
            entry: None,
            in_flow: false,
            missing: path,
        };
        while let [key, below @ ..] = place.missing {
            let Some(entry) = place.node.entry(key) else { break };
            place.in_flow |= matches!(place.node.content, Content::Map { flow: true, .. });
            place.node = &entry.value;
            place.entry = Some(entry);
            place.missing = below;
        }
        place
    }
}

fn nested(path: &[&str], value: &Value) -> Value {
    path.iter().rev().fold(value.clone(), |inner, key| {
        Value::Map(vec![((*key).to_owned(), inner)])
    })
}

/// Gives an entry another value; only one value in the place of one value.
fn replace(text: &str, entry: &Entry, value: &Value) -> Patched {
    let written = match value {
        Value::Text(value) => scalar(value),
        Value::Bool(value) => value.to_string(),
        Value::List(_) | Value::Map(_) | Value::Commented(..) => return Err(Unpatchable),
    };
    let (start, end) = (entry.value.start, entry.value.end);
    match &entry.value.content {
        Content::Null if start == end => splice(text, start, end, &format!(" {written}")),
        Content::Null | Content::Scalar(_) if is_one_line(text, &entry.value) => {
            splice(text, start, end, &written)
        }
        _ => Err(Unpatchable),
    }
}

/// Adds an entry to the map at a place.
fn insert(text: &str, place: &Place<'_>, key: &str, value: &Value) -> Patched {
    let node = place.node;
    match (&node.content, node.entries(), place.entry) {
        (Content::Map { flow: false, .. }, [first, .., last] | [first @ last], _) => {
            let indent = only_spaces_before(text, first.key_start)?;
            let written = block(key, value, indent, line_ending(text));
            insert_lines(text, last.value.end.max(last.key_end), &written)
        }
        (Content::Map { flow: true, .. }, [.., last], _) => {
            let end = last.value.end;
            splice(text, end, end, &format!(", {}", flow_entry(key, value)))
        }
        (Content::Map { flow: true, .. }, [], Some(entry)) if !place.in_flow && is_one_line(text, node) => {
            let emptied = cut_value(text, entry)?;
            let root = Node::parse(&emptied).map_err(|_| Unpatchable)?;
            let path = path_to(&root, entry.key_start).ok_or(Unpatchable)?;
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let place = Place::find(&root, &path);
            let entry = place.entry.ok_or(Unpatchable)?;
            fill(
                &emptied,
                &place,
                entry,
                &Value::Map(vec![(key.to_owned(), value.clone())]),
            )
        }
        (Content::Map { flow: true, .. }, [], _) => {
            let inside = node.start + 1;
            splice(text, inside, inside, &format!(" {} ", flow_entry(key, value)))
        }
        (Content::Null, _, Some(entry)) => fill(
            text,
            place,
            entry,
            &Value::Map(vec![(key.to_owned(), value.clone())]),
        ),
        (Content::Null, _, None) => insert_lines(text, text.len(), &block(key, value, "", line_ending(text))),
        _ => Err(Unpatchable),
    }
}

/// Gives a collection to an entry that has no value.
fn fill(text: &str, place: &Place<'_>, entry: &Entry, value: &Value) -> Patched {
    let (start, end) = (entry.value.start, entry.value.end);
    if place.in_flow {
        return splice(text, start, end, &format!(" {}", flow(value)));
    }
    let emptied = match start == end {
        true => text.to_owned(),
        false => cut_value(text, entry)?,
    };
    let indent = only_spaces_before(&emptied, entry.key_start)?;
    let whole = block(&entry.key, value, indent, line_ending(&emptied));
    // The key's own line is there already.
    let below = whole.split_once('\n').map_or("", |(_, below)| below);
    insert_lines(&emptied, entry.key_end, below)
}

/// Takes out the value of an entry with the blanks before it.
fn cut_value(text: &str, entry: &Entry) -> Patched {
    let before = text.get(entry.key_end..entry.value.start).ok_or(Unpatchable)?;
    let start = entry.key_end + before.trim_end_matches([' ', '\t']).len();
    splice(text, start, entry.value.end, "")
}

fn path_to(node: &Node, key_start: usize) -> Option<Vec<String>> {
    node.entries().iter().find_map(|entry| {
        if entry.key_start == key_start {
            return Some(vec![entry.key.clone()]);
        }
        let mut path = path_to(&entry.value, key_start)?;
        path.insert(0, entry.key.clone());
        Some(path)
    })
}

fn remove_in_flow(text: &str, node: &Node, spans: &[(usize, usize)], index: usize) -> Patched {
    let &(start, end) = spans.get(index).ok_or(Unpatchable)?;
    if spans.len() == 1 && is_one_line(text, node) {
        let empty = match node.content {
            Content::List { .. } => "[]",
            _ => "{}",
        };
        return splice(text, node.start, node.end, empty);
    }
    if index + 1 < spans.len() || spans.len() == 1 {
        let without = splice(text, start, end, "")?;
        return match comma_after(&without, start) {
            Some(comma) => {
                let rest = without.get(comma + 1..).unwrap_or_default();
                // A comment keeps the blank before it: without one it is no comment.
                let blank = comma == start && rest.starts_with(' ') && !rest.starts_with(" #");
                splice(&without, comma, comma + 1 + usize::from(blank), "")
            }
            None if spans.len() == 1 => Ok(without),
            None => Err(Unpatchable),
        };
    }
    let &(_, before) = spans.get(index - 1).ok_or(Unpatchable)?;
    let between = text.get(before..start).ok_or(Unpatchable)?;
    if !between.contains(['\n', '#']) {
        return splice(text, before, end, "");
    }
    let comma = comma_after(text, before).ok_or(Unpatchable)?;
    let without = splice(text, start, end, "")?;
    splice(&without, comma, comma + 1, "")
}

/// Returns where the next comma stands, past blanks, line ends and comments.
fn comma_after(text: &str, from: usize) -> Option<usize> {
    let mut rest = text.get(from..)?;
    loop {
        rest = rest.trim_start();
        if rest.starts_with(',') {
            return Some(text.len() - rest.len());
        }
        rest = rest.strip_prefix('#')?.split_once('\n')?.1;
    }
}

/// Takes out the lines from one byte to another but for those that hold only a comment.
fn remove_lines(text: &str, from: usize, to: usize) -> Patched {
    let (start, end) = (line_start(text, from), line_end(text, to));
    let removed = text.get(start..end).ok_or(Unpatchable)?;
    let kept: String = removed
        .split_inclusive('\n')
        .filter(|line| line.trim_start().starts_with('#'))
        .collect();
    splice(text, start, end, &kept)
}

/// Puts whole lines after the line that this byte ends.
fn insert_lines(text: &str, after: usize, lines: &str) -> Patched {
    let at = line_end(text, after);
    let complete = at == 0 || text.get(..at).is_some_and(|before| before.ends_with('\n'));
    let first = if complete { "" } else { line_ending(text) };
    splice(text, at, at, &format!("{first}{lines}"))
}

fn splice(text: &str, start: usize, end: usize, new: &str) -> Patched {
    match (text.get(..start), text.get(end..)) {
        (Some(before), Some(after)) if start <= end => Ok([before, new, after].concat()),
        _ => Err(Unpatchable),
    }
}

fn line_start(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or_default();
    before.rfind('\n').map_or(0, |newline| newline + 1)
}

/// One past the newline of the line that this byte ends. A byte at the very start of a line counts to the
/// line before.
fn line_end(text: &str, at: usize) -> usize {
    if at > 0 && text.as_bytes().get(at - 1) == Some(&b'\n') {
        return at;
    }
    let rest = text.get(at..).unwrap_or_default();
    rest.find('\n').map_or(text.len(), |newline| at + newline + 1)
}

fn line_ending(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text.get(..at).is_some_and(|before| before.ends_with('\r')) => "\r\n",
        _ => "\n",
    }
}

fn is_one_line(text: &str, node: &Node) -> bool {
    text.get(node.start..node.end)
        .is_some_and(|slice| !slice.contains('\n'))
}

/// Returns the indentation before a key that starts its line.
fn only_spaces_before(text: &str, at: usize) -> Result<&str, Unpatchable> {
    let before = text.get(line_start(text, at)..at).ok_or(Unpatchable)?;
    match before.bytes().all(|byte| byte == b' ') {
        true => Ok(before),
        false => Err(Unpatchable),
    }
}

/// Returns the indentation before the dash of an item that starts its line.
fn dash_before(text: &str, at: usize) -> Result<&str, Unpatchable> {
    let before = text.get(line_start(text, at)..at).ok_or(Unpatchable)?;
    let indent = before.trim_end().strip_suffix('-').ok_or(Unpatchable)?;
    match indent.bytes().all(|byte| byte == b' ') {
        true => Ok(indent),
        false => Err(Unpatchable),
    }
}

fn block(name: &str, value: &Value, indent: &str, ending: &str) -> String {
    let key = scalar(name);
    let deeper = format!("{indent}  ");
    match value {
        Value::Text(text) => format!("{indent}{key}: {}{ending}", scalar(text)),
        Value::Bool(value) => format!("{indent}{key}: {value}{ending}"),
        Value::List(items) => {
            let items = items
                .iter()
                .map(|item| format!("{deeper}- {}{ending}", scalar(item)));
            format!("{indent}{key}:{ending}{}", items.collect::<String>())
        }
        Value::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| block(key, value, &deeper, ending));
            format!("{indent}{key}:{ending}{}", entries.collect::<String>())
        }
        Value::Commented(comments, value) => {
            let comments = comments.iter().map(|comment| {
                // One comment is one line, whatever its text holds.
                let line: String = comment.chars().filter(|c| !c.is_control()).collect();
                format!("{indent}# {line}{ending}")
            });
            comments.collect::<String>() + &block(name, value, indent, ending)
        }
    }
}

fn flow_entry(key: &str, value: &Value) -> String {
    format!("{}: {}", scalar(key), flow(value))
}

fn flow(value: &Value) -> String {
    match value {
        Value::Text(text) => scalar(text),
        Value::Bool(value) => value.to_string(),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| scalar(item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(key, value)| flow_entry(key, value))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Commented(_, value) => flow(value),
    }
}

/// Writes text as a scalar: plain where every YAML reader takes it for text, else in double quotes.
pub(crate) fn scalar(text: &str) -> String {
    const PEER_ID_LENGTH: usize = 40;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ':');
    let reserved = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let peer_id = text.len() >= PEER_ID_LENGTH && text.chars().all(|c| c.is_ascii_alphanumeric());
    let simple = (starts || peer_id)
        && text.chars().all(plain)
        && !text.ends_with(':')
        && !reserved.contains(&text.to_ascii_lowercase().as_str());
    if simple {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
