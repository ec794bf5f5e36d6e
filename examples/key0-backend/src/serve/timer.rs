//! A timer for a connection: one alarm, however many requests come over it.
//!
//! hyper asks for a sleep for the head of every request, and drops it when the head is there. Each
//! would be put on the runtime's list of timers and taken off it, under a lock that all threads
//! share. Here the alarm stays on the list: it goes off at the time of an earlier request, and then
//! is set to the time that counts.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::rt::Timer;
use tokio::time::{self, Sleep};

use super::connections::Activity;

/// Makes the sleeps of one connection, for one task, which must wait for one at a time: of two, one
/// may never end. HTTP/1 of hyper has one at a time, HTTP/2 may have more. While there is one, the
/// connection waits for the head of a request.
#[derive(Clone)]
pub(crate) struct ConnectionTimer {
    alarm: Arc<Mutex<Option<Pin<Box<Sleep>>>>>,
    activity: Activity,
}

/// A sleep until this time.
struct Until {
    time: time::Instant,
    timer: ConnectionTimer,
}

impl ConnectionTimer {
    pub(crate) fn new(activity: Activity) -> Self {
        Self { alarm: Arc::default(), activity }
    }
}

impl Timer for ConnectionTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, time: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.activity.waits();
        Box::pin(Until { time: time.into(), timer: self.clone() })
    }

    fn now(&self) -> Instant {
        time::Instant::now().into()
    }
}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut alarm = self.timer.alarm.lock().unwrap_or_else(PoisonError::into_inner);
        let alarm = alarm.get_or_insert_with(|| Box::pin(time::sleep_until(self.time)));
        if alarm.deadline() > self.time {
            alarm.as_mut().reset(self.time);
        }
        while alarm.as_mut().poll(cx).is_ready() {
            if alarm.deadline() == self.time {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(self.time);
        }
        Poll::Pending
    }
}

impl hyper::rt::Sleep for Until {}

impl Drop for Until {
    fn drop(&mut self) {
        self.timer.activity.goes_on();
    }
}

impl fmt::Debug for ConnectionTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionTimer(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How long a sleep takes that is waited for from now on.
    async fn taken(sleep: Pin<Box<dyn hyper::rt::Sleep>>) -> Duration {
        let began = time::Instant::now();
        sleep.await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn each_sleep_takes_its_own_time() {
        let timer = ConnectionTimer::new(Activity::new());
        for seconds in [15, 15, 1, 20, 0] {
            assert_eq!(taken(timer.sleep(seconds * SECOND)).await, seconds * SECOND);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_of_a_request_before_cuts_none_off() {
        let timer = ConnectionTimer::new(Activity::new());
        for _ in 0..100 {
            let head = time::timeout(10 * SECOND, timer.sleep(15 * SECOND)).await;
            assert!(head.is_err(), "a head that came in time was late");
        }
        assert_eq!(taken(timer.sleep(15 * SECOND)).await, 15 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleep_may_end_before_the_one_that_was_dropped() {
        let timer = ConnectionTimer::new(Activity::new());
        assert!(time::timeout(SECOND, timer.sleep(100 * SECOND)).await.is_err());
        assert_eq!(taken(timer.sleep(2 * SECOND)).await, 2 * SECOND);
    }
}
