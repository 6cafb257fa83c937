//! What a change of the network or a jump of the clock means: everything that was learned before is in doubt.
//!
//! Part of the node's task.

use std::time::Instant;

use peerup_paths::{AddressScope, scope};

use super::{NodeActor, TaskOutcome};
use crate::{
    address::is_circuit,
    netwatch::{NetEvent, NetState},
    node::{book::unix_now, book_file},
    snapshot::NodeEvent,
};

/// How often the address book is looked at for something to save.
const SAVE_INTERVAL: std::time::Duration = std::time::Duration::from_secs(30);

impl NodeActor {
    pub(super) fn handle_net_event(&mut self, event: NetEvent, now: Instant) {
        match event {
            NetEvent::Initial { network_id, state } => {
                self.book.set_network(Some(network_id));
                self.note_local(&state);
            }
            NetEvent::Identified { network_id, .. } => self.book.rename_network(network_id),
            NetEvent::Changed { network_id, state } => {
                tracing::info!(network = network_id, "the network changed: every path is checked");
                self.book.set_network(Some(network_id));
                self.note_local(&state);
                self.start_over(now);
            }
            NetEvent::Clock => {
                tracing::info!("the clock jumped or the machine slept: every path is checked");
                self.start_over(now);
            }
        }
    }

    fn note_local(&mut self, state: &NetState) {
        // An address of a tunnel is no address of this network: 100.64.0.0/10 on one does not make a carrier's NAT.
        let addresses = state
            .addresses
            .iter()
            .copied()
            .filter(|ip| !matches!(scope(*ip), AddressScope::Loopback | AddressScope::LinkLocal))
            .filter(|ip| scope(*ip) != AddressScope::Cgnat || state.tunnels.is_empty())
            .collect();
        self.nat.note_local_address(addresses);
    }

    /// Checks every path and forgets every waiting time.
    pub(super) fn start_over(&mut self, now: Instant) {
        self.nat.forget_all();
        self.seen.clear();
        let external: Vec<_> = self.swarm.external_addresses().cloned().collect();
        for address in external {
            if !self.external.contains(&address) && !is_circuit(&address) {
                self.swarm.remove_external_address(&address);
            }
        }
        let listening: Vec<_> = self.swarm.listeners().cloned().collect();
        self.swarm.behaviour_mut().start_anew(listening.iter());
        self.reset_backoffs(now);
        self.gather_answers();
        self.liveness.probe_all(now);
        self.note_addresses();
        let _ = self.events.send(NodeEvent::NetworkChanged);
    }

    /// Tries at once what waits for its turn.
    pub(super) fn reset_backoffs(&mut self, now: Instant) {
        self.backoffs.reset_all();
        self.relays.handle_network_change(now);
        for (_, member) in self.members.iter_mut() {
            member.upgrade.handle_network_change(now);
        }
    }

    /// Saves the address book now and then, off the event loop.
    pub(super) fn save_book(&mut self, now: Instant) {
        let Some(path) = self.book_path.clone() else {
            return;
        };
        if self.saving || now < self.save_at {
            return;
        }
        self.save_at = now + SAVE_INTERVAL;
        self.book.prune(unix_now());
        if !self.book.dirty() {
            return;
        }
        let bytes = book_file::encode(&self.book, unix_now());
        self.book.mark_clean();
        self.saving = true;
        self.tasks
            .spawn_blocking(move || TaskOutcome::Saved(book_file::save(&path, &bytes)));
    }

    /// Saves the address book at the end.
    pub(super) async fn save_book_last(&mut self) {
        let Some(path) = self.book_path.take().filter(|_| self.book.dirty()) else {
            return;
        };
        let bytes = book_file::encode(&self.book, unix_now());
        let saved = tokio::task::spawn_blocking(move || book_file::save(&path, &bytes)).await;
        if let Ok(Err(error)) = saved {
            tracing::warn!(%error, "the address book could not be saved");
        }
    }
}
