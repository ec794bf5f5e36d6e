/// What takes a schema from each version to the next.
pub(super) const MIGRATIONS: [&str; 9] = [V1, V2, V3, V4, V5, V6, V7, V8, V9];

/// Times are microseconds since 1970; a missing one is NULL. Texts are compared byte by byte,
/// whatever language the database speaks.
///
/// The triggers log whatever happens to a key, by whichever program, and say so when it is
/// committed. A mere `last_used_at` is no change. A row of the log without a digest stands for
/// anything. They run with the rights of whoever made the schema, so that no program needs to be
/// allowed to write the log; and go by the schema's name of the day. Nobody may put them on a table
/// of another schema: whoever owns that would gain those rights.
const V1: &str = r#"
CREATE TABLE key0_auth (
    only_row boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
    marker   text NOT NULL,
    version  integer NOT NULL
);

CREATE TABLE keys (
    id           text COLLATE "C" NOT NULL PRIMARY KEY,
    digest       bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    display      text NOT NULL,
    kind         text COLLATE "C" NOT NULL,
    role         text,
    permissions  text,
    resource_id  text,
    plan_id      text,
    label        text,
    metadata     text NOT NULL,
    created_at   bigint NOT NULL,
    expires_at   bigint,
    revoked_at   bigint,
    last_used_at bigint
);
CREATE INDEX keys_listed ON keys (kind, created_at, id);
CREATE INDEX keys_ending ON keys (coalesce(revoked_at, expires_at))
    WHERE revoked_at IS NOT NULL OR expires_at IS NOT NULL;

CREATE TABLE key_events (
    event  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key_id text COLLATE "C" NOT NULL,
    action text NOT NULL,
    actor  text NOT NULL,
    at     bigint NOT NULL
);
CREATE INDEX key_events_of_key ON key_events (key_id);

CREATE TABLE key_changes (
    revision bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid      xid8 NOT NULL DEFAULT pg_current_xact_id(),
    digest   bytea
);
CREATE INDEX key_changes_by_xid ON key_changes (xid);

CREATE FUNCTION log_key_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    log text := format('INSERT INTO %I.key_changes (digest) VALUES ($1)', TG_TABLE_SCHEMA);
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE log USING NULL::bytea;
    END IF;
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        EXECUTE log USING OLD.digest;
    END IF;
    IF TG_OP = 'INSERT' OR (TG_OP = 'UPDATE' AND NEW.digest <> OLD.digest) THEN
        EXECUTE log USING NEW.digest;
    END IF;
    PERFORM pg_notify('key0_changes', TG_TABLE_SCHEMA);
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION log_key_change() FROM PUBLIC;
CREATE TRIGGER keys_added AFTER INSERT OR DELETE ON keys
    FOR EACH ROW EXECUTE FUNCTION log_key_change();
CREATE TRIGGER keys_updated AFTER UPDATE ON keys
    FOR EACH ROW WHEN (
        (OLD.id, OLD.digest, OLD.display, OLD.kind, OLD.role, OLD.permissions, OLD.resource_id,
         OLD.plan_id, OLD.label, OLD.metadata, OLD.created_at, OLD.expires_at, OLD.revoked_at)
        IS DISTINCT FROM
        (NEW.id, NEW.digest, NEW.display, NEW.kind, NEW.role, NEW.permissions, NEW.resource_id,
         NEW.plan_id, NEW.label, NEW.metadata, NEW.created_at, NEW.expires_at, NEW.revoked_at)
    ) EXECUTE FUNCTION log_key_change();
CREATE TRIGGER keys_emptied AFTER TRUNCATE ON keys
    FOR EACH STATEMENT EXECUTE FUNCTION log_key_change();

-- A claim has a lease, an issuance has none. key_id outlives the key's record.
CREATE TABLE issuances (
    namespace   text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    fingerprint bytea NOT NULL,
    tx_hash     text COLLATE "C" NOT NULL,
    lease_token bytea,
    lease_until bigint,
    key_id      text,
    digest      bytea,
    nonce       bytea,
    secret      bytea,
    issued_at   bigint,
    expires_at  bigint,
    PRIMARY KEY (namespace, id),
    CHECK ((lease_token IS NULL) = (lease_until IS NULL)),
    CHECK ((lease_token IS NULL) = (issued_at IS NOT NULL))
);
CREATE UNIQUE INDEX issuances_tx_hash ON issuances (lower(tx_hash));
CREATE INDEX issuances_with_nonce ON issuances (issued_at) WHERE nonce IS NOT NULL;

-- due_at is the end of the lease while there is one, and NULL when the payment is handled.
CREATE TABLE payments (
    arrival      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    challenge_id text COLLATE "C" NOT NULL UNIQUE,
    request_id   text NOT NULL,
    resource_id  text NOT NULL,
    plan_id      text NOT NULL,
    tx_hash      text COLLATE "C" NOT NULL,
    details      text NOT NULL,
    received_at  bigint NOT NULL,
    due_at       bigint,
    lease_token  bytea,
    attempts     integer NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX payments_tx_hash ON payments (lower(tx_hash));
CREATE INDEX payments_due ON payments (due_at, arrival) WHERE due_at IS NOT NULL;

-- free_at is the end of the lease, or that of the answer's time where there is no lease.
CREATE TABLE idempotency (
    scope       text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    fingerprint bytea NOT NULL,
    free_at     bigint NOT NULL,
    lease_token bytea,
    status      integer,
    headers     text,
    body        bytea,
    PRIMARY KEY (scope, key),
    CHECK ((lease_token IS NULL) = (status IS NOT NULL))
);
CREATE INDEX idempotency_free ON idempotency (free_at);
"#;

/// Keys can be suspended, and their former secret works for a while.
const V2: &str = r#"
ALTER TABLE keys
    ADD COLUMN revoked_reason text,
    ADD COLUMN suspended_at   bigint,
    ADD COLUMN old_digest     bytea CHECK (length(old_digest) = 32),
    ADD COLUMN old_display    text,
    ADD COLUMN old_until      bigint;
CREATE INDEX keys_replaced ON keys (old_digest) WHERE old_digest IS NOT NULL;
ALTER TABLE key_events ADD COLUMN reason text;

CREATE OR REPLACE FUNCTION log_key_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    log text := format('INSERT INTO %I.key_changes (digest) SELECT DISTINCT digest
                        FROM unnest($1) AS changed (digest) WHERE digest IS NOT NULL',
                       TG_TABLE_SCHEMA);
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE format('INSERT INTO %I.key_changes (digest) VALUES (NULL)', TG_TABLE_SCHEMA);
    ELSIF TG_OP = 'INSERT' THEN
        EXECUTE log USING ARRAY[NEW.digest, NEW.old_digest];
    ELSIF TG_OP = 'DELETE' THEN
        EXECUTE log USING ARRAY[OLD.digest, OLD.old_digest];
    ELSE
        EXECUTE log USING ARRAY[OLD.digest, OLD.old_digest, NEW.digest, NEW.old_digest];
    END IF;
    PERFORM pg_notify('key0_changes', TG_TABLE_SCHEMA);
    RETURN NULL;
END
$$;
DROP TRIGGER keys_updated ON keys;
CREATE TRIGGER keys_updated AFTER UPDATE ON keys
    FOR EACH ROW WHEN (
        (OLD.id, OLD.digest, OLD.display, OLD.kind, OLD.role, OLD.permissions, OLD.resource_id,
         OLD.plan_id, OLD.label, OLD.metadata, OLD.created_at, OLD.expires_at, OLD.revoked_at,
         OLD.revoked_reason, OLD.suspended_at, OLD.old_digest, OLD.old_display, OLD.old_until)
        IS DISTINCT FROM
        (NEW.id, NEW.digest, NEW.display, NEW.kind, NEW.role, NEW.permissions, NEW.resource_id,
         NEW.plan_id, NEW.label, NEW.metadata, NEW.created_at, NEW.expires_at, NEW.revoked_at,
         NEW.revoked_reason, NEW.suspended_at, NEW.old_digest, NEW.old_display, NEW.old_until)
    ) EXECUTE FUNCTION log_key_change();
"#;

/// Access tokens can be denied. In the log of changes a 1 stands before such a digest.
const V3: &str = r#"
CREATE TABLE denied_tokens (
    digest bytea NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    until  bigint NOT NULL
);
CREATE INDEX denied_tokens_ending ON denied_tokens (until);
CREATE FUNCTION log_denied_token() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('INSERT INTO %I.key_changes (digest) VALUES ($1)', TG_TABLE_SCHEMA)
        USING '\x01'::bytea || NEW.digest;
    PERFORM pg_notify('key0_changes', TG_TABLE_SCHEMA);
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION log_denied_token() FROM PUBLIC;
CREATE TRIGGER tokens_denied AFTER INSERT ON denied_tokens
    FOR EACH ROW EXECUTE FUNCTION log_denied_token();
"#;

/// Writes that need no queue: a key that is being issued is told to nobody, and a payment is kept
/// by one call. Depends on no other step but the first.
///
/// An instance that does not know of it goes on as before: its new keys are told to all.
///
/// The function finds the tables by the path of whoever calls it, so that the schema can be
/// renamed. Each of its statements sees what was committed before that statement: whoever waited
/// for a payment of the same hash sees it.
const V4: &str = r#"
DROP TRIGGER keys_added ON keys;
CREATE TRIGGER keys_added AFTER INSERT ON keys FOR EACH ROW
    WHEN (current_setting('key0_auth.issuing', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION log_key_change();
CREATE TRIGGER keys_removed AFTER DELETE ON keys
    FOR EACH ROW EXECUTE FUNCTION log_key_change();

-- challenge, request, resource, plan, hash as reported, details, time, and the hash's two forms
CREATE FUNCTION record_payment(text, text, text, text, text, text, bigint, text, text)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    same boolean;
BEGIN
    -- The index knows a hash as it was reported: of its two forms, one waits here for the other.
    PERFORM pg_advisory_xact_lock(hashtextextended($8, 0));
    INSERT INTO payments (challenge_id, request_id, resource_id, plan_id, tx_hash, details,
        received_at, due_at)
    SELECT $1, $2, $3, $4, $5, $6, $7, $7
    WHERE NOT EXISTS (SELECT FROM payments WHERE lower(tx_hash) IN ($8, $9))
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN 'recorded';
    END IF;
    SELECT bool_or(challenge_id = $1 AND lower(tx_hash) IN ($8, $9)) INTO same FROM payments
    WHERE challenge_id = $1 OR lower(tx_hash) IN ($8, $9);
    RETURN CASE WHEN same THEN 'repeated' WHEN NOT same THEN 'conflict' END;
END
$$;
"#;

/// Purchases can be revoked. One that was revoked before it was issued has a row without a digest; in
/// place of its hash stands a text that is none. How many such there were is counted by the day.
///
/// An instance that does not know of it issues no key for such a purchase either: it finds the key
/// revoked, or can't read the row and answers 503. A credential of the application's own it hands out
/// again for a day.
const V5: &str = r#"
ALTER TABLE issuances
    ADD COLUMN revoked_at     bigint,
    ADD COLUMN revoked_reason text;
CREATE TABLE unknown_revocations (
    day   bigint NOT NULL PRIMARY KEY,
    count bigint NOT NULL
);

-- As record_payment, which it calls; with ' revoked' behind it where the purchase was revoked before.
CREATE FUNCTION confirm_payment(text, text, text, text, text, text, bigint, text, text)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    outcome text;
BEGIN
    -- Whoever revokes the purchase waits here as well: the second sees what the first has done.
    PERFORM pg_advisory_xact_lock(hashtextextended($1, 1));
    outcome := record_payment($1, $2, $3, $4, $5, $6, $7, $8, $9);
    IF EXISTS (SELECT FROM issuances
               WHERE namespace = 'challenge' AND id = $1 AND revoked_at IS NOT NULL) THEN
        outcome := outcome || ' revoked';
    END IF;
    RETURN outcome;
END
$$;
"#;

/// What was bought, how its payment's handler fared, and when its key was first used. Of older rows
/// that is not known. Nothing is rewritten: the tables are locked for a moment.
const V6: &str = r#"
ALTER TABLE issuances
    ADD COLUMN request_id  text COLLATE "C",
    ADD COLUMN resource_id text,
    ADD COLUMN plan_id     text;
ALTER TABLE payments
    ADD COLUMN handled_at bigint,
    ADD COLUMN last_error text,
    ADD COLUMN given_up   text;
ALTER TABLE keys ADD COLUMN first_used_at bigint;
"#;

/// Purchases can be listed and found. While an index is made, writes to its table wait and reads go
/// on: so it is a step of its own.
const V7: &str = r#"
CREATE INDEX issuances_seen ON issuances (issued_at, namespace, id) WHERE issued_at IS NOT NULL;
CREATE INDEX issuances_of_key ON issuances (key_id) WHERE key_id IS NOT NULL;
CREATE INDEX issuances_of_request ON issuances (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX payments_seen ON payments (received_at, challenge_id);
CREATE INDEX payments_of_request ON payments (request_id);
"#;

/// Events outlive their keys, with what may be shown of them, and there are those of purchases: for
/// them `kind` is not NULL, and `key_id` the id. `over_at` is since when an event is one that goes.
/// Those from before have the transaction 0. Nothing is rewritten.
///
/// An instance that does not know of it still removes the events of the keys that it purges.
const V8: &str = r#"
ALTER TABLE key_events
    ADD COLUMN kind    text,
    ADD COLUMN display text,
    ADD COLUMN label   text,
    ADD COLUMN over_at bigint,
    ADD COLUMN xid     xid8 NOT NULL DEFAULT '0';
ALTER TABLE key_events ALTER COLUMN xid SET DEFAULT pg_current_xact_id();
"#;

/// Events can be listed, and those that are to go are found. As in the step before last, writes to the
/// table wait meanwhile.
const V9: &str = r#"
CREATE INDEX key_events_listed ON key_events (xid, event);
CREATE INDEX key_events_ending ON key_events (over_at) WHERE over_at IS NOT NULL;
"#;
