//! Edits of the proxies that the daemon keeps.

use peerup_model::ProxyName;

use super::{ConfigEditor, Step};
use crate::{
    error::EditError,
    patch::Value,
    proxies::{MAX_PROXIES, ProxyEntry},
};

impl ConfigEditor {
    /// Adds a proxy. One of that name that says the same stays as it is.
    ///
    /// # Errors
    /// There is another one of that name, there are too many, or the file cannot be changed safely.
    pub fn add_proxy(&mut self, name: &ProxyName, entry: &ProxyEntry) -> Result<(), EditError> {
        let refused = |message: String| EditError::Value {
            key: format!("proxies.{name}"),
            message,
        };
        match self.config.proxies.get(name) {
            Some(known) if known == entry => return Ok(()),
            Some(_) => {
                let message =
                    format!("there is such a proxy already; take it out: peerup proxy remove {name}");
                return Err(refused(message));
            }
            None => {}
        }
        if self.config.proxies.len() >= MAX_PROXIES {
            return Err(refused(format!("{MAX_PROXIES} proxies are there already")));
        }
        let mut intended = self.config.clone();
        intended.proxies.insert(name.clone(), entry.clone());
        let text = |key: &str, value: &str| (key.to_owned(), Value::Text(value.to_owned()));
        let value = Value::Map(vec![
            text("peer", &entry.peer),
            text("service", entry.service.as_str()),
            text("listen", &entry.listen),
            ("enabled".to_owned(), Value::Bool(entry.enabled)),
        ]);
        self.apply(intended, &Step::Set(&["proxies", name.as_str()], value))
    }

    /// Switches a proxy on or off.
    ///
    /// # Errors
    /// There is no such proxy, or the file cannot be changed safely.
    pub fn set_proxy_enabled(&mut self, name: &ProxyName, enabled: bool) -> Result<(), EditError> {
        let mut intended = self.config.clone();
        let Some(entry) = intended.proxies.get_mut(name) else {
            return Err(self.not_found(format!("the proxy {name}")));
        };
        if entry.enabled == enabled {
            return Ok(());
        }
        entry.enabled = enabled;
        let path = ["proxies", name.as_str(), "enabled"];
        self.apply(intended, &Step::Set(&path, Value::Bool(enabled)))
    }

    /// Takes a proxy out.
    ///
    /// # Errors
    /// There is no such proxy, or the file cannot be changed safely.
    pub fn remove_proxy(&mut self, name: &ProxyName) -> Result<(), EditError> {
        let mut intended = self.config.clone();
        if intended.proxies.remove(name).is_none() {
            return Err(self.not_found(format!("the proxy {name}")));
        }
        self.apply(intended, &Step::Remove(&["proxies", name.as_str()]))
    }
}
