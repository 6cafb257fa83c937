//! Streams whose requests and answers go through the host as a whole: the export `answer`.
//!
//! The request is read before there is an instance: a peer that sends slowly costs memory up to the bound and no
//! slot.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{
    bindings::exports::peerup::plugin::answer,
    duplex::{Duplex, ReadHalf, Shared},
    ending::CLOSE_TIMEOUT,
    error::{HostError, PluginError},
    instance::{Call, Instance, Patience, Purpose, Reply},
    records::peer_record,
    request::{InboundRequest, Unheld},
    state::Inner,
};

/// The longest request.
const MAX_REQUEST_BYTES: usize = 1 << 20;
/// Bytes read in one go.
const CHUNK_BYTES: usize = 16 << 10;

/// Reads the request, asks the plugin, and sends what it says. The stream is reset on an error.
pub(crate) async fn answer(
    plugin: &Arc<Inner>,
    request: InboundRequest,
    purpose: Purpose,
    mut unheld: Unheld,
) -> Result<(), PluginError> {
    let Some(duplex) = unheld.take() else {
        return Err(PluginError::Cancelled);
    };
    let Duplex {
        mut reader,
        mut writer,
        shared,
    } = duplex;
    // Whatever ends this early, the peer sees a reset and not an end.
    let reset = ResetOnDrop(Some(shared));
    let body = read_request(plugin, &mut reader).await?;
    let guest_request = answer::Request {
        protocol: request.protocol,
        service: request.service.map(|(name, _)| name.to_string()),
        peer: peer_record(&request.peer),
    };
    let instance = Instance::start(plugin, purpose, false).await?;
    let patience = Patience::Within(plugin.limits.inbound_deadline);
    let Reply::Bytes(answer) = instance.call(Call::Answer(guest_request, body), patience).await? else {
        return Err(PluginError::Cancelled);
    };
    let deadline = plugin.limits.inbound_deadline;
    for chunk in answer.chunks(CHUNK_BYTES) {
        writer.shared().pass(chunk.len()).await;
        let written = timeout(deadline, writer.write_all(chunk)).await;
        written
            .map_err(|_| stuck(plugin))?
            .map_err(|error| gone(&error))?;
        plugin.counters.count_bytes_out(chunk.len());
        if let Some(pause) = plugin.counters.pass(chunk.len()) {
            tokio::time::sleep(pause).await;
        }
    }
    let shut = timeout(CLOSE_TIMEOUT, writer.shutdown()).await;
    shut.map_err(|_| stuck(plugin))?.map_err(|error| gone(&error))?;
    reset.disarm();
    Ok(())
}

/// Reads the whole request, within the time that an inbound handler may take without moving on: a peer that sends a byte
/// now and then must not hold a place for ever.
async fn read_request(plugin: &Inner, reader: &mut ReadHalf) -> Result<Vec<u8>, PluginError> {
    let read = timeout(plugin.limits.inbound_deadline, read_to_end(plugin, reader)).await;
    read.map_err(|_| stuck(plugin))?
}

async fn read_to_end(plugin: &Inner, reader: &mut ReadHalf) -> Result<Vec<u8>, PluginError> {
    let mut body = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = reader.read(&mut chunk).await.map_err(|error| gone(&error))?;
        if count == 0 {
            return Ok(body);
        }
        if body.len() + count > MAX_REQUEST_BYTES {
            plugin.counters.auditor.limit("request");
            return Err(PluginError::Limit(format!(
                "the peer's request to the plugin {} is longer than {MAX_REQUEST_BYTES} bytes",
                plugin.manifest.name
            )));
        }
        plugin.counters.count_bytes_in(count);
        body.extend_from_slice(chunk.get(..count).unwrap_or_default());
        reader.shared().pass(count).await;
        if let Some(pause) = plugin.counters.pass(count) {
            tokio::time::sleep(pause).await;
        }
    }
}

fn stuck(plugin: &Inner) -> PluginError {
    PluginError::Deadline {
        plugin: plugin.manifest.name.clone(),
        limit: plugin.limits.inbound_deadline,
    }
}

fn gone(error: &std::io::Error) -> PluginError {
    PluginError::Guest(HostError::Closed(format!("the stream was reset: {error}")))
}

/// Resets a stream when it is dropped, unless it was told not to.
struct ResetOnDrop(Option<Arc<Shared>>);

impl ResetOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.reset();
        }
    }
}
