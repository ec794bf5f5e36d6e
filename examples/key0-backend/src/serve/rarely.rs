//! Saying something that may happen very often, and not often.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long nothing is said after something was.
const SILENCE: Duration = Duration::from_secs(60);

/// Counts what happens, and tells once a minute at most that it is to be said.
#[derive(Debug, Default)]
pub(crate) struct Rarely(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    since_said: u64,
    said: Option<Instant>,
}

impl Rarely {
    /// It happened so many times more. How often since it was last said, where it is to be said now.
    pub(crate) fn happened(&self, times: usize) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.since_said += u64::try_from(times).unwrap_or(u64::MAX);
        if counted.said.is_some_and(|said| said.elapsed() < SILENCE) {
            return None;
        }
        counted.said = Some(Instant::now());
        Some(std::mem::take(&mut counted.since_said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_said_once_a_minute_with_its_count() {
        let flood = Rarely::default();
        assert_eq!(flood.happened(1), Some(1));
        for _ in 0..10 {
            assert_eq!(flood.happened(2), None);
        }
        tokio::time::advance(SILENCE).await;
        assert_eq!(flood.happened(1), Some(21));
        assert_eq!(flood.happened(1), None);
    }
}
