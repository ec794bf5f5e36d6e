//! How many instructions a validation takes, whatever else the machine does: for an HS256 token the
//! same number on every run. For API keys, which are random, it differs by 1 in 100, and where they
//! are read anew by 5 in 100.
//!
//! ```sh
//! cargo install gungraun-runner --version 0.20.0     # and valgrind, from the system's packages
//! cargo bench --features axum --bench instructions
//! ```
//!
//! Compare a way with itself, before and after a change: the run prints both. Its ratios to other
//! ways are not those of `benches/validate.rs`: valgrind's processor lacks the SHA instructions, so
//! that SHA-256 is done in software, at several times its usual cost, and everything that hashes
//! looks alike. Nor is an instruction a unit of time.
#![allow(missing_docs, clippy::expect_used)]

mod support;
mod ways;

use std::hint::black_box;

use gungraun::{Callgrind, OutputFormat, prelude::*};
use ways::{Way, group};

/// Few, since what comes before the validation runs under valgrind as well.
const INPUTS: usize = 2;

fn prepare(group_name: &'static str, name: &str) -> Way {
    let group = group(group_name, INPUTS);
    let way = group.ways.into_iter().find(|way| way.name == name);
    let mut way = way.unwrap_or_else(|| panic!("{group_name} has no {name}"));
    way.assert_good();
    way
}

/// A benchmark of these ways of a group. What is dropped with a way is not counted.
macro_rules! benchmark {
    ($function:ident, $group:literal: $($name:literal),+ $(,)?) => {
        #[library_benchmark]
        #[benches::way(args = [$(($group, $name)),+], setup = prepare)]
        fn $function(mut way: Way) -> Way {
            black_box(way.validate_next());
            way
        }
    };
}

benchmark!(hs256, "HS256":
    "bare HMAC",
    "ours, 1 key",
    "ours, remembered",
    "ours, 3 keys",
    "ours, 10 keys",
    "ours, 1 key with kid",
    "ours, 10 keys with kid",
    "ours, from the request's header",
    "ours, where no token is denied",
    "jsonwebtoken::decode alone",
    "jsonwebtoken::decode with equal checks",
);
benchmark!(rs256, "RS256":
    "bare verification",
    "ours, never seen",
    "ours, remembered",
);
benchmark!(es256, "ES256":
    "bare verification",
    "ours, never seen",
    "ours, remembered",
);
benchmark!(api_key, "API key":
    "SHA-256",
    "accepted, cached",
    "accepted, uncached",
    "the store's own part of it",
);
benchmark!(refused_token, "refused token":
    "accepted",
    "bad signature",
    "not base64url",
    "not JSON",
    "expired",
    "not valid yet",
    "wrong algorithm",
    "no algorithm",
    "refused header member",
    "system token",
    "claim missing",
    "claim of a wrong type",
    "claim that is no id",
    "member twice",
    "opaque, known to nobody",
    "over 8 KiB",
    "bad signature, with a fallback",
    "accepted, 8 KiB",
    "bad signature, 8 KiB",
    "member twice, 8 KiB",
    "long header with a refused member",
    "long header of nested values",
);
benchmark!(refused_key, "refused key":
    "accepted, cached",
    "unknown, cached",
    "revoked, cached",
    "expired, cached",
    "mistyped",
    "opaque, known to nobody",
    "two credentials",
    "no credential",
    "accepted, uncached",
    "unknown, uncached",
    "revoked, uncached",
    "expired, uncached",
);
benchmark!(around_it, "around it":
    "policy, let in",
    "policy, another resource",
    "policy, no such permission",
    "refusal as a response",
    "extraction",
);

library_benchmark_group!(
    name = validations,
    benchmarks = [hs256, rs256, es256, api_key, refused_token, refused_key, around_it]
);

main!(
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::with_args(["--cache-sim=no"]))
        .output_format(OutputFormat::default().truncate_description(None)),
    library_benchmark_groups = validations
);
