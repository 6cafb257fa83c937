//! `GET /v1/events`: what happens in the node, as it happens.

use std::sync::Arc;

use axum::{body::Bytes, extract::State, response::Response};
use peerup_api::Event;
use tokio::sync::{broadcast::error::RecvError, mpsc};

use super::answer::{Format, LINES_IN_FLIGHT, Refusal};
use crate::{app::App, events};

pub(super) async fn events(State(app): State<Arc<App>>, format: Format) -> Result<Response, Refusal> {
    let mut news = app.events.follow()?;
    let (sender, lines) = mpsc::channel(LINES_IN_FLIGHT);
    let shutdown = app.shutdown.clone();
    app.tasks.spawn(async move {
        let told = async {
            loop {
                let event = tokio::select! {
                    () = sender.closed() => return,
                    event = news.recv() => event,
                };
                let line = match event {
                    Ok(event) => line(&event, format),
                    Err(RecvError::Lagged(missed)) => line(&events::missed(missed), format),
                    Err(RecvError::Closed) => return,
                };
                if sender.send(line).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = told => {}
        }
    });
    Ok(format.stream(lines))
}

fn line(event: &Event, format: Format) -> Bytes {
    let json = serde_json::to_value(event).unwrap_or_default();
    format.line(&events::text(event), &json)
}
