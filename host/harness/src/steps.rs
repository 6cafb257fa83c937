//! The steps of a scenario.

use std::{net::SocketAddr, time::Duration};

use peerup_engine::{CommandEvent, HostError, PluginError};
use peerup_model::{Grants, service_protocol};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{
    check::{covers, shown},
    link::End,
    scenario::{Ending, Kind, Step, Who, unhex},
    world::World,
};

/// How long a step may take, by the clock of the scenario. An hour passes at once where nothing happens.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How long a listener may take to appear.
const LISTENING: Duration = Duration::from_secs(10);
/// The most bytes that a step reads from one stream.
const MAX_READ: usize = 16 << 20;

/// Takes a step.
///
/// # Errors
/// What is not as the scenario expects.
pub(crate) async fn take(world: &mut World, step: &Step) -> Result<(), String> {
    if let Some(time) = step.advance {
        tokio::time::sleep(time).await;
        return Ok(());
    }
    match timeout(PATIENCE, act(world, step)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!(
            "nothing came of it within {PATIENCE:?} of the scenario's clock"
        )),
    }
}

async fn act(world: &mut World, step: &Step) -> Result<(), String> {
    if let Some(name) = &step.run {
        return command(world, name, step).await;
    }
    if let Some(protocol) = &step.open {
        return stream(world, protocol, step).await;
    }
    if let Some(service) = &step.service {
        return stream(world, &service_protocol(service), step).await;
    }
    if let Some(address) = &step.dial {
        return dial(world, address, step).await;
    }
    if let Some(name) = &step.resolve {
        return resolve(world, name, step).await;
    }
    if let Some(settings) = &step.settings {
        return world.set_settings(step.on, settings.clone()).await;
    }
    if let Some(who) = step.reload {
        return world.reload(who).await;
    }
    // What other tasks have to do is done before they are asked.
    settle().await;
    if let Some(network) = &step.network {
        world.set_network(network);
    }
    if let Some(grants) = &step.grants {
        world.set_grants(step.on, grants)?;
    }
    if let Some(fault) = &step.fault {
        world.trace.put_fault(fault.clone());
    }
    if let Some(calls) = &step.calls {
        world.trace.expect(calls)?;
    }
    if let Some(calls) = &step.no_calls {
        world.trace.expect_none(calls)?;
    }
    match &step.log {
        Some(text) => logged(world, text, step.on),
        None => Ok(()),
    }
}

/// Lets every task that has something to do go on until it waits: the clock of a paused runtime moves only then.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_nanos(1)).await;
}

async fn command(world: &mut World, name: &str, step: &Step) -> Result<(), String> {
    let plugin = world.plugin(step.on.unwrap_or(Who::Laptop))?;
    let arguments = Value::Object(step.arguments.clone().unwrap_or_default());
    let run = plugin.run_command(name, arguments, Grants::default());
    let mut run = run.map_err(|error| error.to_string())?;
    let wanted = step.events.as_deref();
    if step.background {
        for expected in wanted.unwrap_or_default() {
            let Some(event) = run.next_event().await else {
                let ended = run.finish().await;
                return Err(format!("it ended before it told {expected}: {}", how(&ended)));
            };
            matches(&event, expected)?;
        }
        world.background.push(run);
        return Ok(());
    }
    let mut events = Vec::new();
    while let Some(event) = run.next_event().await {
        events.push(event);
    }
    judge(&run.finish().await, step.fails)?;
    let Some(wanted) = wanted else { return Ok(()) };
    for (event, expected) in events.iter().zip(wanted) {
        matches(event, expected)?;
    }
    match events.len() == wanted.len() {
        true => Ok(()),
        false => Err(format!(
            "it told {} events, and {} were expected",
            events.len(),
            wanted.len()
        )),
    }
}

fn matches(event: &CommandEvent, expected: &Value) -> Result<(), String> {
    let fits = match expected {
        Value::String(text) => event.text == *text,
        _ => covers(&event.json, expected),
    };
    match fits {
        true => Ok(()),
        false => Err(format!(
            "it told {} ({:?}), and {expected} was expected",
            event.json, event.text
        )),
    }
}

fn how(outcome: &Result<(), PluginError>) -> String {
    match outcome {
        Ok(()) => "it went well".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Compares how a run ended with what was expected.
fn judge(outcome: &Result<(), PluginError>, fails: Option<Kind>) -> Result<(), String> {
    let kind = match outcome {
        Ok(()) => None,
        Err(PluginError::Guest(error)) => Some(Kind::of(error)),
        Err(PluginError::Denied(_)) => Some(Kind::Denied),
        Err(PluginError::Limit(_)) => Some(Kind::Limit),
        Err(PluginError::Invalid(_)) => Some(Kind::Invalid),
        Err(PluginError::Cancelled) => Some(Kind::Closed),
        Err(_) => Some(Kind::Trap),
    };
    expected(kind, &how(outcome), fails)
}

fn expected(kind: Option<Kind>, told: &str, fails: Option<Kind>) -> Result<(), String> {
    match (kind, fails) {
        (kind, fails) if kind == fails => Ok(()),
        (None, Some(fails)) => Err(format!("it went well, and {} was expected", fails.name())),
        (Some(_), None) => Err(format!("it failed: {told}")),
        (Some(kind), Some(fails)) => Err(format!(
            "it failed with {}, and {} was expected: {told}",
            kind.name(),
            fails.name()
        )),
        (None, None) => Ok(()),
    }
}

/// Opens a stream from one peer to the plugin of the other.
async fn stream(world: &World, protocol: &str, step: &Step) -> Result<(), String> {
    let from = world.node(step.on.unwrap_or(Who::Laptop));
    match from.peer.reach(protocol).await {
        Ok(end) => talk(end, step).await,
        Err(error) => refused(&error, step),
    }
}

fn refused(error: &HostError, step: &Step) -> Result<(), String> {
    expected(Some(Kind::of(error)), &error.to_string(), step.fails)
}

/// Connects to a listener of the plugin, as a program at that peer would.
async fn dial(world: &World, address: &str, step: &Step) -> Result<(), String> {
    let address: SocketAddr = address
        .parse()
        .map_err(|_| format!("{address} is no address with a port"))?;
    let node = world.node(step.on.unwrap_or(Who::Laptop));
    let listening = async {
        loop {
            if let Some(end) = node.sockets.dial(address) {
                return end;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    match timeout(LISTENING, listening).await {
        Ok(end) => talk(end, step).await,
        Err(_) => refused(
            &HostError::Refused(format!("the plugin does not listen on {address}")),
            step,
        ),
    }
}

/// Sends and receives what the step says.
async fn talk(mut end: End, step: &Step) -> Result<(), String> {
    if let Some(kind) = step.fails {
        return Err(format!("it was opened, and {} was expected", kind.name()));
    }
    let send = bytes(step.send.as_deref(), step.send_hex.as_deref())?;
    let receive = bytes(step.receive.as_deref(), step.receive_hex.as_deref())?;
    if let Some(send) = send {
        // A plugin that has its answer already may not read to the end.
        let _ = end.writer.write_all(&send).await;
    }
    if receive.is_none() && step.ends.is_none() {
        let _ = end.writer.shutdown().await;
        return Ok(());
    }
    let _ = end.writer.shutdown().await;
    let mut came = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    let ended = loop {
        match end.reader.read(&mut buffer).await {
            Ok(0) => break Ending::Clean,
            Ok(count) => came.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(_) => break Ending::Reset,
        }
        if came.len() > MAX_READ {
            return Err(format!("more than {MAX_READ} bytes came"));
        }
    };
    if let Some(receive) = receive
        && came != receive
    {
        return Err(format!(
            "{} came{}, and {} was expected",
            shown(&came),
            if ended == Ending::Reset {
                ", then a reset"
            } else {
                ""
            },
            shown(&receive)
        ));
    }
    match (ended, step.ends.unwrap_or(Ending::Clean)) {
        (ended, wanted) if ended == wanted => Ok(()),
        (Ending::Reset, _) => Err("the stream was reset".to_owned()),
        (Ending::Clean, _) => Err("the stream ended, and a reset was expected".to_owned()),
    }
}

fn bytes(text: Option<&str>, hex: Option<&str>) -> Result<Option<Vec<u8>>, String> {
    match (text, hex) {
        (Some(text), _) => Ok(Some(text.as_bytes().to_vec())),
        (None, Some(hex)) => unhex(hex).map(Some),
        (None, None) => Ok(None),
    }
}

async fn resolve(world: &World, name: &str, step: &Step) -> Result<(), String> {
    let node = world.node(step.on.unwrap_or(Who::Laptop));
    let answer = match world.plugin(node.peer.who)?.resolve(name).await {
        Ok(answer) => answer,
        Err(error) => return judge(&Err(error), step.fails),
    };
    expected(None, "", step.fails)?;
    let told = answer.map_or_else(
        || "nobody".to_owned(),
        |answer| {
            let known = Who::BOTH.into_iter().find(|who| who.id() == answer.peer);
            known.map_or_else(|| answer.peer.to_base58(), |who| who.name().to_owned())
        },
    );
    if let Some(wanted) = &step.answers {
        let wanted = node
            .peer
            .find(wanted)
            .map_or_else(|| wanted.clone(), |who| who.name().to_owned());
        if told != wanted {
            return Err(format!("it answers {told}, and {wanted} was expected"));
        }
    }
    match (step.ttl, answer) {
        (Some(ttl), Some(answer)) if ttl != answer.ttl => Err(format!(
            "the answer may be kept for {:?}, and {ttl:?} was expected",
            answer.ttl
        )),
        _ => Ok(()),
    }
}

fn logged(world: &World, text: &str, on: Option<Who>) -> Result<(), String> {
    let at: Vec<Who> = on.map_or_else(|| Who::BOTH.to_vec(), |who| vec![who]);
    let mut all = Vec::new();
    for who in at {
        all.extend(world.node(who).peer.lines());
    }
    match all.iter().any(|line| line.contains(text)) {
        true => Ok(()),
        false => {
            let last = all.iter().rev().take(5).map(String::as_str).collect::<Vec<_>>();
            Err(format!("no line has {text:?}; the last ones are {last:?}"))
        }
    }
}
