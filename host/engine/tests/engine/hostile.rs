//! Plugins that do their worst. Beside each of them another plugin goes on, on the one thread that both have; afterwards
//! the instances and what they held are gone, and the host has room for as many as before.
//!
//! | what a plugin does | tests |
//! | --- | --- |
//! | endless loop | `loop` here, `limits::an_endless_loop_is_stopped_and_another_plugin_answers_meanwhile` |
//! | endless allocation | `alloc` here, `limits::memory_stack_and_logs_are_bounded` |
//! | endless log | `log` here, `audit::lines_of_log_that_were_left_out_are_counted` |
//! | stack overflow | `stack` here |
//! | thousands of streams | `streams` here, `thousands_of_streams_of_peers_wait_or_are_refused`, `udp::sockets_are_bounded_and_go_with_their_instance`, `events::subscriptions_are_bounded_and_go_with_their_instance` |
//! | half-open streams | `half-open`, `half-open-streams` here |
//! | huge arguments | `what_no_call_may_bring_is_told_or_ends_the_instance`, `store::what_is_too_large_too_long_or_too_much_is_refused_and_nothing_is_lost` |
//! | returning garbage | `garbage-*` here, `garbage_from_every_export_is_told_and_costs_one_instance` |
//! | trapping in every export | `a_trap_in_every_export_is_told_and_costs_one_instance` |
//! | holding a stream over its deadline | `hold` here, `limits::a_handler_that_holds_a_stream_in_silence_meets_its_deadline` |
//! | another plugin's or the core's protocol | `denials` |
//! | reaching loopback, the link, metadata | `denials`, `audit::a_granted_name_that_leads_to_this_machine_or_to_metadata_is_denied` |
//! | path traversal, symbolic links | `directories::nothing_leads_out_of_a_directory`, `denials` |
//! | clock abuse | `clock-*` here |
//! | datagrams without end | `udp::a_flood_waits_for_its_turn` |
//! | questions without end | `flood-peers` here, `peers::a_flood_of_questions_is_answered_in_part_and_turned_away_in_part` |
//! | events that nobody reads | `emit` here, `commands::events_come_in_order_and_a_slow_caller_makes_the_plugin_wait` |
//!
//! What another plugin's answers cost meanwhile is measured: `cargo xtask bench engine`.

use std::time::Duration;

use peerup_engine::{Engine, HostError, Limits, Plugin, PluginError, PluginSpec};
use peerup_model::Grants;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::support::{
    OnePeer, bounce, call, engine, grants, hostile, load, outcome_of, peer_stream, request, run, sync, until,
    within,
};

/// Answers that the other plugin has to give while the attack goes on, or after it.
const ANSWERS: usize = 30;
/// Instances that the engine of these tests has room for.
const ROOM: usize = 64;

/// How an attack ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Cpu,
    Memory,
    Trap,
    Deadline,
    Limit,
    /// `Limit`, or `Deadline` where the machine is slow.
    Bounded,
    /// The plugin's own error.
    Error,
    Done,
    /// It does not: it costs nothing, or what its budget has, until the plugin is stopped.
    Stopped,
}

impl End {
    fn fits(self, outcome: &Result<(), PluginError>) -> bool {
        match self {
            Self::Cpu => matches!(outcome, Err(PluginError::Cpu { .. })),
            Self::Memory => matches!(outcome, Err(PluginError::Memory { .. })),
            Self::Trap => matches!(outcome, Err(PluginError::Trap { .. })),
            Self::Deadline => matches!(outcome, Err(PluginError::Deadline { .. })),
            Self::Limit => matches!(outcome, Err(PluginError::Guest(HostError::Limit(_)))),
            Self::Bounded => Self::Limit.fits(outcome) || Self::Deadline.fits(outcome),
            Self::Error => matches!(outcome, Err(PluginError::Guest(_))),
            Self::Done => outcome.is_ok(),
            Self::Stopped => matches!(outcome, Err(PluginError::Cancelled)),
        }
    }
}

fn spec() -> PluginSpec {
    PluginSpec {
        grants: grants(json!({ "peers": ["read"], "names": ["resolve", "list"] })),
        settings: json!({ "count": 5000 }).to_string(),
        limits: Limits {
            cpu: Duration::from_millis(100),
            inbound_deadline: Duration::from_millis(300),
            ..hostile().limits
        },
        ..hostile()
    }
}

/// Starts an attack on a stream of a peer.
fn inbound(plugin: &Plugin, behaviour: &str) -> JoinHandle<Result<(), PluginError>> {
    let (plugin, request) = (plugin.clone(), request(behaviour));
    tokio::spawn(async move {
        let (_far, near) = peer_stream();
        plugin.handle_inbound(request, near).await
    })
}

/// Starts an attack as a command. Nobody listens to what it tells.
fn command(plugin: &Plugin, behaviour: &str) -> JoinHandle<Result<(), PluginError>> {
    let arguments = json!({ "count": 5000 });
    let mut run = plugin
        .run_command(behaviour, arguments, Grants::default())
        .unwrap();
    tokio::spawn(async move { run.finish().await })
}

/// Whether as many instances as before have room: the pool has all its slots back.
async fn has_room(engine: &Engine, behind: &str) {
    let mut spec = hostile();
    spec.limits.instance_wait = Duration::from_secs(5);
    let plugin = load(engine, spec).await;
    let held: Vec<_> = (0..ROOM).map(|_| call(&plugin, request("hold"))).collect();
    until(|| plugin.stats().instances_live == ROOM || held.iter().any(|(_, handler)| handler.is_finished()))
        .await;
    assert_eq!(plugin.stats().instances_live, ROOM, "after {behind}");
    plugin.stop();
    for (_, handler) in held {
        assert_eq!(
            within(handler).await.unwrap(),
            Err(PluginError::Cancelled),
            "after {behind}"
        );
    }
}

/// Lets an attack go on while another plugin answers, and looks at what is left of it.
async fn beside(
    engine: &Engine,
    name: &str,
    end: End,
    start: fn(&Plugin, &str) -> JoinHandle<Result<(), PluginError>>,
) {
    let mut spec = spec();
    if matches!(end, End::Cpu) {
        // A machine that is busy elsewhere gives the guest its time later than it gives up on it.
        spec.limits.inbound_deadline = Duration::from_secs(60);
    }
    let bad = engine.load(spec, OnePeer::new()).await.unwrap();
    let good = load(engine, hostile()).await;
    let attack = start(&bad, name);
    let (mut stream, echo) = call(&good, request("echo"));
    for _ in 0..ANSWERS {
        bounce(&mut stream, "on a stream that was open").await;
        outcome_of(&good, request("drop-ok")).await.unwrap();
    }
    if matches!(end, End::Stopped) {
        assert!(!attack.is_finished(), "{name}: {:?}", attack.await);
        bad.stop();
    }
    let outcome = within(attack).await.unwrap();
    assert!(
        end.fits(&outcome),
        "{name} came to {outcome:?}, and {end:?} was to be"
    );
    if let Err(error) = &outcome {
        assert!(
            error.to_string().len() < 5000,
            "{name}: {} bytes",
            error.to_string().len()
        );
    }
    bounce(&mut stream, "and after it").await;
    stream.shutdown().await.unwrap();
    within(echo).await.unwrap().unwrap();
    until(|| bad.stats().instances_live == 0 && engine.splices().live() == 0).await;
    assert_eq!((good.stats().traps, good.stats().denials), (0, 0), "{name}");
    bad.stop();
    has_room(engine, name).await;
}

#[tokio::test]
async fn another_plugin_goes_on_beside_each_attack_on_a_stream() {
    let engine = engine();
    for (behaviour, end) in [
        ("loop", End::Cpu),
        ("alloc", End::Memory),
        ("log", End::Cpu),
        ("stack", End::Trap),
        ("trap", End::Trap),
        ("hold", End::Deadline),
        ("half-open", End::Deadline),
        ("emit", End::Cpu),
        ("streams", End::Limit),
        ("half-open-streams", End::Bounded),
        ("flood-peers", End::Deadline),
        ("clock-centuries", End::Deadline),
        ("clock-longest", End::Deadline),
        ("clock-end-of-time", End::Deadline),
        ("clock-std", End::Deadline),
        ("clock-spin", End::Cpu),
        ("clock-nothing", End::Cpu),
        ("clock-past", End::Cpu),
        ("clock-briefest", End::Deadline),
        ("clock-cancelled", End::Deadline),
        ("clock-many", End::Memory),
        ("garbage-huge-error", End::Trap),
        ("garbage-long-error", End::Error),
        ("garbage-no-text", End::Trap),
    ] {
        beside(&engine, behaviour, end, inbound).await;
    }
}

#[tokio::test]
async fn another_plugin_goes_on_beside_each_attack_of_a_command_that_may_take_as_long_as_it_likes() {
    let engine = engine();
    for (behaviour, end) in [
        ("loop", End::Cpu),
        ("emit", End::Stopped),
        ("hold", End::Stopped),
        ("flood-peers", End::Done),
        ("clock-centuries", End::Stopped),
        ("clock-longest", End::Stopped),
        ("clock-std", End::Stopped),
        ("clock-nothing", End::Cpu),
        ("clock-past", End::Cpu),
        ("clock-briefest", End::Stopped),
        ("clock-cancelled", End::Stopped),
    ] {
        beside(&engine, behaviour, end, command).await;
    }
}

#[tokio::test]
async fn thousands_of_streams_of_peers_wait_or_are_refused() {
    let engine = engine();
    let mut spec = spec();
    spec.limits.instances = 4;
    spec.limits.instance_wait = Duration::from_millis(50);
    spec.limits.inbound_deadline = Duration::from_secs(60);
    let (bad, good) = (load(&engine, spec).await, load(&engine, hostile()).await);
    let streams: Vec<_> = (0..3000).map(|_| call(&bad, request("hold"))).collect();
    for _ in 0..ANSWERS {
        outcome_of(&good, request("drop-ok")).await.unwrap();
    }
    let refused = |streams: &[(_, JoinHandle<_>)]| {
        streams
            .iter()
            .filter(|(_, handler)| handler.is_finished())
            .count()
    };
    until(|| refused(&streams) == 3000 - 4).await;
    assert_eq!((bad.stats().instances_total, bad.stats().instances_live), (4, 4));
    bad.stop();
    for (_far, handler) in streams {
        let outcome = within(handler).await.unwrap();
        assert!(
            matches!(outcome, Err(PluginError::Limit(_) | PluginError::Cancelled)),
            "{outcome:?}"
        );
    }
    until(|| bad.stats().instances_live == 0).await;
    has_room(&engine, "3000 streams").await;
}

#[tokio::test]
async fn what_no_call_may_bring_is_told_or_ends_the_instance() {
    let engine = engine();
    let mut spec = spec();
    spec.limits.memory_bytes = 64 << 20;
    spec.grants = grants(json!({
        "protocols": ["/peerup/*/1.0.0"], "tcp": { "connect": ["localhost:*"], "listen": ["localhost:*"] },
        "udp": { "connect": ["localhost:*"], "bind": ["localhost:*"] }, "store": "10MB",
        "names": ["resolve", "list"], "peers": ["read"],
    }));
    let plugin = engine.load(spec, OnePeer::new()).await.unwrap();
    for call in [
        "open-peer",
        "open-protocol",
        "connect",
        "listen",
        "udp-bind",
        "udp-connect",
        "resolve",
        "describe",
        "find",
        "store-get",
        "store-set",
        "store-keys",
        "store-batch",
        "emit",
        "log",
    ] {
        for what in ["huge", "no-text"] {
            let (_, outcome) = run(&plugin, &format!("{what}-{call}"), json!({}), Grants::default()).await;
            let told = match &outcome {
                Err(PluginError::Trap { .. }) => true,
                Err(PluginError::Guest(HostError::Invalid(text) | HostError::Limit(text))) => {
                    text.len() < 5000
                }
                // The batch is made of texts that are texts.
                Err(PluginError::Guest(HostError::Unreachable(_))) => call == "store-batch",
                _ => false,
            };
            assert!(told, "{what} {call} came to {outcome:?}");
        }
    }
    until(|| plugin.stats().instances_live == 0).await;
    has_room(&engine, "garbage").await;
}

/// One call of each export, with what makes it misbehave.
async fn each_export(engine: &Engine, word: &str) -> Vec<(&'static str, Result<(), PluginError>)> {
    let behaving = PluginSpec {
        settings: json!({ "behaviour": word }).to_string(),
        ..spec()
    };
    let (async_one, sync_one) = (load(engine, behaving).await, load(engine, sync()).await);
    let mut found = vec![
        ("inbound", outcome_of(&async_one, request(word)).await),
        (
            "command",
            run(&async_one, word, json!({}), Grants::default()).await.1,
        ),
        (
            "service",
            within(async_one.run_service(CancellationToken::new())).await,
        ),
    ];
    let (resolver, answer, task) = match word {
        "trap" => ("trap", "trap", "trap"),
        _ => ("garbage-huge", "huge", "endless"),
    };
    found.push(("resolver", within(async_one.resolve(resolver)).await.map(drop)));
    let mut ask = request("");
    ask.protocol = "/peerup/p/sync/ask/1.0.0".to_owned();
    let (mut far, handler) = call(&sync_one, ask);
    far.write_all(answer.as_bytes()).await.unwrap();
    far.shutdown().await.unwrap();
    found.push(("answer", within(handler).await.unwrap()));
    found.push((
        "task",
        run(
            &sync_one,
            task,
            Value::Object(Default::default()),
            Grants::default(),
        )
        .await
        .1,
    ));
    for plugin in [async_one, sync_one] {
        until(|| plugin.stats().instances_live == 0).await;
        assert!(plugin.stats().traps >= 2, "{:?}", plugin.stats());
    }
    found
}

#[tokio::test]
async fn a_trap_in_every_export_is_told_and_costs_one_instance() {
    let engine = engine();
    for (export, outcome) in each_export(&engine, "trap").await {
        assert!(
            matches!(outcome, Err(PluginError::Trap { .. })),
            "{export}: {outcome:?}"
        );
    }
    has_room(&engine, "traps").await;
}

#[tokio::test]
async fn garbage_from_every_export_is_told_and_costs_one_instance() {
    let engine = engine();
    for word in ["garbage-huge-error", "garbage-no-text"] {
        for (export, outcome) in each_export(&engine, word).await {
            assert!(
                matches!(outcome, Err(PluginError::Trap { .. })),
                "{export}: {outcome:?}"
            );
        }
    }
    has_room(&engine, "garbage").await;
}
