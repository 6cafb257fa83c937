//! The commented configs that `peerup init` and `relay-server init` write.

use multiaddr::Multiaddr;
use peerup_model::PeerName;

use crate::{patch::scalar, values::RelayAddress};

/// What a new node's config says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTemplate {
    /// What the node calls itself, where one was chosen.
    pub name: Option<PeerName>,
    /// The one port for TCP and QUIC, on IPv4 and IPv6.
    pub port: u16,
    /// The relays to begin with.
    pub relays: Vec<RelayAddress>,
}

/// What a new relay server's config says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RelayTemplate {
    /// Addresses to listen on; empty for port 7777 on every interface.
    pub listen: Vec<Multiaddr>,
    /// Addresses under which peers reach it, where they differ.
    pub external: Vec<Multiaddr>,
}

/// Writes a node's config, each key explained. It loads without warnings.
pub fn render_node_config(template: &NodeTemplate) -> String {
    let port = template.port;
    let name = match &template.name {
        Some(name) => format!("name: {}", scalar(name.as_str())),
        None => "#name: laptop".to_owned(),
    };
    let listen = [
        format!("/ip4/0.0.0.0/tcp/{port}"),
        format!("/ip4/0.0.0.0/udp/{port}/quic-v1"),
        format!("/ip6/::/tcp/{port}"),
        format!("/ip6/::/udp/{port}/quic-v1"),
    ];
    NODE_TEMPLATE
        .replace("@NAME@", &name)
        .replace("@LISTEN@", &list("listen_addresses", &listen))
        .replace("@RELAYS@", &list("addresses", &template.relays))
}

/// Writes a relay server's config, each key explained. It loads without warnings.
pub fn render_relay_config(template: &RelayTemplate) -> String {
    let default = [
        "/ip4/0.0.0.0/tcp/7777",
        "/ip4/0.0.0.0/udp/7777/quic-v1",
        "/ip6/::/tcp/7777",
        "/ip6/::/udp/7777/quic-v1",
    ];
    let listen = match template.listen.is_empty() {
        true => list("listen_addresses", &default),
        false => list("listen_addresses", &template.listen),
    };
    RELAY_TEMPLATE
        .replace("@LISTEN@", &listen)
        .replace("@EXTERNAL@", &list("external_addresses", &template.external))
}

fn list(key: &str, items: &[impl ToString]) -> String {
    if items.is_empty() {
        return format!("  {key}: []");
    }
    let mut lines = format!("  {key}:");
    for item in items {
        lines.push_str("\n    - ");
        lines.push_str(&scalar(&item.to_string()));
    }
    lines
}

const NODE_TEMPLATE: &str = include_str!("template/node.yaml");
const RELAY_TEMPLATE: &str = include_str!("template/relay.yaml");
