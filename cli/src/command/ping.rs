//! `ping`: shows what the ping plugin says, line by line.

use peerup_api::{Client, ClientError, PingRequest};
use peerup_daemon::Mode;
use peerup_model::{ErrorCode, Failure};

use super::{print_event, usage};
use crate::{
    arguments::Ping,
    context::Context,
    session::{Session, until_interrupted},
};

pub(crate) async fn run(context: &Context, arguments: Ping) -> Result<(), Failure> {
    let (path, _) = context.load()?;
    let session = Session::attach_or_start(context, path, Mode::Client).await?;
    let outcome = through(context, &session.client, arguments).await;
    session.finish(outcome).await
}

/// Pings through a daemon or a temporary node.
pub(super) async fn through(context: &Context, client: &Client, arguments: Ping) -> Result<(), Failure> {
    let milliseconds = |time: std::time::Duration, flag: &str| {
        u64::try_from(time.as_millis()).map_err(|_| usage(format!("{flag} is too long")))
    };
    let request = PingRequest {
        peer: arguments.peer,
        count: arguments.count,
        interval_ms: milliseconds(arguments.interval, "--interval")?,
        timeout_ms: milliseconds(arguments.timeout, "--timeout")?,
        until_direct: arguments.until_direct,
    };
    let mut received = 0_u64;
    let shown = until_interrupted(show(context, client, &request, &mut received)).await;
    match shown {
        Ok(()) if received == 0 => Err(Failure::new(ErrorCode::Unreachable, "nothing came back")
            .with_hint("is its daemon running? see: peerup status")),
        // Ending an endless ping by hand is how it ends.
        Err(failure) if failure.code == ErrorCode::Interrupted && received > 0 && request.count == 0 => {
            Ok(())
        }
        other => other,
    }
}

async fn show(
    context: &Context,
    client: &Client,
    request: &PingRequest,
    received: &mut u64,
) -> Result<(), Failure> {
    let mut lines = client
        .post_lines("/v1/ping?format=both", request)
        .await
        .map_err(ClientError::into_failure)?;
    while let Some(event) = lines.next().await.map_err(ClientError::into_failure)? {
        let answered = event.get("json").and_then(|json| json.get("rtt_ms"));
        if answered.is_some() {
            *received += 1;
        }
        print_event(context, &event)?;
    }
    Ok(())
}
