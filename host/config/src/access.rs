//! Who of the authorised peers may use a service or a plugin: its `allow` list.

use std::collections::BTreeMap;

use libp2p_identity::PeerId;
use peerup_model::PeerName;

use crate::{
    listed::AllowedPeer,
    values::{self, Reader, at},
};

/// Who of the authorised peers may use a service or a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceAccess {
    /// All of them: the file has no `allow` list.
    Everyone,
    /// Only these; an empty list lets nobody in.
    Only(Vec<AllowedPeer>),
}

/// Reads the `allow` list of a service or a plugin.
pub(crate) fn access(
    (section, name): (&str, &String),
    allow: Option<Vec<String>>,
    names: &BTreeMap<PeerName, PeerId>,
    reader: &mut Reader<'_>,
) -> ServiceAccess {
    let Some(allow) = allow else {
        return ServiceAccess::Everyone;
    };
    let here = at![section, name, "allow"];
    let allowed: Vec<AllowedPeer> = reader.list(here, &allow, values::parsed);
    if allowed.is_empty() {
        let what = section.trim_end_matches('s');
        reader.warning(here, format!("the list is empty: nobody may use this {what}"));
    }
    for one in &allowed {
        if let Some(name) = one.unknown_name(names) {
            reader.warning(here, format!("{name} is not in names: this entry lets nobody in"));
        }
    }
    ServiceAccess::Only(allowed)
}
