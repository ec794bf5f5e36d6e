//! Whether all connections lead to one server.

use std::sync::{Mutex, PoisonError};

use sqlx::{PgExecutor, error::Error};

/// Which server answers: also behind a proxy, and a copy of a database is another one.
const WHICH: &str = "SELECT concat_ws(' ', inet_server_addr(), inet_server_port(),
     (SELECT system_identifier FROM pg_control_system()))";

/// The codes by which a server does not tell: insufficient privilege, undefined function.
const UNTOLD: [&str; 2] = ["42501", "42883"];

/// What the connections of a store have said of their server.
///
/// That all changes are told is known of the server on which they were looked for. After a failover,
/// or where a name leads elsewhere, a connection may still read on the server of before. So once two
/// connections differ, nothing is proved until the process ends.
#[derive(Debug, Default)]
pub(super) struct SameServer(Mutex<Met>);

#[derive(Debug, Default)]
enum Met {
    #[default]
    None,
    One(String),
    Several,
}

impl SameServer {
    /// Asks a connection that was just made, outside of any transaction. A server that does not tell,
    /// such as one that keeps the function from its users, may be any.
    ///
    /// # Errors
    ///
    /// Fails where the connection is lost, or the server can't answer now.
    pub(super) async fn ask(&self, conn: impl PgExecutor<'_>) -> Result<(), Error> {
        match sqlx::query_scalar(WHICH).fetch_one(conn).await {
            Ok(server) => self.meet(Some(server)),
            Err(Error::Database(error))
                if error.code().is_some_and(|code| UNTOLD.contains(&&*code)) =>
            {
                self.meet(None);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn meet(&self, server: Option<String>) {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *met = match (std::mem::take(&mut *met), server) {
            (Met::None, Some(server)) => Met::One(server),
            (Met::One(known), Some(server)) if known == server => Met::One(known),
            _ => Met::Several,
        };
    }

    pub(super) fn holds(&self) -> bool {
        matches!(*self.0.lock().unwrap_or_else(PoisonError::into_inner), Met::One(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_differ_once_are_never_one_again() {
        let same = SameServer::default();
        assert!(!same.holds(), "nothing is known");
        for server in ["a", "a"] {
            same.meet(Some(server.to_owned()));
            assert!(same.holds());
        }
        for server in ["b", "a", "a"] {
            same.meet(Some(server.to_owned()));
            assert!(!same.holds());
        }
        let same = SameServer::default();
        same.meet(None);
        same.meet(Some("a".to_owned()));
        assert!(!same.holds(), "the first one may have been another");
    }
}
