//! The operator's own names for peers, the `names:` section of the config.

use crate::{Error, bindings::peerup::plugin::name_list as raw};

/// Finds who the operator's config says a name stands for, exactly as written there; none if it does not. Needs the
/// grant `names: [list]`.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, name_list};
/// # async fn example() -> Result<(), Error> {
/// let peer: Option<String> = name_list::find("home").await?;
/// # Ok(())
/// # }
/// ```
pub async fn find(name: &str) -> Result<Option<String>, Error> {
    Ok(raw::find(name.to_owned()).await?)
}

/// Lists every name with its peer id, in the order of the names. Needs the grant `names: [list]`.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, name_list};
/// # async fn example() -> Result<(), Error> {
/// for (name, peer) in name_list::entries().await? {}
/// # Ok(())
/// # }
/// ```
pub async fn entries() -> Result<Vec<(String, String)>, Error> {
    Ok(raw::entries().await?)
}
