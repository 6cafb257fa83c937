//! Looks at the node every two seconds for the rules of the alerts, in the daemon only, and tests their targets.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use peerup_api::{AlertNode, AlertTestResult};
use peerup_config::{AlertCondition, GuardState, NodeConfig};
use peerup_lifecycle::Stage;
use peerup_model::{Failure, PluginName};

use crate::{
    alerts::{self, Carried, Desk, Sample},
    app::{self, App},
    status,
};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a config that was taken back is news.
const REVERT_TIME: SignedDuration = SignedDuration::from_mins(10);

/// Looks until the node ends.
pub(crate) async fn watch(app: Arc<App>) {
    let mut seen: Option<Arc<NodeConfig>> = None;
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => return,
            _ = look.tick() => {}
        }
        let config = app.config();
        let node = node(&app, &config);
        if seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, &config)) {
            app.alerts.follow(desk(&app, &node), &config.alerts);
            seen = Some(config.clone());
        }
        if config.alerts.rules.is_empty() {
            continue;
        }
        let sample = sample(&app, &config).await;
        app.alerts.judge(desk(&app, &node), &sample);
    }
}

/// Sends a test message to the targets of a rule, and returns what came back.
///
/// # Errors
/// There is no such rule, or it has no target.
pub(crate) async fn test(app: &App, rule: &str) -> Result<Vec<AlertTestResult>, Failure> {
    let config = app.config();
    let node = node(app, &config);
    alerts::test(desk(app, &node), &config.alerts, rule).await
}

fn node(app: &App, config: &NodeConfig) -> AlertNode {
    AlertNode {
        name: config.name.as_ref().map(ToString::to_string),
        peer_id: app.peer_id().to_base58(),
    }
}

fn desk<'a>(app: &'a App, node: &'a AlertNode) -> Desk<'a> {
    Desk {
        node,
        config: app.config_path(),
        events: &app.events,
        tasks: &app.tasks,
        shutdown: &app.shutdown,
    }
}

/// Takes what the rules ask for. What does not answer is left unknown.
async fn sample(app: &App, config: &NodeConfig) -> Sample {
    let snapshot = tokio::time::timeout(LOOK_EVERY, status::snapshot(app)).await;
    let snapshot = snapshot.ok().and_then(Result::ok);
    let connected = snapshot.as_ref().map(|snapshot| {
        let here = snapshot.peers.iter();
        here.filter(|peer| peer.connections.iter().any(status::is_answering))
            .map(|peer| peer.peer)
            .collect()
    });
    let relays = snapshot.as_ref().map(|snapshot| {
        let held = snapshot.relays.iter().filter(|relay| relay.reserved).count();
        (snapshot.relays.len(), held)
    });
    Sample {
        at: Instant::now(),
        names: config.names.clone(),
        connected,
        relays,
        down: down(app),
        bytes: bytes(app),
        reverted: reverted(app),
        denied: app.node.gate().denied(),
        disk_free: disk_free(app, config).await,
    }
}

fn down(app: &App) -> BTreeMap<PluginName, String> {
    let views = app.plugins.views();
    let failed = views.values().filter(|view| view.stage == Stage::Failed);
    failed
        .map(|view| {
            let reason = view.describe().reason;
            (
                view.name.clone(),
                reason.unwrap_or_else(|| "it failed".to_owned()),
            )
        })
        .collect()
}

fn bytes(app: &App) -> Vec<Carried> {
    let accounts = app.meters.traffic.view().into_iter();
    accounts
        .map(|account| Carried {
            bytes: account.bytes_in + account.bytes_out,
            service: account.service,
            peer: account.peer,
        })
        .collect()
}

fn reverted(app: &App) -> Option<String> {
    let (state, last) = app.guard.known();
    match state {
        GuardState::Fallback { why, .. } => return Some(why),
        GuardState::Reverting { why, .. } => return Some(why.to_string()),
        _ => {}
    }
    let last = last.filter(|last| last.outcome == "reverted")?;
    let ago = Timestamp::now().duration_since(last.at.parse().ok()?);
    let why = last.reason.unwrap_or_else(|| "nobody confirmed it".to_owned());
    (ago < REVERT_TIME).then_some(why)
}

/// Asked only where a rule wants to know.
async fn disk_free(app: &App, config: &NodeConfig) -> Option<u64> {
    let mut rules = config.alerts.rules.values();
    if !rules.any(|rule| matches!(rule.condition, AlertCondition::DiskLow(_))) {
        return None;
    }
    let folder = app.config_path().parent()?.to_owned();
    let asked = app::blocking(move || {
        Ok(rustix::fs::statvfs(&folder)
            .map(|found| found.f_bavail.saturating_mul(found.f_frsize))
            .ok())
    });
    asked.await.ok().flatten()
}
