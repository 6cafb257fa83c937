//! Surfaces of components written by hand: what is there, in which version, and damage.

use proptest::prelude::*;

use super::*;

fn component() -> Vec<u8> {
    let text = r#"(component
        (core module (func))
        (import "peerup:plugin/tcp@0.1.1" (instance $tcp
            (export "listener" (type (sub resource)))
            (export "connect" (func))))
        (import "wasi:cli/environment@0.2.6" (instance (export "get-environment" (func))))
        (component (import "peerup:plugin/udp@0.1.1" (instance (export "bind" (func)))))
        (alias export $tcp "connect" (func $connect))
        (instance $inbound (export "handle" (func $connect)))
        (export "peerup:plugin/inbound@0.1.0" (instance $inbound)))"#;
    wat::parse_str(text).unwrap()
}

#[test]
fn the_outermost_component_counts_with_its_functions_and_nothing_else() {
    let surface = Surface::read(&component()).unwrap();
    let imports: Vec<_> = surface.imports().map(|(name, _)| name).collect();
    assert_eq!(imports, ["peerup:plugin/tcp@0.1.1", "wasi:cli/environment@0.2.6"]);
    assert_eq!(
        surface.functions("peerup:plugin/tcp").collect::<Vec<_>>(),
        ["connect"]
    );
    assert_eq!(surface.functions("peerup:plugin/udp").count(), 0);
    assert!(surface.imports_interface("tcp") && !surface.imports_interface("udp"));
    assert!(surface.exports_interface("inbound") && !surface.exports_interface("command"));
    assert_eq!(surface.exports().collect::<Vec<_>>(), ["inbound"]);
    assert_eq!(surface.contract().unwrap().to_string(), "0.1.1");
}

#[test]
fn a_package_has_the_surface_of_its_component() {
    let manifest = "name = \"chess\"\nversion = \"0.1.0\"\ncontract = \"0.1.1\"\nsummary = \"Plays.\"\n";
    let package = crate::Package::pack(&component(), manifest, None).unwrap();
    assert_eq!(
        Surface::read(package.bytes()).unwrap(),
        Surface::read(&component()).unwrap()
    );
}

#[test]
fn what_is_no_component_is_refused() {
    for bytes in [&b""[..], b"nonsense", b"\0asm\x01\0\0\0"] {
        assert!(
            matches!(Surface::read(bytes), Err(PackageError::NotComponent { .. })),
            "{bytes:?}"
        );
    }
}

proptest! {
    #[test]
    fn damage_never_panics(at in 0..400_usize, byte: u8, length in 0..400_usize) {
        let mut bytes = component();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        let _ = Surface::read(&bytes);
        bytes.truncate(length);
        let _ = Surface::read(&bytes);
    }
}
