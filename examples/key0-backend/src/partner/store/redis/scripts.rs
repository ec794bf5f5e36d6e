//! What Redis runs: every operation is one script, and so one transaction. They take the rights that
//! the backend's own store takes, and no more.

use std::sync::LazyLock;

use redis::Script;

/// What stands before a script of each kind. With `#!lua`, a replica refuses it, and a server whose
/// memory is full, before it has looked at anything.
macro_rules! head {
    (reads) => {
        concat!(include_str!("lua/common.lua"), include_str!("lua/reads.lua"))
    };
    (writes) => {
        concat!("#!lua\n", include_str!("lua/common.lua"))
    };
    (imports) => {
        concat!("#!lua\n", include_str!("lua/common.lua"), include_str!("lua/drafts.lua"))
    };
    (effects) => {
        concat!("#!lua\n", include_str!("lua/common.lua"), include_str!("lua/effects.lua"))
    };
    (passports) => {
        concat!(head!(effects), include_str!("lua/drafts.lua"))
    };
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

scripts! {
    writes OPEN = "open";
    reads FOUND = "found";
    reads CONTENTS = "contents";
    reads EXPORT = "export";
    reads ORDERS = "orders";
    reads UNFINISHED_COPY = "unfinished_copy";
    writes BEGIN_COPY = "begin_copy";
    passports IMPORT_RECORDS = "import_records";
    writes END_COPY = "end_copy";
    reads DUE = "due";
    reads LIST = "list";
    reads CHECK_KEY = "check_key";
    withdraws FORGET_KEYS = "forget_keys";
    passports CREATE_PASSPORT = "create_passport";
    reads PASSPORT = "passport";
    passports PUBLISH = "publish";
    writes CERTIFY = "certify";
    effects MINT = "mint";
    writes SETTLE = "settle";
    effects CREATE_TIER = "create_tier";
    effects QUEUE_IMPORT = "queue_import";
    reads IMPORT = "import";
    reads NEXT_IMPORT = "next_import";
    reads WAITING_IMPORT = "waiting_import";
    imports CARRY_OUT_IMPORT = "carry_out_import";
    writes END_IMPORT = "end_import";
    writes PUT_OFF_IMPORT = "put_off_import";
}
