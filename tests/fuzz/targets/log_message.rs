//! libFuzzer on `cim::fuzz::log_message`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cim::fuzz::log_message(data));
