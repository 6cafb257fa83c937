//! `events`: what happens in the running daemon, as it happens.

use peerup_api::ClientError;
use peerup_model::{ErrorCode, Failure};

use crate::{
    context::Context,
    session::{Session, until_interrupted},
};

pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let session = Session::attach(context).await?;
    let shown = until_interrupted(async {
        let opened = session.client.get_lines("/v1/events?format=both").await;
        let mut lines = opened.map_err(ClientError::into_failure)?;
        context.note("following the events of the daemon; Ctrl-C ends it");
        while let Some(line) = lines.next().await.map_err(ClientError::into_failure)? {
            super::print_event(context, &line)?;
        }
        Err(Failure::new(ErrorCode::Interrupted, "the daemon has ended"))
    })
    .await;
    match shown {
        // Ending it by hand, or with the daemon, is how following ends.
        Err(failure) if failure.code == ErrorCode::Interrupted => Ok(()),
        other => other,
    }
}
