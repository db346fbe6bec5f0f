//! Random numbers of the operating system, for what need not be secret: waits that no two sidecars share, names.

/// Fills `bytes`. Without randomness they stay as they are, which is no harm here.
pub fn fill(bytes: &mut [u8]) {
    let _ = rustix::rand::getrandom(bytes, rustix::rand::GetRandomFlags::empty());
}

/// A number.
pub fn number() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
