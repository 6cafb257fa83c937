//! The plugin's own section of the config.

use crate::{bindings::peerup::plugin::settings, state::InstanceState};

impl settings::Host for InstanceState {
    fn get(&mut self) -> wasmtime::Result<String> {
        self.told("settings.get", String::new);
        Ok(self.plugin.settings.load().to_string())
    }
}
