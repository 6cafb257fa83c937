//! What the daemon's watchdog looks at, and what the service manager is told of the node.
//!
//! Three checks, all of this process: the node's task answers, it still listens, the API answers a request on the
//! socket that is this daemon's own. Peers, relays and the internet are none of them.

use std::{path::PathBuf, sync::Arc, time::Duration};

use peerup_api::Client;
use peerup_net::{Node, NodeHealth, NodeStatus};
use peerup_ops::{Observer, notify_status, watch};

use crate::{app::App, endpoint::SocketFile};

/// How long the status may change before it is told again: peers come and go in bunches.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// Watches until the node ends.
pub(crate) fn start(app: &Arc<App>, folder: PathBuf, socket: SocketFile) {
    let (node, listening) = (app.node.clone(), app.node.clone());
    let observers = vec![
        Observer::new("loop", move || answers(node.clone())),
        Observer::new("listeners", move || listens(listening.clone())),
        Observer::new("api", move || serves(folder.clone(), socket.clone())),
    ];
    app.set_watch(watch(observers, &app.tasks, &app.shutdown));
    app.tasks.spawn(tell_status(app.clone()));
}

async fn answers(node: Node) -> Result<(), String> {
    let health = node.health().await;
    health.map(drop).map_err(|error| error.to_string())
}

async fn listens(node: Node) -> Result<(), String> {
    let health = node.health().await.map_err(|error| error.to_string())?;
    has_listeners(health)
}

/// One listener of several may be gone with an interface; a node that has none left cannot be reached any more.
fn has_listeners(health: NodeHealth) -> Result<(), String> {
    match (health.listeners, health.wanted) {
        (0, 1..) => Err("every listener has closed".to_owned()),
        (left, wanted) if left < wanted => {
            tracing::warn!(left, wanted, "some listeners have closed");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Does what every command does: finds the socket, reads the cookie, asks.
async fn serves(folder: PathBuf, socket: SocketFile) -> Result<(), String> {
    if !socket.is_ours() {
        return Err(format!(
            "{} is not this daemon's socket any more",
            socket.path().display()
        ));
    }
    let answer = Client::new(folder).get::<serde_json::Value>("/v1/services").await;
    answer.map(drop).map_err(|error| error.into_failure().message)
}

async fn tell_status(app: Arc<App>) {
    let mut status = app.node.watch();
    loop {
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => return,
            changed = status.changed() => if changed.is_err() { return },
            () = app.guard.stands_otherwise() => {}
        }
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(STATUS_PAUSE) => {}
        }
        let now = *status.borrow_and_update();
        notify_status(&status_line(&app, now));
    }
}

/// Returns how the node is, in a line.
pub(crate) fn status_line(app: &App, status: NodeStatus) -> String {
    if let Some(problem) = peerup_ops::config_problem(app) {
        return problem;
    }
    line(status, crate::app::infra(&app.config()).len())
}

fn line(status: NodeStatus, relays: usize) -> String {
    let peers = match status.connected_peers {
        1 => "1 peer".to_owned(),
        count => format!("{count} peers"),
    };
    format!(
        "connected to {peers}, relays included; reserved on {} of {relays} relays",
        status.reserved_relays
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_any_listener_is_stuck_and_one_with_some_is_not() {
        let health = |listeners, wanted| NodeHealth { listeners, wanted };
        assert!(has_listeners(health(0, 2)).is_err());
        assert!(has_listeners(health(1, 2)).is_ok());
        assert!(has_listeners(health(0, 0)).is_ok());
    }

    #[test]
    fn the_status_tells_peers_and_relays() {
        let status = NodeStatus {
            listening: true,
            reserved_relays: 1,
            connected_peers: 1,
        };
        assert_eq!(
            line(status, 2),
            "connected to 1 peer, relays included; reserved on 1 of 2 relays"
        );
    }
}
