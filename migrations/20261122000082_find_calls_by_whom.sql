-- The log narrowed to a person, a client or a run of an agent. Calls that have none of these have no place in the indexes.
CREATE INDEX calls_by_user ON app.calls (tenant_id, user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX calls_by_grant ON app.calls (tenant_id, grant_id, id) WHERE grant_id IS NOT NULL;
CREATE INDEX calls_by_trace ON app.calls (tenant_id, trace_id, id) WHERE trace_id IS NOT NULL;
