//! Feeds `peerup_trust::fuzzing::invite_code`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| peerup_trust::fuzzing::invite_code(data));
