//! Reads and checks a config file. Everything wrong in it is told at once, in the order of the file.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use serde::de::DeserializeOwned;

use crate::{
    blank::blank,
    document::{Content, Node, Step, dotted},
    error::{ConfigError, Problem},
    keys::{self, Shape, Span, Walk},
    node::{self, NodeConfig},
    position::Position,
    raw::{RawNode, RawRelay},
    relay::{self, RelayConfig},
    values::Reader,
};

/// Longest config file that is read, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// The latest version of the schema that this release reads.
pub const CONFIG_VERSION: u64 = 1;

/// Values of the wrong type that are told in one go.
const MAX_REFUSALS: usize = 64;

/// The command that makes a node's config.
pub(crate) const NODE_INIT: &str = "peerup init";

/// A config with what the operator should hear about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<T> {
    /// The config.
    pub config: T,
    /// What has no effect or is unwise, in the order of the file.
    pub warnings: Vec<Problem>,
}

/// Reads a node's config.
///
/// # Errors
/// Missing, unreadable, too long, of a later version, or wrong in any number of places.
pub fn load_node(path: &Path) -> Result<Loaded<NodeConfig>, ConfigError> {
    parse_node(&read(path, NODE_INIT)?, path)
}

/// Reads a relay server's config.
///
/// # Errors
/// As [`load_node`].
pub fn load_relay(path: &Path) -> Result<Loaded<RelayConfig>, ConfigError> {
    parse_relay(&read_relay(path)?, path)
}

/// Reads the text of a node's config, once, for who needs the text too.
///
/// # Errors
/// Missing, unreadable, too long or no text.
pub fn read_node(path: &Path) -> Result<String, ConfigError> {
    read(path, NODE_INIT)
}

/// Reads the text of a relay server's config, once, for who needs the text too.
///
/// # Errors
/// Missing, unreadable, too long or no text.
pub fn read_relay(path: &Path) -> Result<String, ConfigError> {
    read(path, "relay-server init")
}

/// Checks the text of a node's config. The path is for messages and for relative paths; nothing is read.
///
/// # Errors
/// Of a later version, or wrong in any number of places.
pub fn parse_node(text: &str, path: &Path) -> Result<Loaded<NodeConfig>, ConfigError> {
    parse::<RawNode, _>(text, path, &keys::NODE, node::resolve)
}

/// Checks the text of a relay server's config. The path is for messages and for relative paths.
///
/// # Errors
/// Of a later version, or wrong in any number of places.
pub fn parse_relay(text: &str, path: &Path) -> Result<Loaded<RelayConfig>, ConfigError> {
    parse::<RawRelay, _>(text, path, &keys::RELAY, relay::resolve)
}

/// Returns what to say where others than the owner can read a config: it may hold addresses of webhooks, which are
/// secrets. None where all is well, or where the file cannot be looked at.
pub fn open_to_others(path: &Path) -> Option<String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        let mode = found.permissions().mode() & 0o7777;
        (mode & 0o044 != 0).then(|| {
            format!(
                "{path} has mode {mode:04o}: other users can read it, and it may hold addresses of webhooks; \
                 run: chmod 600 {path}",
                path = path.display()
            )
        })
    }
    #[cfg(not(unix))]
    None
}

/// Reads the whole file as text, bounded. `init` is the command that makes a missing one.
pub(crate) fn read(path: &Path, init: &'static str) -> Result<String, ConfigError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ConfigError::Missing {
            path: path.to_owned(),
            init,
        },
        _ => ConfigError::Read {
            path: path.to_owned(),
            source,
        },
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_CONFIG_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
        });
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = 1 + error
            .as_bytes()
            .iter()
            .take(good)
            .filter(|&&byte| byte == b'\n')
            .count();
        ConfigError::NotText {
            path: path.to_owned(),
            line,
        }
    })
}

/// Some editors put a byte-order mark in front; it is no part of the text.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn parse<R: DeserializeOwned + Default, C>(
    text: &str,
    path: &Path,
    shape: &Shape,
    resolve: impl FnOnce(R, &mut Reader<'_>) -> C,
) -> Result<Loaded<C>, ConfigError> {
    let text = without_mark(text);
    let invalid = |mut problems: Vec<Problem>| {
        problems.sort_by_key(|problem| (problem.line, problem.column));
        ConfigError::Invalid {
            path: path.to_owned(),
            problems,
        }
    };
    if text.len() as u64 > MAX_CONFIG_BYTES {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
        });
    }
    let root = Node::parse(text).map_err(|problem| invalid(vec![problem]))?;
    check_version(&root, path)?;
    let mut walk = Walk::over(text, &root, shape);
    let mut found = Pruned {
        text: text.to_owned(),
        root,
        problems: std::mem::take(&mut walk.problems),
    };
    // What is wrong is taken out, so that the rest is read too and told in the same go.
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let raw = match found.without(&walk.spans) {
        true => found.deserialize::<R>(),
        false => None,
    };
    let Some(raw) = raw else {
        return Err(invalid(found.problems));
    };
    let mut reader = Reader::new(&found.root, folder);
    let config = resolve(raw, &mut reader);
    let (own, mut warnings) = (reader.problems, reader.warnings);
    found.add(own);
    if !found.problems.is_empty() {
        return Err(invalid(found.problems));
    }
    warnings.append(&mut walk.warnings);
    warnings.sort_by_key(|problem| (problem.line, problem.column));
    Ok(Loaded { config, warnings })
}

/// A text without what was found wrong in it; everything else stands where it stood.
struct Pruned {
    text: String,
    root: Node,
    problems: Vec<Problem>,
}

impl Pruned {
    /// Takes these parts out. Returns false where what is left cannot be read.
    fn without(&mut self, spans: &[Span]) -> bool {
        // From the end: what stands before keeps its bytes.
        for span in spans.iter().rev() {
            let blanked = match span {
                Span::Entry(start, end) => blank(&self.text, (*start, *end), None),
                Span::Value(start, end, nothing) => blank(&self.text, (*start, *end), Some(nothing)),
            };
            let Some(blanked) = blanked else { return false };
            self.text = blanked;
        }
        if spans.is_empty() {
            return true;
        }
        match Node::parse(&self.text) {
            Ok(root) => {
                self.root = root;
                true
            }
            Err(_) => false,
        }
    }

    /// Reads what is left. What the serde schema refuses is noted and taken out, one after another.
    fn deserialize<R: DeserializeOwned + Default>(&mut self) -> Option<R> {
        let mut tried: Vec<Vec<Step>> = Vec::new();
        for _ in 0..MAX_REFUSALS {
            let problem = match deserialize::<R>(&self.text, &self.root) {
                Ok(raw) => return Some(raw),
                Err(problem) => problem,
            };
            let mut place = self.root.path_at(problem.line, problem.column);
            let is_new = !tried.iter().any(|known| known.starts_with(&place));
            // A list that takes no empty item goes as a whole.
            while tried.contains(&place) {
                place.pop();
            }
            if is_new {
                self.add(vec![problem]);
            }
            let node = self.root.at(&place).filter(|_| !place.is_empty())?;
            let nothing = match node.content {
                Content::List { .. } => "[]",
                Content::Map { .. } => "{}",
                Content::Null | Content::Scalar(_) => "~",
            };
            let span = Span::Value(node.start, node.end, nothing);
            tried.push(place);
            if !self.without(&[span]) {
                return None;
            }
        }
        None
    }

    /// Adds what the values are wrong in. What only follows from a part that was taken out below is not told.
    fn add(&mut self, more: Vec<Problem>) {
        let above = |key: &str, below: &str| {
            below
                .strip_prefix(key)
                .is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        let known: Vec<String> = self.problems.iter().map(|problem| problem.key.clone()).collect();
        let follows = |problem: &Problem| {
            known
                .iter()
                .any(|key| *key == problem.key || above(&problem.key, key))
        };
        self.problems
            .extend(more.into_iter().filter(|problem| !follows(problem)));
    }
}

/// A file of a later version may have keys that mean nothing here: its version is told first.
fn check_version(root: &Node, path: &Path) -> Result<(), ConfigError> {
    let Some(entry) = root.entry("version") else {
        return Ok(());
    };
    let Content::Scalar(text) = &entry.value.content else {
        return Ok(());
    };
    match text.parse::<u64>() {
        Ok(found) if found > CONFIG_VERSION => Err(ConfigError::Version {
            path: path.to_owned(),
            found,
            supported: CONFIG_VERSION,
        }),
        _ => Ok(()),
    }
}

fn deserialize<R: DeserializeOwned + Default>(text: &str, root: &Node) -> Result<R, Problem> {
    if matches!(root.content, Content::Null) {
        return Ok(R::default());
    }
    let options = serde_saphyr::options! {
        with_snippet: false,
        emit_comments: false,
        // `no` and `off` are text: a switch is true or false and nothing that one has to know YAML for.
        strict_booleans: true,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| schema_problem(&error, root))
}

/// Tells what the serde schema refused in the words and with the place of every other problem.
fn schema_problem(error: &serde_saphyr::Error, root: &Node) -> Problem {
    let Some(location) = error.location() else {
        return Problem::at(Position::START, "", error.without_snippet().to_string());
    };
    let place = Position {
        line: usize::try_from(location.line()).unwrap_or(1),
        column: usize::try_from(location.column()).unwrap_or(1),
    };
    let path = root.path_at(place.line, place.column);
    let message = error.without_snippet().to_string();
    let suffix = format!(" at line {}, column {}", place.line, place.column);
    let message = message.strip_suffix(&suffix).unwrap_or(&message);
    let message = match root.text_at(&path) {
        Some(text) if message.starts_with("invalid boolean") => format!("{text:?} is neither true nor false"),
        Some(text) if message.starts_with("invalid u64") => format!("{text:?} is not a whole number"),
        _ => message.to_owned(),
    };
    Problem::at(place, dotted(&path), message)
}
