//! Replays every file of the fuzz corpus through the same entry as its fuzz target.

use std::{fs, path::PathBuf};

use peerup_paths::fuzzing;

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
fn the_corpus_of_path_messages_holds() {
    replay("path_info", fuzzing::path_info);
}
