//! libFuzzer on `cim::fuzz::journal_files`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cim::fuzz::journal_files(data));
