//! libFuzzer on `cim::fuzz::settings_patch`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cim::fuzz::settings_patch(data));
