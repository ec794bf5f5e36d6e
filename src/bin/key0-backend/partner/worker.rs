//! What goes on besides the requests: imports, and the simulated chain that certifies passports
//! and settles orders. All of it is in the tables, so a restart goes on where the run before was,
//! and of several processes on one file whoever comes first does it.

use std::time::Duration;

use key0_auth::domain::Timestamp;

use super::{Partner, store::Fault};
use crate::logging::Chain;

/// How often is looked for work.
const TICK: Duration = Duration::from_millis(250);
/// How long is waited after a failure: this, and twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// How much is done in one transaction.
const LIMIT: u32 = 500;
/// How often keys are forgotten that are past their time.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

impl Partner {
    /// Goes on for ever.
    pub(crate) async fn work(self) {
        let mut troubles = 0;
        let mut housekeeping = self.now();
        loop {
            match self.round(&mut housekeeping).await {
                Ok(()) if troubles > 0 => {
                    tracing::info!(troubles, "the partner tables answer again");
                    troubles = 0;
                }
                Ok(()) => {}
                Err(fault) => {
                    // Told once, not with every try.
                    if troubles == 0 {
                        let error = Chain(&fault).to_string();
                        tracing::warn!(error, "the partner tables don't answer; trying again");
                    }
                    troubles += 1;
                }
            }
            tokio::time::sleep(pause(troubles)).await;
        }
    }

    async fn round(&self, housekeeping: &mut Timestamp) -> Result<(), Fault> {
        let now = self.now();
        let due = self.store.due(now).await?;
        if due.imports {
            while self.store.carry_out_import(now).await? {}
        }
        if due.passports {
            while self.store.certify(now, LIMIT).await? > 0 {}
        }
        if due.orders {
            while self.store.settle(now, LIMIT).await? > 0 {}
        }
        if *housekeeping <= now {
            while self.store.forget_keys(now, LIMIT).await? > 0 {}
            *housekeeping = now.plus(HOUSEKEEPING);
        }
        Ok(())
    }
}

fn pause(troubles: u32) -> Duration {
    match troubles {
        0 => TICK,
        _ => FIRST_PAUSE.saturating_mul(1 << (troubles - 1).min(8)).min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_tried_again_less_and_less_often() {
        let pauses = [0, 1, 2, 3, 4, 5, u32::MAX].map(|troubles| pause(troubles).as_millis());
        assert_eq!(pauses, [250, 500, 1_000, 2_000, 4_000, 4_000, 4_000]);
    }
}
