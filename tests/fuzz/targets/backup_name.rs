//! libFuzzer on `cim::fuzz::backup_name`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cim::fuzz::backup_name(data));
