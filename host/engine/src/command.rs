//! One run of a plugin's command: its events, its end, and the tunnels that it leaves behind.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use peerup_model::Grants;
use tokio::{
    select,
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use crate::{
    audit::RunKind,
    capability::output,
    error::PluginError,
    event::CommandEvent,
    instance::{Call, Instance, Patience, Purpose, Reply},
    state::Inner,
    tunnels::TunnelGroup,
};

/// Events that wait for a slow caller; the plugin waits then.
const EVENT_QUEUE: usize = 32;

/// A running command. Dropping it before its end cancels it and resets its tunnels, unless
/// [`CommandRun::detach_tunnels`] was called. The tunnels of a command that has returned run on.
#[derive(Debug)]
pub struct CommandRun {
    events: mpsc::Receiver<CommandEvent>,
    outcome: Option<oneshot::Receiver<Result<(), PluginError>>>,
    cancel: CancellationToken,
    returned: Arc<AtomicBool>,
    tunnels: TunnelGroup,
    detached: bool,
}

impl CommandRun {
    pub(crate) fn start(plugin: &Arc<Inner>, name: &str, arguments: String, extra: Grants) -> Self {
        let (sender, events) = mpsc::channel(EVENT_QUEUE);
        let (done, outcome) = oneshot::channel();
        let cancel = CancellationToken::new();
        let returned = Arc::new(AtomicBool::new(false));
        let tunnels = plugin.splices.group();
        let (run_kind, call) = match plugin.command.is_some() {
            true => (RunKind::Command, Call::Command(name.to_owned(), arguments)),
            false => (RunKind::Task, Call::Task(name.to_owned(), arguments)),
        };
        let purpose = Purpose {
            group: Some(tunnels.clone()),
            output: Some(sender),
            ..Purpose::plain(plugin.access(extra, run_kind))
        };
        let (inner, cancelled, ended) = (plugin.clone(), cancel.clone(), returned.clone());
        let stopped = plugin.stopped.clone();
        plugin.tasks.spawn(async move {
            let outcome = select! {
                biased;
                () = cancelled.cancelled() => Err(PluginError::Cancelled),
                () = stopped.cancelled() => Err(PluginError::Cancelled),
                outcome = run(&inner, purpose, call) => outcome,
            };
            ended.store(outcome.is_ok(), Ordering::SeqCst);
            inner.note_command(&outcome);
            // A caller that does not wait has gone.
            let _ = done.send(outcome);
        });
        Self {
            events,
            outcome: Some(outcome),
            cancel,
            returned,
            tunnels,
            detached: false,
        }
    }

    /// Waits for the next event; none once the command has ended. Cancel safe.
    pub async fn next_event(&mut self) -> Option<CommandEvent> {
        self.events.recv().await
    }

    /// Waits for the end, throwing away events that were not taken. A second call answers `Cancelled`.
    pub async fn finish(&mut self) -> Result<(), PluginError> {
        while self.events.recv().await.is_some() {}
        match self.outcome.take() {
            Some(outcome) => outcome.await.unwrap_or(Err(PluginError::Cancelled)),
            None => Err(PluginError::Cancelled),
        }
    }

    /// Ends the instance. Its tunnels run on until they are drained, closed, or this run is dropped.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// The tunnels that this command has joined and still will.
    pub fn tunnels(&self) -> TunnelGroup {
        self.tunnels.clone()
    }

    /// Lets the tunnels run on when this run is dropped before its end.
    pub fn detach_tunnels(&mut self) {
        self.detached = true;
    }
}

impl Drop for CommandRun {
    fn drop(&mut self) {
        self.cancel.cancel();
        if !self.detached && !self.returned.load(Ordering::SeqCst) {
            self.tunnels.close();
        }
    }
}

async fn run(plugin: &Arc<Inner>, purpose: Purpose, call: Call) -> Result<(), PluginError> {
    let sender = purpose.output.clone();
    let instance = Instance::start(plugin, purpose, false).await?;
    let reply = instance.call(call, Patience::Endless).await?;
    let (Reply::Events(events), Some(sender)) = (reply, sender) else {
        return Ok(());
    };
    for event in events {
        let told = output::emit(Some(sender.clone()), &event.text, &event.json).await;
        told.map_err(PluginError::Guest)?;
    }
    Ok(())
}
