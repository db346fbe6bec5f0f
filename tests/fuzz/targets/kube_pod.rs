//! libFuzzer on `cim::fuzz::kube_pod`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cim::fuzz::kube_pod(data));
