//! What Redis runs: every operation is one script, and so one transaction.

use std::sync::LazyLock;

use redis::Script;

/// What stands before a script of each kind. With `#!lua`, a replica refuses it, and a server whose
/// memory is full, before it has looked at anything: also where it would change nothing.
macro_rules! head {
    (reads) => {
        concat!(include_str!("lua/common.lua"), include_str!("lua/reads.lua"))
    };
    (writes) => {
        concat!("#!lua\n", include_str!("lua/common.lua"))
    };
    // Goes on where the memory is full: a key that leaked must go all the same.
    (withdraws) => {
        concat!("#!lua flags=allow-oom\n", include_str!("lua/common.lua"))
    };
}

macro_rules! scripts {
    ($($kind:ident $name:ident = $file:literal;)*) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                head!($kind),
                include_str!(concat!("lua/", $file, ".lua")),
            ))
        });)*
    };
}

/// Finds or makes the database; it stands alone, since there may be no version yet.
pub(super) static OPEN: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/open.lua")));

/// Brings a database of an older version to this one.
pub(super) static UPDATE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/update.lua")));

scripts! {
    reads PROBE = "probe";
    reads FIND = "find";
    reads GET = "get";
    reads LIST = "list";
    reads HISTORY = "history";
    reads EVENTS = "events";
    reads PAYMENT = "payment";
    reads PURCHASES = "purchases";
    reads SEEN_PURCHASES = "seen_purchases";
    reads FIND_PURCHASES = "find_purchases";
    reads WAITING_PAYMENTS = "waiting_payments";
    reads CHANGES = "changes";
    reads DENIALS = "denials";
    writes INSERT = "insert";
    withdraws EDIT = "edit";
    writes TOUCH = "touch";
    writes BEGIN_ISSUANCE = "begin_issuance";
    writes COMPLETE_ISSUANCE = "complete_issuance";
    writes REPLACE_ISSUANCE = "replace_issuance";
    writes RECORD_PAYMENT = "record_payment";
    writes LEASE_PAYMENT = "lease_payment";
    writes BEGIN_REQUEST = "begin_request";
    writes COMPLETE_REQUEST = "complete_request";
    withdraws DENY = "deny";
    withdraws PURGE_DENIALS = "purge_denials";
    withdraws REVOKE = "revoke";
    withdraws REVOKE_PURCHASE = "revoke_purchase";
    withdraws ROTATE = "rotate";
    withdraws PURGE_KEYS = "purge_keys";
    withdraws PURGE_EVENTS = "purge_events";
    withdraws ABANDON_ISSUANCE = "abandon_issuance";
    withdraws FORGET_NONCES = "forget_nonces";
    reads CONTENTS = "contents";
    reads EXPORT = "export";
    reads UNKNOWN_REVOCATIONS = "unknown_revocations";
    reads UNFINISHED_COPY = "unfinished_copy";
    writes BEGIN_COPY = "begin_copy";
    writes IMPORT = "import";
    writes END_COPY = "end_copy";
    reads UNLISTED = "unlisted";
    writes LIST_OLDER = "list_older";
    writes NOTE_REJECTION = "note_rejection";
    writes LIST_OLDER_EVENTS = "list_older_events";
    writes LISTED = "listed";
    writes RETRY_HANDLER = "retry_handler";
    withdraws GIVE_UP_HANDLER = "give_up_handler";
    withdraws END_PAYMENT = "end_payment";
    withdraws RELEASE_REQUEST = "release_request";
    withdraws PURGE_REQUESTS = "purge_requests";
}
