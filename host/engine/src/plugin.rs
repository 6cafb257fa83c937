//! A loaded plugin: what it is, what it may do, and the ways to call it.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use libp2p_identity::PeerId;
use peerup_model::{Grants, PluginName};
use peerup_package::Manifest;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    answering,
    audit::RunKind,
    bindings::exports::peerup::plugin::{inbound, resolver},
    command::CommandRun,
    directories,
    duplex::Duplex,
    error::{HostError, LoadError, PluginError},
    guest_log::{LogLine, tame},
    instance::{Call, Instance, Patience, Purpose, Reply},
    limits::Limits,
    records::peer_record,
    request::{InboundRequest, Unheld},
    state::Inner,
    stats::PluginStats,
};

/// Arguments of a command, as JSON.
const MAX_ARGUMENT_BYTES: usize = 256 << 10;
/// The longest name that a resolver is asked for.
const MAX_NAME_BYTES: usize = 300;
/// How long a resolver's answer is kept where it does not say.
const DEFAULT_TTL: Duration = Duration::from_secs(300);
const LONGEST_TTL: Duration = Duration::from_secs(24 * 3600);

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
    /// It has a long-lived run.
    pub service: bool,
    /// It is a tier of the name chain.
    pub resolver: bool,
    /// It answers whole requests of peers.
    pub answer: bool,
    /// It has commands that tell everything at their end.
    pub task: bool,
}

impl Exports {
    /// Whether it serves streams of peers, in one way or the other.
    pub fn serves(&self) -> bool {
        self.inbound || self.answer
    }

    /// Whether it has commands, in one way or the other.
    pub fn has_commands(&self) -> bool {
        self.command || self.task
    }
}

/// What a resolver says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolverAnswer {
    /// Who it stands for.
    pub peer: PeerId,
    /// How long the answer may be kept; at most a day.
    pub ttl: Duration,
}

/// A loaded plugin. Cheap to clone.
#[derive(Clone)]
pub struct Plugin(pub(crate) Arc<Inner>);

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
            service: self.0.service.is_some(),
            resolver: self.0.resolver.is_some(),
            answer: self.0.answer.is_some(),
            task: self.0.task.is_some(),
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

    /// Whether it takes changed settings while it runs: it imports `life`. Another one's service has to be started
    /// anew after [`Plugin::set_settings`].
    pub fn takes_settings_live(&self) -> bool {
        self.0.imports_life
    }

    /// Returns why grants cannot be had as they stand: a directory that is missing, or that no plugin may have.
    pub fn check_grants(&self, grants: &Grants) -> Result<(), LoadError> {
        let checked = directories::check(grants, &self.0.forbidden.load());
        checked.map(drop).map_err(|reason| LoadError::Directory {
            plugin: self.name().clone(),
            reason,
        })
    }

    /// Returns why a directory that it has may not be had any more, as after [`crate::Engine::set_forbidden_paths`]. Its
    /// running instances have it still.
    pub fn forbidden_directory(&self) -> Option<String> {
        let (pins, forbidden) = (self.0.pins.load(), self.0.forbidden.load());
        pins.iter()
            .find_map(|(granted, leads)| directories::forbidden(granted, leads, &forbidden))
    }

    /// Changes what it may do, for running instances too: listeners and datagram sockets stop at their next use. Streams
    /// that are open stay so; directories and environment variables are seen by new instances only. Ask
    /// [`Plugin::check_grants`] first.
    pub fn set_grants(&self, grants: Grants) {
        // What cannot be had has no pin, and an instance that wants it does not start.
        let pins = directories::check(&grants, &self.0.forbidden.load()).unwrap_or_default();
        self.0.pins.store(Arc::new(pins));
        self.0.grants.store(Arc::new(grants));
    }

    /// Changes its section of the config, which must be a JSON object. Running instances see it when they ask
    /// again. Returns whether it was one.
    pub fn set_settings(&self, settings: String) -> bool {
        let is_object = is_json_object(&settings);
        if is_object {
            self.0.settings.store(Arc::new(settings));
            self.0.settings_changed.send_replace(());
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
        let purpose = Purpose::plain(self.0.access(Grants::default(), RunKind::Inbound));
        Instance::start(&self.0, purpose, false).await.map(drop)
    }

    /// Asks its running instances to end: `life.stopping` returns to them. Nothing else changes until
    /// [`Plugin::stop`].
    pub fn begin_stopping(&self) {
        self.0.stopping.cancel();
    }

    /// Ends its service, commands and inbound handlers at once, and refuses new ones. Tunnels run on: see
    /// `Splices::close_plugin`.
    pub fn stop(&self) {
        self.0.stopping.cancel();
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

    async fn inbound(&self, request: InboundRequest, unheld: Unheld) -> Result<(), PluginError> {
        let inner = &self.0;
        let run = match (inner.inbound.is_some(), inner.answer.is_some()) {
            (true, _) => RunKind::Inbound,
            (false, true) => RunKind::Answer,
            (false, false) => return Err(self.no_export("inbound")),
        };
        let mut access = inner.access(request.extra_grants.clone(), run);
        match &request.service {
            Some((_, local_address)) => access.grant_service(local_address),
            None => access
                .protocol("serving", &request.protocol)
                .map_err(|error| PluginError::Denied(error.to_string()))?,
        }
        let purpose = Purpose {
            service: request.service.as_ref().map(|(name, _)| name.to_string()),
            ..Purpose::plain(access)
        };
        match run {
            RunKind::Answer => answering::answer(inner, request, purpose, unheld).await,
            _ => self.handle(request, purpose, unheld).await,
        }
    }

    async fn handle(
        &self,
        request: InboundRequest,
        purpose: Purpose,
        mut unheld: Unheld,
    ) -> Result<(), PluginError> {
        let mut instance = Instance::start(&self.0, purpose, true).await?;
        let peer = peer_record(&request.peer);
        let guest_request = inbound::Request {
            protocol: request.protocol,
            service: request.service.map(|(name, local_address)| inbound::Service {
                name: name.to_string(),
                local_address,
            }),
            peer,
        };
        let Some(duplex) = unheld.take() else {
            return Err(PluginError::Cancelled);
        };
        let connection = instance.hold(duplex)?;
        let call = Call::Inbound(guest_request, connection);
        let patience = Patience::Moving(self.0.limits.inbound_deadline);
        instance.call(call, patience).await.map(Reply::done)
    }

    /// Runs its long-lived service in an instance of its own until it returns. Once `stop` is cancelled, or
    /// [`Plugin::begin_stopping`] was called, the service is asked to end; what still runs after `limits.drain` is
    /// cancelled, which answers `Cancelled`. The instance is none of those that `limits.instances` counts. Starting
    /// it again after a failure is the caller's. Dropping the future ends the instance.
    pub async fn run_service(&self, stop: CancellationToken) -> Result<(), PluginError> {
        let inner = &self.0;
        if inner.service.is_none() {
            return Err(self.no_export("service"));
        }
        let stopping = inner.stopping.child_token();
        let purpose = Purpose {
            stopping: Some(stopping.clone()),
            ..Purpose::plain(inner.access(Grants::default(), RunKind::Service))
        };
        let run = async {
            let instance = Instance::start(inner, purpose, false).await?;
            instance
                .call(Call::Service, Patience::Endless)
                .await
                .map(Reply::done)
        };
        let drained = async {
            tokio::select! {
                () = stop.cancelled() => stopping.cancel(),
                () = stopping.cancelled() => {}
            }
            tokio::time::sleep(inner.limits.drain).await;
        };
        let outcome = tokio::select! {
            biased;
            () = inner.stopped.cancelled() => Err(PluginError::Cancelled),
            outcome = run => outcome,
            () = drained => Err(PluginError::Cancelled),
        };
        inner.note(&outcome);
        outcome
    }

    /// Asks it who a name stands for, in a fresh instance; none where it does not know. It has
    /// `limits.resolve_deadline` for the answer.
    pub async fn resolve(&self, name: &str) -> Result<Option<ResolverAnswer>, PluginError> {
        // In a task of its own: it is an instance that asks, through the host, while it is being polled, and an instance
        // cannot be polled inside another.
        let (plugin, name) = (self.clone(), name.to_owned());
        let asking = AbortOnDropHandle::new(tokio::spawn(async move { plugin.ask(&name).await }));
        asking.await.unwrap_or(Err(PluginError::Cancelled))
    }

    async fn ask(&self, name: &str) -> Result<Option<ResolverAnswer>, PluginError> {
        let inner = &self.0;
        if inner.resolver.is_none() {
            return Err(self.no_export("resolver"));
        }
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(PluginError::Invalid(format!(
                "a name has 1 to {MAX_NAME_BYTES} bytes, not {}",
                name.len()
            )));
        }
        let purpose = Purpose::plain(inner.access(Grants::default(), RunKind::Resolver));
        let asked = async {
            let instance = Instance::start(inner, purpose, false).await?;
            let call = Call::Resolve(name.to_owned());
            match instance
                .call(call, Patience::Within(inner.limits.resolve_deadline))
                .await?
            {
                Reply::Resolved(answer) => answer.map(resolver_answer).transpose(),
                _ => Ok(None),
            }
        };
        let outcome = tokio::select! {
            biased;
            () = inner.stopped.cancelled() => Err(PluginError::Cancelled),
            outcome = asked => outcome,
        };
        if let Err(error) = &outcome {
            inner.note(&Err(error.clone()));
        }
        outcome
    }

    /// Runs one of its commands in an instance of its own, in a task that the engine owns. `arguments` is a
    /// JSON object. Must be called within a Tokio runtime.
    pub fn run_command(
        &self,
        name: &str,
        arguments: serde_json::Value,
        extra_grants: Grants,
    ) -> Result<CommandRun, PluginError> {
        if !self.exports().has_commands() {
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

/// Checks what a resolver said.
fn resolver_answer(answer: resolver::Answer) -> Result<ResolverAnswer, PluginError> {
    let peer = answer.peer.parse().map_err(|_| {
        PluginError::Guest(HostError::Invalid(format!(
            "{:?} is not a peer id",
            tame(&answer.peer).chars().take(80).collect::<String>()
        )))
    })?;
    let ttl = answer
        .ttl
        .map_or(DEFAULT_TTL, |seconds| Duration::from_secs(seconds.into()));
    Ok(ResolverAnswer {
        peer,
        ttl: ttl.min(LONGEST_TTL),
    })
}

pub(crate) fn is_json_object(text: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok()
}
