//! Which capabilities a component can use, against those that its manifest declares. Pure.
//!
//! What counts as use, for each capability:
//!
//! - One that guards an interface of the contract is used where the component imports one of that interface's functions
//!   that need it: nothing imports `peerup:plugin/tcp#connect` but code that calls it.
//! - `protocols` guards `streams#open` only for protocols that are not the plugin's own, which cannot be seen from
//!   outside. Importing it makes the capability used where it is declared, and asks for no declaration.
//! - Tools add WASI by themselves: `std` of Rust reads the environment for `RUST_BACKTRACE`, and the library of C looks
//!   for folders before `main`. Without a grant both find nothing, so such an import asks for no declaration either.
//!   `environment` counts as used where `wasi:cli/environment` is imported, and `directories` where a function of
//!   `wasi:filesystem/types` that takes a path is: all of those, and no others, end with `-at`.

use std::fmt;

use serde::Serialize;

use crate::{capability::CapabilityName, manifest::Manifest, rights::is_own, surface::Surface};

/// How what a component imports stands to what its manifest declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UseStatus {
    /// Declared and used.
    Used,
    /// Used but not declared: the calls will be denied, because nobody is asked to grant them.
    Undeclared,
    /// Declared and not used: the operator is asked for a right that does nothing.
    Unused,
}

impl fmt::Display for UseStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Used => "declared and used",
            Self::Undeclared => "used but not declared",
            Self::Unused => "declared and not used",
        })
    }
}

/// One capability that a plugin declares, or that its component uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CapabilityUse {
    /// Which.
    pub name: CapabilityName,
    /// Declared, used, or both.
    pub status: UseStatus,
    /// What shows the use: `peerup:plugin/tcp#connect`, or a protocol of the manifest.
    pub evidence: Vec<String>,
}

/// Returns every capability that the manifest declares or the component uses, in the order in which they are shown.
pub fn capability_uses(manifest: &Manifest, surface: &Surface) -> Vec<CapabilityUse> {
    let uses = CapabilityName::ALL.into_iter().filter_map(|name| {
        let declared = manifest.capability(name).is_some();
        let Evidence { shown, certain } = evidence(name, manifest, surface);
        let status = match (declared, shown.is_empty()) {
            (true, false) => UseStatus::Used,
            (true, true) => UseStatus::Unused,
            (false, false) if certain => UseStatus::Undeclared,
            (false, _) => return None,
        };
        Some(CapabilityUse {
            name,
            status,
            evidence: shown,
        })
    });
    uses.collect()
}

/// What shows that a capability is used.
struct Evidence {
    shown: Vec<String>,
    /// Whether it is more than what tools add, or what may stay within the plugin's own protocols.
    certain: bool,
}

fn evidence(name: CapabilityName, manifest: &Manifest, surface: &Surface) -> Evidence {
    let calls = |interface: &str, functions: &[&str]| -> Vec<String> {
        let called = surface
            .functions(interface)
            .filter(|called| functions.contains(called));
        called.map(|function| format!("{interface}#{function}")).collect()
    };
    let certain = |shown| Evidence { shown, certain: true };
    let possible = |shown| Evidence {
        shown,
        certain: false,
    };
    match name {
        CapabilityName::Protocols => protocols(manifest, calls("peerup:plugin/streams", &["open"])),
        CapabilityName::TcpConnect => certain(calls("peerup:plugin/tcp", &["connect"])),
        CapabilityName::TcpListen => certain(calls("peerup:plugin/tcp", &["listen"])),
        CapabilityName::UdpBind => certain(calls("peerup:plugin/udp", &["bind"])),
        CapabilityName::UdpConnect => certain(calls("peerup:plugin/udp", &["connect"])),
        CapabilityName::Store => certain(calls(
            "peerup:plugin/store",
            &["get", "apply", "apply-if", "keys"],
        )),
        CapabilityName::NamesResolve => certain(calls("peerup:plugin/names", &["resolve"])),
        CapabilityName::NamesList => certain(calls("peerup:plugin/name-list", &["find", "entries"])),
        CapabilityName::PeersRead => {
            let mut shown = calls("peerup:plugin/peers", &["describe", "connected"]);
            shown.extend(calls("peerup:plugin/events", &["subscribe"]));
            certain(shown)
        }
        // It widens what those calls answer; none is its own.
        CapabilityName::PeersAddresses => possible(calls("peerup:plugin/peers", &["describe", "connected"])),
        CapabilityName::Environment => possible(calls("wasi:cli/environment", &["get-environment"])),
        CapabilityName::Directories => {
            let interface = "wasi:filesystem/types";
            let paths = surface
                .functions(interface)
                .filter(|function| function.ends_with("-at"));
            possible(paths.map(|function| format!("{interface}#{function}")).collect())
        }
    }
}

/// Serving what belongs to somebody else needs the grant for certain; opening may.
fn protocols(manifest: &Manifest, opens: Vec<String>) -> Evidence {
    let foreign = manifest
        .protocols
        .iter()
        .filter(|protocol| !is_own(manifest, protocol));
    let mut shown: Vec<String> = foreign.map(|protocol| format!("serves {protocol}")).collect();
    let certain = !shown.is_empty();
    shown.extend(opens);
    Evidence { shown, certain }
}

#[cfg(test)]
pub(crate) mod tests;
