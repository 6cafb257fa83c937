//! Plugin packages from and to OCI registries, in the form that tools for WebAssembly components use.
//!
//! What comes from a registry is bounded in size and time, and is checked against its digests before anybody sees
//! it. Plain HTTP is for loopback only. Nothing here knows what a package is: bytes in, bytes out.

mod credentials;
mod error;
mod http;
mod publish;
mod pull;
mod reference;

pub use credentials::{Credentials, CredentialsError, docker_credentials};
pub use error::RegistryError;
pub use http::Limits;
pub use publish::{Published, publish};
pub use pull::{Pulled, pull};
pub use reference::{OciReference, ReferenceError};
