//! Where a package comes from: a file, a folder, or a registry.

use peerup_model::{ErrorCode, Failure};
use peerup_package::{Package, PackageError, ReadError, read_package};

use super::{failed, pack, registry, usage};
use crate::context::Context;

const OCI: &str = "oci://";

/// A package and where it came from, so that it can be had again.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) package: Package,
    pub(super) source: String,
}

/// Reads a package from what the person named.
pub(super) async fn fetch(context: &Context, source: &str) -> Result<Fetched, Failure> {
    if source.starts_with(OCI) {
        return registry::pull(context, source).await;
    }
    let path = std::path::absolute(source).map_err(|error| usage(format!("{source} is no path: {error}")))?;
    let origin = path.display().to_string();
    let package = if path.is_dir() {
        pack::pack_folder(&path, None)?
    } else {
        read_package(&path).map_err(|error| read_failure(&error))?
    };
    Ok(Fetched {
        package,
        source: origin,
    })
}

pub(super) fn read_failure(error: &ReadError) -> Failure {
    let failure = failed(error.to_string());
    match error {
        ReadError::Io { .. } => failure.with_hint(
            "name a file that `peerup plugin pack` made, a folder with plugin.toml, or oci://HOST/NAME:TAG",
        ),
        ReadError::Package { source, .. } => match source.as_ref() {
            PackageError::NoSection { .. } | PackageError::NotComponent { .. } => {
                failure.with_hint("make a package with: peerup plugin pack DIR")
            }
            PackageError::Signature(_) => Failure {
                code: ErrorCode::Denied,
                ..failure
            }
            .with_hint("do not install it; get the file again from its author"),
            _ => failure.with_hint("get the file again from its author"),
        },
        _ => failure,
    }
}
