use async_trait::async_trait;
use key0_auth::domain::Timestamp;
use rusqlite::OptionalExtension;

use super::{Sqlite, once::Done};
use crate::partner::{
    json::MAX_INTEGER,
    loyalty::{NewTier, Order, Tier},
    query::Page,
    store::{Answer, Asked, Fault, Loyalty, new_id, terms},
};

pub(super) const ORDERS: &str = "SELECT arrival, id, amount, status, created_at FROM partner_orders
     WHERE account = ?1 AND arrival < ?2 ORDER BY arrival DESC LIMIT ?3";

pub(super) const SETTLE: &str = "UPDATE partner_orders SET status = 'settled', due_at = NULL
     WHERE arrival IN (SELECT arrival FROM partner_orders
         WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2)";

#[async_trait]
impl Loyalty for Sqlite {
    async fn mint(
        &self,
        asked: Option<Asked>,
        account: String,
        amount: i64,
        now: Timestamp,
    ) -> Result<Answer, Fault> {
        self.once(asked, now, move |tx| {
            let sql = "SELECT balance FROM partner_accounts WHERE id = ?1";
            let balance: Option<i64> =
                tx.prepare_cached(sql)?.query_row([&account], |row| row.get(0)).optional()?;
            let balance = balance.unwrap_or(0) + amount;
            if balance > MAX_INTEGER {
                return Err(terms::is_full().into());
            }
            let sql = "INSERT INTO partner_accounts (id, balance) VALUES (?1, ?2)
                 ON CONFLICT (id) DO UPDATE SET balance = excluded.balance";
            tx.prepare_cached(sql)?.execute((&account, balance))?;
            let sql = "INSERT INTO partner_orders
                     (id, account, amount, status, due_at, created_at)
                 VALUES (?1, ?2, ?3, 'pending', ?4, ?5)";
            let due = now.plus(terms::SETTLEMENT).as_micros();
            tx.prepare_cached(sql)?.execute((new_id(), &account, amount, due, now.as_micros()))?;
            let answer = terms::minted(balance);
            Ok(Done { table: "partner_orders", row: tx.last_insert_rowid(), answer })
        })
        .await
    }

    async fn orders(&self, account: String, page: Page) -> Result<Vec<Order>, Fault> {
        self.read(move |conn| {
            let mut statement = conn.prepare_cached(ORDERS)?;
            let orders = statement.query_map((&account, page.before, page.limit), |row| {
                Ok(Order {
                    arrival: row.get(0)?,
                    id: row.get(1)?,
                    wallet_id: account.clone(),
                    amount: row.get(2)?,
                    status: row.get(3)?,
                    created_at: Timestamp::from_micros(row.get(4)?),
                })
            })?;
            Ok(orders.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn create_tier(
        &self,
        asked: Option<Asked>,
        new: NewTier,
        now: Timestamp,
    ) -> Result<Answer, Fault> {
        self.once(asked, now, move |tx| {
            let sql = "INSERT INTO partner_reward_tiers (id, name, threshold, created_at)
                 VALUES (?1, ?2, ?3, ?4)";
            let tier = Tier::of(new, now);
            let (id, name) = (&tier.id, &tier.name);
            tx.prepare_cached(sql)?.execute((id, name, tier.threshold, now.as_micros()))?;
            let row = tx.last_insert_rowid();
            Ok(Done { table: "partner_reward_tiers", row, answer: tier.to_json() })
        })
        .await
    }

    async fn tiers(&self, page: Page) -> Result<Vec<Tier>, Fault> {
        self.read(move |conn| {
            let sql = "SELECT arrival, id, name, threshold, created_at FROM partner_reward_tiers
                 WHERE arrival < ?1 ORDER BY arrival DESC LIMIT ?2";
            let mut statement = conn.prepare_cached(sql)?;
            let tiers = statement.query_map((page.before, page.limit), |row| {
                Ok(Tier {
                    arrival: row.get(0)?,
                    id: row.get(1)?,
                    name: row.get(2)?,
                    threshold: row.get(3)?,
                    created_at: Timestamp::from_micros(row.get(4)?),
                })
            })?;
            Ok(tiers.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn settle(&self, now: Timestamp, limit: u32) -> Result<usize, Fault> {
        self.write(move |tx| Ok(tx.prepare_cached(SETTLE)?.execute((now.as_micros(), limit))?))
            .await
    }
}
