use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::keys::KeyStore;
use crate::error::{StoreError, StoreErrorKind};

/// For how long an answer is shared.
const SHARED: Duration = Duration::from_secs(1);
/// How long one ping may take.
const DEADLINE: Duration = Duration::from_millis(500);

/// [`KeyStore::ping`] for whoever may ask as often as they like, as `GET /ready` lets everybody:
/// one ping at a time, whose answer holds for a second. One that takes longer than 500 ms is a
/// [`StoreErrorKind::TimedOut`]. Clones share their answers.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use key0_auth::{MemoryStore, store::SharedPing};
///
/// let ready = SharedPing::new(Arc::new(MemoryStore::new()));
/// ready.ping().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SharedPing {
    store: Arc<dyn KeyStore>,
    last: Arc<Mutex<Option<Answer>>>,
}

#[derive(Debug)]
struct Answer {
    at: Instant,
    answer: Result<(), StoreError>,
}

impl SharedPing {
    /// Nothing asked yet.
    pub fn new(store: Arc<dyn KeyStore>) -> Self {
        Self { store, last: Arc::default() }
    }

    /// Whether the store answered a second ago at most.
    ///
    /// # Errors
    ///
    /// Fails when it did not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut last = self.last.lock().await;
        if let Some(last) = last.as_ref().filter(|last| last.at.elapsed() < SHARED) {
            return last.answer.clone();
        }
        let answer = timeout(DEADLINE, self.store.ping()).await;
        let answer = answer.unwrap_or_else(|_| Err(StoreError::new(StoreErrorKind::TimedOut)));
        *last = Some(Answer { at: Instant::now(), answer: answer.clone() });
        answer
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::{
        MemoryStore,
        testing::{FaultyStore, Mood},
    };

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_are_answered_by_one_ping_a_second() {
        let store = FaultyStore::new(MemoryStore::new());
        let ready = SharedPing::new(store.clone());
        let all = async |well: bool| {
            let asking = (0..100).map(|_| {
                let ready = ready.clone();
                tokio::spawn(async move { ready.ping().await.is_ok() })
            });
            for asked in asking.collect::<Vec<_>>() {
                assert_eq!(asked.await.expect("no panic"), well);
            }
        };
        all(true).await;
        assert_eq!(store.calls("ping"), 1);
        store.set(Mood::Hangs);
        all(true).await;
        tokio::time::advance(SHARED).await;
        all(false).await;
        assert_eq!(store.calls("ping"), 2);
        store.set(Mood::Works);
        tokio::time::advance(SHARED).await;
        all(true).await;
        assert_eq!(store.calls("ping"), 3);
    }
}
