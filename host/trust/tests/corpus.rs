//! Replays every file of the fuzz corpus through the same entry as its fuzz target.

use std::{fs, path::PathBuf};

use peerup_trust::fuzzing;

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
fn the_corpus_of_invite_codes_holds() {
    replay("invite_code", fuzzing::invite_code);
}

#[test]
fn the_corpus_of_authorized_keys_holds() {
    replay("authorized_keys", fuzzing::authorized_keys);
}

#[test]
fn the_corpus_of_pairing_frames_holds() {
    replay("pairing_frames", fuzzing::pairing_frames);
}

#[test]
fn the_corpus_of_admission_frames_holds() {
    replay("admit_frames", fuzzing::admit_frames);
}

#[test]
fn the_corpus_of_address_records_holds() {
    replay("address_record", fuzzing::address_record);
}
