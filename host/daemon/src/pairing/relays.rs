//! Asks relays to admit a peer: a one-time identity for one circuit, or a new member for good.

use std::time::Duration;

use libp2p_identity::PeerId;
use peerup_model::{ADMIT_PROTOCOL, PathPolicy};
use peerup_trust::{AdmitRequest, AdmitResponse};

use super::wire;
use crate::app::App;

/// How long one relay may take. Pairing waits for it, so it is well below the pairing's own time.
const RELAY_TIME: Duration = Duration::from_secs(8);

/// Asks one relay.
///
/// # Errors
/// A sentence for the operator: what the relay said or that it was not reached, and what to do.
pub(super) async fn ask(app: &App, relay: PeerId, request: &AdmitRequest) -> Result<(), String> {
    let shown = app.display(&relay);
    let exchange = async {
        let mut stream = app
            .node
            .open(relay, ADMIT_PROTOCOL, PathPolicy::DirectOnly)
            .await
            .map_err(|error| format!("the relay {shown} was not reached: {error}"))?;
        let broken = |error: std::io::Error| format!("the relay {shown} did not answer: {error}");
        wire::send(&mut stream, &request.encode()).await.map_err(broken)?;
        let payload = wire::receive(&mut stream).await.map_err(broken)?;
        AdmitResponse::decode(&payload)
            .map_err(|error| format!("the relay {shown} answered nonsense: {error}"))
    };
    let answer = tokio::time::timeout(RELAY_TIME, exchange)
        .await
        .unwrap_or_else(|_| Err(format!("the relay {shown} did not answer within {RELAY_TIME:?}")))?;
    match answer {
        AdmitResponse::Admitted => Ok(()),
        AdmitResponse::Refused(reason) => {
            let todo = match request {
                AdmitRequest::Enroll { peer, .. } => {
                    format!("on the relay, run: relay-server authorize {peer}")
                }
                _ => format!("on the relay, run: relay-server authorize {}", app.peer_id()),
            };
            Err(format!("the relay {shown} refused: {reason}; {todo}"))
        }
    }
}
