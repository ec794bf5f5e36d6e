//! Whether a comparison's time tells how much of a secret was guessed, after dudect ("Dude, is my
//! code constant time?", Reparaz, Balasch, Verbauwhede, 2017): many comparisons with candidates of
//! two kinds, and Welch's t-test on their times. What leaks is found out by the same measurement.

use std::{fs, hint::black_box, path::Path, time::Instant};

use key0_auth::domain::{Secret, SecretSet};

/// So long that a comparison which ends at the first difference is much faster for one kind.
const LENGTH: usize = 256;
const COMPARISONS: usize = 10_000_000;
/// The slowest tenth is left out: it is the system's own doing.
const KEPT: f64 = 0.9;
/// Beyond this there is a leak.
const CERTAIN: f64 = 5.0;

/// The short form, by reading: each function that compares what a caller sent with a secret does it
/// by `ct_eq`, and by nothing that could end early.
#[test]
fn secrets_are_compared_in_constant_time_alone() {
    for (file, begins) in [
        ("domain/secret.rs", "fn matches_digest("),
        ("domain/secret.rs", "pub fn matches("),
        ("apikey/digest.rs", "fn eq("),
        ("apikey/bootstrap.rs", "pub(crate) fn contains("),
        ("apikey/bootstrap.rs", "pub(crate) fn find("),
        ("token/signature.rs", "pub(super) fn verify("),
    ] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file));
        let text = text.unwrap();
        let (_, body) = text.split_once(begins).unwrap_or_else(|| panic!("{file}: {begins}"));
        let body = body.split("\n    }\n").next().unwrap();
        let compares = ["ct_eq(", "matches_digest("].iter().any(|name| body.contains(name));
        assert!(compares, "{file}: {begins}{body}");
        // An index may be compared, a digest or a signature not.
        let plain = body.lines().find(|line| {
            let is_comparison = line.contains(" == ") || line.contains(".eq(");
            is_comparison || (line.contains(" != ") && line.trim() != "found != none")
        });
        assert_eq!(plain, None, "{file}: {begins}");
    }
}

#[test]
#[ignore = "long: timing"]
fn long_timing_tells_nothing_of_a_secret() {
    let secret = vec![b'k'; LENGTH];
    let set = SecretSet::new(Secret::new("a test's secret", secret.clone()).unwrap());
    let ours = t_value(&secret, |candidate| set.matches(candidate));
    let control = t_value(&secret, |candidate| ends_at_the_first_difference(&secret, candidate));
    println!("{COMPARISONS} comparisons: |t| is {ours:.1}; of one that leaks, {control:.1}");
    assert!(control > CERTAIN, "a leak is not found: {control}");
    assert!(ours < CERTAIN, "the time tells how much of a secret is right: {ours}");
}

fn ends_at_the_first_difference(secret: &[u8], candidate: &[u8]) -> bool {
    secret.iter().zip(candidate).all(|(one, other)| one == other)
}

/// How sure it is that candidates with a wrong first byte and with a wrong last byte take different
/// times.
fn t_value(secret: &[u8], matches: impl Fn(&[u8]) -> bool) -> f64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let wrong_at = |place: usize| {
        let mut candidate = secret.to_vec();
        candidate[place] ^= 1;
        candidate
    };
    let candidates = [wrong_at(0), wrong_at(LENGTH - 1)];
    let mut candidate = secret.to_vec();
    let mut times: Vec<(bool, f64)> = (0..COMPARISONS)
        .map(|_| {
            // xorshift, so that neither kind has the better half of the machine's moods.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let first = state & 1 == 0;
            // Both kinds stand in the same memory, and get there alike: a byte that was written by
            // itself is slow to read.
            candidate.copy_from_slice(&candidates[usize::from(!first)]);
            let began = Instant::now();
            assert!(!black_box(matches(black_box(&candidate))));
            (first, began.elapsed().as_nanos() as f64)
        })
        .collect();
    times.sort_by(|one, other| one.1.total_cmp(&other.1));
    times.truncate((COMPARISONS as f64 * KEPT) as usize);
    let moments = |kind: bool| {
        let of_kind: Vec<f64> =
            times.iter().filter(|(first, _)| *first == kind).map(|(_, time)| *time).collect();
        let count = of_kind.len() as f64;
        let mean = of_kind.iter().sum::<f64>() / count;
        let variance =
            of_kind.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    };
    let ((mean, error), (other_mean, other_error)) = (moments(true), moments(false));
    ((mean - other_mean) / (error + other_error).sqrt()).abs()
}
