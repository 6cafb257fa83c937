//! Rights: what a plugin asks for, what the operator granted, and how two versions differ.
//!
//! A right is a capability with its values. Pure; the enforcement is the engine's and asks nobody here.

use std::{collections::BTreeMap, fmt};

use peerup_model::Grants;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    capability::{CapabilityName, Form},
    manifest::{Capability, Manifest},
};

/// A set of rights. A capability that takes values may stand without one: the operator is to choose them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Rights(BTreeMap<CapabilityName, Vec<String>>);

/// This peerup cannot grant a right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this peerup cannot grant {rights}: {reason}; upgrade peerup, or leave the right out")]
pub struct UngrantableRights {
    /// The rights, as text.
    pub rights: String,
    /// What the schema of grants says.
    pub reason: String,
}

/// One entry of the `grants` section of the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantLine {
    /// The keys below `grants`.
    pub path: &'static [&'static str],
    /// Its values.
    pub values: Vec<String>,
    /// Whether it is one value and no list.
    pub single: bool,
    /// The plugin's reasons, one comment line each.
    pub reasons: Vec<String>,
}

impl Rights {
    /// Returns everything that a plugin asks for, what it can run without too.
    pub fn wanted(manifest: &Manifest) -> Self {
        let mut rights = Self::default();
        for capability in &manifest.capabilities {
            let values = wanted_values(manifest, capability);
            if !is_only_its_own(manifest, capability) {
                rights.0.insert(capability.name, values);
            }
        }
        rights
    }

    /// Returns the rights that grants of the config stand for.
    pub fn granted(grants: &Grants) -> Self {
        let tree = serde_json::to_value(grants).unwrap_or_default();
        let mut rights = Self::default();
        for name in CapabilityName::ALL {
            let values = match name.form() {
                Form::Values(path) => texts(at(&tree, path)),
                Form::One(key) => at(&tree, &[key]).map(size_text).into_iter().collect(),
                Form::Word(key, word) => {
                    let granted = texts(at(&tree, &[key])).iter().any(|one| one == word);
                    if granted {
                        rights.0.insert(name, Vec::new());
                    }
                    continue;
                }
            };
            if !values.is_empty() {
                rights.0.insert(name, values);
            }
        }
        rights
    }

    /// Adds a right; without a value for a capability that is granted as a whole.
    ///
    /// # Errors
    /// What is wrong with the value, for people.
    pub fn add(&mut self, name: CapabilityName, value: Option<&str>) -> Result<(), String> {
        match value {
            None if name.takes_values() => {
                return Err(format!("{name} needs a value: {name}={}", name.example()));
            }
            None => {
                self.0.entry(name).or_default();
            }
            Some(value) => {
                name.check_value(value)?;
                let values = self.0.entry(name).or_default();
                if name == CapabilityName::Store {
                    values.clear();
                }
                if !values.iter().any(|known| known == value) {
                    values.push(value.to_owned());
                }
            }
        }
        Ok(())
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns each capability with its values.
    pub fn iter(&self) -> impl Iterator<Item = (CapabilityName, &[String])> {
        self.0.iter().map(|(name, values)| (*name, values.as_slice()))
    }

    /// Returns whether the capability is among them.
    pub fn has(&self, name: CapabilityName) -> bool {
        self.0.contains_key(&name)
    }

    /// Returns these without what the others give already.
    #[must_use]
    pub fn beyond(&self, held: &[&Self]) -> Self {
        let mut more = Self::default();
        for (name, values) in &self.0 {
            let known: Vec<&Vec<String>> = held.iter().filter_map(|one| one.0.get(name)).collect();
            let new: Vec<String> = values
                .iter()
                .filter(|value| !known.iter().copied().flatten().any(|one| name.covers(one, value)))
                .cloned()
                .collect();
            if !new.is_empty() || known.is_empty() {
                more.0.insert(*name, new);
            }
        }
        more
    }

    /// Returns those that can be written: a capability that takes values has one at least.
    #[must_use]
    pub fn decided(&self) -> Self {
        let decided = |name: &CapabilityName, values: &[String]| !values.is_empty() || !name.takes_values();
        Self(
            self.0
                .iter()
                .filter(|(name, values)| decided(name, values))
                .map(|(name, values)| (*name, values.clone()))
                .collect(),
        )
    }

    /// Returns these as the config's grants.
    ///
    /// # Errors
    /// The schema of this peerup does not know one of them.
    pub fn to_grants(&self) -> Result<Grants, UngrantableRights> {
        let mut tree = Map::new();
        for line in self.lines(None) {
            put(&mut tree, &line);
        }
        serde_json::from_value(Value::Object(tree)).map_err(|error| UngrantableRights {
            rights: self.to_string(),
            reason: error.to_string(),
        })
    }

    /// Returns the entries of the config's `grants` section, with the plugin's reasons as comments.
    pub fn lines(&self, manifest: Option<&Manifest>) -> Vec<GrantLine> {
        let mut lines: Vec<GrantLine> = Vec::new();
        for (name, values) in self.decided().0 {
            let reason = manifest.and_then(|manifest| manifest.capability(name));
            let reasons: Vec<String> = reason
                .map(|capability| format!("{name}: {}", capability.reason))
                .into_iter()
                .collect();
            let line = match name.form() {
                Form::Values(path) => GrantLine {
                    path,
                    values,
                    single: false,
                    reasons,
                },
                Form::One(_) => GrantLine {
                    path: &["store"],
                    values,
                    single: true,
                    reasons,
                },
                Form::Word(key, word) => {
                    let path: &'static [&'static str] = match key {
                        "names" => &["names"],
                        _ => &["peers"],
                    };
                    if let Some(known) = lines.iter_mut().find(|line| line.path == path) {
                        known.values.push(word.to_owned());
                        known.reasons.extend(reasons);
                        continue;
                    }
                    GrantLine {
                        path,
                        values: vec![word.to_owned()],
                        single: false,
                        reasons,
                    }
                }
            };
            lines.push(line);
        }
        lines
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (name, values) in &self.0 {
            if !std::mem::take(&mut first) {
                f.write_str(", ")?;
            }
            write!(f, "{name}")?;
            if !values.is_empty() {
                write!(f, " ({})", values.join(", "))?;
            }
        }
        match first {
            true => f.write_str("nothing"),
            false => Ok(()),
        }
    }
}

/// What an upgrade changes in the rights that a plugin asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RightsDifference {
    /// What it did not ask for before.
    pub added: Rights,
    /// What it does not ask for any more.
    pub removed: Rights,
    /// Values that give more than ones before.
    pub widened: Vec<WidenedRight>,
    /// Capabilities that it could run without and now cannot.
    pub now_required: Vec<CapabilityName>,
}

/// A value that gives more than the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WidenedRight {
    /// The capability.
    pub name: CapabilityName,
    /// The value before.
    pub before: String,
    /// The value now.
    pub after: String,
}

impl RightsDifference {
    /// Compares what two versions of a plugin ask for.
    pub fn between(before: &Manifest, after: &Manifest) -> Self {
        let (old, new) = (Rights::wanted(before), Rights::wanted(after));
        let mut difference = Self {
            added: new.beyond(&[&old]),
            removed: old.beyond(&[&new]),
            ..Self::default()
        };
        for (name, values) in &mut difference.added.0 {
            let known = old.0.get(name).map(Vec::as_slice).unwrap_or_default();
            values.retain(
                |after| match known.iter().find(|before| name.covers(after, before)) {
                    None => true,
                    Some(before) => {
                        difference.widened.push(WidenedRight {
                            name: *name,
                            before: before.clone(),
                            after: after.clone(),
                        });
                        false
                    }
                },
            );
        }
        let widened = &difference.widened;
        difference.added.0.retain(|name, values| {
            !values.is_empty() || !old.has(*name) && !widened.iter().any(|one| one.name == *name)
        });
        let was_optional = |name| {
            before
                .capability(name)
                .is_some_and(|capability| capability.optional)
        };
        difference.now_required = after
            .capabilities
            .iter()
            .filter(|capability| !capability.optional && was_optional(capability.name))
            .map(|capability| capability.name)
            .collect();
        difference
    }

    /// Returns whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Returns what a new version asks for beyond both what the version before asked for, which the operator has
/// answered, and what is granted.
pub fn asks_more(before: &Manifest, after: &Manifest, granted: &Rights) -> Rights {
    Rights::wanted(after).beyond(&[&Rights::wanted(before), granted])
}

/// Returns what a plugin cannot run without and was not granted.
pub fn missing<'a>(manifest: &'a Manifest, granted: &Rights) -> Vec<&'a Capability> {
    let lacks = |capability: &&Capability| {
        !capability.optional && !granted.has(capability.name) && !is_only_its_own(manifest, capability)
    };
    manifest.capabilities.iter().filter(lacks).collect()
}

/// What a capability asks for: its values, and for protocols without values those that the manifest serves.
fn wanted_values(manifest: &Manifest, capability: &Capability) -> Vec<String> {
    if capability.name != CapabilityName::Protocols || !capability.values.is_empty() {
        return capability.values.clone();
    }
    let grantable = |protocol: &&String| {
        !is_own(manifest, protocol) && CapabilityName::Protocols.check_value(protocol).is_ok()
    };
    manifest.protocols.iter().filter(grantable).cloned().collect()
}

/// Whether it asks for nothing but the plugin's own protocols, which need no grant.
pub(crate) fn is_only_its_own(manifest: &Manifest, capability: &Capability) -> bool {
    let own = |protocols: &[String]| {
        !protocols.is_empty() && protocols.iter().all(|protocol| is_own(manifest, protocol))
    };
    capability.name == CapabilityName::Protocols
        && match capability.values.is_empty() {
            true => own(&manifest.protocols),
            false => own(&capability.values),
        }
}

pub(crate) fn is_own(manifest: &Manifest, protocol: &str) -> bool {
    let rest = protocol.strip_prefix("/peerup/p/");
    let rest = rest.and_then(|rest| rest.strip_prefix(manifest.name.as_str()));
    rest.is_some_and(|rest| rest.starts_with('/'))
}

fn at<'a>(tree: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(tree, |tree, key| tree.get(key))
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).map(Vec::as_slice);
    let text = |item: &Value| match (item, item.get("path"), item.get("access")) {
        (Value::String(text), ..) => text.clone(),
        // A granted directory, which the config may also have in short.
        (_, Some(Value::String(path)), Some(Value::String(access))) => format!("{path}:{access}"),
        _ => item.to_string(),
    };
    items.unwrap_or_default().iter().map(text).collect()
}

/// A size of the config may be a number of bytes or a text.
fn size_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => format!("{other}B"),
    }
}

fn put(tree: &mut Map<String, Value>, line: &GrantLine) {
    let Some((last, parents)) = line.path.split_last() else {
        return;
    };
    let mut place = tree;
    for key in parents {
        let below = place
            .entry((*key).to_owned())
            .or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(below) = below else {
            return;
        };
        place = below;
    }
    let value = match (line.single, line.values.first()) {
        (true, Some(value)) => Value::from(value.clone()),
        _ => Value::from(line.values.clone()),
    };
    place.insert((*last).to_owned(), value);
}

#[cfg(test)]
mod tests;
