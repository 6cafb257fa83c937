//! `plugin.toml`: what a plugin says about itself. It asks; what it gets is the operator's grant.

use std::collections::BTreeSet;

use peerup_model::PluginName;
use serde::Serialize;
use toml::Spanned;

use crate::{
    capability::CapabilityName,
    problem::{ManifestError, unknown},
    reader::{Bound, Reader, Table, plain_value},
    settings::SettingsSchema,
};

/// The longest `plugin.toml` that is read.
pub const MAX_MANIFEST_BYTES: usize = 64 << 10;
/// The most entries of any list in it.
const MAX_ENTRIES: usize = 64;
/// A summary or reason.
const TEXT: Bound = Bound { bytes: 400 };
/// The name of a capability, command or protocol.
const NAME: Bound = Bound { bytes: 140 };
/// A value of a capability.
const VALUE: Bound = Bound { bytes: 300 };
const KEYS: [&str; 11] = [
    "name",
    "version",
    "contract",
    "summary",
    "author",
    "homepage",
    "license",
    "protocols",
    "capability",
    "command",
    "settings",
];

/// What a plugin says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// Its name: part of its protocol ids and its place in the config.
    pub name: PluginName,
    /// Its own version, a semantic version.
    pub version: String,
    /// The version of the contract that it was built for, a semantic version.
    pub contract: String,
    /// One line for `plugin list`.
    pub summary: String,
    /// Who made it. Text of its own choice: only the signature says who signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Where to read about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// Its licence, as an SPDX expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// What it wants to be granted. `[[capability]]` in the file.
    pub capabilities: Vec<Capability>,
    /// The protocols that it serves; `*` stands for one part.
    pub protocols: Vec<String>,
    /// Its words on the command line. `[[command]]` in the file.
    pub commands: Vec<CommandSpec>,
    /// What its operator can set.
    pub settings: SettingsSchema,
}

/// One thing that a plugin wants to be granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Capability {
    /// Which.
    pub name: CapabilityName,
    /// What it needs it for, for the operator to read.
    pub reason: String,
    /// Whether it can run without.
    pub optional: bool,
    /// What it would like, such as addresses. Where there is none the operator chooses.
    pub values: Vec<String>,
}

/// One word that a plugin adds to the command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandSpec {
    /// The word.
    pub name: String,
    /// One line for the help.
    pub summary: String,
    /// What can be said with it. `[[command.flag]]` in the file.
    pub flags: Vec<FlagSpec>,
}

/// One flag or argument of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlagSpec {
    /// `--name`, and the key in the command's arguments.
    pub name: String,
    /// The kind of its value.
    #[serde(rename = "type")]
    pub kind: FlagType,
    /// One line for the help.
    pub summary: String,
    /// Whether the command makes no sense without.
    pub required: bool,
    /// What holds where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
    /// Whether it is an argument by its place instead of a flag.
    pub positional: bool,
}

/// The kind of a flag's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FlagType {
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// Given or not.
    Boolean,
    /// A time such as `1m 30s`.
    Duration,
}

impl FlagType {
    const NAMES: [&'static str; 4] = ["string", "integer", "boolean", "duration"];

    fn read(name: &str) -> Option<Self> {
        match name {
            "string" => Some(Self::String),
            "integer" => Some(Self::Integer),
            "boolean" => Some(Self::Boolean),
            "duration" => Some(Self::Duration),
            _ => None,
        }
    }

    /// Its name in `plugin.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Duration => "duration",
        }
    }

    fn fits(self, value: &serde_json::Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Integer => value.is_i64(),
            Self::Boolean => value.is_boolean(),
            Self::Duration => value
                .as_str()
                .is_some_and(|text| humantime::parse_duration(text).is_ok()),
        }
    }

    fn described(self) -> &'static str {
        match self {
            Self::String => "a text in quotes",
            Self::Integer => "a whole number",
            Self::Boolean => "true or false",
            Self::Duration => "a time such as \"1m 30s\"",
        }
    }
}

impl Manifest {
    /// Reads `plugin.toml`. Unknown keys are refused, texts and lists are bounded, and all that is wrong is
    /// told at once.
    ///
    /// # Errors
    /// `TooLong`, or `Invalid` with every problem.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLong {
                length: text.len(),
                most: MAX_MANIFEST_BYTES,
            });
        }
        let mut reader = Reader::new(text);
        let document = reader.document();
        let manifest = read(&mut reader, Table::root(&document));
        let mut problems = reader.finish();
        match manifest {
            Some(manifest) if problems.is_empty() => Ok(manifest),
            _ => {
                // A part that is no TOML leaves keys out; that they are missing would only distract.
                if problems.iter().any(|problem| problem.key.is_empty()) {
                    problems.retain(|problem| problem.message != "is missing");
                }
                Err(ManifestError::Invalid { problems })
            }
        }
    }

    /// Returns what it asks for under this name.
    pub fn capability(&self, name: CapabilityName) -> Option<&Capability> {
        self.capabilities.iter().find(|wanted| wanted.name == name)
    }
}

fn read(reader: &mut Reader<'_>, root: Table<'_, '_>) -> Option<Manifest> {
    reader.keys(root, &KEYS);
    let name = reader
        .text(root, "name", NAME)
        .and_then(|text| parsed(reader, &text, "name"));
    let own_version = version(reader, root, "version");
    let contract = version(reader, root, "contract");
    let summary = reader.text(root, "summary", TEXT);
    let author = reader.optional_text(root, "author", TEXT);
    let homepage = reader.optional_text(root, "homepage", TEXT);
    if let Some(page) = &homepage
        && !page.get_ref().starts_with("https://")
        && !page.get_ref().starts_with("http://")
    {
        reader.problem(
            &page.span(),
            "homepage",
            "is no address that begins with https://",
        );
    }
    let license = reader.optional_text(root, "license", NAME);
    let protocols = reader.texts(root, "protocols", NAME, MAX_ENTRIES);
    for (index, protocol) in protocols.iter().enumerate() {
        if !protocol.get_ref().starts_with('/') {
            let key = format!("protocols[{index}]");
            reader.problem(
                &protocol.span(),
                key,
                "a protocol begins with a slash, such as /peerup/p/NAME/game/1.0.0",
            );
        }
    }
    let mut seen = BTreeSet::new();
    let capabilities = reader.tables(root, "capability", MAX_ENTRIES, |reader, table| {
        capability(reader, table, &mut seen)
    });
    let mut words = BTreeSet::new();
    let commands = reader.tables(root, "command", MAX_ENTRIES, |reader, table| {
        command(reader, table, &mut words)
    });
    let settings = SettingsSchema::read(reader, root);
    Some(Manifest {
        name: name?,
        version: own_version?,
        contract: contract?,
        summary: summary?.into_inner(),
        author: author.map(Spanned::into_inner),
        homepage: homepage.map(Spanned::into_inner),
        license: license.map(Spanned::into_inner),
        capabilities,
        protocols: protocols.into_iter().map(Spanned::into_inner).collect(),
        commands,
        settings,
    })
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    reader: &mut Reader<'_>,
    text: &Spanned<String>,
    key: &str,
) -> Option<T> {
    match text.get_ref().parse() {
        Ok(value) => Some(value),
        Err(error) => {
            let error: T::Err = error;
            reader.problem(&text.span(), key, error.to_string());
            None
        }
    }
}

fn version(reader: &mut Reader<'_>, table: Table<'_, '_>, key: &str) -> Option<String> {
    let text = reader.text(table, key, NAME)?;
    match semver::Version::parse(text.get_ref()) {
        Ok(_) => Some(text.into_inner()),
        Err(error) => {
            let message = format!("{error}; write a semantic version such as 1.2.3");
            reader.problem(&text.span(), key, message);
            None
        }
    }
}

fn capability(
    reader: &mut Reader<'_>,
    table: Table<'_, '_>,
    seen: &mut BTreeSet<CapabilityName>,
) -> Option<Capability> {
    reader.keys(table, &["name", "reason", "optional", "values"]);
    let name = reader.text(table, "name", NAME).and_then(|text| {
        let key = table.path_of("name");
        let name = parsed::<CapabilityName>(reader, &text, &key)?;
        if !seen.insert(name) {
            reader.problem(&text.span(), key, format!("{name} is asked for twice"));
        }
        Some(name)
    });
    let reason = reader.text(table, "reason", TEXT);
    let optional = reader.switch(table, "optional");
    let values = reader.texts(table, "values", VALUE, MAX_ENTRIES);
    let name = name?;
    for (index, value) in values.iter().enumerate() {
        if let Err(message) = name.check_value(value.get_ref()) {
            let key = format!("{}[{index}]", table.path_of("values"));
            reader.problem(&value.span(), key, message);
        }
    }
    if name == CapabilityName::Store && values.len() > 1 {
        reader.problem(&table.span(), table.path_of("values"), "store takes one size");
    }
    Some(Capability {
        name,
        reason: reason?.into_inner(),
        optional,
        values: values.into_iter().map(Spanned::into_inner).collect(),
    })
}

fn command(
    reader: &mut Reader<'_>,
    table: Table<'_, '_>,
    words: &mut BTreeSet<String>,
) -> Option<CommandSpec> {
    reader.keys(table, &["name", "summary", "flag"]);
    let name = word(reader, table, words);
    let summary = reader.text(table, "summary", TEXT);
    let mut names = BTreeSet::new();
    let mut optional_before = false;
    let flags = reader.tables(table, "flag", MAX_ENTRIES, |reader, table| {
        let flag = flag(reader, table, &mut names)?;
        if flag.positional {
            if flag.required && optional_before {
                let message = "an argument that must be given stands before those that may be left out";
                reader.problem(&table.span(), table.path_of("required"), message);
            }
            optional_before |= !flag.required;
        }
        Some(flag)
    });
    Some(CommandSpec {
        name: name?,
        summary: summary?.into_inner(),
        flags,
    })
}

/// Reads a name that is a word on the command line, once in each list.
fn word(reader: &mut Reader<'_>, table: Table<'_, '_>, seen: &mut BTreeSet<String>) -> Option<String> {
    let text = reader.text(table, "name", Bound { bytes: 63 })?;
    let key = table.path_of("name");
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let word = text.get_ref();
    let wrong = if !word.chars().all(inner) || word.starts_with('-') || word.ends_with('-') {
        "use lower-case letters, digits and dashes, with a letter or digit at both ends".to_owned()
    } else if !seen.insert(word.clone()) {
        format!("{word} is there twice")
    } else {
        return Some(text.into_inner());
    };
    reader.problem(&text.span(), key, wrong);
    None
}

/// What every word takes, so that no plugin can have it.
const OWN_FLAGS: [&str; 7] = ["config", "json", "color", "verbose", "quiet", "help", "version"];

fn flag(reader: &mut Reader<'_>, table: Table<'_, '_>, names: &mut BTreeSet<String>) -> Option<FlagSpec> {
    reader.keys(
        table,
        &["name", "type", "summary", "required", "default", "positional"],
    );
    let name = word(reader, table, names);
    if let Some(taken) = name.as_ref().filter(|name| OWN_FLAGS.contains(&name.as_str())) {
        let message = format!("--{taken} is a flag of peerup itself; choose another name");
        reader.problem(&table.span(), table.path_of("name"), message);
    }
    let kind = reader.text(table, "type", NAME).and_then(|text| {
        let kind = FlagType::read(text.get_ref());
        if kind.is_none() {
            let message = unknown("type", text.get_ref(), FlagType::NAMES.into_iter());
            reader.problem(&text.span(), table.path_of("type"), message);
        }
        kind
    });
    let summary = reader.text(table, "summary", TEXT);
    let required = reader.switch(table, "required");
    let positional = reader.switch(table, "positional");
    let kind = kind?;
    let default = table.get("default").and_then(|value| {
        let found = plain_value(value.get_ref()).filter(|found| kind.fits(found));
        if found.is_none() {
            reader.wrong_type(value, &table.path_of("default"), kind.described());
        }
        found
    });
    if required && table.get("default").is_some() {
        reader.problem(
            &table.span(),
            table.path_of("default"),
            "what must be given has no default",
        );
    }
    if positional && kind == FlagType::Boolean {
        reader.problem(
            &table.span(),
            table.path_of("positional"),
            "a boolean is a flag and no argument",
        );
    }
    Some(FlagSpec {
        name: name?,
        kind,
        summary: summary?.into_inner(),
        required,
        default,
        positional,
    })
}

#[cfg(test)]
mod tests;
