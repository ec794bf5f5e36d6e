use std::time::Duration;

/// The longest pause after the first failure.
const FIRST: Duration = Duration::from_millis(50);
/// The longest pause at all: a server that is back is found within two of them.
const LONGEST: Duration = Duration::from_secs(1);
/// The shortest pause, so that bad luck makes no busy loop.
const SHORTEST: Duration = Duration::from_millis(10);

/// How long to wait before the next try: anything up to a bound that doubles with every failure,
/// so that many instances don't come back in step.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after one more failure.
    pub(crate) fn pause(&mut self) -> Duration {
        let most = FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        let most = most.min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // Without random numbers the pause is the longest.
        let share = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
        most.mul_f64(share).max(SHORTEST)
    }

    /// It works again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_are_never_in_step() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..100).map(|_| backoff.pause()).collect();
        assert!(pauses[0] <= FIRST, "{pauses:?}");
        assert!(pauses.iter().all(|pause| (SHORTEST..=LONGEST).contains(pause)), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause > LONGEST / 2), "{pauses:?}");
        assert_ne!(pauses[50], pauses[51]);
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }
}
