//! A plugin that misbehaves on request, one behaviour at a time, for the tests of the host.
//!
//! As `command` the name of the command is the behaviour and its arguments say the rest. As `inbound` the
//! behaviour stands in the protocol, `/peerup/p/hostile/<behaviour>/1.0.0`; on a service it is the setting
//! `behaviour`, or else the name of the service. The plugin's settings say the rest.

mod attack;
mod clock;
mod garbage;
mod hoard;
mod local;

use std::{future::pending, time::Duration};

use peerup_plugin_sdk::{
    Arguments, Command, Duplex, Error, Inbound, Incoming, Outgoing, PathPolicy, Request, Resolved, Resolver,
    Service, ServiceBinding, copy, join, life, name_list, names, output, peers, settings, streams, tcp,
};
use serde::Deserialize;
use serde_json::json;

struct Hostile;

peerup_plugin_sdk::register!(Hostile: inbound, command, service, resolver);

/// What a behaviour may need to know.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    behaviour: Option<String>,
    target: String,
    address: String,
    peer: String,
    protocol: String,
    name: String,
    key: String,
    value: String,
    path: String,
    count: u32,
}

impl Service for Hostile {
    async fn run() -> Result<(), Error> {
        let details: Details = settings::get()?;
        let behaviour = details.behaviour.clone().unwrap_or_default();
        match behaviour.as_str() {
            "until-settings" => {
                life::settings_changed().await;
                let changed: Details = settings::get()?;
                Err(Error::refused(changed.value))
            }
            "ignore-stopping" => pending().await,
            other => anywhere(other, &details).await,
        }
    }
}

impl Resolver for Hostile {
    async fn resolve(name: String) -> Result<Option<Resolved>, Error> {
        let details: Details = settings::get()?;
        let found = |peer: String, ttl| Ok(Some(Resolved { peer, ttl }));
        match name.as_str() {
            "known" => found(details.peer, None),
            "for-ever" => found(details.peer, Some(Duration::from_secs(u64::from(u32::MAX)))),
            "garbage" => found("x".repeat(10_000), None),
            "garbage-huge" => found("x".repeat(5 << 20), None),
            "hold" => pending().await,
            "trap" => attack::trap(),
            "error" => Err(Error::unreachable("no answer")),
            "listed" => {
                let peer = name_list::find("home").await?;
                Ok(peer.map(|peer| Resolved {
                    peer,
                    ttl: Some(Duration::from_secs(60)),
                }))
            }
            _ => Ok(None),
        }
    }
}

impl Command for Hostile {
    async fn run(name: String, arguments: Arguments) -> Result<(), Error> {
        let details: Details = arguments.parse()?;
        match name.as_str() {
            "hold" => pending().await,
            other => anywhere(other, &details).await,
        }
    }
}

impl Inbound for Hostile {
    async fn handle(request: Request, connection: Duplex) -> Result<(), Error> {
        let details: Details = settings::get()?;
        let behaviour = behaviour(&request, &details)?;
        match behaviour.as_str() {
            "echo" => {
                let mut outgoing = connection.send();
                copy(&mut connection.receive(), &mut outgoing).await?;
                outgoing.finish().await
            }
            "pass" => pass(request.service, connection).await,
            "twice" => twice(&connection).await,
            "drop-ok" => {
                drop(connection);
                Ok(())
            }
            "drop-err" => {
                drop(connection);
                Err(Error::refused("dropped on purpose"))
            }
            "hold" => {
                pending::<()>().await;
                drop(connection);
                Ok(())
            }
            "half-open" => hoard::half_open(connection).await,
            other => anywhere(other, &details).await,
        }
    }
}

fn behaviour(request: &Request, details: &Details) -> Result<String, Error> {
    if let Some(rest) = request.protocol.strip_prefix("/peerup/p/hostile/") {
        return Ok(rest.split('/').next().unwrap_or_default().to_owned());
    }
    let configured = details.behaviour.clone();
    configured
        .or_else(|| request.service.as_ref().map(|service| service.name.clone()))
        .ok_or_else(|| Error::invalid(format!("no behaviour in {}", request.protocol)))
}

/// What needs no connection.
async fn anywhere(behaviour: &str, details: &Details) -> Result<(), Error> {
    match behaviour {
        "loop" => attack::spin(),
        "alloc" => attack::allocate(),
        "trap" => attack::trap(),
        "log" => attack::flood_the_log(),
        "stack" => attack::overflow_the_stack(),
        "emit" => loop {
            // The error is what a well-behaved plugin would stop at.
            let _ = output::emit("again", &json!({ "again": true })).await;
        },
        "connect" => tcp::connect(&details.target).await.map(drop),
        "listen" => {
            let address = tcp::listen(&details.address).await?.local_address();
            output::emit(&address, &json!({ "address": address })).await
        }
        "open" => streams::open(&details.peer, &details.protocol, PathPolicy::PreferDirect)
            .await
            .map(drop),
        "resolve" => {
            let answer = names::resolve(&details.name).await?;
            let event = json!({ "peer": answer.peer, "source": answer.source });
            output::emit(&answer.peer, &event).await
        }
        "describe" => {
            let details = peers::describe(&details.peer).await?;
            output::emit(details.peer.to_string(), &seen(&details)).await
        }
        "describe-huge" => peers::describe(&"x".repeat(1 << 20)).await.map(drop),
        "connected" => {
            for details in peers::connected().await? {
                output::emit(details.peer.to_string(), &seen(&details)).await?;
            }
            Ok(())
        }
        "flood-peers" => attack::flood_the_peers().await,
        "until-stopping" => {
            life::stopping().await;
            Ok(())
        }
        "error" => Err(Error::refused("asked to fail")),
        "streams" => hoard::streams(details).await,
        "half-open-streams" => hoard::half_open_streams(details).await,
        other if other.starts_with("clock-") => clock::behave(other).await,
        other
            if ["garbage-", "huge-", "no-text-"]
                .iter()
                .any(|head| other.starts_with(head)) =>
        {
            garbage::behave(other).await
        }
        other => local::behave(other, details).await,
    }
}

/// What was told of a peer, as JSON.
fn seen(details: &peers::Details) -> serde_json::Value {
    let micros = |time: Option<Duration>| time.map(|time| time.as_micros() as u64);
    let connections: Vec<_> = details
        .connections
        .iter()
        .map(|connection| {
            json!({
                "path": connection.path.to_string(),
                "address": connection.address,
                "rtt_us": micros(connection.round_trip),
                "age_s": connection.age.as_secs(),
            })
        })
        .collect();
    json!({
        "id": details.peer.id,
        "relay": details.role == peers::Role::Relay,
        "path": details.path.as_ref().map(ToString::to_string),
        "rtt_us": micros(details.round_trip),
        "last_answer_s": details.last_answer.map(|age| age.as_secs()),
        "connections": connections,
    })
}

/// Joins and returns at once.
async fn pass(service: Option<ServiceBinding>, connection: Duplex) -> Result<(), Error> {
    let service = service.ok_or_else(|| Error::invalid("pass needs a service"))?;
    let local = tcp::connect(&service.local_address).await?;
    join(connection, local);
    Ok(())
}

/// Takes each direction twice. Succeeds where the second taking was refused and the first still works.
async fn twice(connection: &Duplex) -> Result<(), Error> {
    let (mut incoming, mut outgoing) = (connection.receive(), connection.send());
    let second: (Incoming, Outgoing) = (connection.receive(), connection.send());
    let mut ended = second.0;
    refused_as_invalid("receive", ended.read().await.map(drop))?;
    refused_as_invalid("send", second.1.finish().await)?;
    copy(&mut incoming, &mut outgoing).await?;
    outgoing.finish().await
}

fn refused_as_invalid(what: &str, result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::Invalid(_)) => Ok(()),
        other => Err(Error::closed(format!("the second {what} answered {other:?}"))),
    }
}
