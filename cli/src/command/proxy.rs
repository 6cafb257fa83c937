//! `proxy`: forwards a local port to a service of a peer for as long as the command runs; the words below it change
//! the proxies that the daemon keeps.

mod kept;

use peerup_api::{ClientError, ConnectRequest};
use peerup_daemon::Mode;
use peerup_model::{ErrorCode, Failure};

use super::usage;
use crate::{
    arguments::Proxy,
    context::Context,
    output,
    session::{Session, until_interrupted},
};

pub(crate) async fn run(context: &Context, arguments: Proxy) -> Result<(), Failure> {
    let (peer, service) = match (arguments.command, arguments.peer, arguments.service) {
        (Some(command), ..) => return kept::run(context, command).await,
        (None, Some(peer), Some(service)) => (peer, service),
        (None, ..) => return Err(usage("a peer and a service are needed")),
    };
    let listen = read_listen(arguments.listen.as_deref())?;
    let request = ConnectRequest {
        peer,
        service,
        listen,
    };
    let (path, _) = context.load()?;
    let session = Session::attach_or_start(context, path, Mode::Client).await?;
    let outcome = until_interrupted(follow(context, &session, &request)).await;
    session.finish(outcome).await
}

/// Follows the proxy until it ends, which is a failure: only the person ends it.
async fn follow(context: &Context, session: &Session, request: &ConnectRequest) -> Result<(), Failure> {
    let path = "/v1/connect?follow=true&format=both";
    let mut lines = session
        .client
        .post_lines(path, request)
        .await
        .map_err(ClientError::into_failure)?;
    let mut listening = false;
    while let Some(event) = lines.next().await.map_err(ClientError::into_failure)? {
        let text = event
            .get("text")
            .and_then(|text| text.as_str())
            .unwrap_or_default();
        if listening {
            context.note(text);
        } else if context.json {
            output::json(event.get("json").unwrap_or(&serde_json::Value::Null))?;
        } else {
            output::line(text)?;
        }
        listening = true;
    }
    Err(
        Failure::new(ErrorCode::Failed, "the daemon ended, and the proxy with it")
            .with_hint("start it again with: peerup daemon"),
    )
}

/// Returns where to listen: a port stands for one on 127.0.0.1.
pub(super) fn read_listen(text: Option<&str>) -> Result<String, Failure> {
    let text = text.unwrap_or("0");
    if let Ok(port) = text.parse::<u16>() {
        return Ok(format!("127.0.0.1:{port}"));
    }
    let with_host = text
        .strip_prefix(':')
        .map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    peerup_config::check_host_port(&with_host).or_else(|error| {
        // Port 0 is no address to connect to, but one to listen on.
        if with_host
            .rsplit_once(':')
            .is_some_and(|(host, port)| port == "0" && !host.is_empty())
        {
            return Ok(());
        }
        Err(usage(format!("{text:?} is no address to listen on: {error}"))
            .with_hint("give a port such as 8080, or address:port such as 127.0.0.1:8080"))
    })?;
    Ok(with_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_stands_for_one_on_loopback() {
        for (given, listen) in [
            (None, "127.0.0.1:0"),
            (Some("8080"), "127.0.0.1:8080"),
            (Some("0.0.0.0:80"), "0.0.0.0:80"),
            (Some("[::1]:0"), "[::1]:0"),
        ] {
            assert_eq!(read_listen(given).unwrap(), listen);
        }
        for bad in ["", "host", "127.0.0.1:", "127.0.0.1:99999", "-1"] {
            assert_eq!(
                read_listen(Some(bad)).unwrap_err().code,
                ErrorCode::Invalid,
                "{bad}"
            );
        }
    }
}
