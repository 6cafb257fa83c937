//! Gets the one component of an artifact.

use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciImageManifest};

use crate::{
    credentials::Credentials,
    error::RegistryError,
    http::{Elsewhere, Limits, Registry},
    reference::{OciReference, digest_of, is_digest},
};

/// The type of a component among the layers.
pub(crate) const COMPONENT_MEDIA_TYPE: &str = "application/wasm";

/// A package from a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Its bytes, which have the digest that the manifest names.
    pub bytes: Vec<u8>,
    /// Where it lies, with the digest of its manifest.
    pub reference: OciReference,
}

/// Gets a package. A reference with a digest gets exactly that one.
///
/// # Errors
/// As [`RegistryError`] tells. Cancel safe: nothing is kept.
pub async fn pull(
    reference: &OciReference,
    credentials: Option<&Credentials>,
    limits: &Limits,
) -> Result<Pulled, RegistryError> {
    let mut registry = Registry::new(reference, credentials, limits)?;
    let work = get(&mut registry, reference, limits);
    match tokio::time::timeout(limits.whole, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(RegistryError::Unreachable {
            registry: reference.registry().to_owned(),
            reason: format!("it was not done after {} s", limits.whole.as_secs()),
        }),
    }
}

async fn get(
    registry: &mut Registry<'_>,
    reference: &OciReference,
    limits: &Limits,
) -> Result<Pulled, RegistryError> {
    let path = format!("manifests/{}", reference.wanted());
    let manifest = registry
        .get(
            &path,
            OCI_IMAGE_MEDIA_TYPE,
            limits.manifest_bytes,
            Elsewhere::Never,
        )
        .await?;
    let digest = digest_of(&manifest);
    if let Some(expected) = reference.digest() {
        same(reference, "a manifest", &digest, expected)?;
    }
    let layer = component_of(reference, &manifest)?;
    let most = limits.package_bytes.min(layer.size);
    if layer.size > limits.package_bytes {
        return Err(RegistryError::TooLarge {
            registry: reference.registry().to_owned(),
            what: "a component".to_owned(),
            most: limits.package_bytes,
        });
    }
    let path = format!("blobs/{}", layer.digest);
    let bytes = registry.get(&path, "*/*", most, Elsewhere::Allowed).await?;
    same(reference, "a component", &digest_of(&bytes), &layer.digest)?;
    Ok(Pulled {
        bytes,
        reference: reference.with_digest(digest),
    })
}

#[derive(Debug)]
struct Layer {
    digest: String,
    size: u64,
}

/// Finds the component among the layers of a manifest.
fn component_of(reference: &OciReference, manifest: &[u8]) -> Result<Layer, RegistryError> {
    let refused = |reason: String| RegistryError::NotComponent {
        registry: reference.registry().to_owned(),
        what: format!("{}:{}", reference.repository(), reference.wanted()),
        reason,
    };
    let manifest: OciImageManifest =
        serde_json::from_slice(manifest).map_err(|error| refused(format!("its manifest: {error}")))?;
    let mut layers = manifest
        .layers
        .into_iter()
        .filter(|layer| layer.media_type == COMPONENT_MEDIA_TYPE);
    let layer = layers
        .next()
        .ok_or_else(|| refused(format!("no layer of the type {COMPONENT_MEDIA_TYPE}")))?;
    if layers.next().is_some() {
        return Err(refused("it has more than one".to_owned()));
    }
    if !is_digest(&layer.digest) {
        return Err(refused("its layer has no sha256 digest".to_owned()));
    }
    let size = u64::try_from(layer.size).map_err(|_| refused("its layer has no size".to_owned()))?;
    Ok(Layer {
        digest: layer.digest,
        size,
    })
}

fn same(reference: &OciReference, what: &str, found: &str, expected: &str) -> Result<(), RegistryError> {
    match found == expected {
        true => Ok(()),
        false => Err(RegistryError::WrongDigest {
            registry: reference.registry().to_owned(),
            what: what.to_owned(),
            found: found.to_owned(),
            expected: expected.to_owned(),
        }),
    }
}
