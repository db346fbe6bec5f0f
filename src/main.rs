//! The command `cim`.

fn main() {}
