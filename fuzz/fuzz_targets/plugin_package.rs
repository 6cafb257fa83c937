//! Feeds `peerup_package::fuzzing::package`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| peerup_package::fuzzing::package(data));
