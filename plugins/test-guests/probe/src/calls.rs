//! The calls that every version of the contract has, and what WASI has beside it.

use std::fs;

use crate::{
    bindings::peerup::plugin::{names, peers, streams, tcp, types::Error},
    newer,
};

/// Who is asked for where the call is not about who.
const PEER: &str = "home";

/// Makes one call and tells in a few words what came of it: the same words on every machine.
pub(crate) async fn perform(call: &str, on: &str) -> Result<String, Error> {
    let told = match call {
        "streams.open" => {
            streams::open(PEER.to_owned(), on.to_owned(), streams::PathPolicy::PreferDirect).await?;
            "a stream"
        }
        "tcp.connect" => {
            tcp::connect(on.to_owned()).await?;
            "a connection"
        }
        "tcp.listen" => {
            tcp::listen(on.to_owned()).await?;
            "a listener"
        }
        "names.resolve" => {
            names::resolve(on.to_owned()).await?;
            "a peer"
        }
        "peers.describe" => seen(&peers::describe(on.to_owned()).await?),
        "peers.connected" => match peers::connected().await?.first() {
            Some(first) => seen(first),
            None => "nobody",
        },
        "wasi read" => {
            fs::read(on).map_err(|error| missing(&error))?;
            "the file"
        }
        "wasi write" => {
            fs::write(on, b"written").map_err(|error| missing(&error))?;
            "written"
        }
        "wasi variable" => {
            std::env::var(on).map_err(|error| Error::NotFound(error.to_string()))?;
            "the value"
        }
        other => return newer::perform(other, on).await,
    };
    Ok(told.to_owned())
}

fn seen(details: &peers::Details) -> &'static str {
    let addresses = details
        .connections
        .iter()
        .any(|connection| connection.address.is_some());
    if addresses {
        "a peer with addresses"
    } else {
        "a peer without addresses"
    }
}

fn missing(error: &std::io::Error) -> Error {
    Error::NotFound(error.kind().to_string())
}
