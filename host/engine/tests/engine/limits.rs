//! What stops a plugin that takes too much.

use std::time::Duration;

use peerup_engine::{Engine, EngineConfig, LoadError, LogLevel, PluginError};
use peerup_model::Grants;
use tokio::io::AsyncReadExt;

use crate::support::{bounce, call, engine, hostile, load, outcome_of, request, until, within};

#[tokio::test]
async fn an_endless_loop_is_stopped_and_another_plugin_answers_meanwhile() {
    let engine = engine();
    let mut spec = hostile();
    spec.limits.cpu = Duration::from_secs(1);
    let (bad, good) = (load(&engine, spec).await, load(&engine, hostile()).await);
    let (mut far, looping) = call(&bad, request("loop"));
    let (mut other, answering) = call(&good, request("echo"));
    // One thread serves both: the loop must give way.
    let mut bounces = 0;
    while !looping.is_finished() {
        bounce(&mut other, "meanwhile").await;
        bounces += 1;
    }
    let error = looping.await.unwrap().unwrap_err();
    assert!(matches!(error, PluginError::Cpu { .. }), "{error}");
    assert!(
        error.to_string().contains("plugins.hostile.limits.cpu"),
        "{error}"
    );
    assert!(bounces > 3, "{bounces} answers while the other looped");
    assert_eq!(within(far.read(&mut [0; 1])).await.unwrap(), 0);
    assert_eq!(bad.stats().traps, 1);
    drop(other);
    within(answering).await.unwrap().unwrap();
}

#[tokio::test]
async fn memory_stack_and_logs_are_bounded() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let error = outcome_of(&plugin, request("alloc")).await.unwrap_err();
    assert!(
        matches!(error, PluginError::Memory { limit, .. } if limit == 16 << 20),
        "{error}"
    );
    let error = outcome_of(&plugin, request("stack")).await.unwrap_err();
    assert!(matches!(error, PluginError::Trap { .. }), "{error}");
    let error = outcome_of(&plugin, request("log")).await.unwrap_err();
    assert!(matches!(error, PluginError::Cpu { .. }), "{error}");
    let lines = plugin.log_lines();
    assert!(lines.len() <= 200 && lines.iter().any(|line| line.level == LogLevel::Error));
    assert!(lines.iter().all(|line| line.text.len() < 4200));
    assert_eq!(plugin.stats().traps, 3);
    assert_eq!(plugin.stats().instances_live, 0);
    assert!(plugin.stats().last_error.is_some());
}

#[tokio::test]
async fn a_handler_that_holds_a_stream_in_silence_meets_its_deadline() {
    let engine = engine();
    let mut spec = hostile();
    spec.limits.inbound_deadline = Duration::from_millis(50);
    let plugin = load(&engine, spec).await;
    let (mut far, handler) = call(&plugin, request("hold"));
    let error = within(handler).await.unwrap().unwrap_err();
    assert!(matches!(error, PluginError::Deadline { .. }), "{error}");
    assert_eq!(within(far.read(&mut [0; 1])).await.unwrap(), 0);
}

#[tokio::test]
async fn no_more_instances_than_the_limit_and_room_again_after_one_has_gone() {
    let engine = engine();
    let mut spec = hostile();
    spec.limits.instances = 2;
    spec.limits.instance_wait = Duration::from_millis(20);
    let plugin = load(&engine, spec).await;
    let (first, _running) = call(&plugin, request("hold"));
    let (second, held) = call(&plugin, request("hold"));
    until(|| plugin.stats().instances_live == 2).await;
    let error = outcome_of(&plugin, request("drop-ok")).await.unwrap_err();
    assert!(matches!(error, PluginError::Limit(_)), "{error}");
    assert!(
        error.to_string().contains("plugins.hostile.limits.instances"),
        "{error}"
    );
    held.abort();
    until(|| plugin.stats().instances_live == 1).await;
    outcome_of(&plugin, request("drop-ok")).await.unwrap();
    drop((first, second));
}

#[tokio::test]
async fn the_host_has_no_more_instances_than_it_may() {
    let engine = Engine::new(EngineConfig {
        max_instances: 1,
        ..EngineConfig::default()
    })
    .unwrap();
    let mut spec = hostile();
    spec.limits.instance_wait = Duration::from_millis(20);
    let plugin = load(&engine, spec).await;
    let (_far, _running) = call(&plugin, request("hold"));
    until(|| plugin.stats().instances_live == 1).await;
    let error = outcome_of(&plugin, request("drop-ok")).await.unwrap_err();
    assert!(matches!(error, PluginError::Limit(_)), "{error}");
}

#[tokio::test]
async fn a_stopped_plugin_ends_its_handlers_and_takes_no_more() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let (_far, handler) = call(&plugin, request("hold"));
    until(|| plugin.stats().instances_live == 1).await;
    plugin.stop();
    assert_eq!(within(handler).await.unwrap(), Err(PluginError::Cancelled));
    outcome_of(&plugin, request("drop-ok")).await.unwrap_err();
    assert!(
        plugin
            .run_command("loop", serde_json::json!({}), Grants::default())
            .is_err()
    );
}

#[tokio::test]
async fn loading_says_what_does_not_fit() {
    let engine = engine();
    let host = crate::support::OnePeer::new;
    let mut spec = hostile();
    spec.manifest.contract = "9.0.0".to_owned();
    let error = engine.load(spec, host()).await.unwrap_err();
    assert!(matches!(error, LoadError::Contract { .. }), "{error}");
    let mut spec = hostile();
    spec.wasm = b"not wasm".as_slice().into();
    let error = engine.load(spec, host()).await.unwrap_err();
    assert!(matches!(error, LoadError::Compile { .. }), "{error}");
    let mut spec = hostile();
    spec.settings = "[]".to_owned();
    let error = engine.load(spec, host()).await.unwrap_err();
    assert!(matches!(error, LoadError::Settings { .. }), "{error}");
}
