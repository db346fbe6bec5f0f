//! libFuzzer on `cim::fuzz::event`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cim::fuzz::event(data));
