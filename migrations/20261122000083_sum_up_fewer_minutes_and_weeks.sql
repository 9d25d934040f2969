-- Minutes of a tool and of an agent instead of those of both together: a page of the last hour and the alerts ask for one or the other, and there are
-- hundreds of these where there are thousands of those. Nothing writes minutes to usage_rollups any more; what is there goes within eight days.
-- Latencies of an agent and a tool together are asked for by nobody, and take longer to add than all else.
COMMENT ON COLUMN app.usage_rollups.histogram IS 'Of earlier releases. Not read any more; goes with a later one.';
COMMENT ON TABLE app.usage_rollups IS 'Sums over calls of an agent and a tool, per hour, without latencies. Written by the record writer in the transaction of the calls; rebuildable from them.';

-- Weeks of what has all five in common: a break-down of costs by any two over ninety days adds up thirteen of them instead of ninety days.
ALTER TABLE app.usage_sums
    DROP CONSTRAINT usage_sums_step_check,
    ADD CONSTRAINT usage_sums_step_check CHECK (step IN (1, 60, 1440, 10080));
COMMENT ON TABLE app.usage_sums IS 'Sums over calls by what pages ask for, per minute (kept eight days), hour, day (UTC) and week (from Thursday). Written by the record writer in the transaction of the calls; rebuildable from them.';

-- Nothing reads the sums of a grant or of a user: break-downs by them are those of what has all five in common. Nothing writes them any more; they go with
-- a later release.

-- What was summed before. The owner sees the rows of all tenants for as long as this runs.
ALTER TABLE app.usage_rollups NO FORCE ROW LEVEL SECURITY;
ALTER TABLE app.usage_sums NO FORCE ROW LEVEL SECURITY;
INSERT INTO app.usage_sums
      (tenant_id, kind, step, start, agent_id, tool_id, version_id, grant_id, user_id, ok, tool_error, upstream_error, timeout, denied, limited,
       cancelled, unknown, cost_micro, bytes_in, bytes_out, counted, tokens_definition, tokens_out, context_micro, histogram)
SELECT u.tenant_id, k.kind, 1, u.start, CASE k.kind WHEN 'agent' THEN u.agent_id ELSE n.nil END, CASE k.kind WHEN 'tool' THEN u.tool_id ELSE n.nil END,
       n.nil, n.nil, n.nil, sum(ok), sum(tool_error), sum(upstream_error), sum(timeout), sum(denied), sum(limited), sum(cancelled), sum(unknown),
       sum(cost_micro), sum(bytes_in), sum(bytes_out), sum(counted), sum(tokens_definition), sum(tokens_out), sum(context_micro),
       app.histogram_sum(histogram)
FROM app.usage_rollups u
CROSS JOIN (SELECT '00000000-0000-0000-0000-000000000000'::uuid AS nil) n
CROSS JOIN (VALUES ('tool'), ('agent')) AS k (kind)
WHERE u.step = 1
GROUP BY 1, 2, 4, 5, 6, 7;
INSERT INTO app.usage_sums
      (tenant_id, kind, step, start, agent_id, tool_id, version_id, grant_id, user_id, ok, tool_error, upstream_error, timeout, denied, limited,
       cancelled, unknown, cost_micro, bytes_in, bytes_out, counted, tokens_definition, tokens_out, context_micro, histogram)
SELECT tenant_id, kind, 10080, date_bin('7 days', start, '1970-01-01T00:00Z'), agent_id, tool_id, version_id, grant_id, user_id,
       sum(ok), sum(tool_error), sum(upstream_error), sum(timeout), sum(denied), sum(limited), sum(cancelled), sum(unknown),
       sum(cost_micro), sum(bytes_in), sum(bytes_out), sum(counted), sum(tokens_definition), sum(tokens_out), sum(context_micro), '{}'
FROM app.usage_sums
WHERE kind = 'each' AND step = 1440
GROUP BY 1, 2, 4, 5, 6, 7, 8, 9;
ALTER TABLE app.usage_rollups FORCE ROW LEVEL SECURITY;
ALTER TABLE app.usage_sums FORCE ROW LEVEL SECURITY;

-- Most rows are of few kinds and steps, which the planner cannot know from each column by itself: it would read the whole table for the days of agents.
CREATE STATISTICS app.usage_sums_kinds (mcv) ON kind, step FROM app.usage_sums;
