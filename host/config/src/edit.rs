//! Edits of a node's config by commands: comments and order stay, two writers wait for each other, and
//! nothing is written that does not read back as exactly the change that was meant.

mod proxies;

use std::path::{Path, PathBuf};

use libp2p_identity::PeerId;
use peerup_model::{PeerName, PluginName, ServiceName};

use crate::{
    atomic,
    disk::RealDisk,
    error::EditError,
    guard::Action,
    load::{self, parse_node},
    node::{NodeConfig, ServiceEntry},
    patch::{self, Unpatchable, Value},
    plugins::PluginEntry,
    section::{GrantEntry, PluginSection},
    values::{RelayAddress, check_host_port},
    vault::Vault,
};

/// A node's config file that commands may change.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    path: PathBuf,
}

/// What an edit came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited<T> {
    /// What the change returned.
    pub value: T,
    /// Whether the file was written; false where it said all of this already.
    pub changed: bool,
    /// The config as it is now.
    pub config: NodeConfig,
    /// The text of the file as it is now.
    pub text: String,
}

impl ConfigFile {
    /// Names the file; nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file, lets `change` work on it, and writes the outcome. The lock on the folder is held
    /// throughout, so what `change` sees is what it changes. Blocks on the disk, and for at most 10 s on
    /// another writer.
    ///
    /// # Errors
    /// Those of loading and of `change`, and failures to lock or write. The file is as it was then.
    pub fn edit<T>(
        &self,
        change: impl FnOnce(&mut ConfigEditor) -> Result<T, EditError>,
    ) -> Result<Edited<T>, EditError> {
        let path = atomic::behind_links(&self.path)?;
        let _lock = atomic::Lock::take(&path)?;
        let before = load::read(&path, load::NODE_INIT)?;
        let mut editor = ConfigEditor::new(&before, &self.path)?;
        let value = change(&mut editor)?;
        let changed = editor.text != load::without_mark(&before);
        if changed {
            settle(&path, &before)?;
            atomic::replace(&path, &editor.text)?;
        }
        Ok(Edited {
            value,
            changed,
            config: editor.config,
            text: if changed { editor.text } else { before },
        })
    }
}

/// Refuses to change a config that waits to be confirmed: what would be written would go with it. The marker of an
/// apply that was cut short is removed.
fn settle(path: &Path, text: &str) -> Result<(), EditError> {
    let vault = Vault::on(RealDisk, path.to_owned());
    // One that cannot be read is told at each start, and is no reason to refuse an edit.
    let Ok(Some(pending)) = vault.pending() else {
        return Ok(());
    };
    if pending.before != text {
        return Err(EditError::Pending {
            path: path.to_owned(),
            by: pending.by,
        });
    }
    vault
        .carry_out(&Action::Unmark, 0)
        .map_err(|_| EditError::Pending {
            path: path.to_owned(),
            by: pending.by,
        })
}

/// The text of a config with the changes made so far. Each one is checked before it is kept.
#[derive(Debug)]
pub struct ConfigEditor {
    path: PathBuf,
    text: String,
    config: NodeConfig,
}

/// The change to the text that a change to the config asks for.
enum Step<'a> {
    Set(&'a [&'a str], Value),
    Remove(&'a [&'a str]),
    RemoveWithComments(&'a [&'a str]),
    Append(&'a [&'a str], String),
    RemoveItem(&'a [&'a str], usize),
}

impl ConfigEditor {
    /// Starts with this text; the path is for messages and relative paths.
    ///
    /// # Errors
    /// The text is not a valid config.
    pub fn new(text: &str, path: &Path) -> Result<Self, EditError> {
        let config = parse_node(text, path)?.config;
        Ok(Self {
            path: path.to_owned(),
            text: load::without_mark(text).to_owned(),
            config,
        })
    }

    /// Returns the config with the changes made so far.
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Returns the text with the changes made so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Adds a service, or changes the address and the switch of one that is there; its plugin and its
    /// `allow` list stay.
    ///
    /// # Errors
    /// The address is no `host:port`, or the file cannot be changed safely.
    pub fn set_service(
        &mut self,
        name: &ServiceName,
        local_address: &str,
        enabled: bool,
    ) -> Result<(), EditError> {
        let service = name.as_str();
        check_host_port(local_address).map_err(|error| EditError::Value {
            key: format!("services.{service}.local_address"),
            message: error.to_string(),
        })?;
        let mut intended = self.config.clone();
        let Some(entry) = intended.services.get_mut(name) else {
            let entry = ServiceEntry {
                enabled,
                ..ServiceEntry::new(local_address)
            };
            intended.services.insert(name.clone(), entry);
            let value = Value::Map(vec![
                ("local_address".to_owned(), Value::Text(local_address.to_owned())),
                ("enabled".to_owned(), Value::Bool(enabled)),
            ]);
            return self.apply(intended, &Step::Set(&["services", service], value));
        };
        if entry.local_address != local_address {
            local_address.clone_into(&mut entry.local_address);
            let value = Value::Text(local_address.to_owned());
            self.apply(
                intended,
                &Step::Set(&["services", service, "local_address"], value),
            )?;
        }
        self.set_service_enabled(name, enabled)
    }

    /// Switches a service on or off.
    ///
    /// # Errors
    /// There is no such service, or the file cannot be changed safely.
    pub fn set_service_enabled(&mut self, name: &ServiceName, enabled: bool) -> Result<(), EditError> {
        let mut intended = self.config.clone();
        let Some(entry) = intended.services.get_mut(name) else {
            return Err(self.not_found(format!("the service {name}")));
        };
        if entry.enabled == enabled {
            return Ok(());
        }
        entry.enabled = enabled;
        let path = ["services", name.as_str(), "enabled"];
        self.apply(intended, &Step::Set(&path, Value::Bool(enabled)))
    }

    /// Takes a service out.
    ///
    /// # Errors
    /// There is no such service, or the file cannot be changed safely.
    pub fn remove_service(&mut self, name: &ServiceName) -> Result<(), EditError> {
        let mut intended = self.config.clone();
        if intended.services.remove(name).is_none() {
            return Err(self.not_found(format!("the service {name}")));
        }
        self.apply(intended, &Step::Remove(&["services", name.as_str()]))
    }

    /// Switches a plugin on or off. One that the file does not name gets a section with the grants that it has
    /// without one, so that nothing else about it changes.
    ///
    /// # Errors
    /// There is no such plugin, or the file cannot be changed safely.
    pub fn set_plugin_enabled(&mut self, name: &PluginName, enabled: bool) -> Result<(), EditError> {
        let mut intended = self.config.clone();
        let Some(entry) = intended.plugins.get_mut(name) else {
            return Err(self.not_found(format!("the plugin {name}")));
        };
        if entry.enabled == enabled {
            return Ok(());
        }
        entry.enabled = enabled;
        let grants = serde_json::to_value(&entry.grants).ok().and_then(value_of);
        let switch = Value::Bool(enabled);
        let path = ["plugins", name.as_str(), "enabled"];
        let edited = self.apply(intended.clone(), &Step::Set(&path, switch.clone()));
        let (Err(EditError::Unsafe { .. }), Some(grants)) = (&edited, grants) else {
            return edited;
        };
        let section = Value::Map(vec![
            ("enabled".to_owned(), switch),
            ("grants".to_owned(), grants),
        ]);
        match self.apply(intended, &Step::Set(&["plugins", name.as_str()], section)) {
            Ok(()) => Ok(()),
            Err(_) => edited,
        }
    }

    /// Adds a relay at the end of the list. Returns false where it was there already.
    ///
    /// # Errors
    /// The file cannot be changed safely.
    pub fn add_relay(&mut self, relay: &RelayAddress) -> Result<bool, EditError> {
        if self.config.relays.contains(relay) {
            return Ok(false);
        }
        let mut intended = self.config.clone();
        intended.relays.push(relay.clone());
        self.apply(
            intended,
            &Step::Append(&["relay", "addresses"], relay.to_string()),
        )?;
        Ok(true)
    }

    /// Takes a relay out; the last one too.
    ///
    /// # Errors
    /// There is no such relay, or the file cannot be changed safely.
    pub fn remove_relay(&mut self, relay: &RelayAddress) -> Result<(), EditError> {
        let mut found = false;
        // The same address may stand there twice; both go.
        while let Some(index) = self.config.relays.iter().position(|known| known == relay) {
            let mut intended = self.config.clone();
            intended.relays.remove(index);
            self.apply(intended, &Step::RemoveItem(&["relay", "addresses"], index))?;
            found = true;
        }
        match found {
            true => Ok(()),
            false => Err(self.not_found(format!("the relay {relay}"))),
        }
    }

    /// Gives a peer a name; a name that is there moves to this peer. Whoever wants a free name asks
    /// [`ConfigEditor::config`] first.
    ///
    /// # Errors
    /// The file cannot be changed safely.
    pub fn set_name(&mut self, name: &PeerName, peer: PeerId) -> Result<(), EditError> {
        let mut intended = self.config.clone();
        if intended.names.insert(name.clone(), peer) == Some(peer) {
            return Ok(());
        }
        let path = ["names", name.as_str()];
        self.apply(intended, &Step::Set(&path, Value::Text(peer.to_string())))
    }

    /// Takes a name out. An `allow` list that still has it lets nobody in by it.
    ///
    /// # Errors
    /// There is no such name, or the file cannot be changed safely.
    pub fn remove_name(&mut self, name: &PeerName) -> Result<(), EditError> {
        let mut intended = self.config.clone();
        if intended.names.remove(name).is_none() {
            return Err(self.not_found(format!("the name {name}")));
        }
        self.apply(intended, &Step::Remove(&["names", name.as_str()]))
    }

    /// Sets what this node calls itself.
    ///
    /// # Errors
    /// The file cannot be changed safely.
    pub fn set_own_name(&mut self, name: &PeerName) -> Result<(), EditError> {
        if self.config.name.as_ref() == Some(name) {
            return Ok(());
        }
        let mut intended = self.config.clone();
        intended.name = Some(name.clone());
        let value = Value::Text(name.as_str().to_owned());
        self.apply(intended, &Step::Set(&["name"], value))
    }

    /// Adds the section of a plugin that has none yet.
    ///
    /// # Errors
    /// There is a section of that name, a grant does not hold, or the file cannot be changed safely.
    pub fn add_plugin(&mut self, name: &PluginName, section: &PluginSection) -> Result<(), EditError> {
        if self.config.plugins.contains_key(name) {
            return Err(EditError::Value {
                key: format!("plugins.{name}"),
                message: "there is such a section already".to_owned(),
            });
        }
        let mut intended = self.config.clone();
        let entry = PluginEntry {
            enabled: section.enabled,
            grants: section.grants(name)?,
            ..PluginEntry::default()
        };
        intended.plugins.insert(name.clone(), entry);
        let path = ["plugins", name.as_str()];
        self.apply(intended, &Step::Set(&path, section.value()))
    }

    /// Adds values to the grants of a plugin; what is granted stays.
    ///
    /// # Errors
    /// There is no such plugin, a grant does not hold, or the file cannot be changed safely.
    pub fn add_grants(&mut self, name: &PluginName, grants: &[GrantEntry]) -> Result<(), EditError> {
        for grant in grants {
            let Some(entry) = self.config.plugins.get(name) else {
                return Err(self.not_found(format!("the plugin {name}")));
            };
            let mut path = vec!["plugins", name.as_str(), "grants"];
            path.extend(grant.path.iter().map(String::as_str));
            for (value, wider) in grant.added_to(&entry.grants, name)? {
                let mut intended = self.config.clone();
                if let Some(entry) = intended.plugins.get_mut(name) {
                    entry.grants = wider;
                }
                let step = match grant.single {
                    true => Step::Set(&path, Value::Text(value)),
                    false => Step::Append(&path, value),
                };
                self.apply(intended, &step)?;
            }
        }
        Ok(())
    }

    /// Takes the section of a plugin out, with the comments in it.
    ///
    /// # Errors
    /// There is no such plugin, or the file cannot be changed safely.
    pub fn remove_plugin(&mut self, name: &PluginName) -> Result<(), EditError> {
        let mut intended = self.config.clone();
        if intended.plugins.remove(name).is_none() {
            return Err(self.not_found(format!("the plugin {name}")));
        }
        let path = ["plugins", name.as_str()];
        self.apply(intended, &Step::RemoveWithComments(&path))
    }

    /// Makes one change to the text and keeps it only where it reads back as the intended config.
    fn apply(&mut self, intended: NodeConfig, step: &Step<'_>) -> Result<(), EditError> {
        let patched = step.apply_to(&self.text);
        let kept = patched
            .ok()
            .filter(|text| parse_node(text, &self.path).is_ok_and(|loaded| loaded.config == intended));
        let Some(text) = kept else {
            return Err(EditError::Unsafe {
                path: self.path.clone(),
                by_hand: step.by_hand(),
            });
        };
        self.text = text;
        self.config = intended;
        Ok(())
    }

    fn not_found(&self, what: String) -> EditError {
        EditError::NotFound {
            what,
            path: self.path.clone(),
        }
    }
}

/// Turns what the model writes into what is written into the file; none for what has no place in it.
fn value_of(json: serde_json::Value) -> Option<Value> {
    match json {
        serde_json::Value::String(text) => Some(Value::Text(text)),
        serde_json::Value::Bool(switch) => Some(Value::Bool(switch)),
        serde_json::Value::Array(items) => {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map(Value::List)
        }
        serde_json::Value::Object(fields) => {
            let entries = fields
                .into_iter()
                .map(|(key, value)| Some((key, value_of(value)?)));
            entries.collect::<Option<_>>().map(Value::Map)
        }
        serde_json::Value::Null | serde_json::Value::Number(_) => None,
    }
}

impl Step<'_> {
    fn apply_to(&self, text: &str) -> Result<String, Unpatchable> {
        match self {
            Self::Set(path, value) => patch::set(text, path, value),
            Self::Remove(path) => patch::remove(text, path),
            Self::RemoveWithComments(path) => patch::remove_with_comments(text, path),
            Self::Append(path, item) => patch::append(text, path, item),
            Self::RemoveItem(path, index) => patch::remove_item(text, path, *index),
        }
    }

    fn by_hand(&self) -> String {
        match self {
            Self::Set(path, value) => format!("make it say\n{}", patch::lines(path, value)),
            Self::Append(path, item) => {
                format!(
                    "add to the list\n{}",
                    patch::lines(path, &Value::List(vec![item.clone()]))
                )
            }
            Self::Remove(path) | Self::RemoveWithComments(path) => {
                format!("take out `{}` by hand", path.join("."))
            }
            Self::RemoveItem(path, index) => {
                format!("take out item {} of `{}` by hand", index + 1, path.join("."))
            }
        }
    }
}
