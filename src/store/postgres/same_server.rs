//! Whether all connections lead to one server.

use std::sync::{Mutex, PoisonError};

/// Which server answers: also behind a proxy, and a copy of a database is another one.
pub(super) const WHICH: &str = "SELECT concat_ws(' ', inet_server_addr(), inet_server_port(),
     (SELECT system_identifier FROM pg_control_system()))";

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
    /// A connection was made, to this server.
    pub(super) fn meet(&self, server: String) {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *met = match std::mem::take(&mut *met) {
            Met::None => Met::One(server),
            Met::One(known) if known == server => Met::One(known),
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
            same.meet(server.to_owned());
            assert!(same.holds());
        }
        for server in ["b", "a", "a"] {
            same.meet(server.to_owned());
            assert!(!same.holds());
        }
    }
}
