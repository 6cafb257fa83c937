//! A tier of the name chain: TXT records `_peerup.NAME` in the DNS, `peer=PEER_ID` in each, asked of one server.
//!
//! The server in the settings is granted by the operator (`udp.connect`, and `tcp.connect` for long answers). What it
//! says decides only which peer is meant; who that is proves itself by its key.

mod message;

use std::time::Duration;

use peerup_plugin_sdk::{Error, Resolved, Resolver, log, settings, tcp, time, udp};
use serde::Deserialize;

use crate::message::{Reply, Verdict};

/// How long one question waits for its answer before it is sent again.
const PATIENCE: Duration = Duration::from_millis(1_400);
/// How often it is sent. All of it fits into the five seconds that the host gives.
const TRIES: usize = 3;
/// The largest answer over TCP that is read.
const MAX_ANSWER: usize = 16 << 10;
/// The port of a server whose address names none.
const DNS_PORT: u16 = 53;

struct NamesDns;

peerup_plugin_sdk::register!(NamesDns: resolver);

/// The plugin's section of the config.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The server to ask, `address` or `address:port`.
    server: String,
    /// Stands after names without a dot; without it those are not asked for.
    domain: Option<String>,
}

impl Resolver for NamesDns {
    async fn resolve(name: String) -> Result<Option<Resolved>, Error> {
        let settings: Settings = settings::get().map_err(|error| {
            error.context("write in the config: plugins.names-dns.settings: {server: ADDRESS}")
        })?;
        let Some(host) = full_name(&name, settings.domain.as_deref()) else {
            return Ok(None);
        };
        let server = with_port(&settings.server);
        let question = message::question(&host)?;
        let reply = match ask(&server, &question).await? {
            Reply::Truncated => ask_over_tcp(&server, &question).await?,
            reply => reply,
        };
        match reply {
            Reply::Is(Verdict::Peer { id, ttl }) => Ok(Some(Resolved {
                peer: id,
                ttl: Some(Duration::from_secs(ttl.into())),
            })),
            Reply::Is(Verdict::Unknown) => Ok(None),
            Reply::Is(Verdict::Wrong(why)) => {
                Err(Error::refused(format!("{server} on _peerup.{host}: {why}")))
            }
            Reply::Truncated => Err(Error::refused(format!(
                "{server} cuts its answer off over TCP too"
            ))),
            Reply::Foreign => Err(Error::refused(format!(
                "{server} answers something else over TCP"
            ))),
        }
    }
}

/// Asks over UDP. What is no answer to the question, as an attacker may send it, is passed over.
async fn ask(server: &str, question: &[u8]) -> Result<Reply, Error> {
    for attempt in 1..=TRIES {
        // A socket, and so a port, of its own for each try: an old answer does not count.
        let socket = udp::connect(server).await?;
        socket.send(question).await?;
        let answer = async {
            loop {
                for datagram in socket.receive(8).await? {
                    match message::read(&datagram.data, question) {
                        Reply::Foreign => log::debug(format!("{server} sent something that is no answer")),
                        reply => return Ok(reply),
                    }
                }
            }
        };
        match time::timeout(PATIENCE, answer).await {
            Err(Error::TimedOut(_)) if attempt < TRIES => {}
            Err(Error::TimedOut(_)) => break,
            outcome => return outcome,
        }
    }
    Err(Error::timed_out(format!(
        "the DNS server {server} does not answer"
    )))
}

async fn ask_over_tcp(server: &str, question: &[u8]) -> Result<Reply, Error> {
    let exchange = async {
        let connection = tcp::connect(server).await?;
        let mut outgoing = connection.send();
        let length = u16::try_from(question.len()).map_err(|_| Error::invalid("the question is too long"))?;
        outgoing
            .write_all([&length.to_be_bytes()[..], question].concat())
            .await?;
        let mut incoming = connection.receive();
        let mut answer = Vec::new();
        while let Some(bytes) = incoming.read().await? {
            answer.extend(bytes);
            if let Some((length, body)) = answer.split_first_chunk::<2>()
                && body.len() >= usize::from(u16::from_be_bytes(*length))
            {
                let body = body.get(..usize::from(u16::from_be_bytes(*length)));
                return Ok(message::read(body.unwrap_or_default(), question));
            }
            if answer.len() > MAX_ANSWER {
                break;
            }
        }
        Err(Error::refused(format!(
            "the answer of {server} over TCP does not end"
        )))
    };
    time::timeout(PATIENCE, exchange).await
}

/// The name to ask for; none where the DNS has nothing to do with it.
fn full_name(name: &str, domain: Option<&str>) -> Option<String> {
    match (name.contains('.'), domain) {
        (true, _) => Some(name.to_owned()),
        (false, Some(domain)) => Some(format!("{name}.{}", domain.trim_matches('.'))),
        (false, None) => None,
    }
}

/// The address with the usual port where it names none.
fn with_port(server: &str) -> String {
    let bare_v6 = server.parse::<std::net::Ipv6Addr>().is_ok();
    match server.rsplit_once(':') {
        _ if bare_v6 => format!("[{server}]:{DNS_PORT}"),
        Some((_, port)) if port.parse::<u16>().is_ok() => server.to_owned(),
        _ => format!("{server}:{DNS_PORT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_a_dot_need_a_domain() {
        assert_eq!(full_name("home", None), None);
        assert_eq!(
            full_name("home", Some("example.org.")).as_deref(),
            Some("home.example.org")
        );
        assert_eq!(
            full_name("home.lan", Some("example.org")).as_deref(),
            Some("home.lan")
        );
    }

    #[test]
    fn a_server_without_a_port_has_the_usual_one() {
        for (given, full) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]:5353", "[2001:db8::1]:5353"),
            ("[2001:db8::1]", "[2001:db8::1]:53"),
            ("dns.lan", "dns.lan:53"),
        ] {
            assert_eq!(with_port(given), full);
        }
    }
}
