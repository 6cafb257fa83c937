//! The exports of the probe, the same for each version of the contract.

use serde_json::{Value, json};

use crate::{
    bindings::{
        exports::peerup::plugin::{command, inbound},
        peerup::plugin::{output, types::Error},
    },
    calls,
};

/// The plugin.
pub(crate) struct Probe;

impl inbound::Guest for Probe {
    /// Being called is all that is asked for.
    async fn handle(_: inbound::Request, _: inbound::Duplex) -> Result<(), Error> {
        Ok(())
    }
}

impl command::Guest for Probe {
    async fn run(name: String, arguments: String) -> Result<(), Error> {
        let arguments: Value =
            serde_json::from_str(&arguments).map_err(|error| Error::Invalid(error.to_string()))?;
        let on = arguments.get("on").and_then(Value::as_str).unwrap_or_default();
        let text = calls::perform(&name, on).await?;
        let json = json!({ "told": text }).to_string();
        output::emit(output::Event { text, json }).await
    }
}
