//! Random schedules of intake and delivery together, against models of etcd and of the application.
//!
//! Each seed is one run of [`world::World`]: transactions, leases that end, compaction, broken watches, an etcd that restarts,
//! is away or refuses, an application that answers well, badly, late, never, early, for others, or restarts, and a CIM
//! that is killed at any point. What must hold is asserted at each step; at the end everything is healed, and all must be
//! delivered and committed. `CIM_SEED=<n> cargo test --lib change_set::schedules` runs one seed alone.

mod cim;
mod oracle;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::{Seen, World};

const SEEDS: u64 = 400;
/// What has happened before a failure, as far as it is told.
const STEPS_TOLD: usize = 60;

fn run(seed: u64) -> Seen {
    let result = catch_unwind(|| World::new(seed, false).run());
    result.unwrap_or_else(|_| {
        let mut world = World::new(seed, true);
        catch_unwind(AssertUnwindSafe(|| world.run())).expect_err("the same once more");
        let told = world.told.into_inner();
        let last = told.len().saturating_sub(STEPS_TOLD);
        let told = told[last..].join("\n");
        panic!("CIM_SEED={seed} cargo test --lib change_set::schedules\n{told}");
    })
}

#[test]
fn change_sets_are_delivered_in_order_and_committed_once_whatever_happens() {
    if let Ok(seed) = std::env::var("CIM_SEED") {
        run(seed.parse().expect("CIM_SEED is a number"));
        return;
    }
    let mut all = Seen::default();
    for seed in 0..SEEDS {
        all.add(run(seed));
    }
    all.assert_everything_happened();
}
