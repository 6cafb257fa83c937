//! Which connections still answer: probes of idle and doubtful ones, and the end of those that do not.
//!
//! Part of the node's task.

use std::time::{Duration, Instant};

use libp2p::{PeerId, swarm::ConnectionId};
use peerup_paths::LivenessCommand;

use super::{NodeActor, TaskOutcome};
use crate::node::probe::probe;

impl NodeActor {
    /// Takes signs of life over into the machine. Streams note theirs without telling anybody.
    pub(super) fn gather_answers(&mut self) {
        for conn in self.streams.all() {
            if let Some(at) = conn.last_answer() {
                self.liveness.handle_answer(conn.id(), at);
            }
        }
    }

    /// Probes and closes what the machine says.
    pub(super) fn run_liveness(&mut self, now: Instant) {
        while let Some(command) = self.liveness.next_command() {
            match command {
                LivenessCommand::Probe(connection) => self.start_probe(connection),
                LivenessCommand::Close(connection) => {
                    if let Some(peer) = self.connections.get(&connection) {
                        tracing::info!(%peer, %connection, "closes a connection that does not answer");
                        // An orderly close waits for a peer that may be gone for good; its streams need not.
                        if let Some(conn) = self.streams.find(peer, connection) {
                            conn.mark_closed();
                        }
                    }
                    self.swarm.close_connection(connection);
                }
            }
        }
        let mut doubtful = Vec::new();
        for conn in self.streams.all() {
            if self.liveness.is_suspect(&conn.id()) && !conn.is_suspect() {
                conn.set_suspect(true);
                doubtful.push(conn.peer());
            }
        }
        for peer in doubtful {
            self.review_member(&peer, now);
            self.review_path(peer);
        }
    }

    /// Probes the direct connections to a peer, which seems to have none that works: it comes over a relay, or says so.
    /// Where its network has changed it has noticed at once, and this side would only with the next idle probe.
    pub(super) fn doubt_direct(&mut self, peer: &PeerId, now: Instant) {
        for conn in self.streams.connections(peer) {
            if !conn.path().is_relayed() {
                self.liveness.probe(conn.id(), now);
            }
        }
    }

    fn start_probe(&mut self, connection: ConnectionId) {
        let Some(peer) = self.connections.get(&connection).copied() else {
            return;
        };
        let Some(conn) = self.streams.find(&peer, connection) else {
            return;
        };
        if self.tasks.len() >= super::MAX_TASKS {
            return;
        }
        let streams = self.streams.clone();
        self.tasks.spawn(async move {
            let rtt = probe(streams, conn).await;
            TaskOutcome::Probe {
                peer,
                connection,
                rtt,
            }
        });
    }

    /// Takes the outcome of a probe.
    pub(super) fn handle_probe(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        rtt: Option<Duration>,
        now: Instant,
    ) {
        let Some(rtt) = rtt else { return };
        self.handle_answer(peer, connection, rtt, now);
    }

    /// Takes an answer with its round trip, whoever asked.
    pub(super) fn handle_answer(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        rtt: Duration,
        now: Instant,
    ) {
        self.streams.note_answer(&peer, connection, rtt);
        self.liveness.handle_answer(connection, now);
        self.relays.handle_rtt(&peer, rtt);
        self.review_member(&peer, now);
        self.review_path(peer);
    }
}
