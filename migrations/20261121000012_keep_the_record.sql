-- The record: shipped once from the spools of the processes, chained per tenant, signed, and never changed.

-- Which entries of a process's spool are here. Global: a spool holds entries of all tenants.
CREATE TABLE app.spools (
    id       uuid PRIMARY KEY,
    position bigint NOT NULL CHECK (position >= 0),
    seen_at  timestamptz NOT NULL
);
COMMENT ON TABLE app.spools IS 'How far the spool of a process has been shipped. Written by the record writer in the transaction of the entries; rows of folders that are gone may be deleted.';
GRANT SELECT, INSERT, UPDATE ON app.spools TO trunkline_audit;

-- Who the call was for, and by what others know it. tokens_out is filled by the cost of context.
ALTER TABLE app.calls
    ADD COLUMN user_id    uuid,
    ADD COLUMN jsonrpc_id text,
    ADD COLUMN trace_id   text,
    ADD COLUMN tokens_out bigint;
-- Calls are what audit entries say more about: as little changed as those.
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON app.calls FOR EACH ROW EXECUTE FUNCTION app.refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON app.calls FOR EACH STATEMENT EXECUTE FUNCTION app.refuse_change();
ALTER TABLE app.calls ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE app.calls ENABLE ALWAYS TRIGGER never_truncated;

-- Partitions do not inherit triggers on statements, and the ones of rows only as ordinary ones: those that are there are mended, and those
-- to come are made right.
CREATE OR REPLACE FUNCTION app.close_partition(child text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE app.%I ENABLE ROW LEVEL SECURITY', child);
    EXECUTE format('ALTER TABLE app.%I FORCE ROW LEVEL SECURITY', child);
    EXECUTE format('CREATE OR REPLACE TRIGGER never_truncated BEFORE TRUNCATE ON app.%I FOR EACH STATEMENT EXECUTE FUNCTION app.refuse_change()', child);
    EXECUTE format('ALTER TABLE app.%I ENABLE ALWAYS TRIGGER never_truncated', child);
    EXECUTE format('ALTER TABLE app.%I ENABLE ALWAYS TRIGGER append_only', child);
END $$;
SELECT app.close_partition(c.relname) FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
WHERE i.inhparent IN ('app.calls'::regclass, 'app.audit_entries'::regclass);

-- What has no place in its tenant's chain yet. Filled in the transaction of the entry, whoever writes it.
CREATE TABLE app.audit_unchained (
    tenant_id uuid NOT NULL,
    id        uuid NOT NULL,
    at        timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id, at)
);
COMMENT ON TABLE app.audit_unchained IS 'Audit entries that are not chained yet. Written by a trigger with the entry, emptied by the chainer within seconds.';
SELECT app.protect('audit_unchained');
CREATE INDEX audit_unchained_in_order ON app.audit_unchained (at, id);
GRANT SELECT, INSERT ON app.audit_unchained TO trunkline_app;

CREATE FUNCTION app.note_unchained() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.audit_unchained (tenant_id, id, at) SELECT tenant_id, id, at FROM fresh;
    RETURN NULL;
END $$;
CREATE TRIGGER unchained AFTER INSERT ON app.audit_entries REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION app.note_unchained();
ALTER TABLE app.audit_entries ENABLE ALWAYS TRIGGER unchained;

CREATE TABLE app.audit_chain (
    tenant_id uuid NOT NULL,
    -- Dense, from 1.
    seq       bigint NOT NULL CHECK (seq > 0),
    entry_id  uuid NOT NULL,
    at        timestamptz NOT NULL,
    -- SHA-256 over a zero byte, the hash before (32 zero bytes for the first) and the canonical JSON of the entry with its call.
    hash      bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (tenant_id, seq)
);
COMMENT ON TABLE app.audit_chain IS 'The place of every audit entry in its tenant''s hash chain. Insert-only; written by the chainer, kept longer than what it stands for.';
SELECT app.protect('audit_chain');
CREATE INDEX audit_chain_by_entry ON app.audit_chain (tenant_id, entry_id);
GRANT SELECT ON app.audit_chain TO trunkline_app;

CREATE TABLE app.audit_heads (
    tenant_id     uuid PRIMARY KEY,
    seq           bigint NOT NULL,
    hash          bytea NOT NULL,
    -- What the last checkpoint covers, when it was signed, and how far they have been delivered.
    signed_seq    bigint NOT NULL DEFAULT 0,
    signed_at     timestamptz,
    delivered_seq bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE app.audit_heads IS 'Where each chain goes on, and what of it is signed. A shortcut of the chainer: the truth is in audit_chain and audit_checkpoints.';
SELECT app.protect('audit_heads');
GRANT SELECT ON app.audit_heads TO trunkline_app;
CREATE INDEX audit_heads_to_sign ON app.audit_heads (signed_at NULLS FIRST) WHERE seq > signed_seq;

CREATE TABLE app.audit_checkpoints (
    tenant_id uuid NOT NULL,
    seq       bigint NOT NULL CHECK (seq > 0),
    at        timestamptz NOT NULL,
    -- A signed note in the form of C2SP tlog-checkpoint.
    note      text NOT NULL,
    PRIMARY KEY (tenant_id, seq)
);
COMMENT ON TABLE app.audit_checkpoints IS 'Signed heads of the chains. Insert-only; written by the chainer and delivered outside.';
SELECT app.protect('audit_checkpoints');
GRANT SELECT ON app.audit_checkpoints TO trunkline_app;

CREATE TABLE app.audit_keys (
    -- Its id in signatures, 8 hexadecimal digits.
    id         text PRIMARY KEY,
    public     bytea NOT NULL CHECK (length(public) = 32),
    -- The private key as PKCS#8, sealed under a key derived from the installation's, and which one that was.
    sealed     bytea NOT NULL,
    kek_id     text NOT NULL,
    created_at timestamptz NOT NULL
);
COMMENT ON TABLE app.audit_keys IS 'The key that signs checkpoints. Global: one installation signs for all tenants. Written once.';
GRANT SELECT, INSERT ON app.audit_keys TO trunkline_app;
GRANT UPDATE (sealed, kek_id) ON app.audit_keys TO trunkline_app;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['audit_chain', 'audit_checkpoints'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON app.%I FOR EACH ROW EXECUTE FUNCTION app.refuse_change()', name);
        EXECUTE format('CREATE TRIGGER never_truncated BEFORE TRUNCATE ON app.%I FOR EACH STATEMENT EXECUTE FUNCTION app.refuse_change()', name);
        EXECUTE format('ALTER TABLE app.%I ENABLE ALWAYS TRIGGER append_only', name);
        EXECUTE format('ALTER TABLE app.%I ENABLE ALWAYS TRIGGER never_truncated', name);
    END LOOP;
END $$;

-- The chainer works for all tenants at once. Its role reads entries and calls and adds places and checkpoints; the one that writes records
-- notes what is new, and no more.
CREATE POLICY writer ON app.audit_unchained FOR INSERT TO trunkline_audit WITH CHECK (true);
CREATE POLICY chainer ON app.audit_unchained TO trunkline_chain USING (true) WITH CHECK (true);
CREATE POLICY chainer ON app.audit_chain TO trunkline_chain USING (true) WITH CHECK (true);
CREATE POLICY chainer ON app.audit_heads TO trunkline_chain USING (true) WITH CHECK (true);
CREATE POLICY chainer ON app.audit_checkpoints TO trunkline_chain USING (true) WITH CHECK (true);
CREATE POLICY chainer ON app.audit_entries FOR SELECT TO trunkline_chain USING (true);
CREATE POLICY chainer ON app.calls FOR SELECT TO trunkline_chain USING (true);
GRANT INSERT ON app.audit_unchained TO trunkline_audit;
GRANT SELECT, DELETE ON app.audit_unchained TO trunkline_chain;
GRANT INSERT, SELECT ON app.audit_chain, app.audit_checkpoints TO trunkline_chain;
GRANT INSERT, SELECT, UPDATE ON app.audit_heads TO trunkline_chain;
GRANT SELECT ON app.audit_entries, app.calls TO trunkline_chain;

-- What was written before there was a chain is its beginning.
INSERT INTO app.audit_unchained (tenant_id, id, at) SELECT tenant_id, id, at FROM app.audit_entries;
