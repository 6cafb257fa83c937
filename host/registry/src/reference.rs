//! `oci://HOST[:PORT]/NAME:TAG[@sha256:DIGEST]`.

use std::{fmt, net::IpAddr, str::FromStr};

use oci_client::Reference;
use sha2::{Digest as _, Sha256};

const SCHEME: &str = "oci://";
const MAX_BYTES: usize = 512;

/// Where a package lies in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// A text that is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no reference: {reason}; write oci://HOST/NAME:TAG or oci://HOST/NAME@sha256:...")]
pub struct ReferenceError {
    /// The text, cut short.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl OciReference {
    /// Returns host and port.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the name within the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the digest of the manifest, where it names one.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Returns the same place with the digest of what was found there.
    #[must_use]
    pub fn with_digest(&self, digest: impl Into<String>) -> Self {
        Self {
            digest: Some(digest.into()),
            ..self.clone()
        }
    }

    /// Returns what to ask for: the digest, else the tag.
    pub(crate) fn wanted(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }

    /// Whether the registry is on this machine, so that plain HTTP is right.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = match self.registry.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => &self.registry,
        };
        is_loopback_host(host)
    }

    /// The address of the registry's API.
    pub(crate) fn api(&self) -> String {
        let scheme = if self.is_loopback() { "http" } else { "https" };
        // The one registry whose API is at another host than its name says.
        let host = match self.registry.as_str() {
            "docker.io" => "index.docker.io",
            other => other,
        };
        format!("{scheme}://{host}/v2/{}", self.repository)
    }

    pub(crate) fn to_client(&self) -> Reference {
        let (registry, repository) = (self.registry.clone(), self.repository.clone());
        let tag = self.tag.clone().unwrap_or_else(|| "latest".to_owned());
        Reference::with_tag(registry, repository, tag)
    }
}

pub(crate) fn is_loopback_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for OciReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let refused = |reason: &str| ReferenceError {
            text: text.chars().take(80).collect(),
            reason: reason.to_owned(),
        };
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| refused("it does not begin with oci://"))?;
        if text.len() > MAX_BYTES {
            return Err(refused("it is too long"));
        }
        let (host, _) = rest
            .split_once('/')
            .ok_or_else(|| refused("it names no repository"))?;
        // Without a dot or a port the first part would be taken for a name at a registry that nobody named.
        if !(host.contains(['.', ':']) || host == "localhost") {
            return Err(refused("it names no host"));
        }
        let parsed: Reference = rest
            .parse()
            .map_err(|error: oci_client::ParseError| refused(&error.to_string()))?;
        let digest = parsed.digest().map(ToOwned::to_owned);
        if let Some(digest) = &digest
            && !is_digest(digest)
        {
            return Err(refused("its digest is no sha256: and 64 hex digits"));
        }
        let named = rest
            .split('@')
            .next()
            .and_then(|rest| rest.rsplit('/').next())
            .is_some_and(|last| last.contains(':'));
        Ok(Self {
            registry: parsed.registry().to_owned(),
            repository: parsed.repository().to_owned(),
            tag: parsed
                .tag()
                .filter(|_| named || digest.is_none())
                .map(ToOwned::to_owned),
            digest,
        })
    }
}

/// Returns the digest of these bytes as references write it.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!(
        "sha256:{}",
        data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
    )
}

pub(crate) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn references_are_read_and_written_the_same() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for text in [
            "oci://ghcr.io/somebody/chess:1.0.0".to_owned(),
            "oci://localhost:5000/chess:latest".to_owned(),
            format!("oci://ghcr.io/somebody/chess:1.0.0@{digest}"),
            format!("oci://ghcr.io/somebody/chess@{digest}"),
        ] {
            assert_eq!(text.parse::<OciReference>().unwrap().to_string(), text);
        }
        let bare: OciReference = "oci://ghcr.io/somebody/chess".parse().unwrap();
        assert_eq!(bare.wanted(), "latest");
    }

    #[test]
    fn only_loopback_is_spoken_to_without_tls() {
        for (host, plain) in [
            ("127.0.0.1:5000", true),
            ("localhost:5000", true),
            ("127.0.0.1.example.org", false),
            ("localhost.example:5000", false),
            ("192.168.1.1:5000", false),
        ] {
            let reference: OciReference = format!("oci://{host}/a:1").parse().unwrap();
            assert_eq!(reference.is_loopback(), plain, "{host}");
            assert_eq!(reference.api().starts_with("http://"), plain, "{host}");
        }
    }

    #[test]
    fn others_are_refused_with_the_form() {
        for bad in [
            "ghcr.io/a:1",
            "oci://",
            "oci://chess:1",
            "oci://somebody/chess:1",
            "oci://ghcr.io/UPPER:1",
            "oci://ghcr.io/a@sha256:12",
            "oci://ghcr.io/a b:1",
        ] {
            let told = bad.parse::<OciReference>().unwrap_err().to_string();
            assert!(told.contains("oci://HOST/NAME:TAG"), "{told}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,100}") {
            let _ = format!("oci://{text}").parse::<OciReference>();
            let _ = text.parse::<OciReference>();
        }
    }
}
