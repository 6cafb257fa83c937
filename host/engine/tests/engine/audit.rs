//! Addresses behind names, figures, limits over time, and what is told for the audit.

use std::time::Duration;

use peerup_engine::{AddressLookup, AuditKind, EngineConfig, HostError, PluginError, RunKind};
use peerup_model::Grants;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use crate::support::{
    call, echo_server, engine, engine_with, grants, hostile, limit_hit, load, outcome_of, refused, request,
    run, within,
};

/// A way to look names up that leads each of them to one address.
fn leading_to(address: &'static str) -> AddressLookup {
    AddressLookup::new(move |target| {
        let port = target.rsplit_once(':').unwrap().1.to_owned();
        Box::pin(async move { Ok(vec![format!("{address}:{port}").parse().unwrap()]) })
    })
}

#[tokio::test]
async fn a_granted_name_that_leads_to_this_machine_or_to_metadata_is_denied() {
    let echo = echo_server().await;
    let port = echo.rsplit_once(':').unwrap().1;
    let target = format!("evil.example:{port}");
    for (address, what) in [
        ("127.0.0.1", "a loopback address"),
        ("169.254.169.254", "a cloud's metadata address"),
        ("169.254.7.7", "a link-local address"),
        ("[fd00:ec2::254]", "a cloud's metadata address"),
        ("[::ffff:127.0.0.1]", "a loopback address"),
        ("0.0.0.0", "an unspecified address"),
        ("224.0.0.1", "a multicast address"),
    ] {
        let engine = engine_with(EngineConfig {
            lookup: leading_to(address),
            ..EngineConfig::default()
        });
        let mut spec = hostile();
        let any = json!(["evil.example:*"]);
        spec.grants = grants(
            json!({ "tcp": { "connect": any, "listen": any }, "udp": { "bind": any, "connect": any } }),
        );
        let plugin = load(&engine, spec).await;
        for (behaviour, key) in [
            ("connect", "tcp.connect"),
            ("listen", "tcp.listen"),
            ("udp-bind", "udp.bind"),
            ("udp-ask", "udp.connect"),
        ] {
            let arguments = json!({ "target": target, "address": target });
            let HostError::Denied(text) = refused(&plugin, behaviour, arguments).await else {
                panic!("{behaviour} {address}");
            };
            let line = format!("plugins.hostile.grants.{key}: [");
            assert!(text.contains(what) && text.contains(&line), "{text}");
        }
        assert_eq!(plugin.stats().denials, 4);
    }
    // The address itself, written into the grants, is what it says.
    let engine = engine_with(EngineConfig {
        lookup: leading_to("127.0.0.1"),
        ..EngineConfig::default()
    });
    let mut spec = hostile();
    spec.grants = grants(json!({ "tcp": { "connect": ["evil.example:*", echo] } }));
    let plugin = load(&engine, spec).await;
    run(&plugin, "connect", json!({ "target": target }), Grants::default())
        .await
        .1
        .unwrap();
}

#[tokio::test]
async fn what_happens_to_a_plugin_is_told() {
    let (out, mut told) = mpsc::channel(100);
    let engine = engine_with(EngineConfig {
        audit: Some(out),
        ..EngineConfig::default()
    });
    let address = echo_server().await;
    let mut spec = hostile();
    spec.grants = grants(json!({ "tcp": { "connect": [address] } }));
    let plugin = load(&engine, spec).await;
    for _ in 0..3 {
        run(
            &plugin,
            "connect",
            json!({ "target": address }),
            Grants::default(),
        )
        .await
        .1
        .unwrap();
    }
    refused(&plugin, "resolve", json!({ "name": "home" })).await;
    outcome_of(&plugin, request("trap")).await.unwrap_err();
    outcome_of(&plugin, request("alloc")).await.unwrap_err();
    let mut kinds = Vec::new();
    while let Ok(event) = told.try_recv() {
        assert_eq!(event.plugin, *plugin.name());
        kinds.push(event.what);
    }
    let used = AuditKind::GrantUsed {
        grant: "tcp.connect",
        on: format!("tcp.connect to {address}"),
        run: RunKind::Command,
    };
    assert_eq!(kinds.iter().filter(|kind| **kind == used).count(), 1);
    let denials = kinds
        .iter()
        .filter(|kind| matches!(kind, AuditKind::Denied { text, .. } if text.contains("names: [resolve]")));
    assert_eq!(denials.count(), 1);
    assert!(
        kinds
            .iter()
            .any(|kind| matches!(kind, AuditKind::LimitHit { limit: "memory", .. }))
    );
    let traps = kinds
        .iter()
        .filter(|kind| matches!(kind, AuditKind::Trapped { .. }));
    assert_eq!(traps.count(), 2);
    assert_eq!(engine.audit_dropped(), 0);
    let stats = plugin.stats();
    assert!(
        stats.calls == 6 && stats.memory_peak > 1 << 20 && stats.cpu > Duration::ZERO,
        "{stats:?}"
    );
    assert!(stats.handles_total >= 3, "{stats:?}");
}

#[tokio::test]
async fn a_plugin_that_used_up_its_cpu_time_waits_and_others_do_not() {
    let (out, mut audit) = mpsc::channel(100);
    let engine = engine_with(EngineConfig {
        audit: Some(out),
        ..EngineConfig::default()
    });
    let mut spec = hostile();
    spec.limits.cpu_budget = Duration::from_millis(50);
    let (bad, good) = (load(&engine, spec).await, load(&engine, hostile()).await);
    // Its burst is longer than its budget: what comes after waits for the minute to give some back.
    let (_far, looping) = call(&bad, request("loop"));
    limit_hit(&mut audit, "cpu_budget").await;
    outcome_of(&good, request("drop-ok")).await.unwrap();
    assert!(!looping.is_finished());
    looping.abort();
}

#[tokio::test]
async fn bandwidth_holds_for_what_goes_through_the_plugin_and_nothing_is_lost() {
    let (out, mut audit) = mpsc::channel(100);
    let engine = engine_with(EngineConfig {
        audit: Some(out),
        ..EngineConfig::default()
    });
    let mut spec = hostile();
    spec.limits.bandwidth = Some(64 << 10);
    let plugin = load(&engine, spec).await;
    let (mut far, handler) = call(&plugin, request("echo"));
    let sent: Vec<u8> = (0..80 << 10).map(|index: u32| index.to_le_bytes()[0]).collect();
    let mut back = vec![0; sent.len()];
    let (mut reader, mut writer) = tokio::io::split(&mut far);
    let (written, read) =
        within(async { tokio::join!(writer.write_all(&sent), reader.read_exact(&mut back)) }).await;
    written.unwrap();
    read.unwrap();
    assert_eq!(back, sent);
    limit_hit(&mut audit, "bandwidth").await;
    handler.abort();
}

#[tokio::test]
async fn lines_of_log_that_were_left_out_are_counted() {
    let engine = engine();
    let mut spec = hostile();
    spec.limits.log_lines = 1;
    let plugin = load(&engine, spec).await;
    let error = outcome_of(&plugin, request("log")).await.unwrap_err();
    assert!(matches!(error, PluginError::Cpu { .. }), "{error}");
    assert!(plugin.log_lines().len() <= 10);
    assert!(plugin.stats().log_lines_dropped > 0);
}
