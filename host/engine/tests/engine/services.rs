//! The long-lived run and the tier of the name chain.

use std::time::Duration;

use peerup_engine::{HostError, Plugin, PluginError, PluginSpec};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{OnePeer, a_peer, engine, grants, hostile, load, outcome_of, request, until, within};

fn behaving(behaviour: &str) -> PluginSpec {
    PluginSpec {
        settings: json!({ "behaviour": behaviour, "peer": a_peer().id.to_string() }).to_string(),
        ..hostile()
    }
}

fn serve(plugin: &Plugin) -> (CancellationToken, JoinHandle<Result<(), PluginError>>) {
    let stop = CancellationToken::new();
    let (plugin, token) = (plugin.clone(), stop.clone());
    (stop, tokio::spawn(async move { plugin.run_service(token).await }))
}

#[tokio::test]
async fn a_service_runs_until_it_is_asked_to_end() {
    let engine = engine();
    let mut spec = behaving("until-stopping");
    spec.limits.instances = 1;
    let plugin = load(&engine, spec).await;
    let (stop, running) = serve(&plugin);
    until(|| plugin.stats().instances_live == 1).await;
    // It takes none of the plugin's own instances.
    outcome_of(&plugin, request("drop-ok")).await.unwrap();
    assert!(!running.is_finished());
    stop.cancel();
    within(running).await.unwrap().unwrap();
    assert_eq!(plugin.stats().instances_live, 0);
}

#[tokio::test]
async fn a_service_that_does_not_listen_is_cancelled_after_the_drain() {
    let engine = engine();
    let mut spec = behaving("ignore-stopping");
    spec.limits.drain = Duration::from_millis(50);
    let plugin = load(&engine, spec).await;
    let (stop, running) = serve(&plugin);
    until(|| plugin.stats().instances_live == 1).await;
    stop.cancel();
    assert_eq!(within(running).await.unwrap(), Err(PluginError::Cancelled));
    let (_stop, running) = serve(&plugin);
    until(|| plugin.stats().instances_live == 1).await;
    plugin.stop();
    assert_eq!(within(running).await.unwrap(), Err(PluginError::Cancelled));
    until(|| plugin.stats().instances_live == 0).await;
}

#[tokio::test]
async fn a_service_that_loops_traps_or_fails_ends_with_the_reason() {
    let engine = engine();
    for (behaviour, text) in [
        ("loop", "limits.cpu"),
        ("trap", "crashed"),
        ("error", "asked to fail"),
        ("alloc", "memory"),
    ] {
        let plugin = load(&engine, behaving(behaviour)).await;
        let (_stop, running) = serve(&plugin);
        let error = within(running).await.unwrap().unwrap_err();
        assert!(error.to_string().contains(text), "{behaviour}: {error}");
    }
}

#[tokio::test]
async fn a_service_hears_of_changed_settings() {
    let engine = engine();
    let plugin = load(&engine, behaving("until-settings")).await;
    assert!(plugin.takes_settings_live());
    let (_stop, running) = serve(&plugin);
    until(|| plugin.stats().instances_live == 1).await;
    assert!(plugin.set_settings(json!({ "value": "changed" }).to_string()));
    let outcome = within(running).await.unwrap();
    assert_eq!(
        outcome,
        Err(PluginError::Guest(HostError::Refused("changed".to_owned())))
    );
}

#[tokio::test]
async fn what_is_not_exported_cannot_be_run() {
    let engine = engine();
    let plugin = load(&engine, crate::support::sync()).await;
    let exports = plugin.exports();
    assert!(exports.answer && exports.task && exports.serves() && exports.has_commands());
    assert!(!exports.inbound && !exports.command && !exports.service && !exports.resolver);
    let error = plugin.run_service(CancellationToken::new()).await.unwrap_err();
    assert!(
        matches!(error, PluginError::NoExport { what: "service", .. }),
        "{error}"
    );
    let error = plugin.resolve("home").await.unwrap_err();
    assert!(
        matches!(error, PluginError::NoExport { what: "resolver", .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_resolver_knows_or_does_not_and_its_answer_is_kept_for_a_day_at_most() {
    let engine = engine();
    let host = OnePeer::new();
    let mut spec = behaving("");
    spec.grants = grants(json!({ "names": ["list"] }));
    let plugin = engine.load(spec, host.clone()).await.unwrap();
    assert_eq!(plugin.resolve("nobody").await, Ok(None));
    let known = plugin.resolve("known").await.unwrap().unwrap();
    assert_eq!(known.ttl, Duration::from_secs(300));
    let for_ever = plugin.resolve("for-ever").await.unwrap().unwrap();
    assert_eq!(
        (for_ever.peer, for_ever.ttl),
        (known.peer, Duration::from_secs(24 * 3600))
    );
    let listed = plugin.resolve("listed").await.unwrap().unwrap();
    assert_eq!((listed.peer, listed.ttl), (host.id, Duration::from_secs(60)));
    plugin.set_grants(grants(json!({})));
    let denied = plugin.resolve("listed").await.unwrap_err();
    assert!(
        matches!(&denied, PluginError::Guest(HostError::Denied(text)) if text.contains("names: [list]")),
        "{denied}"
    );
}

#[tokio::test]
async fn a_resolver_that_hangs_traps_or_talks_nonsense_is_told_as_that() {
    let engine = engine();
    let mut spec = behaving("");
    spec.limits.resolve_deadline = Duration::from_millis(50);
    let plugin = load(&engine, spec).await;
    let error = plugin.resolve("hold").await.unwrap_err();
    assert!(matches!(error, PluginError::Slow { .. }), "{error}");
    let error = plugin.resolve("trap").await.unwrap_err();
    assert!(matches!(error, PluginError::Trap { .. }), "{error}");
    let error = plugin.resolve("garbage").await.unwrap_err();
    assert!(
        error.to_string().len() < 200 && error.to_string().contains("is not a peer id"),
        "{error}"
    );
    let error = plugin.resolve("error").await.unwrap_err();
    assert!(
        matches!(error, PluginError::Guest(HostError::Unreachable(_))),
        "{error}"
    );
    let error = plugin.resolve(&"x".repeat(1000)).await.unwrap_err();
    assert!(matches!(error, PluginError::Invalid(_)), "{error}");
    assert_eq!(plugin.stats().instances_live, 0);
}
