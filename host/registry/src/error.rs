//! Why a registry did not give or take a package.

use crate::reference::ReferenceError;

/// Why a package was not pulled or published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The text is no reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The registry cannot be reached, or went silent.
    #[error("the registry {registry} cannot be reached: {reason}")]
    Unreachable {
        /// Host and port.
        registry: String,
        /// What happened.
        reason: String,
    },
    /// It wants somebody who may, and we are not.
    #[error("the registry {registry} wants a login for {repository}; run: docker login {registry}")]
    Unauthorized {
        /// Host and port.
        registry: String,
        /// The name within the registry.
        repository: String,
    },
    /// There is no such package.
    #[error("the registry {registry} has no {what}")]
    NotFound {
        /// Host and port.
        registry: String,
        /// What was asked for.
        what: String,
    },
    /// It sent more than is read.
    #[error("the registry {registry} sent more than {most} bytes for {what}")]
    TooLarge {
        /// Host and port.
        registry: String,
        /// What was asked for.
        what: String,
        /// The most that is read.
        most: u64,
    },
    /// It sent other bytes than it said, or than the reference names.
    #[error(
        "the registry {registry} sent {what} with the digest {found} where {expected} was asked for; do not use it"
    )]
    WrongDigest {
        /// Host and port.
        registry: String,
        /// What was asked for.
        what: String,
        /// The digest of what came.
        found: String,
        /// The digest that should have come.
        expected: String,
    },
    /// It wants to send us where we do not go.
    #[error("the registry {registry} sends us on to {target}: {reason}")]
    Redirect {
        /// Host and port.
        registry: String,
        /// Where to.
        target: String,
        /// Why we do not go there.
        reason: &'static str,
    },
    /// What it has there is no package.
    #[error("the registry {registry} has no WebAssembly component at {what}: {reason}")]
    NotComponent {
        /// Host and port.
        registry: String,
        /// What was asked for.
        what: String,
        /// What is there.
        reason: String,
    },
    /// It answered with a status that means none of these.
    #[error("the registry {registry} answered {status} to {what}")]
    Status {
        /// Host and port.
        registry: String,
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
    },
}
