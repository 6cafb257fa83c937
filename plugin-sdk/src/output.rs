//! What a running command tells its caller.

use serde::Serialize;

use crate::{Error, bindings::peerup::plugin::output as raw};

/// Tells the caller one fact, as text for a person and as a JSON object for a program.
///
/// Waits while the caller's queue is full. Fails with [`Error::Closed`] once the caller has gone: end then.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, output};
/// #[derive(serde::Serialize)]
/// struct Sent<'a> {
///     file: &'a str,
///     bytes: u64,
/// }
/// # async fn example() -> Result<(), Error> {
/// output::emit("sent a.txt", &Sent { file: "a.txt", bytes: 512 }).await
/// # }
/// ```
pub async fn emit(text: impl Into<String>, event: &impl Serialize) -> Result<(), Error> {
    let json = serde_json::to_string(event)
        .map_err(|error| Error::invalid(format!("the event is no JSON: {error}")))?;
    raw::emit(raw::Event {
        text: text.into(),
        json,
    })
    .await?;
    Ok(())
}
