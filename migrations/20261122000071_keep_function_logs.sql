-- What functions log while agents call them, where a version says that it is kept; and which tenants have functions at all.

CREATE TABLE app.function_logs (
    -- The call's.
    id        uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    tool_id   uuid NOT NULL,
    -- Its last lines: they may be somebody's data.
    sealed    bytea NOT NULL,
    at        timestamptz NOT NULL,
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, tool_id) REFERENCES app.tools (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE app.function_logs IS 'The last lines that a function logged in an agent''s call, sealed under the tenant''s key. Written by execution; the last 50 calls of a tool, for 7 days.';
SELECT app.protect('function_logs');
CREATE INDEX function_logs_by_tool ON app.function_logs (tenant_id, tool_id, at DESC, id DESC);
CREATE INDEX function_logs_by_age ON app.function_logs (tenant_id, at);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.function_logs TO trunkline_app;

CREATE TABLE app.function_tenants (
    tenant uuid PRIMARY KEY REFERENCES app.tenants (id) ON DELETE CASCADE
);
COMMENT ON TABLE app.function_tenants IS 'Tenants that have, or had, a function. Global: replicas ask whether anybody has one, and whose logs are too old; it holds ids only. Written when a version is saved; lives as long as its tenant.';
GRANT SELECT, INSERT ON app.function_tenants TO trunkline_app;

CREATE FUNCTION app.note_function() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.function_tenants (tenant) VALUES (NEW.tenant_id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER function_noted AFTER INSERT ON app.tool_versions FOR EACH ROW WHEN (NEW.executor ->> 'kind' = 'function')
    EXECUTE FUNCTION app.note_function();

-- Those that are there already. Forced policies bind the owner too, who has no tenant here.
ALTER TABLE app.tool_versions NO FORCE ROW LEVEL SECURITY;
INSERT INTO app.function_tenants (tenant) SELECT DISTINCT tenant_id FROM app.tool_versions WHERE executor ->> 'kind' = 'function';
ALTER TABLE app.tool_versions FORCE ROW LEVEL SECURITY;
