//! `invite`: makes a code and waits until somebody joined with it.

use peerup_api::{ClientError, InviteInfo, InviteOutcome, InviteRequest};
use peerup_daemon::Mode;
use peerup_model::Failure;
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
    let outcome = until_interrupted(invite(context, &session, arguments)).await;
    session.finish(outcome).await
}

async fn invite(context: &Context, session: &Session, arguments: Invite) -> Result<(), Failure> {
    let request = InviteRequest {
        name: arguments.name,
        ttl: Some(format!("{}s", arguments.ttl.as_secs())),
        services: arguments.services,
    };
    let made: InviteInfo =
        session.client.post("/v1/invite", &request).await.map_err(ClientError::into_failure)?;
    let mut cancel = CancelOnDrop { session, id: Some(made.id.clone()) };
    for note in &made.notes {
        context.note(&format!("note: {note}"));
    }
    if context.json {
        output::json(&made)?;
    } else {
        output::line(&made.code)?;
    }
    if !arguments.non_interactive && !context.json {
        show(context, &made);
    }
    context.note(&format!("waiting for the peer to join, until {}", made.expires));
    let waited = session.client.wait(&format!("/v1/invite/{}", made.id)).await;
    let outcome: InviteOutcome = waited.map_err(ClientError::into_failure)?;
    cancel.id = None;
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

/// Takes the code back when the person gives up waiting.
struct CancelOnDrop<'a> {
    session: &'a Session,
    id: Option<String>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let client = self.session.client.clone();
        let path = format!("/v1/invite/{id}");
        let cancelled = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                let _: Result<serde_json::Value, _> = runtime.block_on(client.delete(&path, None::<&()>));
            }
        });
        let _ = cancelled.join();
    }
}
