//! Packages to and from OCI registries.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use peerup_model::{ErrorCode, Failure};
use peerup_package::{MAX_PACKAGE_BYTES, Manifest, Package, ReadError, read_package};
use peerup_registry::{Credentials, Limits, OciReference, ReferenceError, RegistryError};

use super::{
    failed,
    fetch::{Fetched, read_failure},
    now, usage,
};
use crate::{context::Context, output, session};

/// Gets a package from a registry; what comes back has the digest that the source then names.
pub(super) async fn pull(context: &Context, source: &str) -> Result<Fetched, Failure> {
    let reference = read_reference(source)?;
    let login = login(&reference)?;
    context.note(&format!("getting {reference}"));
    let limits = Limits {
        package_bytes: MAX_PACKAGE_BYTES as u64,
        ..Limits::default()
    };
    let work = peerup_registry::pull(&reference, login.as_ref(), &limits);
    let pulled =
        session::until_interrupted(async { work.await.map_err(|error| registry_failure(&error)) }).await?;
    let origin = pulled.reference.to_string();
    let package = Package::read(pulled.bytes).map_err(|source| {
        read_failure(&ReadError::Package {
            path: PathBuf::from(&origin),
            source: Box::new(source),
        })
    })?;
    Ok(Fetched {
        package,
        source: origin,
    })
}

pub(super) async fn publish(context: &Context, file: &Path, reference: &str) -> Result<(), Failure> {
    let reference = read_reference(reference)?;
    let package = read_package(file).map_err(|error| read_failure(&error))?;
    let login = login(&reference)?;
    let manifest = package.manifest().clone();
    let notes = notes(&manifest);
    if package.author().is_none() {
        context.note("it is not signed; sign it with: peerup plugin pack --sign KEY");
    }
    let created = now();
    let work = peerup_registry::publish(&reference, package.into_bytes(), notes, &created, login.as_ref());
    let published =
        session::until_interrupted(async { work.await.map_err(|error| registry_failure(&error)) }).await?;
    let place = published.reference.to_string();
    if context.json {
        return output::json(&serde_json::json!({
            "status": "published",
            "name": manifest.name,
            "version": manifest.version,
            "reference": place,
        }));
    }
    output::line(format!(
        "published {} {} {place}",
        manifest.name, manifest.version
    ))
}

/// What registries show of a package.
fn notes(manifest: &Manifest) -> BTreeMap<String, String> {
    let key = |name: &str| format!("org.opencontainers.image.{name}");
    let mut notes = BTreeMap::from([
        (key("title"), manifest.name.to_string()),
        (key("version"), manifest.version.clone()),
        (key("description"), manifest.summary.clone()),
    ]);
    let optional = [
        ("authors", &manifest.author),
        ("url", &manifest.homepage),
        ("licenses", &manifest.license),
    ];
    for (name, value) in optional {
        notes.extend(value.clone().map(|value| (key(name), value)));
    }
    notes
}

fn read_reference(text: &str) -> Result<OciReference, Failure> {
    text.parse().map_err(|error: ReferenceError| {
        let text = error.to_string();
        match text.rsplit_once("; ") {
            Some((what, next)) => usage(what).with_hint(next),
            None => usage(text),
        }
    })
}

/// Returns the login that docker's config file has for the registry.
fn login(reference: &OciReference) -> Result<Option<Credentials>, Failure> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    let Some(folder) = folder.or_else(home) else {
        return Ok(None);
    };
    peerup_registry::docker_credentials(&folder.join("config.json"), reference.registry()).map_err(|error| {
        failed(error.to_string()).with_hint("correct it, or log in again with: docker login")
    })
}

fn registry_failure(error: &RegistryError) -> Failure {
    let text = error.to_string();
    let (code, hint) = match error {
        RegistryError::Reference(_) => (ErrorCode::Invalid, "write oci://HOST/NAME:TAG"),
        RegistryError::Unreachable { .. } => (
            ErrorCode::Unreachable,
            "check the host and the network, then run it again",
        ),
        RegistryError::Unauthorized { .. } => (ErrorCode::Denied, "docker login HOST"),
        RegistryError::NotFound { .. } => (ErrorCode::NotFound, "check the name and the tag"),
        RegistryError::WrongDigest { .. } | RegistryError::Redirect { .. } => (
            ErrorCode::Denied,
            "nothing was installed; tell those who run the registry",
        ),
        RegistryError::NotComponent { .. } => (
            ErrorCode::Failed,
            "publish it with: peerup plugin publish FILE oci://HOST/NAME:TAG",
        ),
        _ => (ErrorCode::Failed, "tell those who run the registry"),
    };
    match text.split_once("; run: ") {
        Some((what, command)) => Failure::new(code, what).with_hint(command),
        None => Failure::new(code, text).with_hint(hint),
    }
}
