//! The same plugin in each language of `examples/`, built by its own script and run.
//!
//! A toolchain that this machine lacks is told on standard error, past the capture of the test runner; with
//! `PEERUP_REQUIRE_TOOLCHAINS=1` it is a failure.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "a test fails by panicking; the helpers are shared with the other tests"
)]

#[path = "engine/support.rs"]
mod support;

use std::{
    borrow::Cow,
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use peerup_engine::{HostError, InboundRequest, Limits, Plugin, PluginError, PluginSpec};
use peerup_model::Grants;
use peerup_package::Manifest;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy_bidirectional};

use crate::support::{OnePeer, a_peer, call, engine, run, until, within};

const PROTOCOL: &str = "/peerup/p/greeter/hello/1.0.0";
/// What the largest of them, with an interpreter inside, is given.
const MEMORY_BYTES: usize = 64 << 20;
/// What a build script exits with where its toolchain is missing.
const NO_TOOLCHAIN: i32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_greeter_in_rust_answers_and_asks() {
    check("greeter-rust").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeter_in_javascript_answers_and_asks() {
    check("greeter-js").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeter_in_python_answers_and_asks() {
    check("greeter-python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeter_in_c_answers_and_asks() {
    check("greeter-c").await;
}

async fn check(example: &str) {
    let Some(spec) = build(example) else { return };
    let bytes = spec.wasm.len();
    let host = OnePeer::new();
    let start = Instant::now();
    let plugin = engine().load(spec, host.clone()).await.unwrap();
    let loaded = start.elapsed();

    let start = Instant::now();
    let (mut far, handled) = call(&plugin, request());
    let answer = ask(&mut far, b"Ada").await;
    within(handled).await.unwrap().unwrap();
    assert_eq!(answer, "hello Ada, you are laptop");
    let answered = start.elapsed();
    report(&format!(
        "{example}: {bytes} bytes, loaded in {loaded:?}, answered in {answered:?}"
    ));

    refuses(&plugin, "x".repeat(257).as_bytes(), "longer than 256 bytes").await;
    refuses(&plugin, b"", "no name was sent").await;
    refuses(&plugin, b"\xff\xfe", "not UTF-8").await;
    refuses_bad_commands(&plugin).await;
    asks_a_peer(&plugin, &host).await;
}

async fn ask(far: &mut DuplexStream, name: &[u8]) -> String {
    within(far.write_all(name)).await.unwrap();
    within(far.shutdown()).await.unwrap();
    let mut answer = String::new();
    within(far.read_to_string(&mut answer)).await.unwrap();
    answer
}

async fn refuses(plugin: &Plugin, name: &[u8], why: &str) {
    let (mut far, handled) = call(plugin, request());
    within(far.write_all(name)).await.unwrap();
    within(far.shutdown()).await.unwrap();
    assert_invalid(within(handled).await.unwrap(), why);
}

async fn refuses_bad_commands(plugin: &Plugin) {
    let run = async |name: &str, arguments| run(plugin, name, arguments, Grants::default()).await.1;
    assert_invalid(run("wave", json!({})).await, "there is `greet`");
    assert_invalid(run("greet", json!({"peer": "home"})).await, "bad arguments");
    assert_invalid(
        run("greet", json!({"peer": 7, "name": "Ada"})).await,
        "bad arguments",
    );
    let nobody = run("greet", json!({"peer": "nobody", "name": "Ada"})).await;
    assert!(
        matches!(&nobody, Err(PluginError::Guest(HostError::NotFound(text))) if text.contains("nobody")),
        "{nobody:?}"
    );
}

/// The command asks another instance of the same plugin.
async fn asks_a_peer(plugin: &Plugin, host: &OnePeer) {
    let name = "Zo\u{eb} \"\u{1f44b}\"\t\\";
    let greet = run(
        plugin,
        "greet",
        json!({"peer": "home", "name": name}),
        Grants::default(),
    );
    let answer = async {
        until(|| !host.opened.lock().unwrap().is_empty()).await;
        let (protocol, mut near) = host.opened.lock().unwrap().pop().unwrap();
        assert_eq!(protocol, PROTOCOL);
        let (mut far, handled) = call(plugin, request());
        within(copy_bidirectional(&mut near, &mut far)).await.unwrap();
        within(handled).await.unwrap().unwrap();
    };
    let ((events, outcome), ()) = tokio::join!(greet, answer);
    outcome.unwrap();
    assert_eq!(events.len(), 1);
    let expected = format!("hello {name}, you are laptop");
    assert_eq!(events[0].text, expected);
    assert_eq!(events[0].json, json!({"peer": "home", "answer": expected}));
}

#[track_caller]
fn assert_invalid(outcome: Result<(), PluginError>, why: &str) {
    match outcome {
        Err(PluginError::Guest(HostError::Invalid(text))) => assert!(text.contains(why), "{text}"),
        other => panic!("{other:?}"),
    }
}

fn request() -> InboundRequest {
    InboundRequest {
        protocol: PROTOCOL.to_owned(),
        service: None,
        peer: a_peer(),
        extra_grants: Grants::default(),
    }
}

/// Builds an example; none where its toolchain is missing.
fn build(example: &str) -> Option<PluginSpec> {
    let folder = examples().join(example);
    let output = Command::new("sh")
        .arg(folder.join("build.sh"))
        // What the outer cargo means for itself.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(NO_TOOLCHAIN) {
        let required = env::var_os("PEERUP_REQUIRE_TOOLCHAINS").is_some_and(|value| value == "1");
        assert!(!required, "{example} cannot be built here: {said}");
        report(&format!("NOT TESTED: {example} cannot be built here: {said}"));
        return None;
    }
    assert!(output.status.success(), "{example}: {said}");
    Some(PluginSpec {
        manifest: Manifest::parse(&fs::read_to_string(folder.join("plugin.toml")).unwrap()).unwrap(),
        wasm: Cow::Owned(fs::read(folder.join(format!("build/{example}.wasm"))).unwrap()),
        grants: Grants {
            protocols: vec![PROTOCOL.parse().unwrap()],
            ..Grants::default()
        },
        settings: "{}".to_owned(),
        limits: Limits {
            memory_bytes: MEMORY_BYTES,
            ..Limits::default()
        },
    })
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// Writes past the capture of the test runner.
fn report(line: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "{line}").unwrap();
}
