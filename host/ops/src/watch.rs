//! Carries the [`Watchdog`]'s decisions out.
//!
//! Each check is a task of the runtime that it observes and reports over a channel; a thread of its own owns the
//! machine and speaks to the service manager. Where the runtime stands still no report comes, and the thread says so
//! in the log and stops vouching for it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    notify::notify_alive,
    watchdog::{Action, Plan, Watchdog},
};

/// Reports that wait for the thread; more mean that it is not scheduled, and the next ones will do.
const REPORTS: usize = 32;
/// How long the thread sleeps where nothing is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

type Report = (&'static str, Result<(), String>);

/// One check of the process itself.
pub struct Observer {
    name: &'static str,
    check: Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

impl Observer {
    /// Makes a check. It is asked again and again; what takes too long has failed.
    pub fn new<F>(name: &'static str, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self {
            name,
            check: Box::new(move || Box::pin(check())),
        }
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Observer").field(&self.name).finish()
    }
}

/// What the checks of a running watchdog last found.
#[derive(Debug, Clone, Default)]
pub struct Watch(Arc<Mutex<HashMap<&'static str, bool>>>);

impl Watch {
    /// Returns each check with whether it passes, in the order of their names.
    pub fn checks(&self) -> Vec<(&'static str, bool)> {
        let mut checks: Vec<_> = self
            .lock()
            .iter()
            .map(|(name, passes)| (*name, *passes))
            .collect();
        checks.sort_unstable();
        checks
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<&'static str, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches until `stop` is cancelled. Must run inside the runtime that is to be observed.
///
/// The service manager's timeout is read from the environment; without one the checks are made all the same, and what
/// they find is logged.
pub fn watch(observers: Vec<Observer>, tasks: &TaskTracker, stop: &CancellationToken) -> Watch {
    let plan = Plan::new(crate::watchdog_timeout());
    let names: Vec<_> = observers.iter().map(|observer| observer.name).collect();
    let watch = Watch(Arc::new(Mutex::new(
        names.iter().map(|name| (*name, true)).collect(),
    )));
    let watchdog = Watchdog::new(plan, &names, Instant::now());
    let (sender, reports) = sync_channel(REPORTS);
    let seen = watch.clone();
    let thread = std::thread::Builder::new().name("watchdog".to_owned());
    if let Err(error) = thread.spawn(move || run(watchdog, &reports, &seen)) {
        tracing::error!(%error, "the watchdog does not start");
        return watch;
    }
    for observer in observers {
        tasks.spawn(observe(observer, plan.check_every, sender.clone(), stop.clone()));
    }
    watch
}

async fn observe(observer: Observer, every: Duration, reports: SyncSender<Report>, stop: CancellationToken) {
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let checked = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            checked = timeout(every, (observer.check)()) => checked,
        };
        let outcome = checked.unwrap_or_else(|_| Err(format!("no answer within {} s", every.as_secs_f32())));
        // A full queue holds reports already, and the next one follows.
        let _ = reports.try_send((observer.name, outcome));
    }
}

/// The thread. Ends when the last observer has.
fn run(mut watchdog: Watchdog, reports: &Receiver<Report>, seen: &Watch) {
    loop {
        watchdog.handle_timeout(Instant::now());
        while let Some(action) = watchdog.next_action() {
            act(action, seen);
        }
        let due = watchdog.poll_timeout();
        let wait = due.map_or(LONGEST_SLEEP, |due| due.saturating_duration_since(Instant::now()));
        match reports.recv_timeout(wait) {
            Ok((check, outcome)) => watchdog.handle_report(check, outcome, Instant::now()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn act(action: Action, seen: &Watch) {
    match action {
        Action::Feed => notify_alive(),
        Action::Failing { check, reason } => {
            seen.lock().insert(check, false);
            tracing::error!(check, reason, "a check of this process does not pass");
        }
        Action::Recovered { check, after } => {
            seen.lock().insert(check, true);
            tracing::info!(check, ?after, "a check of this process passes again");
        }
        Action::Withheld { checks } => {
            tracing::error!(
                ?checks,
                "the service manager is told nothing any more: it will restart this process"
            );
        }
        Action::Resumed => tracing::info!("the service manager is told again that this process is alive"),
    }
}
