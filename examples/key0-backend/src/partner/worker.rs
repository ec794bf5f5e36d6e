//! What goes on besides the requests: imports, and the simulated chain that certifies passports
//! and settles orders. All of it is in the store, so a restart goes on where the run before was, and
//! of several instances whoever comes first does it.

use std::time::{Duration, Instant};

use key0_auth::domain::Timestamp;

use super::{Partner, store::Fault};
use crate::logging::Chain;

/// How often is looked for work where there was none.
const TICK: Duration = Duration::from_millis(250);
/// How long the file is left to others after each transaction.
const BREATH: Duration = Duration::from_millis(40);
/// How long is waited after a failure: this, and twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// How much is done in one transaction.
const LIMIT: u32 = 500;
/// How often keys are forgotten that are past their time.
const HOUSEKEEPING: Duration = Duration::from_secs(60);
/// How long an import waits that failed by itself. It is not given up: a mended program does it.
const PUT_OFF: Duration = Duration::from_secs(60);

/// What a round came to.
#[derive(Debug, Default)]
struct Round {
    /// Whether something was left that can be done at once.
    more: bool,
    /// The first thing that went wrong.
    fault: Option<Fault>,
}

/// What is known of failures that have not ended.
#[derive(Debug, Default)]
struct Troubles {
    rounds: u32,
    /// Whether the last was an outage.
    outage: bool,
}

impl Partner {
    /// Goes on for ever.
    pub(crate) async fn work(self) {
        let mut troubles = Troubles::default();
        let mut housekeeping = Instant::now();
        loop {
            let round = self.round(&mut housekeeping).await;
            troubles.note(round.fault);
            tokio::time::sleep(if round.more { BREATH } else { pause(troubles.rounds) }).await;
        }
    }

    /// Does some of each kind of work. What is due soonest comes first, no kind waits for the end
    /// of another, and one that fails stops none.
    async fn round(&self, housekeeping: &mut Instant) -> Round {
        let now = self.now();
        let mut round = Round::default();
        let Some(due) = round.note(self.store.due(now).await) else { return round };
        if due.orders {
            let settled = self.breathe(self.store.settle(now, LIMIT)).await;
            round.more |= round.note(settled).is_some_and(is_full);
        }
        if due.passports {
            let certified = self.breathe(self.store.certify(now, LIMIT)).await;
            round.more |= round.note(certified).is_some_and(is_full);
        }
        if due.imports {
            let went_on = self.breathe(self.import_one(now)).await;
            round.more |= round.note(went_on).unwrap_or(false);
        }
        if *housekeeping <= Instant::now() {
            let forgotten = match self.clock.believed() {
                Some(now) => self.breathe(self.store.forget_keys(now, LIMIT)).await,
                None => Ok(0),
            };
            match round.note(forgotten) {
                Some(1..) => round.more = true,
                Some(0) | None => *housekeeping = Instant::now() + HOUSEKEEPING,
            }
        }
        round
    }

    /// Carries out one import, and says whether there may be another.
    async fn import_one(&self, now: Timestamp) -> Result<bool, Fault> {
        let Some(arrival) = self.store.next_import(now).await? else { return Ok(false) };
        match self.store.carry_out_import(arrival, now).await {
            Ok(_) => Ok(true),
            Err(outage) if outage.is_outage() => Err(outage),
            Err(fault) => {
                let error = Chain(&fault).to_string();
                tracing::error!(error, arrival, "an import fails; it is put off");
                self.store.put_off_import(arrival, now.plus(PUT_OFF)).await?;
                Ok(true)
            }
        }
    }

    /// Does some work, then lets other writers of the file have their turn.
    async fn breathe<T>(&self, work: impl Future<Output = T>) -> T {
        let done = work.await;
        tokio::time::sleep(BREATH).await;
        done
    }
}

impl Round {
    fn note<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.fault.get_or_insert(fault)).ok()
    }
}

impl Troubles {
    /// Tells of the first failure of its sort and of the end, not of each try.
    fn note(&mut self, fault: Option<Fault>) {
        let Some(fault) = fault else {
            if self.rounds > 0 {
                tracing::info!(rounds = self.rounds, "the partner tables answer again");
            }
            *self = Self::default();
            return;
        };
        let (error, outage) = (Chain(&fault).to_string(), fault.is_outage());
        match (self.rounds > 0 && outage == self.outage, outage) {
            (true, _) => {}
            (false, true) => {
                tracing::warn!(error, "the partner tables don't answer; trying again");
            }
            (false, false) => tracing::error!(error, "some partner work fails; trying again"),
        }
        *self = Self { rounds: self.rounds.saturating_add(1), outage };
    }
}

fn is_full(done: usize) -> bool {
    done >= LIMIT as usize
}

fn pause(troubles: u32) -> Duration {
    match troubles {
        0 => TICK,
        _ => FIRST_PAUSE.saturating_mul(1 << (troubles - 1).min(8)).min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use key0_auth::{domain::Clock, testing::FakeClock};

    use super::*;
    use crate::partner::{
        query::Page,
        store::Sqlite,
        tests::{Watch, partner, partner_on},
    };

    const ALL: Page = Page { limit: 100, before: i64::MAX };

    async fn queue(partner: &Partner, model: &str) -> String {
        let row = format!(
            r#"[{{"granularity":"item","application":"shop","modelNumber":"{model}","name":"a"}}]"#
        );
        let rows = serde_json::value::RawValue::from_string(row).unwrap();
        let queued = partner.store.queue_import(None, None, rows, partner.now()).await.unwrap();
        let queued: serde_json::Value = serde_json::from_str(&queued.body).unwrap();
        queued["id"].as_str().unwrap().to_owned()
    }

    async fn is_done(partner: &Partner, import: &str) -> bool {
        partner.store.import(import.to_owned()).await.unwrap().contains("done")
    }

    async fn round(partner: &Partner) -> Round {
        let mut later = Instant::now() + HOUSEKEEPING;
        partner.round(&mut later).await
    }

    async fn execute(store: &Sqlite, sql: &'static str) {
        store.write(move |tx| Ok(tx.execute_batch(sql)?)).await.unwrap();
    }

    #[test]
    fn failures_are_tried_again_less_and_less_often() {
        let pauses = [0, 1, 2, 3, 4, 5, u32::MAX].map(|troubles| pause(troubles).as_millis());
        assert_eq!(pauses, [250, 500, 1_000, 2_000, 4_000, 4_000, 4_000]);
    }

    /// However many imports wait, an order that is due is settled in the next round, and the file
    /// is left to others after each import.
    #[tokio::test]
    async fn no_kind_of_work_waits_for_all_of_another() {
        let watch = Arc::new(Watch::default());
        let partner = partner(&watch);
        let mut imports = Vec::new();
        for n in 0..20 {
            imports.push(queue(&partner, &n.to_string()).await);
        }
        partner.store.mint(None, "wallet".to_owned(), 5, partner.now()).await.unwrap();
        watch.advance(Duration::from_secs(2));
        let started = std::time::Instant::now();
        let one = round(&partner).await;
        assert!(started.elapsed() >= 2 * BREATH);
        assert!(one.more && one.fault.is_none(), "{one:?}");
        let orders = partner.store.orders("wallet".to_owned(), ALL).await.unwrap();
        assert_eq!(orders[0].status, "settled");
        assert!(is_done(&partner, &imports[0]).await);
        assert!(!is_done(&partner, &imports[1]).await);
        for _ in 1..20 {
            assert!(round(&partner).await.more);
        }
        for import in imports {
            assert!(is_done(&partner, &import).await);
        }
        assert!(!round(&partner).await.more);
    }

    #[tokio::test]
    async fn an_import_that_fails_lets_the_next_one_pass() {
        let watch = Arc::new(Watch::default());
        let store = Sqlite::in_memory().unwrap();
        let partner = partner_on(store.clone(), watch.clone());
        execute(
            &store,
            "CREATE TRIGGER poison BEFORE INSERT ON partner_passports
                 WHEN new.model_number = 'poison' BEGIN SELECT raise(ABORT, 'of the test'); END",
        )
        .await;
        let poisoned = queue(&partner, "poison").await;
        let good = queue(&partner, "good").await;
        for _ in 0..2 {
            let round = round(&partner).await;
            assert!(round.more && round.fault.is_none(), "{round:?}");
        }
        assert!(is_done(&partner, &good).await);
        assert!(!is_done(&partner, &poisoned).await);
        assert!(!round(&partner).await.more);
        // It has its turn again, and comes to its end once what was in its way is gone.
        execute(&store, "DROP TRIGGER poison").await;
        watch.advance(PUT_OFF);
        round(&partner).await;
        assert!(is_done(&partner, &poisoned).await);
    }

    #[tokio::test]
    async fn one_kind_of_work_that_fails_stops_no_other() {
        let watch = Arc::new(Watch::default());
        let store = Sqlite::in_memory().unwrap();
        let partner = partner_on(store.clone(), watch.clone());
        execute(
            &store,
            "CREATE TRIGGER poison BEFORE UPDATE ON partner_orders
                 WHEN new.status = 'settled' BEGIN SELECT raise(ABORT, 'of the test'); END",
        )
        .await;
        partner.store.mint(None, "wallet".to_owned(), 5, partner.now()).await.unwrap();
        let import = queue(&partner, "m").await;
        watch.advance(Duration::from_secs(2));
        let round = round(&partner).await;
        assert!(round.fault.is_some_and(|fault| !fault.is_outage()));
        assert!(is_done(&partner, &import).await);
    }

    #[tokio::test]
    async fn a_process_that_starts_while_its_clock_is_ahead_doubles_and_forgets_nothing() {
        let clock = FakeClock::new();
        let store = Sqlite::in_memory().unwrap();
        let mint = async |partner: &Partner| {
            let account = "/v1/loyalty/account/wallet/mint";
            partner.without_answers().post(account, r#"{"amount":5}"#).await
        };
        let (status, replayed, told) = mint(&partner_on(store.clone(), clock.clone())).await;
        assert_eq!((status, replayed), (200, false), "{told}");
        clock.jump_to(clock.now().plus(Duration::from_secs(40 * 24 * 60 * 60)));
        let partner = partner_on(store, clock.clone());
        for _ in 0..2 {
            let round = partner.round(&mut Instant::now()).await;
            assert!(round.fault.is_none(), "{round:?}");
            assert_eq!(mint(&partner).await, (200, true, told.clone()));
            clock.advance(Duration::from_secs(59 * 60));
        }
    }

    /// A wrong time must neither make the keys of effects go nor take them for old.
    #[tokio::test]
    async fn a_clock_that_jumps_ahead_doubles_and_forgets_nothing() {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let clock = FakeClock::new();
        let store = Sqlite::in_memory().unwrap();
        let partner = partner_on(store.clone(), clock.clone());
        let housekeeping = async || {
            let round = partner.round(&mut Instant::now()).await;
            assert!(round.fault.is_none(), "{round:?}");
        };
        let mint = async || {
            let account = "/v1/loyalty/account/wallet/mint";
            partner.without_answers().post(account, r#"{"amount":5}"#).await
        };
        let (status, replayed, told) = mint().await;
        assert_eq!((status, replayed), (200, false), "{told}");
        let right = clock.now();
        clock.jump_to(right.plus(2 * DAY));
        for _ in 0..2 {
            housekeeping().await;
            assert_eq!(mint().await, (200, true, told.clone()));
            clock.advance(Duration::from_secs(30 * 60) - Duration::from_secs(1));
        }
        // It has gone steadily for an hour, so it is believed.
        clock.advance(Duration::from_secs(2));
        housekeeping().await;
        let (status, replayed, told) = mint().await;
        assert_eq!((status, replayed), (200, false), "{told}");
        assert!(told.contains("10"), "{told}");
    }
}
