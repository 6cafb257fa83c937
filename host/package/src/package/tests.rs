//! The single file: the vectors, that it stays a component, and damage of every kind.

use proptest::prelude::*;

use super::*;

const MANIFEST_TEXT: &str =
    "name = \"chess\"\nversion = \"0.1.0\"\ncontract = \"0.1.0\"\nsummary = \"Plays.\"\n";

fn component() -> Vec<u8> {
    let mut component = Component::new();
    component.section(&custom("producers", b"somebody"));
    component.section(&RawSection {
        id: 1,
        data: &wasm_encoder::Module::HEADER,
    });
    component.finish()
}

fn signed() -> Package {
    Package::pack(&component(), MANIFEST_TEXT, Some(&AuthorKey::from_seed(&[7; 32]))).unwrap()
}

fn told(bytes: Vec<u8>) -> String {
    Package::read(bytes).unwrap_err().to_string()
}

#[test]
fn matches_the_vectors() {
    let text = include_str!("../../tests/vectors/package-1.txt");
    let mut seen = 0;
    for case in text.split("\n[").skip(1) {
        let of = |key: &str| {
            let mut pairs = case.lines().filter_map(|line| line.split_once(" = "));
            pairs.find(|(found, _)| *found == key).unwrap().1
        };
        let bytes = |key: &str| data_encoding::HEXLOWER.decode(of(key).as_bytes()).unwrap();
        let key = AuthorKey::from_seed(&bytes("seed").try_into().unwrap());
        let manifest = String::from_utf8(bytes("manifest")).unwrap();
        let unsigned = Package::pack(&bytes("component"), &manifest, None).unwrap();
        let signed = Package::pack(&bytes("component"), &manifest, Some(&key)).unwrap();
        assert_eq!(key.id().to_string(), of("author"));
        assert_eq!(unsigned.bytes(), bytes("unsigned"));
        assert_eq!(unsigned.digest().to_string(), of("unsigned_digest"));
        assert_eq!(signed.bytes(), bytes("signed"));
        assert_eq!(signed.digest().to_string(), of("signed_digest"));
        assert_eq!(Package::read(bytes("signed")).unwrap().author(), Some(key.id()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        crate::disk::Disk::default()
            .write_new(&path, &bytes("key_file"))
            .unwrap();
        assert_eq!(AuthorKey::load(&path).unwrap().id(), key.id());
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[test]
fn the_file_alone_says_what_it_is() {
    let package = Package::read(signed().into_bytes()).unwrap();
    assert_eq!(package.manifest().name.as_str(), "chess");
    assert_eq!(package.manifest_text(), MANIFEST_TEXT);
    assert_eq!(package.file_name(), "chess-0.1.0.peerup");
    assert_eq!(package.author(), Some(AuthorKey::from_seed(&[7; 32]).id()));
    // Every tool for components reads it.
    wasmparser::Validator::new()
        .validate_all(package.bytes())
        .unwrap();
}

#[test]
fn packing_is_deterministic_and_packing_a_package_gives_the_same_one() {
    assert_eq!(signed().bytes(), signed().bytes());
    let key = AuthorKey::from_seed(&[7; 32]);
    let again = Package::pack(signed().bytes(), MANIFEST_TEXT, Some(&key)).unwrap();
    assert_eq!(again.digest(), signed().digest());
}

#[test]
fn what_is_no_package_is_told_with_what_to_do() {
    assert!(told(Vec::new()).contains("not a WebAssembly component"));
    assert!(told(b"\x7fELF and more".to_vec()).contains("not a WebAssembly component"));
    assert!(told(wasm_encoder::Module::HEADER.to_vec()).contains("core module"));
    assert!(told(component()).contains("peerup plugin pack"));
}

#[test]
fn sections_that_are_twice_or_elsewhere_are_refused() {
    let with = |extra: &[(&str, &[u8])]| {
        let mut file = signed().into_bytes();
        for (name, data) in extra {
            let mut more = Component::new();
            more.section(&custom(name, data));
            file.extend(more.finish().split_off(8));
        }
        told(file)
    };
    assert!(with(&[(MANIFEST, MANIFEST_TEXT.as_bytes())]).contains("there twice"));
    assert!(with(&[("other", b"x")]).contains("not the last one"));
    assert!(with(&[(SIGNATURE, b"x")]).contains("there twice"));
    let plain = |manifest: &[u8], contract: &[u8]| {
        let mut file = Component::new();
        file.section(&custom(MANIFEST, manifest));
        file.section(&custom(CONTRACT, contract));
        told(file.finish())
    };
    assert!(plain(MANIFEST_TEXT.as_bytes(), b"0.2.0").contains("names contract 0.1.0"));
    assert!(plain(b"\xff", b"0.1.0").contains("no text"));
    assert!(plain(b"", b"0.1.0").contains("is missing"));
    assert!(plain(MANIFEST_TEXT.as_bytes(), &[b'x'; 200]).contains("longer than 140"));
}

#[test]
fn a_section_inside_of_a_nested_component_counts_for_nothing() {
    let inner = Package::pack(&component(), MANIFEST_TEXT, None).unwrap();
    let mut outer = Component::new();
    outer.section(&RawSection {
        id: 4,
        data: inner.bytes(),
    });
    assert!(told(outer.finish()).contains("without the section"));
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let most = MAX_PACKAGE_BYTES.to_string();
    assert!(told(vec![0; MAX_PACKAGE_BYTES + 1]).contains(&most));
    let large = vec![0; MAX_COMPONENT_BYTES + 1];
    assert!(Package::pack(&large, MANIFEST_TEXT, None).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_changed_byte_of_a_signed_file_is_noticed(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut bytes = signed().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        // The signature's own name is not signed: a file that lost it is one that nobody signed.
        if let Ok(read) = Package::read(bytes) {
            prop_assert_eq!(read.author(), None);
        }
    }

    #[test]
    fn a_torn_file_is_an_error(cut in any::<prop::sample::Index>()) {
        let bytes = signed().into_bytes();
        let cut = cut.index(bytes.len());
        // Cut right before the signature it is the unsigned file, whole.
        if let Ok(read) = Package::read(bytes[..cut].to_vec()) {
            prop_assert_eq!(read.author(), None);
        }
    }

    #[test]
    fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), head in any::<bool>()) {
        let mut file = if head { Component::HEADER.to_vec() } else { Vec::new() };
        file.extend(bytes);
        let _ = Package::read(file);
    }

    #[test]
    fn damage_anywhere_never_panics(at in any::<prop::sample::Index>(), with in prop::collection::vec(any::<u8>(), 0..8)) {
        let mut bytes = signed().into_bytes();
        let at = at.index(bytes.len());
        bytes.splice(at..at, with);
        let _ = Package::read(bytes);
    }
}
