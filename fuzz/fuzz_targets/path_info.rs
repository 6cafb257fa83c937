//! Feeds `peerup_paths::fuzzing::path_info`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| peerup_paths::fuzzing::path_info(data));
