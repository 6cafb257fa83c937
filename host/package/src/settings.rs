//! What a plugin lets its operator set: a small part of JSON Schema, and the check of settings against it.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Number, Value};

use crate::{
    problem::unknown,
    reader::{Bound, Reader, Table, plain_value},
};

/// The most settings of one plugin.
const MAX_SETTINGS: usize = 64;
/// The most values of an `enum`.
const MAX_CHOICES: usize = 64;
const NAME: Bound = Bound { bytes: 63 };
const TEXT: Bound = Bound { bytes: 400 };
const KEYS: [&str; 7] = [
    "type",
    "description",
    "default",
    "enum",
    "minimum",
    "maximum",
    "required",
];

/// What kind of value a setting has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SettingType {
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
}

impl SettingType {
    const NAMES: [&'static str; 4] = ["string", "integer", "number", "boolean"];

    fn read(name: &str) -> Option<Self> {
        match name {
            "string" => Some(Self::String),
            "integer" => Some(Self::Integer),
            "number" => Some(Self::Number),
            "boolean" => Some(Self::Boolean),
            _ => None,
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
        }
    }

    fn described(self) -> &'static str {
        match self {
            Self::String => "a text",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Boolean => "true or false",
        }
    }
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Setting {
    /// The kind of its values.
    #[serde(rename = "type")]
    pub kind: SettingType,
    /// What it does, for the operator to read.
    pub description: String,
    /// What holds where the operator says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The only values that there are; any where this is empty.
    #[serde(rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Value>,
    /// The least value, of numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Number>,
    /// The greatest value, of numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<Number>,
    /// Whether the plugin cannot start without.
    pub required: bool,
}

/// The settings of a plugin. One whose manifest has no `[settings]` takes any.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct SettingsSchema(Option<BTreeMap<String, Setting>>);

/// One thing that is wrong with the operator's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingProblem {
    /// The key below `settings`.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for SettingProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "settings.{}: {}", self.key, self.message)
    }
}

impl SettingsSchema {
    /// Returns the settings by name; none where any are taken.
    pub fn settings(&self) -> Option<&BTreeMap<String, Setting>> {
        self.0.as_ref()
    }

    /// Returns everything that is wrong with what the operator set.
    pub fn check(&self, given: &Map<String, Value>) -> Vec<SettingProblem> {
        let Some(known) = &self.0 else {
            return Vec::new();
        };
        let mut problems = Vec::new();
        let mut add = |key: &str, message: String| {
            problems.push(SettingProblem {
                key: key.to_owned(),
                message,
            });
        };
        for (key, value) in given {
            match known.get(key) {
                None => add(key, unknown("setting", key, known.keys().map(String::as_str))),
                Some(setting) => {
                    if let Err(message) = setting.check(value) {
                        add(key, message);
                    }
                }
            }
        }
        for (key, setting) in known {
            if setting.required && !given.contains_key(key) {
                add(key, format!("is missing: {}", setting.description));
            }
        }
        problems
    }

    /// Returns what the operator set, with the defaults for what was not set.
    pub fn with_defaults(&self, given: &Map<String, Value>) -> Map<String, Value> {
        let mut all = given.clone();
        for (key, setting) in self.0.iter().flatten() {
            if let Some(default) = &setting.default {
                all.entry(key).or_insert_with(|| default.clone());
            }
        }
        all
    }

    pub(crate) fn read(reader: &mut Reader<'_>, root: Table<'_, '_>) -> Self {
        let Some(value) = root.get("settings") else {
            return Self(None);
        };
        let Some(table) = Table::of(value, "settings") else {
            reader.wrong_type(value, "settings", "a table");
            return Self(None);
        };
        let mut settings = BTreeMap::new();
        for (name, span, value) in table.entries() {
            let path = table.path_of(name);
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if name.is_empty() || name.len() > NAME.bytes || !name.chars().all(plain) {
                reader.problem(
                    &span,
                    &path,
                    "use letters, digits, dashes and underscores, at most 63",
                );
                continue;
            }
            match Table::of(value, &path) {
                None => reader.wrong_type(value, &path, "a table with type and description"),
                Some(table) => settings.extend(Setting::read(reader, table).map(|it| (name.to_owned(), it))),
            }
        }
        if settings.len() > MAX_SETTINGS {
            reader.problem(
                &table.span(),
                "settings",
                format!("has more than {MAX_SETTINGS} entries"),
            );
        }
        Self(Some(settings))
    }
}

impl Setting {
    fn read(reader: &mut Reader<'_>, table: Table<'_, '_>) -> Option<Self> {
        reader.keys(table, &KEYS);
        let kind = reader.text(table, "type", NAME).and_then(|text| {
            let kind = SettingType::read(text.get_ref());
            if kind.is_none() {
                let message = unknown("type", text.get_ref(), SettingType::NAMES.into_iter());
                reader.problem(&text.span(), table.path_of("type"), message);
            }
            kind
        });
        let description = reader.text(table, "description", TEXT);
        let number = |reader: &mut Reader<'_>, key: &str| {
            let value = table.get(key)?;
            match plain_value(value.get_ref()) {
                Some(Value::Number(number)) => Some(number),
                _ => {
                    reader.wrong_type(value, &table.path_of(key), "a number");
                    None
                }
            }
        };
        let (minimum, maximum) = (number(reader, "minimum"), number(reader, "maximum"));
        let required = reader.switch(table, "required");
        let items = reader.list(table, "enum", MAX_CHOICES).unwrap_or_default();
        let mut setting = Self {
            kind: kind?,
            description: description?.into_inner(),
            default: None,
            choices: Vec::new(),
            minimum,
            maximum,
            required,
        };
        for (index, item) in items.iter().enumerate() {
            let key = format!("{}[{index}]", table.path_of("enum"));
            setting.choices.extend(setting.value(reader, item, &key));
        }
        if let Some(value) = table.get("default") {
            let key = table.path_of("default");
            setting.default = setting.value(reader, value, &key);
            if let Some(Err(message)) = setting.default.as_ref().map(|value| setting.check(value)) {
                reader.problem(&value.span(), key, message);
            }
        }
        Some(setting)
    }

    /// Reads a value of this setting's type.
    fn value(
        &self,
        reader: &mut Reader<'_>,
        value: &toml::Spanned<toml::de::DeValue<'_>>,
        key: &str,
    ) -> Option<Value> {
        let found = plain_value(value.get_ref()).filter(|found| self.kind.fits(found));
        if found.is_none() {
            reader.wrong_type(value, key, self.kind.described());
        }
        found
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        if !self.kind.fits(value) {
            return Err(format!("expected {}, found {value}", self.kind.described()));
        }
        if !self.choices.is_empty() && !self.choices.contains(value) {
            let choices: Vec<_> = self.choices.iter().map(Value::to_string).collect();
            return Err(format!("{value} is none of {}", choices.join(", ")));
        }
        if let Value::Number(number) = value {
            if self.minimum.as_ref().is_some_and(|least| is_less(number, least)) {
                return Err(format!("{number} is less than {}", bound(self.minimum.as_ref())));
            }
            if self.maximum.as_ref().is_some_and(|most| is_less(most, number)) {
                return Err(format!("{number} is more than {}", bound(self.maximum.as_ref())));
            }
        }
        Ok(())
    }
}

fn bound(number: Option<&Number>) -> String {
    number.map_or_else(String::new, Number::to_string)
}

fn is_less(one: &Number, other: &Number) -> bool {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => one < other,
        _ => one.as_f64() < other.as_f64(),
    }
}
