//! Each function of the contract, allowed and denied.

use peerup_engine::{HostError, PluginError};
use peerup_model::{Grants, NameGrant, TcpGrants};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{
    OnePeer, denied, echo_server, engine, hostile, load, outcome_of, request, request_at, run,
};

fn connect_to(address: &str) -> Grants {
    Grants {
        tcp: TcpGrants {
            connect: vec![address.parse().unwrap()],
            ..TcpGrants::default()
        },
        ..Grants::default()
    }
}

#[tokio::test]
async fn connecting_needs_a_grant_from_the_config_the_run_or_the_service() {
    let (engine, address) = (engine(), echo_server().await);
    let plugin = load(&engine, hostile()).await;
    let arguments = json!({ "target": address });
    let text = denied(
        run(&plugin, "connect", arguments.clone(), Grants::default())
            .await
            .1,
    );
    assert_eq!(
        text,
        format!(
            "tcp.connect to {address} is not granted to the plugin hostile; to allow it, write in the config: \
             plugins.hostile.grants.tcp.connect: [\"{address}\"]"
        )
    );
    assert_eq!(plugin.stats().denials, 1);
    run(&plugin, "connect", arguments.clone(), connect_to(&address))
        .await
        .1
        .unwrap();
    denied(
        run(&plugin, "connect", arguments.clone(), Grants::default())
            .await
            .1,
    );
    plugin.set_grants(connect_to(&address));
    run(&plugin, "connect", arguments, Grants::default())
        .await
        .1
        .unwrap();

    plugin.set_grants(Grants::default());
    plugin.set_settings(json!({ "target": "127.0.0.1:1", "behaviour": "connect" }).to_string());
    let through_service = outcome_of(&plugin, request_at("connect", &address)).await;
    assert!(denied(through_service).contains("127.0.0.1:1"));
}

#[tokio::test]
async fn connecting_tells_refused_from_unknown() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    drop(taken);
    let (_, outcome) = run(
        &plugin,
        "connect",
        json!({ "target": address }),
        connect_to(&address),
    )
    .await;
    assert!(
        matches!(outcome, Err(PluginError::Guest(HostError::Refused(_)))),
        "{outcome:?}"
    );
    let (_, outcome) = run(&plugin, "connect", json!({ "target": "*:1" }), Grants::default()).await;
    assert!(
        matches!(outcome, Err(PluginError::Guest(HostError::Invalid(_)))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn listening_needs_a_grant_and_a_free_port() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let any = json!({ "address": "127.0.0.1:0" });
    let text = denied(run(&plugin, "listen", any.clone(), Grants::default()).await.1);
    assert!(
        text.ends_with("plugins.hostile.grants.tcp.listen: [\"127.0.0.1:0\"]"),
        "{text}"
    );
    plugin.set_grants(Grants {
        tcp: TcpGrants {
            listen: vec!["127.0.0.1:*".parse().unwrap()],
            ..TcpGrants::default()
        },
        ..Grants::default()
    });
    let (events, outcome) = run(&plugin, "listen", any, Grants::default()).await;
    outcome.unwrap();
    assert!(events[0].text.starts_with("127.0.0.1:") && !events[0].text.ends_with(":0"));
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (_, outcome) = run(
        &plugin,
        "listen",
        json!({ "address": address }),
        Grants::default(),
    )
    .await;
    let Err(PluginError::Guest(HostError::Refused(text))) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(text.contains("taken by another program"), "{text}");
}

#[tokio::test]
async fn opening_needs_the_protocol_except_for_its_own() {
    let engine = engine();
    let host = OnePeer::new();
    let plugin = engine.load(hostile(), host.clone()).await.unwrap();
    let web = json!({ "peer": "home", "protocol": "/peerup/web/1.0.0" });
    let text = denied(run(&plugin, "open", web.clone(), Grants::default()).await.1);
    assert!(
        text.ends_with("plugins.hostile.grants.protocols: [\"/peerup/web/1.0.0\"]"),
        "{text}"
    );
    let own = json!({ "peer": "home", "protocol": "/peerup/p/hostile/echo/1.0.0" });
    run(&plugin, "open", own, Grants::default()).await.1.unwrap();
    plugin.set_grants(Grants {
        protocols: vec!["/peerup/*/1.0.0".parse().unwrap()],
        ..Grants::default()
    });
    run(&plugin, "open", web, Grants::default()).await.1.unwrap();
    let core = json!({ "peer": "home", "protocol": "/peerup/invite/2.0.0" });
    let text = denied(run(&plugin, "open", core, Grants::default()).await.1);
    assert!(text.contains("belongs to peerup itself"), "{text}");
    let nobody = json!({ "peer": "nobody", "protocol": "/peerup/web/1.0.0" });
    let (_, outcome) = run(&plugin, "open", nobody, Grants::default()).await;
    assert!(
        matches!(outcome, Err(PluginError::Guest(HostError::NotFound(_)))),
        "{outcome:?}"
    );
    let opened: Vec<_> = host
        .opened
        .lock()
        .unwrap()
        .iter()
        .map(|(protocol, _)| protocol.clone())
        .collect();
    assert_eq!(opened, ["/peerup/p/hostile/echo/1.0.0", "/peerup/web/1.0.0"]);
}

#[tokio::test]
async fn resolving_needs_a_grant() {
    let engine = engine();
    let host = OnePeer::new();
    let plugin = engine.load(hostile(), host.clone()).await.unwrap();
    let text = denied(
        run(&plugin, "resolve", json!({ "name": "home" }), Grants::default())
            .await
            .1,
    );
    assert!(
        text.ends_with("plugins.hostile.grants.names: [resolve]"),
        "{text}"
    );
    plugin.set_grants(Grants {
        names: vec![NameGrant::Resolve],
        ..Grants::default()
    });
    let (events, outcome) = run(&plugin, "resolve", json!({ "name": "home" }), Grants::default()).await;
    outcome.unwrap();
    assert_eq!(
        events[0].json,
        json!({ "peer": host.id.to_string(), "source": "config" })
    );
    let (_, outcome) = run(&plugin, "resolve", json!({ "name": "nobody" }), Grants::default()).await;
    assert!(
        matches!(outcome, Err(PluginError::Guest(HostError::NotFound(_)))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn serving_needs_the_protocol_too() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let mut foreign = request("drop-ok");
    foreign.protocol = "/peerup/web/1.0.0".to_owned();
    let error = outcome_of(&plugin, foreign).await.unwrap_err();
    assert!(
        matches!(&error, PluginError::Denied(text) if text.contains("serving /peerup/web/1.0.0")),
        "{error}"
    );
    assert_eq!(plugin.stats().instances_total, 0);
}

#[tokio::test]
async fn a_handler_that_tells_nobody_in_a_loop_is_stopped_and_an_error_is_passed_on() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let error = outcome_of(&plugin, request("emit")).await.unwrap_err();
    assert!(matches!(error, PluginError::Cpu { .. }), "{error}");
    let error = outcome_of(&plugin, request("error")).await.unwrap_err();
    assert!(
        matches!(error, PluginError::Guest(HostError::Refused(_))),
        "{error}"
    );
}
