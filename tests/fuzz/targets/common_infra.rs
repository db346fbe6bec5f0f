//! libFuzzer on `cim::fuzz::common_infra`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cim::fuzz::common_infra(data));
