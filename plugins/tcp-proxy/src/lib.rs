//! Carries TCP between peers: answers service streams, and listens for the `forward` command.
//!
//! No byte of a tunnel enters this plugin: it joins two connections and the host moves what flows.

use std::time::Duration;

use peerup_plugin_sdk::{
    Arguments, Command, Duplex, Error, Inbound, PathPolicy, Request, join, log, output, spawn, streams, tcp,
    time,
};
use serde::{Deserialize, Serialize};

/// Streams that may be opening at once. Past it, clients wait in the listener's queue; a peer that hangs
/// cannot make the list grow.
const MAX_OPENING: usize = 1024;
/// Between two attempts to reach the peer for a client that is held.
const RETRY: Duration = Duration::from_millis(500);
/// What a probe opens: answered by the `ping` plugin, so it costs the service nothing.
const PROBE_PROTOCOL: &str = "/peerup/ping/1.0.0";

struct TcpProxy;

peerup_plugin_sdk::register!(TcpProxy: inbound, command);

impl Inbound for TcpProxy {
    async fn handle(request: Request, connection: Duplex) -> Result<(), Error> {
        let Some(service) = request.service else {
            return Err(Error::invalid(format!("{} is not a service", request.protocol)));
        };
        let local = tcp::connect(&service.local_address)
            .await
            .map_err(|error| error.context(format_args!("service {}", service.name)))?;
        join(connection, local);
        Ok(())
    }
}

/// The arguments of `forward`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forward {
    /// A name, a peer id, or a prefix of one.
    peer: String,
    service: String,
    /// `address:port`; port 0 takes a free one.
    listen: String,
    /// Whether to fail before listening if the peer cannot be reached.
    #[serde(default)]
    probe: bool,
    /// How many seconds a client is held while the peer cannot be reached.
    #[serde(default)]
    wait: u32,
}

/// What `forward` tells.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    /// Bound: the address, with the port chosen where 0 was asked for.
    Listening { address: &'a str },
    /// One client could not be carried to the peer.
    Failed { error: &'a str },
}

impl Command for TcpProxy {
    async fn run(name: String, arguments: Arguments) -> Result<(), Error> {
        if name != "forward" {
            return Err(Error::invalid(format!("no command {name:?}; there is `forward`")));
        }
        let forward: Forward = arguments.parse()?;
        if forward.probe {
            probe(&forward.peer).await?;
        }
        let listener = tcp::listen(&forward.listen).await?;
        let address = listener.local_address();
        let listening = Event::Listening { address: &address };
        output::emit(format!("listening on {address}"), &listening).await?;
        listener.serve(MAX_OPENING, |client| forward.carry(client)).await
    }
}

impl Forward {
    /// Opens the stream, again and again while the peer cannot be reached and there is time left.
    async fn open(&self) -> Result<Duplex, Error> {
        let protocol = format!("/peerup/{}/1.0.0", self.service);
        let start = time::now();
        loop {
            match streams::open(&self.peer, &protocol, PathPolicy::PreferDirect).await {
                Err(Error::Unreachable(_) | Error::TimedOut(_))
                    if start.elapsed() + RETRY < Duration::from_secs(self.wait.into()) =>
                {
                    time::sleep(RETRY).await;
                }
                opened => return opened,
            }
        }
    }

    /// Opens a stream for one client. Fails only once nobody reads our events any more.
    async fn carry(&self, client: Duplex) -> Result<(), Error> {
        match self.open().await {
            Ok(stream) => {
                let joined = join(client, stream);
                let service = format!("{} of {}", self.service, self.peer);
                // The bytes flow in the host; this only waits for the reason where a limit ended them.
                spawn(async move {
                    if let Err(error @ Error::Limit(_)) = joined.finished().await {
                        let text = format!("{service}: {error}");
                        // Fails where nobody reads the events any more.
                        let _ = output::emit(text, &Event::Failed { error: error.text() }).await;
                    }
                });
                Ok(())
            }
            Err(error) => {
                client.reset();
                let text = format!("{} of {}: {error}", self.service, self.peer);
                output::emit(text, &Event::Failed { error: error.text() }).await
            }
        }
    }
}

/// Fails where the peer cannot be reached. Without the grant for pings nothing is known, and nothing fails.
async fn probe(peer: &str) -> Result<(), Error> {
    match streams::open(peer, PROBE_PROTOCOL, PathPolicy::PreferDirect).await {
        Ok(stream) => {
            // An end, because the peer would log a reset.
            drop(stream.send());
            Ok(())
        }
        Err(Error::Denied(reason)) => {
            log::debug(format!("not probing {peer}: {reason}"));
            Ok(())
        }
        // Reached, with nobody there who answers pings: that is all a probe asks.
        Err(Error::Refused(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
