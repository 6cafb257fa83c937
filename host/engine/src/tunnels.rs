//! The registry of all tunnels of an engine: who carries what, how much, since when, and the way to end them.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use peerup_model::PluginName;
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    time::Instant,
};
use tokio_util::task::TaskTracker;

use crate::{
    duplex::{PathRef, PeerRef, Shared, WriteHalf},
    error::HostError,
    splice::{self, Done, Meter, Patience, Source},
    stats::Counters,
};

/// The registry of all tunnels. Cheap to clone.
#[derive(Clone)]
pub struct Splices(Arc<Registry>);

/// One tunnel as it stands.
#[derive(Debug, Clone)]
pub struct SpliceInfo {
    /// Unique in this process.
    pub id: u64,
    /// The plugin that joined it.
    pub plugin: PluginName,
    /// The service that it carries, where the plugin was called for one.
    pub service: Option<String>,
    /// The peer at one end.
    pub peer: Option<PeerRef>,
    /// The way to that peer.
    pub path: Option<PathRef>,
    /// The protocol of the stream to that peer, where the daemon noted it.
    pub protocol: Option<String>,
    /// When it was joined.
    pub started: SystemTime,
    /// How long ago that was.
    pub age: Duration,
    /// How long no byte has moved.
    pub quiet: Duration,
    /// Bytes that came from the peer.
    pub bytes_in: u64,
    /// Bytes that went to the peer.
    pub bytes_out: u64,
}

/// Figures of all tunnels of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpliceTotals {
    /// Tunnels that run now.
    pub live: usize,
    /// Tunnels ever joined.
    pub total: u64,
    /// Bytes that came from peers through all of them.
    pub bytes_in: u64,
    /// Bytes that went to peers through all of them.
    pub bytes_out: u64,
}

struct Registry {
    state: Mutex<State>,
    total: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    changed: Notify,
    tasks: TaskTracker,
    patience: Mutex<Patience>,
}

#[derive(Default)]
struct State {
    next: u64,
    tunnels: HashMap<u64, Live>,
    /// The two connections of a tunnel, lower id first, so that its second direction finds it.
    pairs: HashMap<(u64, u64), u64>,
}

struct Live {
    tunnel: Arc<Tunnel>,
    pair: (u64, u64),
    directions: usize,
}

/// On whose behalf a tunnel is joined.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) counters: Arc<Counters>,
    pub(crate) service: Option<String>,
    pub(crate) group: Option<TunnelGroup>,
    /// How many tunnels the plugin may have.
    pub(crate) limit: usize,
}

/// Both directions of one tunnel.
pub(crate) struct Tunnel {
    pub(crate) id: u64,
    owner: Owner,
    ends: [Arc<Shared>; 2],
    /// The end whose bytes count as coming in.
    outside: u64,
    started: Instant,
    started_at: SystemTime,
    /// Milliseconds after `started` at which the last byte moved.
    last: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Tunnel {
    /// How long no byte has moved in either direction.
    pub(crate) fn quiet(&self) -> Duration {
        self.started
            .elapsed()
            .saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }

    fn reset(&self) {
        for end in &self.ends {
            end.reset();
        }
    }

    fn info(&self) -> SpliceInfo {
        let outside = self.ends.iter().find(|end| end.peer.is_some());
        SpliceInfo {
            id: self.id,
            plugin: self.owner.counters.plugin.clone(),
            service: self.owner.service.clone(),
            peer: outside.and_then(|end| end.peer.clone()),
            path: outside.and_then(|end| end.path.clone()),
            protocol: outside.and_then(|end| end.protocol.get().cloned()),
            started: self.started_at,
            age: self.started.elapsed(),
            quiet: self.quiet(),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }
}

/// One running direction. Dropping it takes it out of the registry.
pub(crate) struct Direction {
    registry: Arc<Registry>,
    tunnel: Arc<Tunnel>,
    inwards: bool,
}

impl Meter for Direction {
    fn id(&self) -> u64 {
        self.tunnel.id
    }

    fn quiet(&self) -> Duration {
        self.tunnel.quiet()
    }

    fn count(&self, bytes: usize) -> Option<Duration> {
        let (tunnel, registry) = (&self.tunnel, &self.registry);
        let plugin = &tunnel.owner.counters;
        let pause = plugin.pass(bytes);
        let bytes = bytes as u64;
        let counters = match self.inwards {
            true => [&tunnel.bytes_in, &plugin.bytes_in, &registry.bytes_in],
            false => [&tunnel.bytes_out, &plugin.bytes_out, &registry.bytes_out],
        };
        for counter in counters {
            counter.fetch_add(bytes, Ordering::Relaxed);
        }
        let now = u64::try_from(tunnel.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tunnel.last.store(now, Ordering::Relaxed);
        pause
    }
}

impl Drop for Direction {
    fn drop(&mut self) {
        let mut state = self.registry.lock();
        let Some(live) = state.tunnels.get_mut(&self.tunnel.id) else {
            return;
        };
        live.directions -= 1;
        if live.directions > 0 {
            return;
        }
        let pair = live.pair;
        state.tunnels.remove(&self.tunnel.id);
        if state.pairs.get(&pair) == Some(&self.tunnel.id) {
            state.pairs.remove(&pair);
        }
        drop(state);
        let live = &self.tunnel.owner.counters.spliced_live;
        live.fetch_sub(1, Ordering::Relaxed);
        self.registry.changed.notify_waiters();
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters one direction, making its tunnel or finding it by its other direction.
    fn enter(self: &Arc<Self>, from: &Arc<Shared>, to: &Arc<Shared>, owner: Owner) -> Option<Direction> {
        let pair = (from.id.min(to.id), from.id.max(to.id));
        let mut state = self.lock();
        let known = state.pairs.get(&pair).copied();
        if let Some(live) = known.and_then(|id| state.tunnels.get_mut(&id)) {
            live.directions += 1;
            let tunnel = live.tunnel.clone();
            drop(state);
            let inwards = tunnel.outside == from.id;
            return Some(Direction {
                registry: self.clone(),
                tunnel,
                inwards,
            });
        }
        let plugin = owner.counters.clone();
        if plugin.spliced_live.load(Ordering::Relaxed) >= owner.limit {
            return None;
        }
        let only_to_is_a_peer = from.peer.is_none() && to.peer.is_some();
        state.next += 1;
        let tunnel = Arc::new(Tunnel {
            id: state.next,
            owner,
            ends: [from.clone(), to.clone()],
            outside: if only_to_is_a_peer { to.id } else { from.id },
            started: Instant::now(),
            started_at: SystemTime::now(),
            last: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
        });
        let live = Live {
            tunnel: tunnel.clone(),
            pair,
            directions: 1,
        };
        state.tunnels.insert(tunnel.id, live);
        state.pairs.insert(pair, tunnel.id);
        plugin.spliced_live.fetch_add(1, Ordering::Relaxed);
        plugin.spliced_total.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
        drop(state);
        Some(Direction {
            registry: self.clone(),
            inwards: !only_to_is_a_peer,
            tunnel,
        })
    }
}

impl Splices {
    pub(crate) fn new(tasks: TaskTracker, patience: Patience) -> Self {
        Self(Arc::new(Registry {
            state: Mutex::default(),
            total: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            changed: Notify::new(),
            tasks,
            patience: Mutex::new(patience),
        }))
    }

    /// Joins one direction; both connections are reset where the plugin has too many tunnels.
    pub(crate) fn join(&self, source: Source, sink: WriteHalf, owner: Owner, sent: Done, runtime: &Handle) {
        let group = owner.group.clone();
        let limit = owner.limit;
        let Some(direction) = self.0.enter(source.reader.shared(), sink.shared(), owner) else {
            source.reader.shared().reset();
            sink.shared().reset();
            let refusal = HostError::Limit(format!(
                "the plugin has {limit} tunnels already; its limit is limits.tunnels"
            ));
            let _ = sent.send(Err(refusal));
            return;
        };
        // Looked at after entering: whoever closes the group marks it first and looks through the registry then.
        if group.is_some_and(|group| group.0.closed.load(Ordering::SeqCst)) {
            direction.tunnel.reset();
        }
        let patience = *self.0.patience.lock().unwrap_or_else(PoisonError::into_inner);
        let work = splice::run(source, sink, sent, direction, patience);
        self.0.tasks.spawn_on(work, runtime);
    }

    /// Sets the time limits of the tunnels that begin from now on.
    pub fn set_patience(&self, idle: Duration, write: Duration) {
        *self.0.patience.lock().unwrap_or_else(PoisonError::into_inner) = Patience { idle, write };
    }

    /// How many tunnels run now.
    pub fn live(&self) -> usize {
        self.0.lock().tunnels.len()
    }

    /// Figures of all tunnels.
    pub fn totals(&self) -> SpliceTotals {
        SpliceTotals {
            live: self.live(),
            total: self.0.total.load(Ordering::Relaxed),
            bytes_in: self.0.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.0.bytes_out.load(Ordering::Relaxed),
        }
    }

    /// Every running tunnel, oldest first.
    pub fn list(&self) -> Vec<SpliceInfo> {
        self.infos(|_| true)
    }

    /// Resets one tunnel. Returns whether it was there.
    pub fn close(&self, id: u64) -> bool {
        let live = self.0.lock().tunnels.get(&id).map(|live| live.tunnel.clone());
        live.is_some_and(|tunnel| {
            tunnel.reset();
            true
        })
    }

    /// The tunnels that were joined on behalf of one load of a plugin.
    pub(crate) fn ids_of(&self, counters: &Arc<Counters>) -> Vec<u64> {
        let found = self.matching(|tunnel| Arc::ptr_eq(&tunnel.owner.counters, counters));
        found.iter().map(|tunnel| tunnel.id).collect()
    }

    /// Waits until none of these tunnels runs any more. Cancel safe.
    pub async fn ended(&self, ids: &[u64]) {
        loop {
            let changed = self.0.changed.notified();
            if self.matching(|tunnel| ids.contains(&tunnel.id)).is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Resets every tunnel.
    pub fn close_all(&self) {
        self.reset_where(|_| true);
    }

    /// Resets every tunnel of one plugin.
    pub fn close_plugin(&self, plugin: &PluginName) {
        self.reset_where(|tunnel| tunnel.owner.counters.plugin == *plugin);
    }

    /// Resets every tunnel to one peer.
    pub fn close_peer(&self, peer: &libp2p_identity::PeerId) {
        self.reset_where(|tunnel| {
            let ids = tunnel.ends.iter().filter_map(|end| end.peer.as_ref());
            ids.into_iter().any(|known| known.id == *peer)
        });
    }

    /// Waits until every tunnel has ended, at most for `deadline`; what runs then is reset. Returns how many
    /// were.
    pub async fn drain(&self, deadline: Duration) -> usize {
        self.drain_where(deadline, |_| true).await
    }

    /// A group of tunnels that end together.
    pub(crate) fn group(&self) -> TunnelGroup {
        TunnelGroup(Arc::new(Group {
            splices: self.clone(),
            closed: AtomicBool::new(false),
        }))
    }

    fn matching(&self, mut wanted: impl FnMut(&Tunnel) -> bool) -> Vec<Arc<Tunnel>> {
        let state = self.0.lock();
        let mut found: Vec<_> = state
            .tunnels
            .values()
            .map(|live| live.tunnel.clone())
            .filter(|tunnel| wanted(tunnel))
            .collect();
        drop(state);
        found.sort_by_key(|tunnel| tunnel.id);
        found
    }

    fn infos(&self, wanted: impl FnMut(&Tunnel) -> bool) -> Vec<SpliceInfo> {
        let found = self.matching(wanted);
        found.iter().map(|tunnel| tunnel.info()).collect()
    }

    fn reset_where(&self, wanted: impl FnMut(&Tunnel) -> bool) -> usize {
        let found = self.matching(wanted);
        for tunnel in &found {
            tunnel.reset();
        }
        found.len()
    }

    async fn drain_where(&self, deadline: Duration, mut wanted: impl FnMut(&Tunnel) -> bool) -> usize {
        let empty = async {
            loop {
                let changed = self.0.changed.notified();
                if self.matching(&mut wanted).is_empty() {
                    return;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(deadline, empty).await {
            Ok(()) => 0,
            Err(_) => self.reset_where(wanted),
        }
    }
}

impl fmt::Debug for Splices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Splices").field("totals", &self.totals()).finish()
    }
}

/// The tunnels of one command: those of one proxy, for example. Cheap to clone.
#[derive(Clone)]
pub struct TunnelGroup(Arc<Group>);

struct Group {
    splices: Splices,
    closed: AtomicBool,
}

impl TunnelGroup {
    /// How many of its tunnels run now.
    pub fn live(&self) -> usize {
        self.0.splices.matching(|tunnel| self.owns(tunnel)).len()
    }

    /// Every running tunnel of the group, oldest first.
    pub fn list(&self) -> Vec<SpliceInfo> {
        self.0.splices.infos(|tunnel| self.owns(tunnel))
    }

    /// Resets its tunnels, and each that is still to come.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.splices.reset_where(|tunnel| self.owns(tunnel));
    }

    /// Waits until its tunnels have ended, at most for `deadline`; what runs then is reset. Returns how many
    /// were.
    pub async fn drain(&self, deadline: Duration) -> usize {
        let splices = &self.0.splices;
        splices.drain_where(deadline, |tunnel| self.owns(tunnel)).await
    }

    fn owns(&self, tunnel: &Tunnel) -> bool {
        let group = tunnel.owner.group.as_ref();
        group.is_some_and(|group| Arc::ptr_eq(&group.0, &self.0))
    }
}

impl fmt::Debug for TunnelGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelGroup").field("live", &self.live()).finish()
    }
}

/// The receiving end of a [`Done`], as a plugin's future takes it.
pub(crate) fn done() -> (Done, oneshot::Receiver<Result<(), HostError>>) {
    oneshot::channel()
}
