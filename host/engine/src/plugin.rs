//! A loaded plugin: what it is, what it may do, and the ways to call it.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, atomic::Ordering},
};

use peerup_model::{Grants, PluginName, ServiceName};

use crate::{
    bindings::exports::peerup::plugin::inbound,
    command::CommandRun,
    duplex::{Duplex, PeerRef},
    error::PluginError,
    guest_log::LogLine,
    instance::{Call, Instance, Purpose},
    limits::Limits,
    manifest::Manifest,
    records::peer_record,
    state::Inner,
    stats::PluginStats,
};

/// Arguments of a command, as JSON.
const MAX_ARGUMENT_BYTES: usize = 256 << 10;

/// What a plugin is loaded from.
#[derive(Debug, Clone)]
pub struct PluginSpec {
    /// Its `plugin.toml`.
    pub manifest: Manifest,
    /// The component, in binary form.
    pub wasm: Cow<'static, [u8]>,
    /// What the operator lets it do.
    pub grants: Grants,
    /// Its section of the config, a JSON object.
    pub settings: String,
    /// What it may use.
    pub limits: Limits,
}

/// Which interfaces a plugin exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exports {
    /// It handles streams that peers open.
    pub inbound: bool,
    /// It has commands.
    pub command: bool,
}

/// A stream that a peer opened.
#[derive(Debug, Clone)]
pub struct InboundRequest {
    /// The protocol that it was opened on.
    pub protocol: String,
    /// The service and its `local_address`, where the protocol is that of a service. Grants connecting to
    /// that address, to this instance only.
    pub service: Option<(ServiceName, String)>,
    /// Who opened it: authenticated, and let in by the gate.
    pub peer: PeerRef,
    /// What this instance may do besides.
    pub extra_grants: Grants,
}

/// A loaded plugin. Cheap to clone.
#[derive(Clone)]
pub struct Plugin(pub(crate) Arc<Inner>);

/// Resets a stream that no instance took.
struct Unheld(Option<Duplex>);

impl Drop for Unheld {
    fn drop(&mut self) {
        if let Some(duplex) = self.0.take() {
            duplex.reset();
        }
    }
}

impl Plugin {
    /// Its name.
    pub fn name(&self) -> &PluginName {
        &self.0.manifest.name
    }

    /// What it says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// Which interfaces it exports.
    pub fn exports(&self) -> Exports {
        Exports {
            inbound: self.0.inbound.is_some(),
            command: self.0.command.is_some(),
        }
    }

    /// What it may use.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// What it may do now.
    pub fn grants(&self) -> Arc<Grants> {
        self.0.grants.load_full()
    }

    /// Changes what it may do, for running instances too. What was opened stays open.
    pub fn set_grants(&self, grants: Grants) {
        self.0.grants.store(Arc::new(grants));
    }

    /// Changes its section of the config, which must be a JSON object. Running instances see it when they ask
    /// again. Returns whether it was one.
    pub fn set_settings(&self, settings: String) -> bool {
        let is_object = is_json_object(&settings);
        if is_object {
            self.0.settings.store(Arc::new(settings));
        }
        is_object
    }

    /// What it has done since it was loaded.
    pub fn stats(&self) -> PluginStats {
        self.0.counters.snapshot()
    }

    /// The last lines that it wrote, oldest first.
    pub fn log_lines(&self) -> Vec<LogLine> {
        self.0.log.lines()
    }

    /// The ids of the tunnels that this load of it has joined and that run now.
    pub fn tunnels(&self) -> Vec<u64> {
        self.0.splices.ids_of(&self.0.counters)
    }

    /// Makes an instance and lets it go: whether it can begin within its limits at all.
    pub async fn check(&self) -> Result<(), PluginError> {
        let purpose = Purpose {
            access: self.0.access(Grants::default()),
            service: None,
            group: None,
            output: None,
        };
        Instance::start(&self.0, purpose, false).await.map(drop)
    }

    /// Ends its commands and inbound handlers, and refuses new ones. Tunnels run on: see
    /// `Splices::close_plugin`.
    pub fn stop(&self) {
        self.0.stopped.cancel();
        self.0.instances.close();
    }

    /// Hands it a stream that a peer opened. Returns when the instance is gone; tunnels run on. On an error,
    /// and when the returned future is dropped, the stream is reset.
    pub async fn handle_inbound(&self, request: InboundRequest, duplex: Duplex) -> Result<(), PluginError> {
        let unheld = Unheld(Some(duplex));
        let outcome = tokio::select! {
            biased;
            () = self.0.stopped.cancelled() => Err(PluginError::Cancelled),
            outcome = self.inbound(request, unheld) => outcome,
        };
        self.0.note(&outcome);
        outcome
    }

    async fn inbound(&self, request: InboundRequest, mut unheld: Unheld) -> Result<(), PluginError> {
        let inner = &self.0;
        if inner.inbound.is_none() {
            return Err(self.no_export("inbound"));
        }
        let mut access = inner.access(request.extra_grants);
        match &request.service {
            Some((_, local_address)) => access.grant_service(local_address),
            None => access
                .protocol("serving", &request.protocol)
                .map_err(|error| PluginError::Denied(error.to_string()))?,
        }
        let purpose = Purpose {
            access,
            service: request.service.as_ref().map(|(name, _)| name.to_string()),
            group: None,
            output: None,
        };
        let mut instance = Instance::start(inner, purpose, true).await?;
        let peer = peer_record(&request.peer);
        let guest_request = inbound::Request {
            protocol: request.protocol,
            service: request.service.map(|(name, local_address)| inbound::Service {
                name: name.to_string(),
                local_address,
            }),
            peer,
        };
        let Some(duplex) = unheld.0.take() else {
            return Err(PluginError::Cancelled);
        };
        let connection = instance.hold(duplex)?;
        let call = Call::Inbound(guest_request, connection);
        instance.call(call, Some(inner.limits.inbound_deadline)).await
    }

    /// Runs one of its commands in an instance of its own, in a task that the engine owns. `arguments` is a
    /// JSON object. Must be called within a Tokio runtime.
    pub fn run_command(
        &self,
        name: &str,
        arguments: serde_json::Value,
        extra_grants: Grants,
    ) -> Result<CommandRun, PluginError> {
        if self.0.command.is_none() {
            return Err(self.no_export("command"));
        }
        let text = arguments.to_string();
        if !arguments.is_object() || text.len() > MAX_ARGUMENT_BYTES {
            return Err(PluginError::Invalid(format!(
                "the arguments of a command are a JSON object of at most {MAX_ARGUMENT_BYTES} bytes"
            )));
        }
        if self.0.stopped.is_cancelled() {
            return Err(PluginError::Cancelled);
        }
        Ok(CommandRun::start(&self.0, name, text, extra_grants))
    }

    fn no_export(&self, what: &'static str) -> PluginError {
        PluginError::NoExport {
            plugin: self.name().clone(),
            what,
        }
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("name", self.name())
            .field("exports", &self.exports())
            .field("live", &self.0.counters.instances_live.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

pub(crate) fn is_json_object(text: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok()
}
