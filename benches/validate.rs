//! How long a validation takes, beside the least that it can take.
//!
//! Every credential is another one, as it is for a server; each way is seen to end as it should
//! before its time is taken. First criterion takes each by itself. Then they run side by side, and
//! their ratios are printed with the limits that they are to keep:
//!
//! ```sh
//! cargo bench --bench validate                # both
//! cargo bench --bench validate -- HS256       # of the first part only these, then the ratios
//! cargo bench --bench validate -- ratios      # the ratios alone
//! ```
//!
//! With `--features axum`, what its extractor costs is measured as well.
#![allow(missing_docs, clippy::expect_used)]

mod support;
mod ways;

use std::time::Duration;

use criterion::Criterion;
use support::TOKENS;
use ways::{Group, groups, rounds};

fn main() {
    let mut groups = groups(TOKENS);
    let criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    let mut criterion = criterion.configure_from_args();
    for group in &mut groups {
        take_times(&mut criterion, group);
    }
    criterion.final_summary();

    // Without it, this is a test of whether the benchmarks run.
    if std::env::args().any(|arg| arg == "--bench") {
        let figures: Vec<_> = groups.iter_mut().flat_map(rounds::measure).collect();
        rounds::report("validate", &figures);
    }
}

fn take_times(criterion: &mut Criterion, group: &mut Group) {
    let mut benchmarks = criterion.benchmark_group(group.name);
    for way in &mut group.ways {
        way.assert_good();
        benchmarks.bench_function(way.name, |bencher| bencher.iter(|| way.validate_next()));
    }
    benchmarks.finish();
}
