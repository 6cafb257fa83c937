//! {{name}}: greets peers. The command `greet` asks a peer for a greeting, and gives one to every peer that asks.

use peerup_plugin_sdk::{
    Arguments, Command, Duplex, Error, Inbound, PathPolicy, Request, output, streams,
};
use serde::{Deserialize, Serialize};

/// What is below /peerup/p/{{name}}/ is the plugin's own and needs no grant.
const PROTOCOL: &str = "/peerup/p/{{name}}/hello/1.0.0";
/// The longest name that is read, in bytes: a peer decides how much it sends.
const MAX_NAME_BYTES: usize = 256;
/// The longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 1024;

struct Plugin;

peerup_plugin_sdk::register!(Plugin: inbound, command);

impl Inbound for Plugin {
    async fn handle(request: Request, connection: Duplex) -> Result<(), Error> {
        let name = read_text(&connection, MAX_NAME_BYTES, "the name").await?;
        let answer = greeting(&name, &request.peer.to_string())?;
        send_text(&connection, answer).await
    }
}

/// The arguments of `greet`, as `plugin.toml` describes them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Greet {
    peer: String,
    name: String,
}

/// What `greet` tells programs; people get the answer alone.
#[derive(Serialize)]
struct Greeted<'a> {
    peer: &'a str,
    answer: &'a str,
}

impl Command for Plugin {
    async fn run(word: String, arguments: Arguments) -> Result<(), Error> {
        if word != "greet" {
            return Err(Error::invalid(format!(
                "no command {word:?}; there is `greet`"
            )));
        }
        let Greet { peer, name } = arguments.parse()?;
        let connection = streams::open(&peer, PROTOCOL, PathPolicy::PreferDirect).await?;
        send_text(&connection, name).await?;
        let answer = read_text(&connection, MAX_ANSWER_BYTES, "the answer").await?;
        let event = Greeted {
            peer: &peer,
            answer: &answer,
        };
        output::emit(&answer, &event).await
    }
}

fn greeting(name: &str, peer: &str) -> Result<String, Error> {
    match name.trim() {
        "" => Err(Error::invalid(
            "no name was sent; send one, then end the stream",
        )),
        name => Ok(format!("hello {name}, you are {peer}")),
    }
}

/// Reads up to the end that the other side sends; fails for more than `max` bytes and for what is no text.
async fn read_text(connection: &Duplex, max: usize, what: &str) -> Result<String, Error> {
    let mut incoming = connection.receive();
    let mut bytes = Vec::new();
    while let Some(chunk) = incoming.read().await? {
        bytes.extend(chunk);
        if bytes.len() > max {
            return Err(Error::invalid(format!("{what} is longer than {max} bytes")));
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid(format!("{what} is not UTF-8")))
}

/// Sends a text and its end, and waits until the last byte is on its way.
async fn send_text(connection: &Duplex, text: String) -> Result<(), Error> {
    let mut outgoing = connection.send();
    outgoing.write_all(text).await?;
    outgoing.finish().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_names_both() {
        assert_eq!(
            greeting("Ada", "laptop").unwrap(),
            "hello Ada, you are laptop"
        );
    }

    #[test]
    fn nobody_is_not_greeted() {
        assert!(matches!(greeting(" ", "laptop"), Err(Error::Invalid(_))));
    }
}
