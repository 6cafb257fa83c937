//! The section of a plugin as a command writes it: the switch, and the grants with the plugin's reasons above
//! them.

use peerup_model::{Grants, PluginName};
use serde_json::{Map, Value as Json};

use crate::{
    error::EditError,
    patch::{self, Value},
};

/// What to write for one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginSection {
    /// Whether it is loaded.
    pub enabled: bool,
    /// Its grants, each key once.
    pub grants: Vec<GrantEntry>,
}

/// One key below `grants`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantEntry {
    /// The keys from `grants` down, such as `tcp` and `connect`; one or two.
    pub path: Vec<String>,
    /// What it is set to.
    pub values: Vec<String>,
    /// Whether it is one value and no list.
    pub single: bool,
    /// Comment lines above it.
    pub comments: Vec<String>,
}

impl PluginSection {
    /// Returns the lines that a config without any plugin section gets.
    pub fn to_yaml(&self, name: &PluginName) -> String {
        patch::lines(&["plugins", name.as_str()], &self.value())
    }

    pub(crate) fn value(&self) -> Value {
        let mut section = vec![("enabled".to_owned(), Value::Bool(self.enabled))];
        let mut grants: Vec<(String, Value)> = Vec::new();
        for grant in self.grants.iter().filter(|grant| !grant.values.is_empty()) {
            match &grant.path[..] {
                [key] => grants.push((key.clone(), grant.value())),
                [key, below] => {
                    let entry = (below.clone(), grant.value());
                    match grants.iter_mut().find(|(known, _)| known == key) {
                        Some((_, Value::Map(entries))) => entries.push(entry),
                        _ => grants.push((key.clone(), Value::Map(vec![entry]))),
                    }
                }
                _ => {}
            }
        }
        if !grants.is_empty() {
            section.push(("grants".to_owned(), Value::Map(grants)));
        }
        Value::Map(section)
    }

    pub(crate) fn grants(&self, name: &PluginName) -> Result<Grants, EditError> {
        let mut tree = Json::Object(Map::new());
        for grant in &self.grants {
            for value in &grant.values {
                grant.put(&mut tree, value);
            }
        }
        read(tree, name)
    }
}

impl GrantEntry {
    fn value(&self) -> Value {
        let value = match (self.single, self.values.first()) {
            (true, Some(value)) => Value::Text(value.clone()),
            _ => Value::List(self.values.clone()),
        };
        match self.comments.is_empty() {
            true => value,
            false => Value::Commented(self.comments.clone(), Box::new(value)),
        }
    }

    /// Returns each value that is not granted yet, with the grants as they are after it.
    pub(crate) fn added_to(
        &self,
        grants: &Grants,
        name: &PluginName,
    ) -> Result<Vec<(String, Grants)>, EditError> {
        let mut tree = serde_json::to_value(grants).unwrap_or_default();
        let mut before = grants.clone();
        let mut steps = Vec::new();
        for value in &self.values {
            let known = self.place(&tree).is_some_and(|place| match place {
                Json::Array(items) => items.iter().any(|item| item == value),
                other => other == value,
            });
            if known {
                continue;
            }
            self.put(&mut tree, value);
            let after = read(tree.clone(), name)?;
            if after != before {
                steps.push((value.clone(), after.clone()));
                before = after;
            }
        }
        Ok(steps)
    }

    fn place<'a>(&self, tree: &'a Json) -> Option<&'a Json> {
        self.path.iter().try_fold(tree, |tree, key| tree.get(key))
    }

    fn put(&self, tree: &mut Json, value: &str) {
        let Some((last, parents)) = self.path.split_last() else {
            return;
        };
        let mut place = tree;
        for key in parents {
            let Json::Object(entries) = place else {
                return;
            };
            place = entries
                .entry(key.clone())
                .or_insert_with(|| Json::Object(Map::new()));
        }
        let Json::Object(entries) = place else {
            return;
        };
        if self.single {
            entries.insert(last.clone(), Json::from(value));
            return;
        }
        let list = entries
            .entry(last.clone())
            .or_insert_with(|| Json::Array(Vec::new()));
        if let Json::Array(items) = list {
            items.push(Json::from(value));
        }
    }
}

fn read(tree: Json, name: &PluginName) -> Result<Grants, EditError> {
    serde_json::from_value(tree).map_err(|error| EditError::Value {
        key: format!("plugins.{name}.grants"),
        message: error.to_string(),
    })
}
