use std::time::Duration;

/// When a set of keys is fetched, and how long tokens wait for that.
#[derive(Debug, Clone)]
pub(super) struct Timing {
    /// How often an unknown kid makes it fetch.
    pub(super) ask_every: Duration,
    /// How long a token waits for that.
    pub(super) patience: Duration,
    pub(super) least_fresh: Duration,
    pub(super) most_fresh: Duration,
    pub(super) first_retry: Duration,
    pub(super) last_retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ask_every: Duration::from_secs(10),
            patience: Duration::from_secs(2),
            least_fresh: Duration::from_secs(5 * 60),
            most_fresh: Duration::from_secs(24 * 60 * 60),
            first_retry: Duration::from_secs(1),
            last_retry: Duration::from_secs(60),
        }
    }
}

impl Timing {
    /// When to fetch again a set that its sender wants to be kept for so long; an hour where it does
    /// not say.
    pub(super) fn next_fetch(&self, fresh_for: Option<Duration>) -> Duration {
        let fresh_for = fresh_for.unwrap_or(Duration::from_secs(60 * 60));
        fresh_for.clamp(self.least_fresh, self.most_fresh)
    }
    /// When to try again after so many failures in a row, the last one not counted.
    pub(super) fn retry_after(&self, failures: u32) -> Duration {
        self.first_retry.saturating_mul(2_u32.saturating_pow(failures)).min(self.last_retry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_fetched_again_within_five_minutes_to_a_day() {
        let timing = Timing::default();
        for (told, seconds) in [
            (None, 3_600),
            (Some(0), 300),
            (Some(299), 300),
            (Some(301), 301),
            (Some(86_399), 86_399),
            (Some(86_401), 86_400),
            (Some(u64::MAX), 86_400),
        ] {
            let next = timing.next_fetch(told.map(Duration::from_secs));
            assert_eq!(next.as_secs(), seconds, "{told:?}");
        }
    }

    #[test]
    fn failures_are_tried_again_after_one_to_sixty_seconds() {
        let pauses = (0..8).map(|failures| Timing::default().retry_after(failures).as_secs());
        assert_eq!(pauses.collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(Timing::default().retry_after(u32::MAX).as_secs(), 60);
    }
}
