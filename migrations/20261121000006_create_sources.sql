-- Where imported definitions come from, the lock on each of them, and named choices of tools.

CREATE TABLE app.sources (
    id               uuid PRIMARY KEY,
    tenant_id        uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    name             text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,30}$'),
    -- An MCP server at a URL, or the suite's fixtures. There is no kind that starts a program.
    kind             text NOT NULL CHECK (kind IN ('mcp', 'conformance')),
    url              text NOT NULL CHECK ((kind = 'mcp') = (url ~ '^https?://')),
    secret_header    text,
    credential_id    uuid,
    timeout_ms       int NOT NULL CHECK (timeout_ms BETWEEN 100 AND 60000),
    enabled          boolean NOT NULL DEFAULT true,
    -- Exposed names are <source>.<name>.
    prefix           boolean NOT NULL,
    new_definitions  text NOT NULL CHECK (new_definitions IN ('wait', 'approve')),
    changes          text NOT NULL CHECK (changes IN ('harmless_pass', 'everything_waits')),
    meanwhile        text NOT NULL CHECK (meanwhile IN ('serve_approved', 'block')),
    -- What a tool does to the world that says nothing about it.
    default_effect   text NOT NULL CHECK (default_effect IN ('read', 'write', 'destructive')),
    -- Counts changes of what is asked and how: the answer to an older question is not taken.
    edition          int NOT NULL DEFAULT 1,
    refreshed_at     timestamptz,
    -- Since when its lists could not be read, and why; NULL while they can.
    stale_since      timestamptz,
    error            text NOT NULL DEFAULT '',
    -- What the last refresh left out.
    notice           text NOT NULL DEFAULT '',
    created_by       uuid REFERENCES app.users (id),
    created_at       timestamptz NOT NULL,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, name),
    FOREIGN KEY (tenant_id, credential_id) REFERENCES app.credentials (tenant_id, id)
);
COMMENT ON TABLE app.sources IS 'An upstream MCP server whose definitions are imported. Written by catalog; deleted with its definitions when somebody removes it, its tools stay disabled.';
SELECT app.protect('sources');
GRANT SELECT, INSERT, UPDATE, DELETE ON app.sources TO trunkline_app;
CREATE TRIGGER catalog AFTER INSERT OR DELETE OR UPDATE OF url, secret_header, credential_id, timeout_ms, enabled, meanwhile ON app.sources
    FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();

CREATE TABLE app.refreshes (
    source_id    uuid PRIMARY KEY REFERENCES app.sources (id) ON DELETE CASCADE,
    tenant       uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    due_at       timestamptz NOT NULL,
    leased_until timestamptz
);
COMMENT ON TABLE app.refreshes IS 'When each enabled source is read next, and which replica reads it now. Global: replicas look for what is due in all tenants; it holds ids and times only. Written by catalog; deleted with its source or while that is switched off.';
CREATE INDEX refreshes_due ON app.refreshes (due_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.refreshes TO trunkline_app;

-- The upstream's own definition of a tool, exactly as it was approved. NULL: the tool is ours.
ALTER TABLE app.tool_versions ADD COLUMN definition json;

CREATE TABLE app.definitions (
    id           uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL,
    source_id    uuid NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('tool', 'prompt', 'resource', 'resource_template')),
    -- Its name or URI upstream, and as our callers see it.
    upstream_key text NOT NULL,
    exposed_key  text NOT NULL,
    -- What is served if it is approved, else what was seen last. json, not jsonb: kept to the byte.
    definition   json NOT NULL,
    -- SHA-256 over the canonical form of what callers and models rely on.
    digest       bytea NOT NULL CHECK (octet_length(digest) = 32),
    -- waiting: new, nobody has looked yet. off: somebody does not want it. blocked: it cannot be served, see reason.
    state        text NOT NULL CHECK (state IN ('waiting', 'approved', 'off', 'blocked')),
    reason       text NOT NULL DEFAULT '',
    findings     jsonb NOT NULL DEFAULT '[]',
    tool_id      uuid,
    -- Since when the source no longer lists it.
    removed_at   timestamptz,
    created_at   timestamptz NOT NULL,
    changed_at   timestamptz NOT NULL,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, source_id, kind, upstream_key),
    UNIQUE (tenant_id, tool_id),
    FOREIGN KEY (tenant_id, source_id) REFERENCES app.sources (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, tool_id) REFERENCES app.tools (tenant_id, id)
);
COMMENT ON TABLE app.definitions IS 'A tool, prompt, resource or resource template of a source, locked by its digest. Written by catalog; lives as long as its source.';
SELECT app.protect('definitions');
-- A name has one owner in a tenant; whoever comes later is blocked.
CREATE UNIQUE INDEX definitions_by_key ON app.definitions (tenant_id, kind, exposed_key) WHERE state <> 'blocked' AND removed_at IS NULL;
GRANT SELECT, INSERT, UPDATE, DELETE ON app.definitions TO trunkline_app;
CREATE TRIGGER catalog_row AFTER INSERT ON app.definitions FOR EACH ROW WHEN (NEW.state = 'approved') EXECUTE FUNCTION app.notify_catalog();
CREATE TRIGGER catalog_change AFTER UPDATE ON app.definitions FOR EACH ROW
    WHEN ((OLD.state = 'approved' OR NEW.state = 'approved')
          AND (OLD.state, OLD.digest, OLD.removed_at) IS DISTINCT FROM (NEW.state, NEW.digest, NEW.removed_at))
    EXECUTE FUNCTION app.notify_catalog();

CREATE TABLE app.definition_changes (
    id            uuid PRIMARY KEY,
    tenant_id     uuid NOT NULL,
    definition_id uuid NOT NULL,
    definition    json NOT NULL,
    digest        bytea NOT NULL CHECK (octet_length(digest) = 32),
    findings      jsonb NOT NULL,
    -- withdrawn: the source changed again before anybody decided.
    state         text NOT NULL CHECK (state IN ('pending', 'approved', 'rejected', 'withdrawn')),
    decided_by    uuid REFERENCES app.users (id),
    decided_at    timestamptz,
    created_at    timestamptz NOT NULL,
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, definition_id) REFERENCES app.definitions (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE app.definition_changes IS 'A change of an approved definition that waits, or waited, for a person. Written by catalog; lives as long as its definition.';
SELECT app.protect('definition_changes');
CREATE UNIQUE INDEX definition_changes_pending ON app.definition_changes (tenant_id, definition_id) WHERE state = 'pending';
CREATE INDEX definition_changes_by_definition ON app.definition_changes (tenant_id, definition_id, created_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.definition_changes TO trunkline_app;
CREATE TRIGGER catalog AFTER INSERT OR UPDATE OR DELETE ON app.definition_changes FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();

CREATE TABLE app.toolsets (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    name        text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    title       text NOT NULL CHECK (char_length(title) <= 80),
    description text NOT NULL CHECK (char_length(description) <= 400),
    created_by  uuid REFERENCES app.users (id),
    created_at  timestamptz NOT NULL,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, name)
);
COMMENT ON TABLE app.toolsets IS 'A named choice of tools with an endpoint of its own. Written by catalog; deleted by people.';
SELECT app.protect('toolsets');
GRANT SELECT, INSERT, UPDATE, DELETE ON app.toolsets TO trunkline_app;
CREATE TRIGGER catalog AFTER INSERT OR UPDATE OR DELETE ON app.toolsets FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();

CREATE TABLE app.toolset_tools (
    tenant_id  uuid NOT NULL,
    toolset_id uuid NOT NULL,
    tool_id    uuid NOT NULL,
    PRIMARY KEY (tenant_id, toolset_id, tool_id),
    FOREIGN KEY (tenant_id, toolset_id) REFERENCES app.toolsets (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, tool_id) REFERENCES app.tools (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE app.toolset_tools IS 'Which tools a toolset has. Written by catalog; lives as long as both.';
SELECT app.protect('toolset_tools');
GRANT SELECT, INSERT, DELETE ON app.toolset_tools TO trunkline_app;
CREATE TRIGGER catalog AFTER INSERT OR DELETE ON app.toolset_tools FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();
