//! What `init` asks at a terminal: each answer is checked at once and asked for again where it does not hold. Nothing is
//! written before the last answer, so that Ctrl-C leaves nothing.

use std::io::{self, BufRead, Write};

use peerup_config::RelayAddress;
use peerup_model::{ErrorCode, Failure, PeerName};

use super::{free_port, is_free, read_relay};
use crate::{arguments::Init, command::failed, context::Context, session::until_interrupted};

/// What the operator wants.
#[derive(Debug)]
pub(super) struct Wishes {
    pub(super) name: Option<PeerName>,
    pub(super) port: Option<u16>,
    pub(super) relays: Vec<RelayAddress>,
}

/// Asks for what the flags do not say, shows what comes of it, and asks whether to go on.
pub(super) async fn ask(
    context: &Context,
    arguments: Init,
    target: &std::path::Path,
) -> Result<Wishes, Failure> {
    until_interrupted(async {
        context.note("Enter takes what stands in brackets. Nothing is written before the end; Ctrl-C leaves.\n");
        let name = match arguments.name {
            Some(name) => read_name(&name).map_err(super::usage)?,
            None => name(context).await?,
        };
        let relays = match arguments.relays.is_empty() {
            true => relays(context, arguments.relay_id).await?,
            false => super::read_relays(&arguments.relays, arguments.relay_id.as_deref())?,
        };
        let port = match arguments.port.filter(|port| *port != 0) {
            Some(port) => port,
            None => port(context).await?,
        };
        let relay = match relays.as_slice() {
            [] => "none".to_owned(),
            relays => relays.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n        "),
        };
        context.note(&format!(
            "\nname:   {name}\nrelay:  {relay}\nport:   {port}, TCP and UDP\nfiles:  {}, with identity.key and authorized_keys beside it\n",
            target.display()
        ));
        let go_on = |answer: &str| match answer.to_lowercase().as_str() {
            "" | "y" | "yes" => Ok(true),
            "n" | "no" => Ok(false),
            _ => Err("y or n".to_owned()),
        };
        match question(context, "Make it? [Y/n] ", go_on).await? {
            true => Ok(Wishes {
                name: Some(name),
                port: Some(port),
                relays,
            }),
            false => Err(Failure::new(ErrorCode::Interrupted, "nothing was made")),
        }
    })
    .await
}

async fn name(context: &Context) -> Result<PeerName, Failure> {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let usual = PeerName::filtered(host.split('.').next().unwrap_or_default());
    let shown = usual
        .as_ref()
        .map(|name| format!(" [{name}]"))
        .unwrap_or_default();
    question(
        context,
        &format!("What others call this machine{shown}: "),
        |answer| match (answer, &usual) {
            ("", Some(usual)) => Ok(usual.clone()),
            _ => read_name(answer),
        },
    )
    .await
}

async fn relays(context: &Context, id: Option<String>) -> Result<Vec<RelayAddress>, Failure> {
    let asked = question(
        context,
        "A relay to be reachable over, as its full multiaddr or HOST[:PORT] [none]: ",
        |answer| match answer {
            "" | "none" => Ok(None),
            full if full.starts_with('/') => read_relay(full, None)
                .map(|relay| Some((full.to_owned(), Some(relay))))
                .map_err(|failure| failure.message),
            host => super::split_host(host)
                .map(|_| Some((host.to_owned(), None)))
                .map_err(|failure| failure.message),
        },
    )
    .await?;
    let Some((host, relay)) = asked else {
        return Ok(Vec::new());
    };
    if let Some(relay) = relay {
        return Ok(vec![relay]);
    }
    let relay = match id {
        Some(id) => read_relay(&host, Some(&id))?,
        None => {
            question(context, "Its peer id, which `relay-server info` prints: ", |id| {
                read_relay(&host, Some(id)).map_err(|failure| failure.message)
            })
            .await?
        }
    };
    Ok(vec![relay])
}

async fn port(context: &Context) -> Result<u16, Failure> {
    let free = free_port()?;
    question(
        context,
        &format!("The port for TCP and UDP [{free}]: "),
        |answer| {
            let port = match answer {
                "" => free,
                text => text
                    .parse()
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or("a port is a number from 1 to 65535")?,
            };
            match is_free(port) {
                true => Ok(port),
                false => Err(format!("port {port} is taken, or not for this user")),
            }
        },
    )
    .await
}

fn read_name(text: &str) -> Result<PeerName, String> {
    text.to_ascii_lowercase()
        .parse()
        .map_err(|error: peerup_model::NameError| error.to_string())
}

/// Asks until the answer holds.
async fn question<T>(
    context: &Context,
    text: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<T, Failure> {
    loop {
        let mut err = io::stderr();
        write!(err, "{text}")
            .and_then(|()| err.flush())
            .map_err(|error| failed(format!("the terminal cannot be asked: {error}")))?;
        let answer = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            io::stdin()
                .lock()
                .read_line(&mut line)
                .map(|length| (length, line))
        });
        let (length, line) = answer
            .await
            .map_err(io::Error::other)
            .flatten()
            .map_err(|error| failed(format!("the terminal cannot be asked: {error}")))?;
        if length == 0 {
            return Err(failed("no answer: nothing was made")
                .with_hint("give --non-interactive, and flags for what matters"));
        }
        match read(line.trim()) {
            Ok(value) => return Ok(value),
            Err(error) => context.note(&format!("  {error}")),
        }
    }
}
