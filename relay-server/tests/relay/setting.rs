//! A relay in a folder of its own, on loopback.

use std::path::PathBuf;

use libp2p::PeerId;
use peerup_config::{RelayConfig, parse_relay};
use peerup_trust::{AccessPolicy, AuthorizedKeys};
use relay_server::Relay;
use tempfile::TempDir;

/// A running relay and its files.
pub(crate) struct Setting {
    pub(crate) relay: Relay,
    pub(crate) keys: PathBuf,
    /// What it was started with.
    pub(crate) config: RelayConfig,
    _folder: TempDir,
}

impl Setting {
    /// Starts a relay with these lines in its list and these lines under `enrollment` and `resources`. `asn.txt` beside its
    /// config says that loopback is AS 64496.
    pub(crate) async fn start(authorized: &str, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config_in(&folder, settings);
        peerup_trust::create_identity(&config.key_file).unwrap();
        let keys = config.security.authorized_keys_file.clone();
        std::fs::write(&keys, authorized).unwrap();
        std::fs::write(folder.path().join("asn.txt"), "127.0.0.0/8 64496\n").unwrap();
        let relay = Relay::start(config.clone()).await.unwrap();
        Self {
            relay,
            keys,
            config,
            _folder: folder,
        }
    }

    /// Starts a relay with these members and the default limits.
    pub(crate) async fn with_members(members: &[PeerId], settings: &str) -> Self {
        let lines: String = members.iter().map(|member| format!("{member}\n")).collect();
        Self::start(&lines, settings).await
    }

    /// Returns the list of authorised peers as it stands.
    pub(crate) fn list(&self) -> String {
        std::fs::read_to_string(&self.keys).unwrap()
    }
}

fn config_in(folder: &TempDir, settings: &str) -> RelayConfig {
    let text = format!("version: 1\nnetwork:\n  listen_addresses:\n    - /ip4/127.0.0.1/tcp/0\n{settings}\n");
    parse_relay(&text, &folder.path().join("relay-server.yaml"))
        .unwrap()
        .config
}

/// Returns a policy under which these peers are members.
pub(crate) fn policy_of(peers: &[PeerId]) -> AccessPolicy {
    let lines: String = peers.iter().map(|peer| format!("{peer}\n")).collect();
    AccessPolicy::new(&AuthorizedKeys::parse(&lines).unwrap())
}
