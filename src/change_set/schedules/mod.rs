//! Random schedules of intake and delivery together, against models of etcd and of the application.
//!
//! Each seed is one run of [`world::World`]: transactions, leases that end, compaction, broken watches, an etcd that restarts,
//! is away or refuses, an application that answers well, badly, late, never, early, for others, or restarts, and a CIM
//! that is killed at any point. What must hold is asserted at each step; at the end everything is healed, and all must be
//! delivered and committed. `CIM_SEED=<n> cargo test --lib change_set::schedules` runs one seed and tells what happens.

mod cim;
mod oracle;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::{Seen, World};

const SEEDS: u64 = 400;

fn run(seed: u64, tell: bool) -> Seen {
    let result = catch_unwind(AssertUnwindSafe(|| World::new(seed, tell).run()));
    result.unwrap_or_else(|panic| {
        eprintln!("seed {seed}: CIM_SEED={seed} cargo test --lib change_set::schedules");
        resume_unwind(panic)
    })
}

#[test]
fn change_sets_are_delivered_in_order_and_committed_once_whatever_happens() {
    if let Ok(seed) = std::env::var("CIM_SEED") {
        run(seed.parse().expect("CIM_SEED is a number"), true);
        return;
    }
    let mut all = Seen::default();
    for seed in 0..SEEDS {
        all.add(run(seed, false));
    }
    all.assert_everything_happened();
}
