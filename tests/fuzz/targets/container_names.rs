//! libFuzzer on `cim::fuzz::container_names`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cim::fuzz::container_names(data));
