//! Configs of nodes and relays, from any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerup_config::fuzzing::config(data));
