//! One entry for each decoder that meets foreign bytes, shared by the fuzz targets and the corpus test.
//!
//! Each must return for any input, and checks that what was read is written back the same.

use crate::{lock::LockFile, manifest::Manifest, package::Package, surface::Surface};

/// Reads a package; one that holds is packed again from its own parts, and read the same.
pub fn package(data: &[u8]) {
    // What it imports is told of any component, whether it is a package or not.
    let _ = Surface::read(data);
    let Ok(package) = Package::read(data.to_vec()) else {
        return;
    };
    let again = Package::pack(data, package.manifest_text(), None).expect("what was read can be packed");
    assert_eq!(again.manifest(), package.manifest());
    let twice = Package::pack(again.bytes(), package.manifest_text(), None).expect("and again");
    assert_eq!(twice.bytes(), again.bytes());
}

/// Reads a `plugin.toml`, and a lock file.
pub fn manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Err(error) = Manifest::parse(text) {
        assert!(!error.to_string().is_empty());
    }
    if let Ok(lock) = LockFile::parse(text) {
        assert_eq!(LockFile::parse(&lock.to_text()).ok(), Some(lock));
    }
}
