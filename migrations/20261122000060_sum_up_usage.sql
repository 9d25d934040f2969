-- Usage at scale: finer histograms that store only what is in them, sums for each thing that a page asks for, and the check that they are right.

-- Histograms are sparse: the subscript is the number of the bucket from 1, what is empty is NULL, and what lies before the first and after the last
-- bucket is not stored. So sums of few calls are small, and an addition costs what is added.
CREATE FUNCTION app.histogram_merge(a bigint[], b bigint[]) RETURNS bigint[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    FOR i IN COALESCE(array_lower(b, 1), 1) .. COALESCE(array_upper(b, 1), 0) LOOP
        IF b[i] <> 0 THEN
            a[i] := COALESCE(a[i], 0) + b[i];
        END IF;
    END LOOP;
    RETURN a;
END $$;
CREATE AGGREGATE app.histogram_sum (bigint[]) (SFUNC = app.histogram_merge, STYPE = bigint[], INITCOND = '{}', PARALLEL = SAFE);

-- Eight buckets per doubling instead of four. `latency` is what the release before writes; it goes with a later one.
ALTER TABLE app.usage_rollups ADD COLUMN histogram bigint[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN app.usage_rollups.latency IS 'Four buckets per doubling, of the release before. Not read any more.';
COMMENT ON TABLE app.usage_rollups IS 'Sums over calls of an agent and a tool, per minute (kept eight days) and per hour. Written by the record writer in the transaction of the calls; rebuildable from them.';

CREATE TABLE app.usage_sums (
    tenant_id         uuid NOT NULL,
    -- all: of everything; tool, version, agent, grant, user: of one of these; each: of what has all five in common, without latencies.
    kind              text NOT NULL CHECK (kind IN ('all', 'tool', 'version', 'agent', 'grant', 'user', 'each')),
    -- Length of the interval in minutes, and its start.
    step              smallint NOT NULL CHECK (step IN (1, 60, 1440)),
    start             timestamptz NOT NULL,
    -- What it is of. The nil id: of whatever (not in this kind), or of calls that have none.
    agent_id          uuid NOT NULL,
    tool_id           uuid NOT NULL,
    version_id        uuid NOT NULL,
    -- The client is the grant's.
    grant_id          uuid NOT NULL,
    user_id           uuid NOT NULL,
    ok                bigint NOT NULL,
    tool_error        bigint NOT NULL,
    upstream_error    bigint NOT NULL,
    timeout           bigint NOT NULL,
    denied            bigint NOT NULL,
    limited           bigint NOT NULL,
    cancelled         bigint NOT NULL,
    unknown           bigint NOT NULL,
    cost_micro        bigint NOT NULL,
    bytes_in          bigint NOT NULL,
    bytes_out         bigint NOT NULL,
    -- Calls whose tokens were counted, of which these are the sums.
    counted           bigint NOT NULL,
    tokens_definition bigint NOT NULL,
    tokens_out        bigint NOT NULL,
    context_micro     bigint NOT NULL,
    -- Calls that ran, by latency.
    histogram         bigint[] NOT NULL,
    PRIMARY KEY (tenant_id, kind, step, start, agent_id, tool_id, version_id, grant_id, user_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE app.usage_sums IS 'Sums over calls by what pages ask for, per minute (kept eight days), hour and day (UTC). Written by the record writer in the transaction of the calls; rebuildable from them.';
SELECT app.protect('usage_sums');
CREATE INDEX usage_sums_by_tool ON app.usage_sums (tenant_id, tool_id, start) WHERE kind = 'each';
CREATE INDEX usage_sums_by_agent ON app.usage_sums (tenant_id, agent_id, start) WHERE kind = 'each';
GRANT SELECT ON app.usage_sums TO trunkline_app;
CREATE POLICY writer ON app.usage_sums TO trunkline_audit USING (true) WITH CHECK (true);
GRANT INSERT, SELECT, UPDATE ON app.usage_sums TO trunkline_audit;

-- Minutes go after eight days. Nothing else of the sums can be deleted by anybody.
CREATE POLICY retention ON app.usage_rollups TO trunkline_chain USING (step = 1 AND start < now() - interval '8 days') WITH CHECK (false);
CREATE POLICY retention ON app.usage_sums TO trunkline_chain USING (step = 1 AND start < now() - interval '8 days') WITH CHECK (false);
GRANT SELECT (tenant_id, step, start), DELETE ON app.usage_rollups TO trunkline_chain;
GRANT SELECT (tenant_id, kind, step, start), DELETE ON app.usage_sums TO trunkline_chain;

CREATE TABLE app.usage_checks (
    tenant       uuid PRIMARY KEY REFERENCES app.tenants (id) ON DELETE CASCADE,
    -- The sums of the hours before were held against the record.
    checked_to   timestamptz NOT NULL,
    due_at       timestamptz NOT NULL,
    leased_until timestamptz,
    -- Counts corrections, so that none is made of what was read before another one.
    mended       bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE app.usage_checks IS 'How far the sums of each tenant were held against the record, when that goes on, and which replica does it now. Global: replicas look for what is due in all tenants; it holds ids and times only. Written by usage; deleted with its tenant.';
CREATE INDEX usage_checks_due ON app.usage_checks (due_at);
GRANT SELECT, INSERT, UPDATE ON app.usage_checks TO trunkline_app;
GRANT SELECT (tenant, mended), UPDATE (mended) ON app.usage_checks TO trunkline_audit;
CREATE FUNCTION app.begin_usage_checks() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.usage_checks (tenant, checked_to, due_at)
    VALUES (NEW.id, pg_catalog.date_trunc('hour', pg_catalog.now()), pg_catalog.now() + interval '1 hour');
    RETURN NULL;
END $$;
CREATE TRIGGER begin_usage_checks AFTER INSERT ON app.tenants FOR EACH ROW EXECUTE FUNCTION app.begin_usage_checks();
INSERT INTO app.usage_checks (tenant, checked_to, due_at) SELECT id, date_trunc('hour', now()), now() + interval '1 hour' FROM app.tenants;

-- What was summed before. The owner sees the rows of all tenants for as long as this runs. Sums by version, grant and user, and for the cost page, are
-- made by `trunkline usage rebuild`: only the record knows them.
ALTER TABLE app.usage_rollups NO FORCE ROW LEVEL SECURITY;
ALTER TABLE app.usage_sums NO FORCE ROW LEVEL SECURITY;
UPDATE app.usage_rollups SET histogram = (
    SELECT array_agg(CASE WHEN s % 2 = 1 THEN NULLIF(latency[(s + 1) / 2], 0) END ORDER BY s) FROM generate_series(1, 177) AS s)
WHERE latency <> '{}';
INSERT INTO app.usage_sums
SELECT u.tenant_id, k.kind, k.step, k.start,
       CASE k.kind WHEN 'agent' THEN u.agent_id ELSE n.nil END, CASE k.kind WHEN 'tool' THEN u.tool_id ELSE n.nil END, n.nil, n.nil, n.nil,
       sum(ok), sum(tool_error), sum(upstream_error), sum(timeout), sum(denied), sum(limited), sum(cancelled), sum(unknown),
       sum(cost_micro), sum(bytes_in), sum(bytes_out), sum(counted), sum(tokens_definition), sum(tokens_out), sum(context_micro),
       app.histogram_sum(histogram)
FROM app.usage_rollups u
CROSS JOIN (SELECT '00000000-0000-0000-0000-000000000000'::uuid AS nil) n
CROSS JOIN LATERAL (VALUES ('all', 1::smallint, u.start), ('all', 60, u.start), ('tool', 60, u.start), ('agent', 60, u.start),
                           ('all', 1440, date_trunc('day', u.start, 'UTC')), ('tool', 1440, date_trunc('day', u.start, 'UTC')),
                           ('agent', 1440, date_trunc('day', u.start, 'UTC'))) AS k (kind, step, start)
WHERE u.step = LEAST(k.step, 60)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9;
ALTER TABLE app.usage_rollups FORCE ROW LEVEL SECURITY;
ALTER TABLE app.usage_sums FORCE ROW LEVEL SECURITY;
