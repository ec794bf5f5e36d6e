use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use crate::{
    Cached, KeyStore,
    api::{AuditApi, CredentialApi, IssueToken, KeysApi},
    error::StoreError,
    store::KeyUsage,
};

/// How often the uses of keys are written, and what is past its time is cleared away.
const ROUND: Duration = Duration::from_secs(60);
/// How much is cleared away in one transaction: little, since every key that goes is a change of
/// which the caches of all processes hear.
const LIMIT: u32 = 200;
/// How many transactions there are in one round, and the pause between two.
const STEPS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(200);
/// How long the last uses may take to be written at the end.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// What is done besides answering requests.
#[derive(Debug, Clone)]
pub(super) struct Housekeeping {
    pub(super) issue_token: IssueToken,
    pub(super) keys: KeysApi,
    pub(super) audit: AuditApi,
    pub(super) credentials: CredentialApi,
    pub(super) usage: KeyUsage,
    pub(super) store: Arc<Cached>,
    #[cfg(feature = "idempotency")]
    pub(super) idempotency: crate::idempotency::Idempotency,
}

impl Housekeeping {
    /// Runs for ever.
    pub(super) async fn run(self) {
        loop {
            report("the last uses of keys were not written", self.usage.flush().await);
            let nonces = in_steps(|| self.issue_token.forget_old_nonces(LIMIT)).await;
            report("old nonces were not forgotten", nonces);
            report("old keys were not purged", in_steps(|| self.keys.purge(LIMIT)).await);
            report("old events were not purged", in_steps(|| self.audit.purge(LIMIT)).await);
            report("rejected requests were not noted", self.audit.note_counted().await);
            let denials = in_steps(|| self.credentials.purge_denials(LIMIT)).await;
            report("old denials were not purged", denials);
            #[cfg(feature = "idempotency")]
            {
                let answers = in_steps(|| self.idempotency.purge(LIMIT)).await;
                report("old answers were not purged", answers);
            }
            sleep(ROUND).await;
        }
    }

    /// Writes what would be lost, once no request comes any more.
    pub(super) async fn close(&self) {
        for (what, done) in [
            ("the last uses of keys were not written", {
                timeout(LAST_WRITE, self.usage.flush()).await
            }),
            ("rejected requests were not noted", {
                timeout(LAST_WRITE, self.audit.note_rest()).await
            }),
            ("the store was not closed; nothing is lost", {
                timeout(LAST_WRITE, self.store.close()).await
            }),
        ] {
            let late = |_| Err(StoreError::unavailable("it took too long"));
            report(what, done.unwrap_or_else(late));
        }
    }
}

async fn in_steps<F: Future<Output = Result<u32, StoreError>>>(
    step: impl Fn() -> F,
) -> Result<(), StoreError> {
    for _ in 0..STEPS {
        if step().await? < LIMIT {
            break;
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

fn report(_what: &str, _done: Result<(), StoreError>) {
    #[cfg(feature = "tracing")]
    if let Err(error) = _done {
        tracing::warn!(error = crate::error::chain(&error), "{_what}");
    }
}
