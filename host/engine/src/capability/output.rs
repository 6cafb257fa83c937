//! What a running command tells its caller.

use wasmtime::component::Accessor;

use crate::{
    bindings::peerup::plugin::{output, types},
    error::HostError,
    event::CommandEvent,
    state::{Capabilities, InstanceState, MAX_SENDING},
    watched::observed,
};

/// The longest event, text and JSON together.
const MAX_EVENT_BYTES: usize = 1 << 20;

impl output::Host for InstanceState {}

impl<T: Send + 'static> output::HostWithStore<T> for Capabilities {
    async fn emit(
        accessor: &Accessor<T, Self>,
        event: output::Event,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        let emitted = async {
            let (sender, sending) = accessor.with(|mut access| {
                let state = access.get();
                (state.output.clone(), state.plugin.sending.clone())
            });
            // Each that waits for a slow caller holds its text in the host's memory.
            let place = sending.try_acquire_owned();
            let _place = place
                .map_err(|_| HostError::Limit(format!("{MAX_SENDING} events are on their way already")))?;
            emit(sender, &event.text, &event.json).await
        };
        Ok(observed(accessor, "output.emit", || event.text.clone(), emitted).await)
    }
}

/// Tells one event, checked and bounded.
pub(crate) async fn emit(
    sender: Option<tokio::sync::mpsc::Sender<CommandEvent>>,
    text: &str,
    json: &str,
) -> Result<(), HostError> {
    let sender = sender.ok_or_else(|| HostError::Closed("nobody called a command here".to_owned()))?;
    if text.len().saturating_add(json.len()) > MAX_EVENT_BYTES {
        return Err(HostError::Invalid(format!(
            "an event holds at most {MAX_EVENT_BYTES} bytes"
        )));
    }
    let json = serde_json::from_str(json)
        .ok()
        .filter(serde_json::Value::is_object)
        .ok_or_else(|| HostError::Invalid("the event's json is not a JSON object".to_owned()))?;
    let event = CommandEvent {
        text: text.to_owned(),
        json,
    };
    let sent = sender.send(event).await;
    sent.map_err(|_| HostError::Closed("the caller has gone".to_owned()))
}
