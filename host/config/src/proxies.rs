//! The proxies that a daemon keeps: a local address each, carried to one service of one peer.

use std::collections::BTreeMap;

use peerup_model::{ProxyName, ServiceName};

use crate::{
    raw::RawProxy,
    values::{self, Reader, at, check_host_port},
};

/// Proxies that a config may hold.
pub const MAX_PROXIES: usize = 128;
/// Characters of what names a peer; more is no name that any resolver takes.
const MAX_PEER: usize = 253;

/// One proxy that the daemon keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyEntry {
    /// A name or a peer id, as the operator wrote it; looked up when the proxy starts.
    pub peer: String,
    /// The service at that peer.
    pub service: ServiceName,
    /// `address:port` to listen on, with a port that is not 0.
    pub listen: String,
    /// Whether it runs.
    pub enabled: bool,
}

impl ProxyEntry {
    /// Checks what an operator gave; the proxy is enabled. A port alone stands for one on 127.0.0.1.
    ///
    /// # Errors
    /// The key that does not hold, and why.
    pub fn new(peer: &str, service: &str, listen: &str) -> Result<Self, (&'static str, String)> {
        Ok(Self {
            peer: check_peer(peer).map_err(|error| ("peer", error))?,
            service: values::parsed(service).map_err(|error| ("service", error))?,
            listen: check_listen(listen).map_err(|error| ("listen", error))?,
            enabled: true,
        })
    }
}

/// Resolves the section; everything wrong is in the reader afterwards.
pub(crate) fn resolve(
    raw: BTreeMap<String, RawProxy>,
    reader: &mut Reader<'_>,
) -> BTreeMap<ProxyName, ProxyEntry> {
    if raw.len() > MAX_PROXIES {
        reader.problem(
            at!["proxies"],
            format!("{} proxies; at most {MAX_PROXIES} are allowed", raw.len()),
        );
    }
    let mut proxies = BTreeMap::new();
    for (name, proxy) in raw {
        let key = reader.take(at!["proxies", &name], values::parsed(&name));
        let entry = entry(&name, proxy, reader);
        proxies.extend(key.zip(entry));
    }
    proxies
}

fn entry(name: &String, raw: RawProxy, reader: &mut Reader<'_>) -> Option<ProxyEntry> {
    let missing = |key: &str, what: &str| format!("{key} is missing: {what}");
    let peer = match raw.peer {
        Some(peer) => reader.take(at!["proxies", name, "peer"], check_peer(&peer)),
        None => reader.take(at!["proxies", name], Err(missing("peer", "a name or a peer id"))),
    };
    let service = match raw.service {
        Some(service) => reader.take(at!["proxies", name, "service"], values::parsed(&service)),
        None => reader.take(
            at!["proxies", name],
            Err(missing("service", "the service at that peer")),
        ),
    };
    let listen = match raw.listen {
        Some(listen) => reader.take(at!["proxies", name, "listen"], check_listen(&listen)),
        None => reader.take(
            at!["proxies", name],
            Err(missing("listen", "the address:port to listen on")),
        ),
    };
    Some(ProxyEntry {
        peer: peer?,
        service: service?,
        listen: listen?,
        enabled: raw.enabled.unwrap_or(true),
    })
}

fn check_peer(text: &str) -> Result<String, String> {
    let fits = |c: char| !c.is_whitespace() && !c.is_control();
    if text.is_empty() || text.chars().count() > MAX_PEER || !text.chars().all(fits) {
        return Err(format!("{text:?} is neither a name nor a peer id"));
    }
    Ok(text.to_owned())
}

fn check_listen(text: &str) -> Result<String, String> {
    let full = match text.parse::<u16>() {
        Ok(port) => format!("127.0.0.1:{port}"),
        Err(_) => text.to_owned(),
    };
    check_host_port(&full).map_err(|error| error.to_string())?;
    Ok(full)
}
