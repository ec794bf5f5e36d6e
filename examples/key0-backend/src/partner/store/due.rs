use key0_auth::domain::Timestamp;

use super::{Fault, Store};

/// What there is to do at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) imports: bool,
    pub(crate) passports: bool,
    pub(crate) orders: bool,
}

pub(super) const DUE: &str = "SELECT EXISTS (SELECT 1 FROM partner_imports WHERE due_at <= ?1),
     EXISTS (SELECT 1 FROM partner_passports WHERE due_at <= ?1),
     EXISTS (SELECT 1 FROM partner_orders WHERE due_at <= ?1)";

impl Store {
    /// Looks without a lock, so that nobody is kept waiting where there is nothing to do.
    pub(crate) async fn due(&self, now: Timestamp) -> Result<Due, Fault> {
        self.read(move |conn| {
            let mut statement = conn.prepare_cached(DUE)?;
            Ok(statement.query_row([now.as_micros()], |row| {
                Ok(Due { imports: row.get(0)?, passports: row.get(1)?, orders: row.get(2)? })
            })?)
        })
        .await
    }
}
