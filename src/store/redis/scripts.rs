//! What Redis runs: every operation is one script, and so one transaction.

use std::sync::LazyLock;

use redis::Script;

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                include_str!("lua/common.lua"),
                include_str!(concat!("lua/", $file, ".lua")),
            ))
        });)*
    };
}

/// Finds or makes the database; it stands alone, since there may be no version yet.
pub(super) static OPEN: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/open.lua")));

/// Does nothing but what every script does first.
pub(super) static PROBE: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("lua/common.lua"), "return 1")));

scripts! {
    FIND = "find";
    GET = "get";
    INSERT = "insert";
    REVOKE = "revoke";
    LIST = "list";
    HISTORY = "history";
    ROTATE = "rotate";
    TOUCH = "touch";
    PURGE_KEYS = "purge_keys";
    BEGIN_ISSUANCE = "begin_issuance";
    COMPLETE_ISSUANCE = "complete_issuance";
    ABANDON_ISSUANCE = "abandon_issuance";
    REPLACE_ISSUANCE = "replace_issuance";
    FORGET_NONCES = "forget_nonces";
    RECORD_PAYMENT = "record_payment";
    PAYMENT = "payment";
    LEASE_PAYMENT = "lease_payment";
    END_PAYMENT = "end_payment";
    BEGIN_REQUEST = "begin_request";
    COMPLETE_REQUEST = "complete_request";
    RELEASE_REQUEST = "release_request";
    PURGE_REQUESTS = "purge_requests";
    NEWS = "news";
}
