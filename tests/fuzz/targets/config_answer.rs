//! libFuzzer on `cim::fuzz::config_answer`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cim::fuzz::config_answer(data));
