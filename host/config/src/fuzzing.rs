//! Entry points for the fuzz targets: whatever the bytes, nothing here may panic.

use std::path::Path;

use crate::{
    edit::ConfigEditor,
    load::{parse_node, parse_relay},
};

/// Loads bytes as both kinds of config, and edits them where they are a node's.
///
/// # Panics
/// An edit that was kept does not read back; that is what the fuzzer looks for.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let path = Path::new("/fuzz/peerup.yaml");
    let _ = parse_relay(text, path);
    if parse_node(text, path).is_err() {
        return;
    }
    let Ok(mut editor) = ConfigEditor::new(text, path) else {
        return;
    };
    if let (Ok(service), Ok(name)) = ("fuzz".parse(), "fuzz".parse()) {
        let _ = editor.set_service(&service, "localhost:1", true);
        let _ = editor.set_service_enabled(&service, false);
        let _ = editor.set_own_name(&name);
        let _ = editor.remove_service(&service);
    }
    let reread = parse_node(editor.text(), path).map(|loaded| loaded.config);
    assert!(
        reread.is_ok_and(|config| config == *editor.config()),
        "an edit does not read back"
    );
}
