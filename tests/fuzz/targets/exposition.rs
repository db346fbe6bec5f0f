//! libFuzzer on `cim::fuzz::exposition`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cim::fuzz::exposition(data));
