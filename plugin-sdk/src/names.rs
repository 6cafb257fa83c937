//! Names of peers.

use crate::{Error, bindings::peerup::plugin::names as raw};

/// Who a name stands for, and who knew it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The peer id in base58.
    pub peer: String,
    /// `peer-id`, or the name of the resolver plugin: `names-local` for the operator's config.
    pub source: String,
}

/// Asks who a name stands for. Needs the grant `names: [resolve]`.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, names};
/// # async fn example() -> Result<(), Error> {
/// let answer = names::resolve("home").await?;
/// # Ok(())
/// # }
/// ```
pub async fn resolve(name: &str) -> Result<Answer, Error> {
    let answer = raw::resolve(name.to_owned()).await?;
    Ok(Answer {
        peer: answer.peer,
        source: answer.source,
    })
}
