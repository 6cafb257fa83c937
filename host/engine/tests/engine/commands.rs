//! Running commands: their events, their end, their tunnels.

use std::time::Duration;

use peerup_engine::PluginError;
use peerup_model::Grants;
use serde_json::json;

use crate::support::{engine, hostile, load, until, within};

#[tokio::test]
async fn events_come_in_order_and_a_slow_caller_makes_the_plugin_wait() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let mut run = plugin.run_command("emit", json!({}), Grants::default()).unwrap();
    for _ in 0..100 {
        let event = within(run.next_event()).await.unwrap();
        assert_eq!(
            (event.text.as_str(), &event.json),
            ("again", &json!({ "again": true }))
        );
    }
    run.cancel();
    assert_eq!(within(run.finish()).await, Err(PluginError::Cancelled));
    assert_eq!(plugin.stats().instances_live, 0);
}

#[tokio::test]
async fn a_dropped_run_is_cancelled() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let run = plugin.run_command("hold", json!({}), Grants::default()).unwrap();
    until(|| plugin.stats().instances_live == 1).await;
    drop(run);
    until(|| plugin.stats().instances_live == 0).await;
}

#[tokio::test]
async fn a_command_that_crashes_or_loops_is_told_as_that() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let mut run = plugin.run_command("trap", json!({}), Grants::default()).unwrap();
    let error = within(run.finish()).await.unwrap_err();
    assert!(matches!(error, PluginError::Trap { .. }), "{error}");
    let mut run = plugin.run_command("loop", json!({}), Grants::default()).unwrap();
    let error = within(run.finish()).await.unwrap_err();
    assert!(matches!(error, PluginError::Cpu { .. }), "{error}");
}

#[tokio::test]
async fn what_a_command_answers_is_no_failure_of_the_plugin() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let mut run = plugin
        .run_command("no-such-behaviour", json!({}), Grants::default())
        .unwrap();
    let error = within(run.finish()).await.unwrap_err();
    assert!(matches!(error, PluginError::Guest(_)), "{error}");
    plugin
        .run_command("hold", json!([]), Grants::default())
        .unwrap_err();
    assert_eq!(plugin.stats().last_error, None);
    let mut run = plugin.run_command("trap", json!({}), Grants::default()).unwrap();
    let error = within(run.finish()).await.unwrap_err();
    assert_eq!(plugin.stats().last_error, Some(error.to_string()));
}

#[tokio::test]
async fn arguments_are_an_object() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let error = plugin
        .run_command("hold", json!([]), Grants::default())
        .unwrap_err();
    assert!(matches!(error, PluginError::Invalid(_)), "{error}");
    let group = plugin
        .run_command("hold", json!({}), Grants::default())
        .unwrap()
        .tunnels();
    assert_eq!(group.live(), 0);
    assert_eq!(within(group.drain(Duration::from_secs(1))).await, 0);
}
