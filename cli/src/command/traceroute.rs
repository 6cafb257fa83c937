//! `traceroute`: shows what the traceroute plugin says, hop by hop.

use peerup_api::{Client, ClientError, TracerouteRequest};
use peerup_daemon::Mode;
use peerup_model::Failure;

use super::{print_event, usage};
use crate::{
    arguments::Traceroute,
    context::Context,
    session::{Session, until_interrupted},
};

pub(crate) async fn run(context: &Context, arguments: Traceroute) -> Result<(), Failure> {
    let request = TracerouteRequest {
        peer: arguments.peer,
        timeout_ms: u64::try_from(arguments.timeout.as_millis())
            .map_err(|_| usage("--timeout is too long"))?,
    };
    let (path, _) = context.load()?;
    let session = Session::attach_or_start(context, path, Mode::Client).await?;
    let outcome = until_interrupted(show(context, &session.client, &request)).await;
    session.finish(outcome).await
}

async fn show(context: &Context, client: &Client, request: &TracerouteRequest) -> Result<(), Failure> {
    let mut lines = client
        .post_lines("/v1/traceroute?format=both", request)
        .await
        .map_err(ClientError::into_failure)?;
    while let Some(event) = lines.next().await.map_err(ClientError::into_failure)? {
        print_event(context, &event)?;
    }
    Ok(())
}
