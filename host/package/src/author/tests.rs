//! Author keys: their files, and what a signature covers.

use super::*;

#[test]
fn a_new_key_is_private_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("author.key");
    let made = AuthorKey::create(&path).unwrap();
    assert_eq!(AuthorKey::load(&path).unwrap().id(), made.id());
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 68);
    assert!(matches!(
        AuthorKey::create(&path),
        Err(AuthorKeyError::Exists { .. })
    ));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        set(0o640);
        let told = AuthorKey::load(&path).unwrap_err().to_string();
        assert!(told.contains("chmod 600") && told.contains("0640"), "{told}");
    }
}

#[test]
fn a_damaged_key_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("author.key");
    AuthorKey::create(&path).unwrap();
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[40] ^= 1;
    for damage in [&[][..], b"no key", &good[..67], &flipped] {
        std::fs::write(&path, damage).unwrap();
        assert!(matches!(
            AuthorKey::load(&path),
            Err(AuthorKeyError::Corrupt { .. })
        ));
    }
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(
        AuthorKey::load(&path),
        Err(AuthorKeyError::Missing { .. })
    ));
}

#[test]
fn ids_are_read_back_and_others_refused() {
    let id = AuthorKey::from_seed(&[9; 32]).id();
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!(id.to_string().len(), 8 + 43);
    for bad in ["", "ed25519:", "ed25519:AAAA", "rsa:AAAA", &format!("{id}=")] {
        assert!(bad.parse::<AuthorId>().is_err(), "{bad}");
    }
}

#[test]
fn a_signature_holds_for_its_file_only() {
    let key = AuthorKey::from_seed(&[1; 32]);
    let section = key.sign(b"file");
    assert_eq!(verify(b"file", &section), Ok(key.id()));
    assert_eq!(verify(b"File", &section), Err(SignatureError::Mismatch));
    assert_eq!(verify(b"file", &section[..96]), Err(SignatureError::Length(96)));
    let mut other = section.clone();
    other[0] = 2;
    assert_eq!(verify(b"file", &other), Err(SignatureError::Version(2)));
    let mut swapped = section.clone();
    swapped[1..33].copy_from_slice(&AuthorKey::from_seed(&[2; 32]).id().0);
    assert_eq!(verify(b"file", &swapped), Err(SignatureError::Mismatch));
    let mut weak = section;
    weak[1..33].copy_from_slice(&[0; 32]);
    assert!(verify(b"file", &weak).is_err());
}

#[test]
fn a_signature_of_the_bare_digest_is_none() {
    let key = AuthorKey::from_seed(&[1; 32]);
    let mut section = key.sign(b"file");
    let bare: [u8; 32] = Sha256::digest(b"file").into();
    section[33..].copy_from_slice(&key.0.sign(&bare).to_bytes());
    assert_eq!(verify(b"file", &section), Err(SignatureError::Mismatch));
}
