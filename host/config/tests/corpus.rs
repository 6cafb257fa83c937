//! Replays every file of the fuzz corpus through the same entry as its fuzz target.

use std::{fs, path::PathBuf};

#[test]
fn the_corpus_of_configs_holds() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/config");
    let mut seen = 0;
    for file in fs::read_dir(&folder).expect("the corpus is in the repository") {
        let path = file.expect("its folder can be read").path();
        peerup_config::fuzzing::config(&fs::read(path).expect("its files can be read"));
        seen += 1;
    }
    assert!(seen > 0, "no corpus in {}", folder.display());
}
