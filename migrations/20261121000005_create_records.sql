-- What happened: usage records and audit entries of the same calls, and sums over them.
-- Records name agents, tools and keys by id only, without foreign keys: they outlive what they describe.

CREATE TABLE app.calls (
    id               uuid NOT NULL,
    tenant_id        uuid NOT NULL,
    at               timestamptz NOT NULL,
    agent_id         uuid NOT NULL,
    key_id           uuid,
    -- NULL when the caller named a tool that does not exist for it.
    tool_id          uuid,
    tool_version_id  uuid,
    tool_name        text NOT NULL,
    outcome          text NOT NULL CHECK (outcome IN ('ok', 'tool_error', 'upstream_error', 'timeout', 'denied', 'limited', 'cancelled', 'unknown')),
    -- Class of the failure, such as upstream_status or invalid_arguments; never another system's text.
    error            text,
    latency_us       bigint NOT NULL,
    auth_us          bigint NOT NULL,
    admission_us     bigint NOT NULL,
    upstream_us      bigint NOT NULL,
    bytes_in         bigint NOT NULL,
    bytes_out        bigint NOT NULL,
    cost_micro       bigint NOT NULL,
    revision         text NOT NULL,
    client_name      text NOT NULL DEFAULT '',
    request_id       text NOT NULL,
    -- Decided without Redis, on this replica's share of the limits.
    degraded         boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, id, at)
) PARTITION BY RANGE (at);
COMMENT ON TABLE app.calls IS 'One tools/call. Written once by the record writer; dropped by month.';
SELECT app.protect('calls');
CREATE INDEX calls_by_agent ON app.calls (tenant_id, agent_id, id);
CREATE INDEX calls_by_tool ON app.calls (tenant_id, tool_id, id);
GRANT SELECT ON app.calls TO trunkline_app;

CREATE TABLE app.audit_entries (
    id         uuid NOT NULL,
    tenant_id  uuid NOT NULL,
    at         timestamptz NOT NULL,
    actor_kind text NOT NULL CHECK (actor_kind IN ('member', 'agent', 'operator', 'system')),
    actor_id   uuid,
    action     text NOT NULL,
    subject    text NOT NULL DEFAULT '',
    decision   text NOT NULL CHECK (decision IN ('allowed', 'denied', 'limited')),
    reason     text NOT NULL DEFAULT '',
    request_id text NOT NULL DEFAULT '',
    details    jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant_id, id, at)
) PARTITION BY RANGE (at);
COMMENT ON TABLE app.audit_entries IS 'Every call and every change, allowed or not. Insert-only for everybody; dropped by month under the retention rule.';
SELECT app.protect('audit_entries');
GRANT SELECT, INSERT ON app.audit_entries TO trunkline_app;

CREATE FUNCTION app.refuse_change() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit entries are never changed or deleted';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON app.audit_entries FOR EACH ROW EXECUTE FUNCTION app.refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON app.audit_entries FOR EACH STATEMENT EXECUTE FUNCTION app.refuse_change();
ALTER TABLE app.audit_entries ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE app.audit_entries ENABLE ALWAYS TRIGGER never_truncated;

-- Element-wise sum of two latency histograms.
CREATE FUNCTION app.histogram_add(a bigint[], b bigint[]) RETURNS bigint[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (SELECT pg_catalog.array_agg(COALESCE(x, 0) + COALESCE(y, 0) ORDER BY i)
            FROM ROWS FROM (pg_catalog.unnest(a), pg_catalog.unnest(b)) WITH ORDINALITY AS u (x, y, i));

CREATE TABLE app.usage_rollups (
    tenant_id      uuid NOT NULL,
    -- Length of the interval in minutes, and its start.
    step           smallint NOT NULL CHECK (step IN (1, 60)),
    start          timestamptz NOT NULL,
    agent_id       uuid NOT NULL,
    -- The nil id stands for calls to tools that do not exist.
    tool_id        uuid NOT NULL,
    ok             bigint NOT NULL DEFAULT 0,
    tool_error     bigint NOT NULL DEFAULT 0,
    upstream_error bigint NOT NULL DEFAULT 0,
    timeout        bigint NOT NULL DEFAULT 0,
    denied         bigint NOT NULL DEFAULT 0,
    limited        bigint NOT NULL DEFAULT 0,
    cancelled      bigint NOT NULL DEFAULT 0,
    unknown        bigint NOT NULL DEFAULT 0,
    cost_micro     bigint NOT NULL DEFAULT 0,
    bytes_in       bigint NOT NULL DEFAULT 0,
    bytes_out      bigint NOT NULL DEFAULT 0,
    -- Calls that ran, by latency: buckets of usage::histogram, mergeable by addition.
    latency        bigint[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant_id, step, start, agent_id, tool_id)
);
COMMENT ON TABLE app.usage_rollups IS 'Sums over calls, per minute and per hour. Written by the record writer in the transaction of the calls; rebuildable from them.';
SELECT app.protect('usage_rollups');
GRANT SELECT ON app.usage_rollups TO trunkline_app;

-- The record writer serves all tenants in one batch. Its role can add to these tables and read back nothing but ids and sums.
CREATE POLICY writer ON app.calls FOR INSERT TO trunkline_audit WITH CHECK (true);
CREATE POLICY writer_returning ON app.calls FOR SELECT TO trunkline_audit USING (true);
CREATE POLICY writer ON app.audit_entries FOR INSERT TO trunkline_audit WITH CHECK (true);
CREATE POLICY writer ON app.usage_rollups TO trunkline_audit USING (true) WITH CHECK (true);
GRANT INSERT, SELECT (id) ON app.calls TO trunkline_audit;
GRANT INSERT ON app.audit_entries TO trunkline_audit;
GRANT INSERT, SELECT, UPDATE ON app.usage_rollups TO trunkline_audit;

-- What a partition does not inherit from its parent: row-level security for direct access, and triggers on statements.
CREATE FUNCTION app.close_partition(child text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE app.%I ENABLE ROW LEVEL SECURITY', child);
    EXECUTE format('ALTER TABLE app.%I FORCE ROW LEVEL SECURITY', child);
    IF child LIKE 'audit_entries%' THEN
        EXECUTE format('CREATE TRIGGER never_truncated BEFORE TRUNCATE ON app.%I FOR EACH STATEMENT EXECUTE FUNCTION app.refuse_change()', child);
        EXECUTE format('ALTER TABLE app.%I ENABLE ALWAYS TRIGGER never_truncated', child);
    END IF;
END $$;
REVOKE ALL ON FUNCTION app.close_partition(text) FROM PUBLIC;

-- Creates the partitions of this month and the given number of months ahead. The application may call it, and nothing else of the kind.
CREATE FUNCTION app.ensure_partitions(months_ahead int) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parent text;
    first  timestamptz;
    child  text;
BEGIN
    IF months_ahead NOT BETWEEN 0 AND 24 THEN
        RAISE EXCEPTION 'months_ahead must be between 0 and 24, not %', months_ahead;
    END IF;
    PERFORM pg_advisory_xact_lock(7302117);
    FOREACH parent IN ARRAY ARRAY['calls', 'audit_entries'] LOOP
        FOR i IN 0..months_ahead LOOP
            first := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => i)) AT TIME ZONE 'UTC';
            child := format('%s_%s', parent, to_char(first AT TIME ZONE 'UTC', 'YYYYMM'));
            CONTINUE WHEN to_regclass(format('app.%I', child)) IS NOT NULL;
            BEGIN
                EXECUTE format('CREATE TABLE app.%I PARTITION OF app.%I FOR VALUES FROM (%L) TO (%L)',
                    child, parent, first, ((first AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC');
                PERFORM app.close_partition(child);
            EXCEPTION WHEN check_violation THEN
                -- Rows of that month lie in the default partition already: they stay there, and the other months are made.
                RAISE WARNING 'app.% is not made: rows of its month are in the default partition', child;
            END;
        END LOOP;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION app.ensure_partitions(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.ensure_partitions(int) TO trunkline_app;

-- Nothing recorded is lost because its month has no partition: a wrong clock, a long outage.
CREATE TABLE app.calls_default PARTITION OF app.calls DEFAULT;
CREATE TABLE app.audit_entries_default PARTITION OF app.audit_entries DEFAULT;
SELECT app.close_partition('calls_default'), app.close_partition('audit_entries_default');
SELECT app.ensure_partitions(3);
