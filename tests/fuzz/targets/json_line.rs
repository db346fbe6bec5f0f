//! libFuzzer on `cim::fuzz::json_line`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cim::fuzz::json_line(data));
