//! `invite`: makes a code and waits until somebody joined with it.

use peerup_api::{ClientError, InviteInfo, InviteOutcome, InviteRequest, whole_seconds};
use peerup_daemon::Mode;
use peerup_model::{ErrorCode, Failure};
use qrcode::{QrCode, render::unicode};

use crate::{
    arguments::Invite,
    context::Context,
    output,
    session::{Session, until_interrupted},
};

pub(crate) async fn run(context: &Context, arguments: Invite) -> Result<(), Failure> {
    let (path, _) = context.load()?;
    let session = Session::attach_or_start(context, path, Mode::Reachable).await?;
    let outcome = invite(context, &session, arguments).await;
    session.finish(outcome).await
}

async fn invite(context: &Context, session: &Session, arguments: Invite) -> Result<(), Failure> {
    let request = InviteRequest {
        name: arguments.name,
        ttl: Some(format!("{}s", arguments.ttl.as_secs())),
        services: arguments.services,
    };
    let make = async {
        session
            .client
            .post("/v1/invite", &request)
            .await
            .map_err(ClientError::into_failure)
    };
    let made: InviteInfo = until_interrupted(make).await?;
    let path = format!("/v1/invite/{}", made.id);
    let joined = until_interrupted(wait(context, session, &made, &path, arguments.non_interactive)).await;
    if matches!(&joined, Err(failure) if failure.code != ErrorCode::TimedOut) {
        // Whoever gives up waiting takes the code back. One that expired is remembered for a while, so that
        // a late joiner is told so.
        let _: Result<serde_json::Value, _> = session.client.delete(&path, None::<&()>).await;
    }
    joined
}

async fn wait(
    context: &Context,
    session: &Session,
    made: &InviteInfo,
    path: &str,
    non_interactive: bool,
) -> Result<(), Failure> {
    for note in &made.notes {
        context.note(&format!("note: {note}"));
    }
    if context.json {
        output::json(made)?;
    } else {
        output::line(&made.code)?;
    }
    if !non_interactive && !context.json {
        show(context, made);
    }
    context.note(&format!(
        "waiting for the peer to join, until {}",
        whole_seconds(&made.expires)
    ));
    let outcome: InviteOutcome = session
        .client
        .wait(path)
        .await
        .map_err(ClientError::into_failure)?;
    for note in &outcome.notes {
        context.note(&format!("left to do: {note}"));
    }
    if context.json {
        return output::json(&outcome);
    }
    context.note(&format!("paired with {} ({})", outcome.name, outcome.peer_id));
    Ok(())
}

fn show(context: &Context, made: &InviteInfo) {
    // Without the dashes a code needs only what a QR picture packs tightest.
    let bare: String = made.code.chars().filter(|character| *character != '-').collect();
    if let Ok(picture) = QrCode::new(bare) {
        context.note(&picture.render::<unicode::Dense1x2>().build());
    }
    context.note("on the other machine: peerup join, with this code");
}
