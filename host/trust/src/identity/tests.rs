//! The identity file on a real file system.

use std::fs;

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn creates_the_libp2p_protobuf_for_its_owner_only_and_loads_it() {
    let folder = folder();
    let path = folder.path().join("identity.key");
    let created = create_identity(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len(), IDENTITY_FILE_BYTES);
    assert_eq!(bytes[..4], [0x08, 0x01, 0x12, 0x40]);
    assert_eq!(load_identity(&path).unwrap().public(), created.public());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    }
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no temporary file stays"
    );
}

#[test]
fn never_creates_over_a_file() {
    let folder = folder();
    let path = folder.path().join("identity.key");
    fs::write(&path, "precious").unwrap();
    assert!(matches!(
        create_identity(&path),
        Err(IdentityError::Exists { .. })
    ));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn load_or_create_creates_once_and_then_loads() {
    let folder = folder();
    let path = folder.path().join("identity.key");
    let first = load_or_create_identity(&path).unwrap();
    let second = load_or_create_identity(&path).unwrap();
    assert_eq!(first.public(), second.public());
}

#[test]
fn a_missing_folder_is_an_error_and_is_not_created() {
    let folder = folder();
    let path = folder.path().join("absent/identity.key");
    assert!(matches!(
        load_or_create_identity(&path),
        Err(IdentityError::Write { .. })
    ));
    assert!(!folder.path().join("absent").exists());
}

#[cfg(unix)]
#[test]
fn refuses_every_group_or_other_bit_and_names_the_command() {
    let folder = folder();
    let path = folder.path().join("identity.key");
    create_identity(&path).unwrap();
    for bit in 0..6 {
        set_mode(&path, 0o600 | 1 << bit);
        let error = load_or_create_identity(&path).unwrap_err();
        assert!(matches!(error, IdentityError::Permissions { .. }), "{error}");
        assert!(
            error
                .to_string()
                .ends_with(&format!("run: chmod 600 {}", path.display())),
            "{error}"
        );
    }
    set_mode(&path, 0o400);
    load_identity(&path).unwrap();
}

#[cfg(unix)]
#[test]
fn a_damaged_file_is_an_error_and_stays() {
    let folder = folder();
    let path = folder.path().join("identity.key");
    create_identity(&path).unwrap();
    let good = fs::read(&path).unwrap();
    let mut mismatched = good.clone();
    mismatched[67] ^= 1;
    let cases = [
        vec![],
        good[..67].to_vec(),
        [&good[..], b"\n"].concat(),
        vec![0; 68],
        mismatched,
        vec![7; 100_000],
    ];
    for bytes in cases {
        fs::write(&path, &bytes).unwrap();
        let error = load_or_create_identity(&path).unwrap_err();
        assert!(matches!(error, IdentityError::Corrupt { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_an_error_and_no_reason_for_a_new_key() {
    let folder = folder();
    let path = folder.path().join("identity.key");
    fs::create_dir(&path).unwrap();
    assert!(matches!(
        load_or_create_identity(&path),
        Err(IdentityError::Read { .. })
    ));
    let link = folder.path().join("link.key");
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
    assert!(load_or_create_identity(&link).is_err());
    assert!(!folder.path().join("nowhere").exists());
    let below = folder.path().join("plain");
    fs::write(&below, "").unwrap();
    assert!(matches!(
        load_or_create_identity(below.join("key")),
        Err(IdentityError::Read { .. })
    ));
}
