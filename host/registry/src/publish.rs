//! Puts a package into a registry, as tools for WebAssembly components do.

use std::collections::BTreeMap;

use oci_client::{
    Client,
    client::{ClientConfig, ClientProtocol, Config, ImageLayer},
    errors::OciDistributionError,
    manifest::OciImageManifest,
    secrets::RegistryAuth,
};

use crate::{
    credentials::Credentials,
    error::RegistryError,
    http::Limits,
    pull::COMPONENT_MEDIA_TYPE,
    reference::{OciReference, digest_of},
};

/// The type of the config that goes with it.
const CONFIG_MEDIA_TYPE: &str = "application/vnd.wasm.config.v0+json";

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Where it lies, with the digest of its manifest.
    pub reference: OciReference,
}

/// Puts a package into a registry under the tag of the reference. The notes become annotations of its manifest;
/// `created` is RFC 3339.
///
/// # Errors
/// As [`RegistryError`] tells. Cancelled midway the registry may keep parts without a name.
pub async fn publish(
    reference: &OciReference,
    package: Vec<u8>,
    notes: BTreeMap<String, String>,
    created: &str,
    credentials: Option<&Credentials>,
) -> Result<Published, RegistryError> {
    let limits = Limits::default();
    let protocol = match reference.is_loopback() {
        true => ClientProtocol::Http,
        false => ClientProtocol::Https,
    };
    let client = Client::new(ClientConfig {
        protocol,
        connect_timeout: Some(limits.connect),
        read_timeout: Some(limits.silence),
        user_agent: concat!("peerup/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    });
    let config = serde_json::json!({
        "created": created,
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [digest_of(&package)],
    });
    let config = Config::new(config.to_string(), CONFIG_MEDIA_TYPE.to_owned(), None);
    let layers = [ImageLayer::new(package, COMPONENT_MEDIA_TYPE.to_owned(), None)];
    let manifest = OciImageManifest::build(&layers, &config, Some(notes));
    let auth = match credentials {
        Some(login) => RegistryAuth::Basic(login.user.clone(), login.password.clone()),
        None => RegistryAuth::Anonymous,
    };
    let target = reference.to_client();
    let work = async {
        client
            .push(&target, &layers, config, &auth, Some(manifest))
            .await
            .map_err(|error| refused(reference, &error))?;
        client
            .fetch_manifest_digest(&target, &auth)
            .await
            .map_err(|error| refused(reference, &error))
    };
    let digest = tokio::time::timeout(limits.whole, work)
        .await
        .map_err(|_| unreachable(reference, "it took too long".to_owned()))??;
    Ok(Published {
        reference: reference.with_digest(digest),
    })
}

fn refused(reference: &OciReference, error: &OciDistributionError) -> RegistryError {
    match error {
        OciDistributionError::AuthenticationFailure(_) | OciDistributionError::UnauthorizedError { .. } => {
            RegistryError::Unauthorized {
                registry: reference.registry().to_owned(),
                repository: reference.repository().to_owned(),
            }
        }
        OciDistributionError::ServerError { code: 401 | 403, .. } => RegistryError::Unauthorized {
            registry: reference.registry().to_owned(),
            repository: reference.repository().to_owned(),
        },
        other => unreachable(reference, other.to_string()),
    }
}

fn unreachable(reference: &OciReference, reason: String) -> RegistryError {
    RegistryError::Unreachable {
        registry: reference.registry().to_owned(),
        reason,
    }
}
