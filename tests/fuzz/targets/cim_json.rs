//! libFuzzer on `cim::fuzz::cim_json`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cim::fuzz::cim_json(data));
