//! What a component imports and exports, read from its types; nothing of it is run.

use std::collections::{BTreeMap, BTreeSet};

use wasmparser::{
    Encoding, Parser, Payload, ValidPayload, Validator, WasmFeatures,
    component_types::{ComponentEntityType, ComponentInstanceTypeId},
};

use crate::package::{MAX_PACKAGE_BYTES, PackageError};

/// What the interfaces of the contract begin with.
const CONTRACT: &str = "peerup:plugin/";

/// The interfaces that a component imports, each with the functions that it can call, and those that it exports.
///
/// A component names only what its code was linked with, as far as its tools see to that: those for C and Rust do,
/// an interpreter brings all of an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surface {
    imports: BTreeMap<String, BTreeSet<String>>,
    exports: BTreeSet<String>,
}

impl Surface {
    /// Reads a component, or a package, which is one. The code in it is not looked at.
    ///
    /// # Errors
    /// Too large, or not a component that holds together.
    pub fn read(component: &[u8]) -> Result<Self, PackageError> {
        if component.len() > MAX_PACKAGE_BYTES {
            return Err(PackageError::TooLarge {
                length: component.len(),
                most: MAX_PACKAGE_BYTES,
            });
        }
        let refused = |reason: String| PackageError::NotComponent { reason };
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        let mut surface = Self::default();
        // Of components and modules; the outermost component is at 1.
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(component) {
            let payload = payload.map_err(|error| refused(error.to_string()))?;
            if let Payload::Version { encoding, .. } = payload {
                if depth == 0 && encoding != Encoding::Component {
                    return Err(refused("a core module; build for wasm32-wasip2".to_owned()));
                }
                depth += 1;
            }
            let valid = validator.payload(&payload);
            if let ValidPayload::End(_) = valid.map_err(|error| refused(error.to_string()))? {
                depth = depth.saturating_sub(1);
            }
            if depth == 1 {
                surface
                    .add(&payload, &validator)
                    .map_err(|error| refused(error.to_string()))?;
            }
        }
        match depth {
            0 if !component.is_empty() => Ok(surface),
            _ => Err(refused("it is empty or cut short".to_owned())),
        }
    }

    fn add(&mut self, payload: &Payload<'_>, validator: &Validator) -> wasmparser::Result<()> {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    let name = import?.name.name;
                    self.imports.insert(name.to_owned(), functions(validator, name));
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    self.exports.insert(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns each import with the functions that it can call, in the order of the names.
    pub fn imports(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.imports
            .iter()
            .map(|(name, functions)| (name.as_str(), functions))
    }

    /// Returns the functions that it can call of an interface, in whatever version: `wasi:filesystem/types`,
    /// `peerup:plugin/tcp`.
    pub fn functions(&self, interface: &str) -> impl Iterator<Item = &str> {
        let named = move |name: &str| name.split('@').next() == Some(interface);
        let found = self.imports.iter().filter(move |(name, _)| named(name));
        found.flat_map(|(_, functions)| functions).map(String::as_str)
    }

    /// Returns whether it imports an interface of the contract, in whatever version.
    pub fn imports_interface(&self, interface: &str) -> bool {
        self.imports
            .keys()
            .any(|name| of_contract(name).is_some_and(|(known, _)| known == interface))
    }

    /// Returns whether it exports an interface of the contract, in whatever version.
    pub fn exports_interface(&self, interface: &str) -> bool {
        self.exports
            .iter()
            .any(|name| of_contract(name).is_some_and(|(known, _)| known == interface))
    }

    /// Returns the interfaces of the contract that it exports.
    pub fn exports(&self) -> impl Iterator<Item = &str> {
        self.exports
            .iter()
            .filter_map(|name| of_contract(name))
            .map(|(interface, _)| interface)
    }

    /// Returns the newest version of the contract that it names.
    pub fn contract(&self) -> Option<semver::Version> {
        let names = self.imports.keys().chain(&self.exports);
        names.filter_map(|name| of_contract(name)?.1.parse().ok()).max()
    }
}

/// Returns the names of the functions of an imported instance.
fn functions(validator: &Validator, import: &str) -> BTreeSet<String> {
    let instance = || -> Option<(wasmparser::types::TypesRef<'_>, ComponentInstanceTypeId)> {
        let types = validator.types(0)?;
        match types.component_item_for_import(import)?.ty {
            ComponentEntityType::Instance(id) => Some((types, id)),
            _ => None,
        }
    };
    let Some((types, id)) = instance() else {
        return BTreeSet::new();
    };
    let exports = types.get(id).into_iter().flat_map(|instance| &instance.exports);
    exports
        .filter(|(_, item)| matches!(item.ty, ComponentEntityType::Func(_)))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Splits `peerup:plugin/<interface>@<version>`.
fn of_contract(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(CONTRACT)?.split_once('@')
}

#[cfg(test)]
mod tests;
