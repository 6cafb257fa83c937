//! Greets peers: answers a name with a greeting, and the command `greet` asks a peer for one.

use peerup_plugin_sdk::{Arguments, Command, Duplex, Error, Inbound, PathPolicy, Request, output, streams};
use serde::{Deserialize, Serialize};

const PROTOCOL: &str = "/peerup/p/greeter/hello/1.0.0";
/// The longest name that is read, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// The longest answer that is read, in bytes: a name, a peer, and the words around them.
const MAX_ANSWER_BYTES: usize = 1024;

struct Greeter;

peerup_plugin_sdk::register!(Greeter: inbound, command);

impl Inbound for Greeter {
    async fn handle(request: Request, connection: Duplex) -> Result<(), Error> {
        let name = read_text(&connection, MAX_NAME_BYTES, "the name").await?;
        if name.is_empty() {
            return Err(Error::invalid("no name was sent; send one, then half-close"));
        }
        let peer = request.peer.name.unwrap_or(request.peer.id);
        send_text(&connection, format!("hello {name}, you are {peer}")).await
    }
}

/// The arguments of `greet`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Greet {
    /// A name, a peer id, or a prefix of one.
    peer: String,
    /// Who is greeted.
    name: String,
}

/// What `greet` tells.
#[derive(Serialize)]
struct Greeted<'a> {
    peer: &'a str,
    answer: &'a str,
}

impl Command for Greeter {
    async fn run(name: String, arguments: Arguments) -> Result<(), Error> {
        if name != "greet" {
            return Err(Error::invalid(format!("no command {name:?}; there is `greet`")));
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

/// Reads up to the other side's half-close; fails for more than `max` bytes and for what is not UTF-8.
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

/// Sends a text, half-closes, and waits until the last byte was handed to the transport.
async fn send_text(connection: &Duplex, text: String) -> Result<(), Error> {
    let mut outgoing = connection.send();
    outgoing.write_all(text).await?;
    outgoing.finish().await
}
