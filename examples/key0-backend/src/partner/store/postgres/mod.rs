//! PostgreSQL: tables in the schema of the backend's own store, for any number of instances.
//!
//! A few connections of its own, some for reads and some for writes. What several workers would do
//! at once, the first does: the others pass over its rows.

mod copying;
mod imports;
mod lane;
mod loyalty;
mod once;
mod passports;
mod schema;

#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use key0_auth::{domain::Timestamp, store::PostgresUrl};

use self::{
    lane::{Lane, Lent},
    schema::Found,
};
use super::{Due, Fault, OpenError, READ_DEADLINE, Store, WRITE_DEADLINE};

/// How many connections there are for reads, and for writes.
const READS: usize = 2;
const WRITES: usize = 3;
/// How long the start-up waits, also for another instance that makes the tables.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// The tables. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Postgres {
    reads: Lane,
    writes: Lane,
}

impl Postgres {
    /// Opens the tables in a schema that is there, or makes them.
    pub(super) async fn open(url: &PostgresUrl, schema: &str) -> Result<Self, OpenError> {
        let lane = |turns, deadline| Lane::new(url.clone(), schema, turns, deadline);
        match schema::update(&lane(1, OPEN_TIMEOUT), schema).await {
            Ok(Found::Current) => {}
            Ok(Found::Newer(found)) => {
                return Err(OpenError::Newer { place: url.to_string(), found: found.into() });
            }
            Err(fault) => {
                return Err(OpenError::Unusable { place: url.to_string(), source: fault.into() });
            }
        }
        Ok(Self { reads: lane(READS, READ_DEADLINE), writes: lane(WRITES, WRITE_DEADLINE) })
    }

    /// Opens the tables as they are; nothing where there are none.
    pub(super) async fn open_existing(
        url: &PostgresUrl,
        schema: &str,
    ) -> Result<Option<Self>, OpenError> {
        let lane = |turns, deadline| Lane::new(url.clone(), schema, turns, deadline);
        let place = url.to_string();
        match schema::found(&lane(1, OPEN_TIMEOUT), schema).await {
            Ok((0, _)) => Ok(None),
            Ok((found, known)) if found > known => {
                Err(OpenError::Newer { place, found: found.into() })
            }
            Ok((found, known)) if found < known => {
                Err(OpenError::Older { place, found: found.into() })
            }
            Ok(_) => Ok(Some(Self {
                reads: lane(READS, READ_DEADLINE),
                writes: lane(WRITES, WRITE_DEADLINE),
            })),
            Err(fault) => Err(OpenError::Unusable { place, source: fault.into() }),
        }
    }

    /// With time for a server that is busy with other tests.
    #[cfg(test)]
    pub(super) fn patient(self, deadline: Duration) -> Self {
        Self { reads: self.reads.deadline(deadline), writes: self.writes.deadline(deadline) }
    }

    /// Runs a read within its deadline.
    async fn read<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        self.reads.run(work).await
    }

    /// Runs a write within its deadline. It counts from its commit on.
    async fn write<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        self.writes.run(work).await
    }

    async fn begin(&self) -> Result<Lent, Fault> {
        self.writes.begin().await
    }
}

#[async_trait]
impl Store for Postgres {
    async fn due(&self, now: Timestamp) -> Result<Due, Fault> {
        self.read(async {
            let mut conn = self.reads.lend().await?;
            let (imports, passports, orders) = sqlx::query_as(
                "SELECT EXISTS (SELECT FROM partner_imports WHERE due_at <= $1),
                     EXISTS (SELECT FROM partner_passports WHERE due_at <= $1),
                     EXISTS (SELECT FROM partner_orders WHERE due_at <= $1)",
            )
            .bind(now.as_micros())
            .fetch_one(&mut *conn)
            .await?;
            conn.give_back();
            Ok(Due { imports, passports, orders })
        })
        .await
    }
}

/// Whether the server is out of reach, slow, full, or can't be used as it is. What it says of a
/// statement or a value is a bug.
pub(super) fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(refused) => {
            let code = refused.code().unwrap_or_default();
            // Connections, states of transactions, logins, databases and schemas that are gone,
            // rollbacks, resources, interventions, the system; no right, no table, no lock.
            let classes = ["08", "25", "28", "3D", "3F", "40", "53", "57", "58"];
            classes.iter().any(|class| code.starts_with(class))
                || ["42501", "42P01", "55P03"].contains(&&*code)
        }
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        _ => false,
    }
}
