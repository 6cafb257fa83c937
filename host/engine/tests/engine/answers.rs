//! Whole requests and answers, and commands that tell everything at their end.

use peerup_engine::{HostError, InboundRequest, Plugin, PluginError};
use peerup_model::Grants;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{a_peer, call, engine, load, run, sync, within};

fn ask() -> InboundRequest {
    InboundRequest {
        protocol: "/peerup/p/sync/ask/1.0.0".to_owned(),
        service: None,
        peer: a_peer(),
        extra_grants: Grants::default(),
    }
}

async fn answer(plugin: &Plugin, body: &[u8]) -> (Vec<u8>, Result<(), PluginError>) {
    let (mut far, handler) = call(plugin, ask());
    let mut answer = Vec::new();
    let asked = async {
        far.write_all(body).await?;
        far.shutdown().await?;
        far.read_to_end(&mut answer).await
    };
    // A reset can come while the request is still being written.
    let _ = within(asked).await;
    (answer, within(handler).await.unwrap())
}

#[tokio::test]
async fn a_request_is_read_to_its_end_and_answered_as_a_whole() {
    let engine = engine();
    let plugin = load(&engine, sync()).await;
    let (said, outcome) = answer(&plugin, b"hello").await;
    outcome.unwrap();
    assert_eq!(said, b"laptop  HELLO");
    let (said, outcome) = answer(&plugin, b"").await;
    outcome.unwrap();
    assert_eq!(said, b"laptop  ");
    let (said, outcome) = answer(&plugin, b"large").await;
    outcome.unwrap();
    assert_eq!(said.len(), 3 << 20);
    let stats = plugin.stats();
    assert_eq!((stats.calls, stats.bytes_in), (3, 10));
    let mut foreign = ask();
    foreign.protocol = "/peerup/web/1.0.0".to_owned();
    let (_far, handler) = call(&plugin, foreign);
    let error = within(handler).await.unwrap().unwrap_err();
    assert!(matches!(error, PluginError::Denied(_)), "{error}");
}

#[tokio::test]
async fn what_is_too_long_fails_or_hangs_is_reset_and_costs_no_instance() {
    let engine = engine();
    let mut spec = sync();
    spec.limits.inbound_deadline = std::time::Duration::from_millis(100);
    let plugin = load(&engine, spec).await;
    let (said, outcome) = answer(&plugin, &vec![7; (1 << 20) + 1]).await;
    assert!(
        said.is_empty() && matches!(outcome, Err(PluginError::Limit(_))),
        "{outcome:?}"
    );
    let (far, handler) = call(&plugin, ask());
    let error = within(handler).await.unwrap().unwrap_err();
    assert!(matches!(error, PluginError::Deadline { .. }), "{error}");
    drop(far);
    assert_eq!(plugin.stats().instances_total, 0);
    let (_, outcome) = answer(&plugin, b"error").await;
    assert!(
        matches!(outcome, Err(PluginError::Guest(HostError::Refused(_)))),
        "{outcome:?}"
    );
    let (_, outcome) = answer(&plugin, b"trap").await;
    assert!(matches!(outcome, Err(PluginError::Trap { .. })), "{outcome:?}");
    let (_, outcome) = answer(&plugin, b"loop").await;
    assert!(
        matches!(outcome, Err(PluginError::Cpu { .. } | PluginError::Slow { .. })),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_task_tells_everything_at_its_end() {
    let engine = engine();
    let plugin = load(&engine, sync()).await;
    let (events, outcome) = run(&plugin, "greet", json!({}), Grants::default()).await;
    outcome.unwrap();
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.text.as_str(), &event.json))
        .collect();
    assert_eq!(
        told,
        [
            ("hello", &json!({ "number": 1 })),
            ("again", &json!({ "number": 2 }))
        ]
    );
    let (events, outcome) = run(&plugin, "many", json!({}), Grants::default()).await;
    outcome.unwrap();
    assert_eq!(events.len(), 1000);
    let (_, outcome) = run(&plugin, "garbage", json!({}), Grants::default()).await;
    assert!(
        matches!(outcome, Err(PluginError::Guest(HostError::Invalid(_)))),
        "{outcome:?}"
    );
    let (_, outcome) = run(&plugin, "trap", json!({}), Grants::default()).await;
    assert!(matches!(outcome, Err(PluginError::Trap { .. })), "{outcome:?}");
}
