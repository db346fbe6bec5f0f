//! libFuzzer on `cim::fuzz::change_set_key`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cim::fuzz::change_set_key(data));
