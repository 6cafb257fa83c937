//! The single file of a plugin, `name-version.peerup`: a component that carries its manifest, the version of its
//! contract and its author's signature in custom sections.
//!
//! Pure: bytes in, bytes out. The same input gives the same bytes.

use std::ops::Range;

use wasm_encoder::{Component, CustomSection, RawSection};
use wasmparser::{Encoding, Parser, Payload};

use crate::{
    author::{self, AuthorId, AuthorKey, SignatureError},
    digest::Digest,
    manifest::{MAX_MANIFEST_BYTES, Manifest},
    problem::ManifestError,
};

/// The largest component that a package may hold.
pub const MAX_COMPONENT_BYTES: usize = 64 << 20;
/// The largest package: the component with its sections.
pub const MAX_PACKAGE_BYTES: usize = MAX_COMPONENT_BYTES + (1 << 20);
/// The ending of a package's file name.
pub const EXTENSION: &str = "peerup";

const MANIFEST: &str = "peerup:manifest";
const CONTRACT: &str = "peerup:contract";
const SIGNATURE: &str = "peerup:signature";
/// What names of our sections begin with; a component that brings such of its own loses them when it is packed.
const OURS: &str = "peerup:";
const MAX_CONTRACT_BYTES: usize = 140;

/// Why bytes are no package, or cannot be made one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// Larger than what is read.
    #[error("it has {length} bytes; at most {most} are read")]
    TooLarge {
        /// Its length in bytes.
        length: usize,
        /// The most that is read.
        most: usize,
    },
    /// Not a WebAssembly component.
    #[error("it is not a WebAssembly component: {reason}")]
    NotComponent {
        /// What is wrong, with the place in the file.
        reason: String,
    },
    /// A component without our sections.
    #[error("it is a component without the section {section}; make a package of it with: peerup plugin pack")]
    NoSection {
        /// The section's name.
        section: &'static str,
    },
    /// A section of ours that is there twice, or is not where it belongs.
    #[error("its section {section} is {reason}; get the file again from its author")]
    Section {
        /// The section's name.
        section: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The manifest in it is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Manifest and contract section do not agree.
    #[error("its manifest names contract {manifest} and its section {CONTRACT} names {section}")]
    Contract {
        /// What the manifest says.
        manifest: String,
        /// What the section says.
        section: String,
    },
    /// The signature does not hold.
    #[error("{0}; do not install it, and get it again from its author")]
    Signature(#[from] SignatureError),
}

/// A package that was read: its bytes hold together, and its signature, where it has one, is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    manifest: Manifest,
    manifest_text: String,
    author: Option<AuthorId>,
    digest: Digest,
    bytes: Vec<u8>,
}

impl Package {
    /// Makes a package of a component and the text of its `plugin.toml`, signed where a key is given.
    ///
    /// # Errors
    /// The bytes are no component or too large, or the manifest is wrong.
    pub fn pack(
        component: &[u8],
        manifest_text: &str,
        key: Option<&AuthorKey>,
    ) -> Result<Self, PackageError> {
        if component.len() > MAX_COMPONENT_BYTES {
            return Err(PackageError::TooLarge {
                length: component.len(),
                most: MAX_COMPONENT_BYTES,
            });
        }
        let manifest = Manifest::parse(manifest_text)?;
        let mut packed = Component::new();
        for section in sections(component)? {
            let ours = section.name.is_some_and(|name| name.starts_with(OURS));
            if !ours {
                packed.section(&RawSection {
                    id: section.id,
                    data: component.get(section.content).unwrap_or_default(),
                });
            }
        }
        packed.section(&custom(MANIFEST, manifest_text.as_bytes()));
        packed.section(&custom(CONTRACT, manifest.contract.as_bytes()));
        let mut bytes = packed.finish();
        if let Some(key) = key {
            let mut signed = Component::new();
            signed.section(&custom(SIGNATURE, &key.sign(&bytes)));
            // Without the header of that second component.
            bytes.extend(signed.finish().split_off(Component::HEADER.len()));
        }
        Self::read(bytes)
    }

    /// Reads a package and checks everything that the bytes alone can show.
    ///
    /// # Errors
    /// Too large, no component, torn, without manifest, or with a signature that does not hold.
    pub fn read(bytes: Vec<u8>) -> Result<Self, PackageError> {
        if bytes.len() > MAX_PACKAGE_BYTES {
            return Err(PackageError::TooLarge {
                length: bytes.len(),
                most: MAX_PACKAGE_BYTES,
            });
        }
        let sections = sections(&bytes)?;
        let manifest_text = text_of(&sections, &bytes, MANIFEST, MAX_MANIFEST_BYTES)?
            .ok_or(PackageError::NoSection { section: MANIFEST })?;
        let contract = text_of(&sections, &bytes, CONTRACT, MAX_CONTRACT_BYTES)?
            .ok_or(PackageError::NoSection { section: CONTRACT })?;
        let manifest = Manifest::parse(manifest_text)?;
        if manifest.contract != contract {
            return Err(PackageError::Contract {
                manifest: manifest.contract,
                section: contract.to_owned(),
            });
        }
        let author = signature(&sections, &bytes)?;
        Ok(Self {
            manifest_text: manifest_text.to_owned(),
            manifest,
            author,
            digest: Digest::of(&bytes),
            bytes,
        })
    }

    /// Returns what the plugin says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the text of its `plugin.toml`.
    pub fn manifest_text(&self) -> &str {
        &self.manifest_text
    }

    /// Returns who signed it, if anybody did. The signature was checked.
    pub fn author(&self) -> Option<AuthorId> {
        self.author
    }

    /// Returns the SHA-256 of the whole file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the whole file, which is a component that can be loaded as it is.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives the whole file away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Returns the name that its file has: `name-version.peerup`.
    pub fn file_name(&self) -> String {
        format!("{}-{}.{EXTENSION}", self.manifest.name, self.manifest.version)
    }
}

/// A section of the outermost component.
#[derive(Debug)]
struct Section<'a> {
    id: u8,
    /// Without the id and the length before it.
    content: Range<usize>,
    /// Of a custom section.
    name: Option<&'a str>,
    data: &'a [u8],
}

fn custom<'a>(name: &'a str, data: &'a [u8]) -> CustomSection<'a> {
    CustomSection {
        name: name.into(),
        data: data.into(),
    }
}

/// Walks over the whole file, nested modules too, and returns the sections of the outermost component.
fn sections(bytes: &[u8]) -> Result<Vec<Section<'_>>, PackageError> {
    let refused = |reason: String| PackageError::NotComponent { reason };
    let mut sections = Vec::new();
    let mut depth = 0_usize;
    let mut began = false;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| refused(error.to_string()))?;
        if depth == 0
            && let Some((id, content)) = payload.as_section()
        {
            let custom = match &payload {
                Payload::CustomSection(section) => Some((section.name(), section.data())),
                _ => None,
            };
            sections.push(Section {
                id,
                content,
                name: custom.map(|(name, _)| name),
                data: custom.map(|(_, data)| data).unwrap_or_default(),
            });
        }
        match payload {
            Payload::Version { encoding, .. } if !began => {
                began = true;
                if encoding != Encoding::Component {
                    let hint = "a core module; build for wasm32-wasip2, or make a component of it";
                    return Err(refused(hint.to_owned()));
                }
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    match began {
        true => Ok(sections),
        false => Err(refused("it is empty".to_owned())),
    }
}

/// Returns the one section of this name as text.
fn text_of<'a>(
    sections: &[Section<'a>],
    _bytes: &'a [u8],
    name: &'static str,
    most: usize,
) -> Result<Option<&'a str>, PackageError> {
    let wrong = |reason: String| PackageError::Section {
        section: name.to_owned(),
        reason,
    };
    let Some(section) = only(sections, name)? else {
        return Ok(None);
    };
    if section.data.len() > most {
        return Err(wrong(format!("longer than {most} bytes")));
    }
    let text = std::str::from_utf8(section.data).map_err(|_| wrong("no text".to_owned()))?;
    Ok(Some(text))
}

fn only<'s, 'a>(
    sections: &'s [Section<'a>],
    name: &'static str,
) -> Result<Option<&'s Section<'a>>, PackageError> {
    let mut found = sections.iter().filter(|section| section.name == Some(name));
    let first = found.next();
    match found.next() {
        None => Ok(first),
        Some(_) => Err(PackageError::Section {
            section: name.to_owned(),
            reason: "there twice".to_owned(),
        }),
    }
}

/// Checks the signature section, which must be the last: what follows it would not be signed.
fn signature(sections: &[Section<'_>], bytes: &[u8]) -> Result<Option<AuthorId>, PackageError> {
    if only(sections, SIGNATURE)?.is_none() {
        return Ok(None);
    }
    let last = sections
        .last()
        .filter(|section| section.name == Some(SIGNATURE) && section.content.end == bytes.len());
    let Some(last) = last else {
        return Err(PackageError::Section {
            section: SIGNATURE.to_owned(),
            reason: "not the last one, so something was added after signing".to_owned(),
        });
    };
    // Sections follow each other without a gap: this one begins where the one before ends.
    let start = sections
        .iter()
        .rev()
        .nth(1)
        .map_or(Component::HEADER.len(), |before| before.content.end);
    let unsigned = bytes.get(..start).unwrap_or_default();
    Ok(Some(author::verify(unsigned, last.data)?))
}

#[cfg(test)]
mod tests;
