//! The `authorized_keys` document: who may connect, with which services, until when.
//!
//! Pure and lossless: the person's comments, blank lines and untouched entries are written back as they
//! were. Reading it from disk and editing it there belong to `KeyFile`.

use std::{collections::HashMap, fmt};

use jiff::Timestamp;
use libp2p_identity::PeerId;
use peerup_model::{NameError, ServiceName};

use crate::{
    peer_text::{PeerIdError, parse_peer_id},
    text::plain,
};

/// Largest document that is read or written, in bytes.
pub const MAX_KEYS_BYTES: usize = 1024 * 1024;
/// Most entries in one document.
pub const MAX_KEYS_ENTRIES: usize = 4096;
/// Longest line, in bytes: a full list of services still fits.
pub const MAX_KEYS_LINE: usize = 8192;
/// Most services that one entry names.
pub const MAX_ENTRY_SERVICES: usize = 64;
/// Longest comment that is written, in bytes. A longer one is cut.
pub const MAX_COMMENT: usize = 256;

const ATTRIBUTES: [&str; 4] = ["expires", "services", "role", "verified"];

/// What a member may do besides using services.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MemberRole {
    /// Uses services.
    #[default]
    Member,
    /// May also ask a relay to enroll others where it asks for that.
    Admin,
}

/// One peer that may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub peer: PeerId,
    /// From this moment on the entry gives no right. None: never ends.
    pub expires: Option<Timestamp>,
    /// The services that it may use, at least one. None: all of them.
    pub services: Option<Vec<ServiceName>>,
    /// Member or admin.
    pub role: MemberRole,
    /// How the person verified the peer: `sha256:` and 8 to 64 hexadecimal digits.
    pub verified: Option<String>,
    /// What the person wants to remember. Control characters are stripped and the length is capped when the
    /// entry is written.
    pub comment: Option<String>,
}

impl Entry {
    /// Creates an entry for a member without limits.
    pub fn new(peer: PeerId) -> Self {
        Self {
            peer,
            expires: None,
            services: None,
            role: MemberRole::Member,
            verified: None,
            comment: None,
        }
    }

    /// Sets the comment; one that is empty once stripped is none.
    #[must_use]
    pub fn with_comment(mut self, comment: &str) -> Self {
        self.comment = stripped_comment(comment);
        self
    }

    /// Returns whether the entry gives no right at this moment any more.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// Checks what the line format cannot hold and strips the comment.
    fn checked(mut self) -> Result<Self, EntryError> {
        if let Some(services) = &self.services {
            check_services(services)?;
        }
        if let Some(verified) = &self.verified {
            check_verified(verified)?;
        }
        self.comment = self.comment.as_deref().and_then(stripped_comment);
        Ok(self)
    }

    fn from_line(line: &str) -> Result<Self, EntryError> {
        let (words, comment) = match line.split_once('#') {
            Some((words, comment)) => (words, stripped_comment(comment)),
            None => (line, None),
        };
        let mut words = words.split_whitespace();
        let peer = parse_peer_id(words.next().unwrap_or_default())?;
        let mut entry = Self {
            comment,
            ..Self::new(peer)
        };
        let mut seen = Vec::new();
        for word in words {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| EntryError::NotAnAttribute(plain(word, 64)))?;
            if seen.contains(&key) {
                return Err(EntryError::Twice(plain(key, 64)));
            }
            seen.push(key);
            entry.set_attribute(key, value)?;
        }
        Ok(entry)
    }

    fn set_attribute(&mut self, key: &str, value: &str) -> Result<(), EntryError> {
        match key {
            "expires" => self.expires = Some(parse_expires(value)?),
            "services" => self.services = Some(parse_services(value)?),
            "role" => self.role = parse_role(value)?,
            "verified" => {
                check_verified(value)?;
                self.verified = Some(value.to_owned());
            }
            _ => {
                return Err(EntryError::UnknownAttribute {
                    name: plain(key, 64),
                    nearest: nearest_attribute(key),
                });
            }
        }
        Ok(())
    }
}

/// Writes the line of the entry: fixed order of attributes, no line end.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.peer)?;
        if let Some(expires) = self.expires {
            write!(f, " expires={expires}")?;
        }
        if let Some(services) = &self.services {
            let names: Vec<&str> = services.iter().map(ServiceName::as_str).collect();
            write!(f, " services={}", names.join(","))?;
        }
        if self.role == MemberRole::Admin {
            f.write_str(" role=admin")?;
        }
        if let Some(verified) = &self.verified {
            write!(f, " verified={verified}")?;
        }
        if let Some(comment) = self.comment.as_deref().and_then(stripped_comment) {
            write!(f, "  # {comment}")?;
        }
        Ok(())
    }
}

/// Why one entry does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The first word is no peer id.
    #[error(transparent)]
    PeerId(#[from] PeerIdError),
    /// A word after the peer id without `=`.
    #[error("{0:?} is not an attribute: write key=value, and comments after a #")]
    NotAnAttribute(String),
    /// An attribute that does not exist. Ignoring one could ignore a limit.
    #[error("there is no attribute {name:?}, did you mean {nearest}=?")]
    UnknownAttribute {
        /// As written.
        name: String,
        /// The one that is most like it.
        nearest: &'static str,
    },
    /// An attribute that stands twice.
    #[error("the attribute {0:?} stands twice")]
    Twice(String),
    /// `expires` is no moment.
    #[error("expires={0:?} is not a moment such as 2030-01-31T12:00:00Z")]
    Expires(String),
    /// `services` names something that is no service.
    #[error("services: {0}")]
    Service(#[from] NameError),
    /// `services` names none.
    #[error("services= names no service; leave it out to allow all of them")]
    NoServices,
    /// `services` names too many.
    #[error("services= names {0} services, at most {MAX_ENTRY_SERVICES} may stand")]
    TooManyServices(usize),
    /// `role` is neither of the two.
    #[error("role={0:?} is neither member nor admin")]
    Role(String),
    /// `verified` has another form.
    #[error("verified={0:?} is not sha256: and 8 to 64 hexadecimal digits")]
    Verified(String),
    /// The line is longer than [`MAX_KEYS_LINE`].
    #[error("the line has {0} bytes, at most {MAX_KEYS_LINE} may stand")]
    LineTooLong(usize),
}

/// Why a document was not read or not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorizedKeysError {
    /// One line does not hold, and with it the document.
    #[error("line {line}: {reason}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: EntryError,
    },
    /// The same peer stands twice, perhaps in two forms of its id: which limits would count?
    #[error("line {second}: {peer} stands already in line {first}")]
    Duplicate {
        /// The peer.
        peer: PeerId,
        /// The line of the first entry, counted from 1.
        first: usize,
        /// The line of the second.
        second: usize,
    },
    /// The document is larger than [`MAX_KEYS_BYTES`].
    #[error("it has {0} bytes, at most {MAX_KEYS_BYTES} may stand")]
    TooLarge(usize),
    /// The document has more than [`MAX_KEYS_ENTRIES`] entries.
    #[error("it has more than {MAX_KEYS_ENTRIES} entries")]
    TooManyEntries,
    /// An entry for that peer is there already.
    #[error("{0} is already authorized")]
    AlreadyPresent(PeerId),
    /// The entry to add cannot be written.
    #[error(transparent)]
    Entry(#[from] EntryError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    /// A comment or nothing.
    Verbatim(String),
    /// An entry, with its line as the person wrote it.
    Entry { text: String, entry: Box<Entry> },
}

/// A whole document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthorizedKeys {
    lines: Vec<Line>,
}

impl AuthorizedKeys {
    /// Reads a document. One bad line fails it as a whole, because a line that is left out could be a limit.
    ///
    /// # Errors
    /// The first line that does not hold, or a bound that is passed.
    pub fn parse(text: &str) -> Result<Self, AuthorizedKeysError> {
        if text.len() > MAX_KEYS_BYTES {
            return Err(AuthorizedKeysError::TooLarge(text.len()));
        }
        let mut lines = Vec::new();
        let mut first_lines = HashMap::new();
        // Only `\n` ends a line; a `\r` before it is blank space and stays.
        let body = text.strip_suffix('\n').unwrap_or(text);
        if body.is_empty() && body == text {
            return Ok(Self::default());
        }
        for (index, raw) in body.split('\n').enumerate() {
            let line = index + 1;
            let parsed = parse_line(raw).map_err(|reason| AuthorizedKeysError::Line { line, reason })?;
            if let Line::Entry { entry, .. } = &parsed {
                if let Some(first) = first_lines.insert(entry.peer, line) {
                    return Err(AuthorizedKeysError::Duplicate {
                        peer: entry.peer,
                        first,
                        second: line,
                    });
                }
                if first_lines.len() > MAX_KEYS_ENTRIES {
                    return Err(AuthorizedKeysError::TooManyEntries);
                }
            }
            lines.push(parsed);
        }
        Ok(Self { lines })
    }

    /// Iterates over the entries in the order of the document.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.lines.iter().filter_map(|line| match line {
            Line::Entry { entry, .. } => Some(&**entry),
            Line::Verbatim(_) => None,
        })
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.entries().count()
    }

    /// Returns whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries().next().is_none()
    }

    /// Returns the entry of a peer, expired or not.
    pub fn get(&self, peer: &PeerId) -> Option<&Entry> {
        self.entries().find(|entry| entry.peer == *peer)
    }

    /// Adds an entry at the end.
    ///
    /// # Errors
    /// The peer has one, the document is full, or the entry cannot be written. Nothing changes then.
    pub fn add(&mut self, entry: Entry) -> Result<(), AuthorizedKeysError> {
        if self.get(&entry.peer).is_some() {
            return Err(AuthorizedKeysError::AlreadyPresent(entry.peer));
        }
        if self.len() >= MAX_KEYS_ENTRIES {
            return Err(AuthorizedKeysError::TooManyEntries);
        }
        let line = Line::of(entry)?;
        self.check_room(&line, 0)?;
        self.lines.push(line);
        Ok(())
    }

    /// Puts an entry in the place of the peer's old one, or at the end. Returns the old one.
    ///
    /// # Errors
    /// The document is full, or the entry cannot be written. Nothing changes then.
    pub fn set(&mut self, entry: Entry) -> Result<Option<Entry>, AuthorizedKeysError> {
        let Some(old) = self.get(&entry.peer).cloned() else {
            return self.add(entry).map(|()| None);
        };
        let peer = entry.peer;
        let line = Line::of(entry)?;
        let position = self.lines.iter().position(|line| line.is_of(&peer));
        if let Some(place) = position.and_then(|position| self.lines.get(position)) {
            self.check_room(&line, place.text().len() + 1)?;
        }
        if let Some(place) = position.and_then(|position| self.lines.get_mut(position)) {
            *place = line;
        }
        Ok(Some(old))
    }

    /// Removes the entry of a peer. Returns whether there was one.
    pub fn remove(&mut self, peer: &PeerId) -> bool {
        let before = self.lines.len();
        self.lines.retain(|line| !line.is_of(peer));
        self.lines.len() != before
    }

    fn check_room(&self, line: &Line, freed: usize) -> Result<(), AuthorizedKeysError> {
        let size: usize = self.lines.iter().map(|line| line.text().len() + 1).sum();
        let wanted = (size + line.text().len() + 1).saturating_sub(freed);
        if wanted > MAX_KEYS_BYTES {
            return Err(AuthorizedKeysError::TooLarge(wanted));
        }
        Ok(())
    }
}

/// Writes the document; every line ends with a newline, the last one too.
impl fmt::Display for AuthorizedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines
            .iter()
            .try_for_each(|line| writeln!(f, "{}", line.text()))
    }
}

impl Line {
    fn of(entry: Entry) -> Result<Self, EntryError> {
        let entry = Box::new(entry.checked()?);
        let text = entry.to_string();
        if text.len() > MAX_KEYS_LINE {
            return Err(EntryError::LineTooLong(text.len()));
        }
        Ok(Self::Entry { text, entry })
    }

    fn text(&self) -> &str {
        match self {
            Self::Verbatim(text) | Self::Entry { text, .. } => text,
        }
    }

    fn is_of(&self, peer: &PeerId) -> bool {
        matches!(self, Self::Entry { entry, .. } if entry.peer == *peer)
    }
}

fn parse_line(raw: &str) -> Result<Line, EntryError> {
    if raw.len() > MAX_KEYS_LINE {
        return Err(EntryError::LineTooLong(raw.len()));
    }
    // Editors of one system put a byte order mark at the start of a file.
    let content = raw.trim_start_matches('\u{feff}').trim();
    if content.is_empty() || content.starts_with('#') {
        return Ok(Line::Verbatim(raw.to_owned()));
    }
    Ok(Line::Entry {
        text: raw.to_owned(),
        entry: Box::new(Entry::from_line(content)?),
    })
}

/// A `#` may stand in a comment: only the first one of a line begins it.
fn stripped_comment(text: &str) -> Option<String> {
    Some(plain(text, MAX_COMMENT)).filter(|comment| !comment.is_empty())
}

fn parse_expires(value: &str) -> Result<Timestamp, EntryError> {
    value.parse().map_err(|_| EntryError::Expires(plain(value, 64)))
}

fn parse_services(value: &str) -> Result<Vec<ServiceName>, EntryError> {
    let named = value.split(',').filter(|name| !name.is_empty());
    let services: Vec<ServiceName> = named.map(str::parse).collect::<Result<_, _>>()?;
    check_services(&services)?;
    Ok(services)
}

fn check_services(services: &[ServiceName]) -> Result<(), EntryError> {
    match services.len() {
        0 => Err(EntryError::NoServices),
        count if count > MAX_ENTRY_SERVICES => Err(EntryError::TooManyServices(count)),
        _ => Ok(()),
    }
}

fn parse_role(value: &str) -> Result<MemberRole, EntryError> {
    match value {
        "member" => Ok(MemberRole::Member),
        "admin" => Ok(MemberRole::Admin),
        _ => Err(EntryError::Role(plain(value, 64))),
    }
}

fn check_verified(value: &str) -> Result<(), EntryError> {
    let digits = value.strip_prefix("sha256:").unwrap_or_default();
    let holds = (8..=64).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if holds {
        return Ok(());
    }
    Err(EntryError::Verified(plain(value, 96)))
}

fn nearest_attribute(name: &str) -> &'static str {
    let name: String = name.chars().take(64).collect();
    let mut best = ("expires", usize::MAX);
    for attribute in ATTRIBUTES {
        let distance = strsim::damerau_levenshtein(&name.to_lowercase(), attribute);
        if distance < best.1 {
            best = (attribute, distance);
        }
    }
    best.0
}

#[cfg(test)]
mod tests;
