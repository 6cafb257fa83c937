//! Plugin packages, from author to operator.
//!
//! What a plugin says about itself (`plugin.toml`), the single file that it travels in, its author's signature,
//! the lock file and the local store of what is installed, and the rights that it asks for against those that it
//! has, and what
//! a component says of itself against its manifest. Files only: nothing here runs a plugin or speaks to a network.

mod author;
mod capability;
mod digest;
mod disk;
mod file;
mod folder;
#[doc(hidden)]
pub mod fuzzing;
mod lint;
mod lock;
mod manifest;
mod package;
mod problem;
mod reader;
mod rights;
mod settings;
mod surface;
mod usage;

pub use author::{AuthorId, AuthorIdError, AuthorKey, AuthorKeyError, SignatureError};
pub use capability::{CapabilityName, UnknownCapability};
pub use digest::{Digest, DigestError};
pub use folder::{FolderError, PluginFolder, ReadError, read_package};
pub use lint::{Built, Finding, LARGE_COMPONENT_BYTES, Severity, lint};
pub use lock::{
    ConfirmError, Expired, LOCK_VERSION, LockError, LockFile, LockedPackage, LockedPlugin, MAX_LOCK_BYTES,
    PinError, Standing, Trial, WayBack,
};
pub use manifest::{Capability, CommandSpec, FlagSpec, FlagType, MAX_MANIFEST_BYTES, Manifest};
pub use package::{EXTENSION, MAX_COMPONENT_BYTES, MAX_PACKAGE_BYTES, Package, PackageError};
pub use problem::{ManifestError, Problem};
pub use rights::{GrantLine, Rights, RightsDifference, UngrantableRights, WidenedRight, asks_more, missing};
pub use settings::{Setting, SettingProblem, SettingType, SettingsSchema};
pub use surface::Surface;

pub use usage::{CapabilityUse, UseStatus, capability_uses};
