//! What the number of keys costs: in a SQLite file, and in the cache in front of it.
//!
//! ```sh
//! cargo bench --bench scale --features sqlite             # up to a million keys
//! cargo bench --bench scale --features sqlite -- --full   # up to ten million: 10 GB of disk
//! ```
//!
//! Prints two tables, and leaves the figures in `target/figures/` for the plots. Every operation is
//! seen to succeed before its time counts.
#![allow(missing_docs, clippy::expect_used)]

mod cache;
mod file;
mod fill;
mod report;

use std::env;

fn main() {
    let full = env::args().any(|argument| argument == "--full");
    let sizes: &[u64] = if full { &[10_000, 1_000_000, 10_000_000] } else { &[10_000, 1_000_000] };
    let flood = if full { 10_000_000 } else { 1_000_000 };

    let cache = cache::measure(flood);
    report::print_cache(&cache);
    let files = file::measure(sizes);
    report::print_files(&files);
    report::keep(&cache, &files);
}
