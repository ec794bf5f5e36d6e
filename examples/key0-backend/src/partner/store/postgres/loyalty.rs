use async_trait::async_trait;
use key0_auth::domain::Timestamp;

use super::Postgres;
use crate::partner::{
    json::MAX_INTEGER,
    loyalty::{NewTier, Order, Tier},
    query::Page,
    store::{Answer, Asked, Fault, Loyalty, new_id, terms},
};

#[async_trait]
impl Loyalty for Postgres {
    async fn mint(
        &self,
        asked: Option<Asked>,
        account: String,
        amount: i64,
        now: Timestamp,
    ) -> Result<Answer, Fault> {
        self.write(async {
            let mut tx = match self.begin_once(asked.as_ref(), now).await? {
                Ok(tx) => tx,
                Err(answer) => return Ok(answer),
            };
            // From here on the account is locked, so its orders arrive in the order of their commits.
            let balance: Option<i64> = sqlx::query_scalar(
                "INSERT INTO partner_accounts AS account (id, balance) VALUES ($1, $2)
                 ON CONFLICT (id) DO UPDATE SET balance = account.balance + excluded.balance
                 WHERE account.balance <= $3 - excluded.balance
                 RETURNING balance",
            )
            .bind(&account)
            .bind(amount)
            .bind(MAX_INTEGER)
            .fetch_optional(&mut *tx)
            .await?;
            let Some(balance) = balance else { return tx.refuse(terms::is_full()).await };
            sqlx::query(
                "INSERT INTO partner_orders (id, account, amount, status, due_at, created_at)
                 VALUES ($1, $2, $3, 'pending', $4, $5)",
            )
            .bind(new_id())
            .bind(&account)
            .bind(amount)
            .bind(now.plus(terms::SETTLEMENT).as_micros())
            .bind(now.as_micros())
            .execute(&mut *tx)
            .await?;
            self.end_once(tx, asked.as_ref(), terms::minted(balance)).await
        })
        .await
    }

    async fn orders(&self, account: String, page: Page) -> Result<Vec<Order>, Fault> {
        self.read(async {
            let mut conn = self.reads.lend().await?;
            let rows: Vec<(i64, String, i64, String, i64)> = sqlx::query_as(
                "SELECT arrival, id, amount, status, created_at FROM partner_orders
                 WHERE account = $1 AND arrival < $2 ORDER BY arrival DESC LIMIT $3",
            )
            .bind(&account)
            .bind(page.before)
            .bind(i64::from(page.limit))
            .fetch_all(&mut *conn)
            .await?;
            conn.give_back();
            let order = |(arrival, id, amount, status, created_at)| Order {
                arrival,
                id,
                wallet_id: account.clone(),
                amount,
                status,
                created_at: Timestamp::from_micros(created_at),
            };
            Ok(rows.into_iter().map(order).collect())
        })
        .await
    }

    async fn settle(&self, now: Timestamp, limit: u32) -> Result<usize, Fault> {
        self.write(async {
            let mut tx = self.begin().await?;
            let settled = sqlx::query(
                "WITH due AS MATERIALIZED (
                     SELECT arrival FROM partner_orders
                     WHERE due_at <= $1 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED)
                 UPDATE partner_orders AS settled SET status = 'settled', due_at = NULL
                 FROM due WHERE settled.arrival = due.arrival",
            )
            .bind(now.as_micros())
            .bind(i64::from(limit))
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(settled.rows_affected() as usize)
        })
        .await
    }

    async fn create_tier(
        &self,
        asked: Option<Asked>,
        new: NewTier,
        now: Timestamp,
    ) -> Result<Answer, Fault> {
        self.write(async {
            let mut tx = match self.begin_once(asked.as_ref(), now).await? {
                Ok(tx) => tx,
                Err(answer) => return Ok(answer),
            };
            let tier = Tier::of(new, now);
            sqlx::query(
                "INSERT INTO partner_reward_tiers (id, name, threshold, created_at)
                 VALUES ($1, $2, $3, $4)",
            )
            .bind(&tier.id)
            .bind(&tier.name)
            .bind(tier.threshold)
            .bind(now.as_micros())
            .execute(&mut *tx)
            .await?;
            self.end_once(tx, asked.as_ref(), tier.to_json()).await
        })
        .await
    }

    async fn tiers(&self, page: Page) -> Result<Vec<Tier>, Fault> {
        self.read(async {
            let mut conn = self.reads.lend().await?;
            let rows: Vec<(i64, String, String, i64, i64)> = sqlx::query_as(
                "SELECT arrival, id, name, threshold, created_at FROM partner_reward_tiers
                 WHERE arrival < $1 ORDER BY arrival DESC LIMIT $2",
            )
            .bind(page.before)
            .bind(i64::from(page.limit))
            .fetch_all(&mut *conn)
            .await?;
            conn.give_back();
            let tier = |(arrival, id, name, threshold, created_at)| Tier {
                arrival,
                id,
                name,
                threshold,
                created_at: Timestamp::from_micros(created_at),
            };
            Ok(rows.into_iter().map(tier).collect())
        })
        .await
    }
}
