//! `info`: what a peer needs to know of this relay.

use std::path::{Path, absolute};

use peerup_model::Failure;
use peerup_trust::load_identity;
use serde::Serialize;

use super::{Found, print, print_json, tell};
use crate::address;
use crate::arguments::OutputArguments;
use crate::failure::identity_failure;
use crate::qr::qr_picture;

/// What `info --json` prints.
#[derive(Debug, Serialize)]
struct Info {
    peer_id: String,
    /// Full multiaddrs, the first the best to hand out; empty when the config does not tell.
    addresses: Vec<String>,
    enrollment: String,
    config: String,
    authorized_keys: String,
}

/// Prints peer id, addresses and a QR picture of the first address.
pub(super) fn info(found: &Found, output: &OutputArguments) -> Result<(), Failure> {
    let peer = load_identity(&found.config.key_file)
        .map_err(|error| identity_failure(&error))?
        .public()
        .to_peer_id();
    let addresses = address::expected(&found.config.network, peer);
    if found.config.network.external_addresses.is_empty() {
        tell(match addresses.is_empty() {
            true => {
                "note: the config does not tell an address; set network.external_addresses to what peers reach"
            }
            false => {
                "note: no external address is configured, so these are this machine's own; set \
                 network.external_addresses to what peers reach from outside"
            }
        });
    }
    let full = |path: &Path| {
        absolute(path)
            .unwrap_or_else(|_| path.to_owned())
            .display()
            .to_string()
    };
    let info = Info {
        peer_id: peer.to_string(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        enrollment: found.config.enrollment.to_string(),
        config: full(&found.path),
        authorized_keys: full(&found.config.security.authorized_keys_file),
    };
    if output.json {
        print_json(&info)
    } else {
        print(&as_text(&info))
    }
}

fn as_text(info: &Info) -> String {
    let mut text = format!("peer id: {}\n", info.peer_id);
    for address in &info.addresses {
        text.push_str(&format!("address: {address}\n"));
    }
    text.push_str(&format!("enrollment: {}\n", info.enrollment));
    if let Some(picture) = info.addresses.first().and_then(|address| qr_picture(address)) {
        text.push('\n');
        text.push_str(&picture);
    }
    text
}
