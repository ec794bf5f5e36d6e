//! How measured times are summed up and told.

use std::time::Duration;

/// Times, in order.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        assert!(!times.is_empty(), "nothing was measured");
        times.sort();
        Self(times)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The least time that so many hundredths of all do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent).div_ceil(100).max(1) - 1]
    }

    pub(crate) fn max(&self) -> Duration {
        self.percentile(100)
    }

    /// A line of a table.
    pub(crate) fn line(&self, label: &str) -> String {
        let [half, most, all] = [50, 99, 100].map(|p| self.percentile(p).as_secs_f64() * 1e3);
        format!("{label:<44} {:>6} {half:>9.1} {most:>9.1} {all:>9.1}", self.len())
    }
}

/// The head of the table.
pub(crate) fn head() -> String {
    format!("{:<44} {:>6} {:>9} {:>9} {:>9}", "milliseconds", "times", "median", "99 %", "most")
}
