use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use jiff::civil::DateTime;

use super::error::{Error, ErrorKind};
use crate::domain::Timestamp;

/// A date of HTTP, and the two forms that it had before (RFC 9110, section 5.6.7).
const DATE_FORMS: [&str; 3] =
    ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];

/// How often, for how long and after which pauses a call is sent again.
#[derive(Debug, Clone)]
pub(super) struct RetryPolicy {
    /// All of them, the first one included.
    pub(super) attempts: u32,
    /// For each attempt.
    pub(super) timeout: Duration,
    /// For the whole call, pauses included.
    pub(super) deadline: Duration,
    pub(super) first_pause: Duration,
    pub(super) longest_pause: Duration,
    pub(super) jitter_seed: Option<u64>,
}

/// What it means to send a call again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Nothing: it reads.
    Reads,
    /// What is gone is gone.
    Deletes,
    /// The server knows it by its key and does it once.
    Keyed,
    /// The application says that the server does it once.
    Promised,
    /// It might be done twice.
    Never,
}

/// The shortest that a pause of our own is cut to, where the time runs out: it keeps the last
/// attempts from following on each other ever faster.
const SHORTEST_CUT: Duration = Duration::from_millis(50);

/// The pauses of one call.
#[derive(Debug)]
pub(super) struct Pauses {
    /// As many as there are attempts after the first one.
    failed: ExponentialBackoff,
    /// Without an end: who is told that the server is at it has not failed.
    in_progress: ExponentialBackoff,
}

impl Repeat {
    /// Whether another attempt may help, and can do no harm.
    pub(super) fn is_worth_it(self, error: &Error) -> bool {
        if self == Self::Never {
            return false;
        }
        match error.kind() {
            ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Broken => true,
            ErrorKind::Refused => match error.status() {
                Some(408 | 425 | 429 | 502 | 503 | 504) => true,
                // A bug may have done half of it, which only reading leaves as it was.
                Some(500) => self == Self::Reads,
                Some(409) => self == Self::Keyed && error.is_in_progress(),
                _ => false,
            },
            _ => false,
        }
    }
}

impl Pauses {
    pub(super) fn new(policy: &RetryPolicy) -> Self {
        // Without a seed of our own every client would pause for the same times, since backon has
        // no source of chance here; the low half of a UUID is random.
        let seed = || uuid::Uuid::now_v7().as_u64_pair().1;
        let pauses = ExponentialBuilder::new()
            .with_min_delay(policy.first_pause)
            .with_max_delay(policy.longest_pause)
            .with_jitter()
            .with_jitter_seed(policy.jitter_seed.unwrap_or_else(seed));
        Self {
            failed: pauses.with_max_times(policy.attempts.saturating_sub(1) as usize).build(),
            in_progress: pauses.without_max_times().build(),
        }
    }

    /// The pause before the next attempt: what the server asks for and a jittered one on top, so
    /// that not all come back in the same instant. The latter takes half of the time that is left
    /// at most. Nothing where no attempt is left, or where the server asks for more than that time.
    pub(super) fn next(&mut self, error: &Error, left: Duration) -> Option<Duration> {
        let series = if error.is_in_progress() { &mut self.in_progress } else { &mut self.failed };
        let jittered = series.next()?;
        let asked = error.retry_after().unwrap_or_default();
        let rest = left.checked_sub(asked)?;
        let pause = jittered.min((rest / 2).max(SHORTEST_CUT));
        (pause < rest).then(|| asked + pause)
    }
}

/// How long a `Retry-After` asks to wait (RFC 9110, section 10.2.3): seconds, or a date. Nothing
/// where it is neither.
pub(super) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has are a very long time too.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = DATE_FORMS.iter().find_map(|form| DateTime::strptime(form, value).ok())?;
    let seconds = date.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0)).as_secs();
    Some(Timestamp::from_seconds(seconds).since(now))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{error::Told, problem::Problem},
        *,
    };

    const MS: Duration = Duration::from_millis(1);
    const FOREVER: Duration = Duration::MAX;

    fn policy(attempts: u32) -> RetryPolicy {
        RetryPolicy {
            attempts,
            timeout: FOREVER,
            deadline: FOREVER,
            first_pause: 100 * MS,
            longest_pause: 400 * MS,
            jitter_seed: Some(7),
        }
    }

    fn refused(status: u16, retry_after: Option<Duration>) -> Error {
        let told = Told { retry_after, ..Told::default() };
        Error::new(ErrorKind::Refused).answered(status, None).told(told)
    }

    fn coded(status: u16, code: &str) -> Error {
        let problem = Problem::from_json(serde_json::json!({"code": code}));
        let told = Told { problem, ..Told::default() };
        Error::new(ErrorKind::Refused).answered(status, None).told(told)
    }

    fn pauses(policy: &RetryPolicy) -> Vec<Duration> {
        let (mut pauses, error) = (Pauses::new(policy), refused(503, None));
        std::iter::from_fn(|| pauses.next(&error, FOREVER)).collect()
    }

    #[test]
    fn pauses_grow_with_jitter_up_to_the_longest() {
        let taken = pauses(&policy(6));
        assert_eq!(taken.len(), 5);
        for (pause, least) in taken.iter().zip([100, 200, 400, 400, 400]) {
            assert!((least * MS..2 * least * MS).contains(pause), "{taken:?}");
        }
        assert_eq!(pauses(&policy(6)), taken, "one seed, one series");
        assert!(pauses(&policy(1)).is_empty());
    }

    #[test]
    fn two_clients_do_not_pause_alike() {
        let unseeded = RetryPolicy { jitter_seed: None, ..policy(6) };
        assert_ne!(pauses(&unseeded), pauses(&unseeded));
    }

    #[test]
    fn what_the_server_asks_for_comes_first_and_jitter_on_top() {
        let asked = Duration::from_secs(3);
        let pause = Pauses::new(&policy(2)).next(&refused(429, Some(asked)), FOREVER);
        let pause = pause.expect("an attempt is left");
        assert!(pause >= asked + 100 * MS && pause < asked + 200 * MS, "{pause:?}");
    }

    #[test]
    fn a_pause_of_our_own_never_takes_more_than_half_of_what_is_left() {
        let slow = RetryPolicy { first_pause: FOREVER, longest_pause: FOREVER, ..policy(9) };
        let second = Duration::from_secs(1);
        let next = |asked| Pauses::new(&slow).next(&refused(503, asked), 10 * second);
        assert_eq!(next(None), Some(5 * second));
        assert_eq!(next(Some(4 * second)), Some(7 * second));
        // Near the end they don't follow on each other ever faster.
        let mut pauses = Pauses::new(&RetryPolicy { attempts: u32::MAX, ..slow });
        let mut left = second;
        let taken = std::iter::from_fn(|| {
            let pause = pauses.next(&refused(503, None), left)?;
            left -= pause;
            Some(pause)
        });
        let taken: Vec<Duration> = taken.take(100).collect();
        assert!(taken.len() < 10 && left <= SHORTEST_CUT, "{taken:?}, {left:?}");
    }

    #[test]
    fn an_answer_in_progress_takes_no_attempt() {
        for (status, code) in [(409, "idempotency_in_progress"), (503, "issuance_in_progress")] {
            let mut pauses = Pauses::new(&policy(2));
            for _ in 0..20 {
                assert!(pauses.next(&coded(status, code), FOREVER).is_some(), "{code}");
            }
            assert!(pauses.next(&refused(503, None), FOREVER).is_some());
            assert!(pauses.next(&refused(503, None), FOREVER).is_none());
        }
    }

    #[test]
    fn a_pause_that_leaves_no_time_ends_the_call() {
        for asked in [Duration::from_secs(3), Duration::from_secs(u64::MAX), FOREVER] {
            let mut pauses = Pauses::new(&policy(9));
            assert_eq!(pauses.next(&refused(503, Some(asked)), Duration::from_secs(3)), None);
        }
        assert_eq!(Pauses::new(&policy(9)).next(&refused(503, None), Duration::ZERO), None);
    }

    #[test]
    fn extreme_policies_do_not_panic() {
        let extreme = RetryPolicy { first_pause: FOREVER, longest_pause: FOREVER, ..policy(9) };
        assert!(pauses(&extreme).len() <= 8);
        let none = RetryPolicy {
            first_pause: Duration::ZERO,
            longest_pause: Duration::ZERO,
            ..policy(u32::MAX)
        };
        let mut without = Pauses::new(&none);
        assert_eq!(without.next(&refused(503, None), MS), Some(Duration::ZERO));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from_seconds(784_111_777);
        let seconds = Duration::from_secs;
        for (value, expected) in [
            ("0", Some(seconds(0))),
            (" 120 ", Some(seconds(120))),
            ("18446744073709551615", Some(seconds(u64::MAX))),
            ("99999999999999999999999999", Some(seconds(u64::MAX))),
            // 1994-11-06T08:49:37Z is `now`.
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(seconds(0))),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(seconds(60))),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(seconds(0))),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(seconds(60))),
            ("Sun Nov  6 08:50:37 1994", Some(seconds(60))),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(seconds(252_618_189_022))),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("soon", None),
            ("Sun, 06 Nov 1994", None),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Sun, 31 Feb 1994 08:49:37 GMT", None),
            ("1994-11-06T08:49:37Z", None),
        ] {
            assert_eq!(retry_after(value, now), expected, "{value}");
        }
    }

    #[test]
    fn only_what_is_safe_and_may_help_is_sent_again() {
        use Repeat::*;
        let all = [Reads, Deletes, Keyed, Promised, Never];
        let by = |error: Error| all.map(|repeat| repeat.is_worth_it(&error));
        let (safe, none) = ([true, true, true, true, false], [false; 5]);
        for kind in [ErrorKind::Connect, ErrorKind::Timeout, ErrorKind::Broken] {
            assert_eq!(by(Error::new(kind)), safe, "{kind:?}");
        }
        for status in [408, 425, 429, 502, 503, 504] {
            assert_eq!(by(refused(status, None)), safe, "{status}");
        }
        assert_eq!(by(refused(500, None)), [true, false, false, false, false]);
        for status in [400, 401, 403, 404, 409, 413, 422, 501, 505, 507] {
            assert_eq!(by(refused(status, None)), none, "{status}");
        }
        let in_progress = by(coded(409, "idempotency_in_progress"));
        assert_eq!(in_progress, [false, false, true, false, false]);
        assert_eq!(by(coded(409, "request_conflict")), none);
        assert_eq!(by(coded(422, "idempotency_in_progress")), none);
        for kind in [
            ErrorKind::InvalidRequest,
            ErrorKind::Signing,
            ErrorKind::Redirected,
            ErrorKind::Unreadable,
            ErrorKind::TooLarge,
        ] {
            assert_eq!(by(Error::new(kind)), none, "{kind:?}");
        }
    }
}
