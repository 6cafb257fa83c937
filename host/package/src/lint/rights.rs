//! Rights that are wider than what a plugin is likely to need, by what its manifest asks for.

use std::net::IpAddr;

use super::Finding;
use crate::{
    capability::{self, CapabilityName},
    manifest::{Capability, Manifest},
    rights::{is_only_its_own, is_own},
    surface::Surface,
};

/// A longer range of ports is a wide one.
const MANY_PORTS: u32 = 100;
/// A larger store is asked for by mistake as a rule.
const LARGE_STORE: u64 = 1 << 30;
/// Parts of names of variables that hold secrets.
const SECRETS: [&str; 6] = ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "KEY"];
/// Folders of the system. What is written there changes the machine for everybody.
const SYSTEM: [&str; 10] = [
    "/bin", "/boot", "/etc", "/lib", "/opt", "/root", "/run", "/sbin", "/usr", "/var",
];

pub(super) fn check(manifest: &Manifest, surface: Option<&Surface>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for capability in &manifest.capabilities {
        let about = format!("capability {}", capability.name);
        findings.extend(one(manifest, capability, &about));
        findings.extend(
            capability
                .values
                .iter()
                .filter_map(|value| wide_value(capability.name, value, &about)),
        );
    }
    findings.extend(peers(manifest));
    findings.extend(surface.and_then(|surface| names(manifest, surface)));
    findings.extend(served(manifest));
    findings
}

fn one(manifest: &Manifest, capability: &Capability, about: &str) -> Option<Finding> {
    if is_only_its_own(manifest, capability) {
        return Some(Finding::advice(
            about,
            "it asks for nothing but the plugin's own protocols",
            format!(
                "/peerup/p/{}/... needs no grant; take the capability out",
                manifest.name
            ),
        ));
    }
    if capability.name == CapabilityName::Store && capability.values.is_empty() {
        return Some(Finding::advice(
            about,
            "it names no size",
            "the operator has to guess one, and --yes-as-declared leaves it out; write values = [\"10MB\"]",
        ));
    }
    None
}

fn wide_value(name: CapabilityName, value: &str, about: &str) -> Option<Finding> {
    match name {
        CapabilityName::Protocols if value.contains('*') => Some(Finding::warning(
            about,
            format!("{value} stands for every service of every peer"),
            "name the services that it is for, or leave values out and let the operator choose",
        )),
        CapabilityName::TcpConnect | CapabilityName::UdpConnect => wide_target(value, about),
        CapabilityName::TcpListen | CapabilityName::UdpBind => wide_listener(value, about),
        CapabilityName::Directories => wide_folder(value, about),
        CapabilityName::Store if capability::size(value)? > LARGE_STORE => Some(Finding::warning(
            about,
            format!("{value} is a large store"),
            "it is kept beside the config, on the disk that the daemon needs; keep files in a granted folder",
        )),
        CapabilityName::Environment
            if SECRETS
                .iter()
                .any(|part| value.to_ascii_uppercase().contains(part)) =>
        {
            Some(Finding::warning(
                about,
                format!("{value} looks like a secret"),
                "whatever the plugin can reach could be sent it; take such a thing from settings, which only this plugin \
                 sees",
            ))
        }
        _ => None,
    }
}

fn wide_target(value: &str, about: &str) -> Option<Finding> {
    let (host, first, last) = capability::address(value)?;
    if is_unspecified(&host) {
        return Some(Finding::warning(
            about,
            format!("{value} is no address that one connects to; the system takes it for this machine"),
            "name the address: 127.0.0.1 or localhost for this machine",
        ));
    }
    many_ports(first, last).then(|| {
        Finding::warning(
            about,
            format!("{value} is {} ports", ports(first, last)),
            "each is a door: of a router, a database, a printer. Name the ports that the plugin speaks to",
        )
    })
}

fn wide_listener(value: &str, about: &str) -> Option<Finding> {
    let (host, first, last) = capability::address(value)?;
    if is_unspecified(&host) {
        return Some(Finding::warning(
            about,
            format!("{value} is every network of the machine"),
            "whoever reaches the machine reaches the plugin, past the gate that peers have to pass. Use 127.0.0.1, or let \
             the operator name the address",
        ));
    }
    let free = first == 0 && last == u16::MAX;
    (many_ports(first, last) && !free).then(|| {
        Finding::advice(
            about,
            format!("{value} is {} ports", ports(first, last)),
            "name the port, or host:* where any free one will do",
        )
    })
}

fn wide_folder(value: &str, about: &str) -> Option<Finding> {
    let (path, access) = value.rsplit_once(':')?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let below = |folder: &&str| {
        path == *folder
            || path
                .strip_prefix(*folder)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    let system = SYSTEM
        .iter()
        .find(|folder| below(folder))
        .filter(|_| !path.starts_with("/var/lib/"));
    let home = matches!(parts.as_slice(), ["home" | "Users"] | ["home" | "Users", _]) || path == "/root";
    if home {
        return Some(Finding::warning(
            about,
            format!("{value} is a whole home"),
            "keys, passwords and histories lie there. Ask for one folder in it, or let the operator name one",
        ));
    }
    if access != "rw" {
        return None;
    }
    match system {
        Some(system) => Some(Finding::warning(
            about,
            format!("{value} may write below {system}"),
            "what is changed there changes the machine, and can start programs on it",
        )),
        None if parts.len() < 2 => Some(Finding::warning(
            about,
            format!("{value} may write a whole tree"),
            "ask for the one folder that the plugin writes to",
        )),
        None => None,
    }
}

/// Addresses come on top of peers.
fn peers(manifest: &Manifest) -> Option<Finding> {
    let asks = |name| manifest.capability(name).is_some();
    (asks(CapabilityName::PeersAddresses) && !asks(CapabilityName::PeersRead)).then(|| {
        Finding::warning(
            "capability peers.addresses",
            "it grants nothing without peers.read",
            "ask for peers.read too",
        )
    })
}

/// The whole list is for those who show or serve it.
fn names(manifest: &Manifest, surface: &Surface) -> Option<Finding> {
    manifest.capability(CapabilityName::NamesList)?;
    let calls: Vec<&str> = surface.functions("peerup:plugin/name-list").collect();
    let looks_up_only = calls == ["find"] && !surface.exports_interface("resolver");
    looks_up_only.then(|| {
        Finding::advice(
            "capability names.list",
            "it only looks names up",
            "names.resolve does that for every resolver, and does not show the operator's list",
        )
    })
}

/// What it serves that belongs to another plugin.
fn served(manifest: &Manifest) -> Vec<Finding> {
    let foreign = manifest
        .protocols
        .iter()
        .filter(|protocol| !is_own(manifest, protocol));
    let shared = foreign.filter_map(|protocol| {
        let (owner, _) = protocol.strip_prefix("/peerup/p/")?.split_once('/')?;
        let message = format!("{protocol} is in the name of the plugin {owner}");
        let why = format!(
            "that needs a grant, which install writes only with --grant protocols={protocol}, and one plugin of a node \
             can serve it. Fine where plugins share a protocol on purpose; else use /peerup/p/{}/...",
            manifest.name
        );
        Some(Finding::advice("protocols", message, why))
    });
    shared.collect()
}

fn is_unspecified(host: &str) -> bool {
    host.parse::<IpAddr>()
        .is_ok_and(|address| address.is_unspecified())
}

fn ports(first: u16, last: u16) -> u32 {
    u32::from(last.saturating_sub(first)) + 1
}

fn many_ports(first: u16, last: u16) -> bool {
    ports(first, last) > MANY_PORTS
}
