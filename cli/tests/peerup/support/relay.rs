//! A relay in this process, on loopback, with a folder of its own.

use std::{fs, path::PathBuf};

use peerup_config::{RelayConfig, parse_relay};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::eventually;

/// A running relay. It lives in a runtime of its own, because the tests wait for processes.
pub(crate) struct Relay {
    runtime: Runtime,
    relay: Option<relay_server::Relay>,
    config: RelayConfig,
    /// Its full address, with `/p2p/`.
    pub(crate) address: String,
    pub(crate) peer_id: String,
    _folder: TempDir,
}

impl Relay {
    /// Starts a relay with these members and these lines in its config.
    pub(crate) fn start(members: &[String], settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text =
            format!("version: 1\nnetwork:\n  listen_addresses:\n    - /ip4/127.0.0.1/tcp/0\n{settings}\n");
        let config = parse_relay(&text, &folder.path().join("relay-server.yaml"))
            .unwrap()
            .config;
        peerup_trust::create_identity(&config.key_file).unwrap();
        let lines: String = members.iter().map(|member| format!("{member}\n")).collect();
        fs::write(&config.security.authorized_keys_file, lines).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let relay = runtime
            .block_on(relay_server::Relay::start(config.clone()))
            .unwrap();
        let peer_id = relay.peer_id().to_base58();
        let own = relay.addresses().first().unwrap().to_string();
        let address = match own.contains("/p2p/") {
            true => own,
            false => format!("{own}/p2p/{peer_id}"),
        };
        Self {
            runtime,
            relay: Some(relay),
            config,
            address,
            peer_id,
            _folder: folder,
        }
    }

    fn keys(&self) -> PathBuf {
        self.config.security.authorized_keys_file.clone()
    }

    /// Returns its list of authorised peers as it stands.
    pub(crate) fn list(&self) -> String {
        fs::read_to_string(self.keys()).unwrap()
    }

    /// Adds a member by hand. The relay sees it at its next look.
    pub(crate) fn add(&self, peer: &str) {
        fs::write(self.keys(), format!("{}{peer}\n", self.list())).unwrap();
    }

    /// Waits until a peer is on its list.
    #[track_caller]
    pub(crate) fn knows(&self, peer: &str) {
        eventually("the relay to know the peer", || self.list().contains(peer));
    }

    /// Ends it; its port is free then.
    pub(crate) fn stop(&mut self) {
        if let Some(relay) = self.relay.take() {
            self.runtime.block_on(relay.shutdown());
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop();
    }
}
