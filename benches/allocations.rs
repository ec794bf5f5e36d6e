//! How often a validation asks for memory, counted exactly.
//!
//! What is on the way of every request of a known caller must not ask at all: a key that is in the
//! cache, a token that is remembered, and the policies.
#![allow(missing_docs, clippy::expect_used)]

mod support;
mod ways;

use allocation_counter::AllocationInfo;
use ways::{Way, groups};

/// Each is counted more than once: it must be the same every time.
const TIMES: usize = 8;

fn main() {
    println!("| way | allocations | bytes |\n|---|--:|--:|");
    for mut group in groups(TIMES) {
        for way in &mut group.ways {
            // Once before, so that what is made once for all is made.
            way.assert_good();
            let most = (0..TIMES).map(|_| count(way)).max_by_key(|info| info.count_total);
            let most = most.expect("at least once");
            println!(
                "| {}: {} | {} | {} |",
                group.name, way.name, most.count_total, most.bytes_total
            );
            if way.asks_for_no_memory {
                assert_eq!(most.count_total, 0, "{}: {}", group.name, way.name);
            }
        }
    }
}

fn count(way: &mut Way) -> AllocationInfo {
    allocation_counter::measure(|| assert!(way.validate_next()))
}
