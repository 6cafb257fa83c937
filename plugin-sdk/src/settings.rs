//! The plugin's own section of the config.

use serde::de::DeserializeOwned;

use crate::{Error, bindings::peerup::plugin::settings as raw};

/// Reads `plugins.<name>.settings` into a type of the plugin's own; a section that is not there reads as `{}`.
///
/// Fails with [`Error::Invalid`], naming the key, where the section does not fit the type.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, settings};
/// #[derive(serde::Deserialize)]
/// #[serde(default, deny_unknown_fields)]
/// struct Settings {
///     greeting: String,
/// }
/// # impl Default for Settings { fn default() -> Self { Self { greeting: "hello".into() } } }
/// # fn example() -> Result<(), Error> {
/// let settings: Settings = settings::get()?;
/// # Ok(())
/// # }
/// ```
pub fn get<T: DeserializeOwned>() -> Result<T, Error> {
    serde_json::from_str(&raw::get())
        .map_err(|error| Error::invalid(format!("the plugin's settings do not fit: {error}")))
}
