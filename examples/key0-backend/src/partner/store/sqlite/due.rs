use async_trait::async_trait;
use key0_auth::domain::Timestamp;

use super::Sqlite;
use crate::partner::store::{Due, Fault, Store};

pub(super) const DUE: &str = "SELECT EXISTS (SELECT 1 FROM partner_imports WHERE due_at <= ?1),
     EXISTS (SELECT 1 FROM partner_passports WHERE due_at <= ?1),
     EXISTS (SELECT 1 FROM partner_orders WHERE due_at <= ?1)";

#[async_trait]
impl Store for Sqlite {
    async fn due(&self, now: Timestamp) -> Result<Due, Fault> {
        self.read(move |conn| {
            let mut statement = conn.prepare_cached(DUE)?;
            Ok(statement.query_row([now.as_micros()], |row| {
                Ok(Due { imports: row.get(0)?, passports: row.get(1)?, orders: row.get(2)? })
            })?)
        })
        .await
    }

    async fn end(&self) {
        // There is one turn.
        let _ = self.writer.run(|_| Ok(())).await;
    }
}
