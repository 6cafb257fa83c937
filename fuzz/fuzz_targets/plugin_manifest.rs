//! Feeds `peerup_package::fuzzing::manifest`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| peerup_package::fuzzing::manifest(data));
