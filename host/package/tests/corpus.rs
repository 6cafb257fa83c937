//! Replays every file of the fuzz corpus through the same entry as its fuzz target.

use std::{fs, path::PathBuf};

use peerup_package::fuzzing;

fn replay(target: &str, entry: fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut seen = 0;
    for file in fs::read_dir(&folder).expect("the corpus is in the repository") {
        let path = file.expect("its folder can be read").path();
        entry(&fs::read(path).expect("its files can be read"));
        seen += 1;
    }
    assert!(seen > 0, "no corpus in {}", folder.display());
}

#[test]
fn the_corpus_of_packages_holds() {
    replay("plugin_package", fuzzing::package);
}

#[test]
fn the_corpus_of_manifests_and_lock_files_holds() {
    replay("plugin_manifest", fuzzing::manifest);
}
