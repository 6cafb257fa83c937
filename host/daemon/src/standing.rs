//! Keeps the proxies of the config: each listens as long as the daemon runs and its entry stands there, also while its
//! peer is away. What does not listen is tried again, with growing waits.
//!
//! Driven through [`ProxyKeeper`] at the start and after each change of the config. A proxy whose entry did not change
//! is left alone.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures::future::BoxFuture;
use libp2p_identity::PeerId;
use peerup_api::ConnectInfo;
use peerup_config::ProxyEntry;
use peerup_model::{Failure, ProxyName};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    forward::{self, Order},
    proxy_keeper::ProxyKeeper,
};

/// The wait after the first failure; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// How many seconds a client is held while the peer cannot be reached: a lost connection is back within ten.
const HOLD_SECONDS: u32 = 15;
/// The longest wait: how late a freed port is noticed.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long a request that starts a proxy waits for what becomes of it.
const SETTLE_TIME: Duration = Duration::from_secs(3);

/// The proxies of the config, by name.
#[derive(Debug)]
pub(crate) struct StandingProxies {
    app: Weak<App>,
    kept: Mutex<BTreeMap<ProxyName, Kept>>,
}

/// One that runs, or tries to.
#[derive(Debug)]
struct Kept {
    entry: ProxyEntry,
    state: watch::Receiver<State>,
    end: CancellationToken,
    /// Cancelled once its listener is gone.
    gone: CancellationToken,
    /// Ends the wait for the next try.
    retry: Arc<Notify>,
}

#[derive(Debug, Clone)]
enum State {
    Starting,
    Listening {
        peer: PeerId,
        address: String,
    },
    Failed {
        peer: Option<PeerId>,
        reason: String,
        next: Instant,
    },
}

impl StandingProxies {
    /// Keeps the proxies of this node's config. None runs before the first `apply`.
    pub(crate) fn new(app: &Arc<App>) -> Self {
        Self {
            app: Arc::downgrade(app),
            kept: Mutex::default(),
        }
    }

    async fn bring_about(&self) {
        let Some(app) = self.app.upgrade() else { return };
        let config = app.config();
        let mut ended = Vec::new();
        {
            let mut kept = self.lock();
            kept.retain(|name, proxy| {
                let same = config
                    .proxies
                    .get(name)
                    .is_some_and(|entry| entry.enabled && *entry == proxy.entry && !proxy.has_moved(&app));
                if !same {
                    proxy.end.cancel();
                    ended.push(proxy.gone.clone());
                }
                same
            });
            // Something changed: what stood in the way may be gone.
            kept.values().for_each(|proxy| proxy.retry.notify_one());
        }
        for gone in ended {
            gone.cancelled().await;
        }
        let mut kept = self.lock();
        for (name, entry) in config.proxies.iter().filter(|(_, entry)| entry.enabled) {
            if !kept.contains_key(name) && !app.shutdown.is_cancelled() {
                kept.insert(name.clone(), start(&app, name, entry));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ProxyName, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProxyKeeper for StandingProxies {
    fn apply(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.bring_about())
    }

    fn list(&self) -> Vec<ConnectInfo> {
        let Some(app) = self.app.upgrade() else {
            return Vec::new();
        };
        let config = app.config();
        let kept = self.lock();
        let told = config.proxies.iter().map(|(name, entry)| {
            let state = kept.get(name).map(|proxy| proxy.state.borrow().clone());
            describe(name, entry, state)
        });
        told.collect()
    }

    fn settled<'a>(&'a self, name: &'a ProxyName) -> BoxFuture<'a, Option<ConnectInfo>> {
        Box::pin(async move {
            let state = self.lock().get(name).map(|proxy| proxy.state.clone());
            if let Some(mut state) = state {
                let settled = state.wait_for(|state| !matches!(state, State::Starting));
                // It is told as it is then.
                let _ = tokio::time::timeout(SETTLE_TIME, settled).await;
            }
            self.list()
                .into_iter()
                .find(|info| info.name.as_deref() == Some(name.as_str()))
        })
    }
}

impl Kept {
    /// Whether the name in the entry stands for another peer by now.
    fn has_moved(&self, app: &App) -> bool {
        match (&*self.state.borrow(), app.resolve_own(&self.entry.peer)) {
            (State::Listening { peer, .. }, Ok((now, _))) => *peer != now,
            _ => false,
        }
    }
}

/// Tells of a proxy of the config where no daemon runs it.
pub fn describe_proxy(name: &ProxyName, entry: &ProxyEntry) -> ConnectInfo {
    let info = describe(name, entry, None);
    match entry.enabled {
        true => ConnectInfo {
            state: "stopped".to_owned(),
            ..info
        },
        false => info,
    }
}

fn describe(name: &ProxyName, entry: &ProxyEntry, state: Option<State>) -> ConnectInfo {
    let info = ConnectInfo {
        id: name.to_string(),
        name: Some(name.to_string()),
        peer: entry.peer.clone(),
        peer_id: None,
        service: entry.service.to_string(),
        listen_address: entry.listen.clone(),
        state: "starting".to_owned(),
        reason: None,
        retry_in_s: None,
    };
    match state {
        None if !entry.enabled => ConnectInfo {
            state: "disabled".to_owned(),
            ..info
        },
        None | Some(State::Starting) => info,
        Some(State::Listening { peer, address }) => ConnectInfo {
            peer_id: Some(peer.to_base58()),
            listen_address: address,
            state: "listening".to_owned(),
            ..info
        },
        Some(State::Failed { peer, reason, next }) => ConnectInfo {
            peer_id: peer.map(|peer| peer.to_base58()),
            state: "failed".to_owned(),
            reason: Some(reason),
            retry_in_s: Some(next.saturating_duration_since(Instant::now()).as_secs()),
            ..info
        },
    }
}

fn start(app: &Arc<App>, name: &ProxyName, entry: &ProxyEntry) -> Kept {
    let (told, state) = watch::channel(State::Starting);
    let (end, gone) = (app.shutdown.child_token(), CancellationToken::new());
    let retry = Arc::new(Notify::new());
    let task = Task {
        app: app.clone(),
        name: name.clone(),
        entry: entry.clone(),
        told,
        end: end.clone(),
        retry: retry.clone(),
    };
    let ended = gone.clone().drop_guard();
    app.tasks.spawn(async move {
        task.run().await;
        drop(ended);
    });
    Kept {
        entry: entry.clone(),
        state,
        end,
        gone,
        retry,
    }
}

/// What keeps one proxy. Ends when `end` is cancelled and never before.
struct Task {
    app: Arc<App>,
    name: ProxyName,
    entry: ProxyEntry,
    told: watch::Sender<State>,
    end: CancellationToken,
    retry: Arc<Notify>,
}

impl Task {
    async fn run(self) {
        let mut wait = FIRST_WAIT;
        loop {
            let (peer, failure) = tokio::select! {
                biased;
                () = self.end.cancelled() => return,
                found = self.app.resolve(&self.entry.peer) => match found {
                    Ok((peer, _)) => (Some(peer), None),
                    Err(failure) => (None, Some(failure)),
                },
            };
            let failure = match (peer, failure) {
                (Some(peer), None) => self.listen(peer, &mut wait).await.err(),
                (_, failure) => failure,
            };
            if self.end.is_cancelled() {
                return;
            }
            let reason = failure.map_or_else(|| "it ended".to_owned(), |failure| failure.message);
            tracing::warn!(proxy = %self.name, reason, wait = ?wait, "a proxy does not listen");
            let next = Instant::now() + wait;
            self.told.send_replace(State::Failed { peer, reason, next });
            tokio::select! {
                biased;
                () = self.end.cancelled() => return,
                () = self.retry.notified() => wait = FIRST_WAIT,
                () = tokio::time::sleep_until(next) => wait = next_wait(wait),
            }
        }
    }

    /// Listens until it is told to end, or cannot go on.
    async fn listen(&self, peer: PeerId, wait: &mut Duration) -> Result<(), Failure> {
        let order = Order::new(&peer, &self.entry.service, self.entry.listen.clone())?.holding(HOLD_SECONDS);
        let listening = order.begin(&self.app).await?;
        *wait = FIRST_WAIT;
        tracing::info!(proxy = %self.name, address = listening.address, "a proxy listens");
        self.told.send_replace(State::Listening {
            peer,
            address: listening.address.clone(),
        });
        // Its events are in the log; nobody follows it.
        let (events, _) = mpsc::channel(1);
        forward::keep(&self.app, order, listening, &events, &self.end).await;
        Ok(())
    }
}

fn next_wait(wait: Duration) -> Duration {
    (wait * 2).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        let mut waits = vec![FIRST_WAIT];
        for _ in 0..8 {
            waits.push(next_wait(*waits.last().unwrap()));
        }
        assert!(waits.is_sorted());
        assert_eq!(waits[2], Duration::from_secs(4));
        assert_eq!(waits.last(), Some(&LONGEST_WAIT));
    }
}
