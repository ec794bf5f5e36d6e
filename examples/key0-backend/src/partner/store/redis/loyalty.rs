use async_trait::async_trait;
use key0_auth::domain::Timestamp;
use redis::FromRedisValue;

use super::{Redis, scripts};
use crate::partner::{
    json::MAX_INTEGER,
    loyalty::{NewTier, Order, Tier},
    query::Page,
    store::{Answer, Asked, Fault, Loyalty, new_id, terms},
};

/// The most lines that are read at a time: Redis does nothing else meanwhile.
const LINES_AT_ONCE: u32 = 1_000;

#[async_trait]
impl Loyalty for Redis {
    async fn mint(
        &self,
        asked: Option<Asked>,
        account: String,
        amount: i64,
        now: Timestamp,
    ) -> Result<Answer, Fault> {
        let mut call = self.effect(&scripts::MINT, asked.as_ref(), now);
        call.arg(account).arg(amount).arg(new_id());
        call.arg(now.plus(terms::SETTLEMENT).as_micros()).arg(MAX_INTEGER);
        let balance = |text: String| text.parse().map_err(|_| Fault::Unreadable("balance"));
        self.once(&call, asked.as_ref()).await?.answer(
            |text| balance(text).map(terms::minted),
            |why, _| (why == "full").then(terms::is_full),
        )
    }

    async fn orders(&self, account: String, page: Page) -> Result<Vec<Order>, Fault> {
        let fields = &["id", "amount", "status", "created_at"];
        let set = format!("orders:{account}");
        let lines = self
            .lines::<(i64, String, i64, String, i64)>(&set, "order:", fields, page, |line| line.0)
            .await?;
        let order = |(arrival, id, amount, status, created_at)| Order {
            arrival,
            id,
            wallet_id: account.clone(),
            amount,
            status,
            created_at: Timestamp::from_micros(created_at),
        };
        Ok(lines.into_iter().map(order).collect())
    }

    async fn settle(&self, now: Timestamp, limit: u32) -> Result<usize, Fault> {
        self.some(&scripts::SETTLE, now, limit).await
    }

    async fn create_tier(
        &self,
        asked: Option<Asked>,
        new: NewTier,
        now: Timestamp,
    ) -> Result<Answer, Fault> {
        let tier = Tier::of(new, now);
        let mut call = self.effect(&scripts::CREATE_TIER, asked.as_ref(), now);
        call.arg(&tier.id).arg(&tier.name).arg(tier.threshold).arg(tier.to_json());
        self.once(&call, asked.as_ref()).await?.answer(Ok, |_, _| None)
    }

    async fn tiers(&self, page: Page) -> Result<Vec<Tier>, Fault> {
        let fields = &["id", "name", "threshold", "created_at"];
        let lines = self
            .lines::<(i64, String, String, i64, i64)>("tiers", "tier:", fields, page, |line| line.0)
            .await?;
        let tier = |(arrival, id, name, threshold, created_at)| Tier {
            arrival,
            id,
            name,
            threshold,
            created_at: Timestamp::from_micros(created_at),
        };
        Ok(lines.into_iter().map(tier).collect())
    }
}

impl Redis {
    /// A page of what has arrived in a set, newest first: of each its arrival and these fields.
    async fn lines<T: FromRedisValue>(
        &self,
        set: &str,
        named: &str,
        fields: &[&str],
        page: Page,
        arrival: fn(&T) -> i64,
    ) -> Result<Vec<T>, Fault> {
        let (mut lines, mut before) = (Vec::new(), page.before);
        loop {
            let left = page.limit - u32::try_from(lines.len()).unwrap_or(page.limit);
            let most = left.min(LINES_AT_ONCE);
            let mut call = self.call(&scripts::LIST);
            call.arg(set).arg(named).arg(before).arg(most).arg(fields);
            let some: Vec<T> = self.read(&call).await?;
            let (count, last) = (some.len(), some.last().map(arrival));
            lines.extend(some);
            match last {
                Some(last) if count == most as usize && left > most => before = last,
                _ => return Ok(lines),
            }
        }
    }
}
