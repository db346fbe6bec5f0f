//! libFuzzer on `cim::fuzz::http_request`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cim::fuzz::http_request(data));
