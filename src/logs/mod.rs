//! Log lines: who they belong to, what they look like on each sink, and the rotating files (CONTRACT section 6).

pub mod batch;
pub mod container;
