//! Feeds `peerup_trust::fuzzing::address_record`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| peerup_trust::fuzzing::address_record(data));
