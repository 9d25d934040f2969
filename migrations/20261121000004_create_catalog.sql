-- What is called: tools, their immutable versions, sealed credentials, and limits on both sides.

CREATE TABLE app.tenant_keys (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    kek_id     text NOT NULL,
    wrapped    bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, id)
);
COMMENT ON TABLE app.tenant_keys IS 'The data key of a tenant, wrapped by the installation key. Written by secrets; deleting it makes every sealed value of the tenant unreadable.';
SELECT app.protect('tenant_keys');
GRANT SELECT, INSERT, UPDATE, DELETE ON app.tenant_keys TO trunkline_app;

CREATE TABLE app.credentials (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    -- Where the secret may be sent, and nowhere else: scheme://host:port.
    origin     text NOT NULL,
    sealed     bytea NOT NULL,
    hint       text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    UNIQUE (tenant_id, id)
);
COMMENT ON TABLE app.credentials IS 'A sealed upstream secret, bound to its origin by the seal. Written by catalog; write-only for people.';
SELECT app.protect('credentials');
GRANT SELECT, INSERT, DELETE ON app.credentials TO trunkline_app;

CREATE TABLE app.tools (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    name            text NOT NULL CHECK (name ~ '^[A-Za-z0-9_.-]{1,64}$'),
    state           text NOT NULL DEFAULT 'published' CHECK (state IN ('published', 'disabled')),
    version_id      uuid NOT NULL,
    created_at      timestamptz NOT NULL,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, name)
);
COMMENT ON TABLE app.tools IS 'A callable name that points at one published version. Written by catalog; never deleted, since records point at it.';
SELECT app.protect('tools');
GRANT SELECT, INSERT, UPDATE ON app.tools TO trunkline_app;

CREATE TABLE app.tool_versions (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    tool_id         uuid NOT NULL,
    number          int NOT NULL CHECK (number > 0),
    title           text NOT NULL CHECK (char_length(title) <= 80),
    description     text NOT NULL CHECK (char_length(description) BETWEEN 1 AND 4096),
    effect          text NOT NULL CHECK (effect IN ('read', 'write', 'destructive')),
    input_schema    json NOT NULL,
    -- How to run it; tagged by "kind". See catalog::Executor.
    executor        jsonb NOT NULL,
    credential_id   uuid,
    -- Price of one call in micro-units of the tenant's currency.
    price_micro     bigint NOT NULL DEFAULT 0 CHECK (price_micro BETWEEN 0 AND 1000000000000),
    -- SHA-256 over everything a caller sees or causes.
    digest          bytea NOT NULL CHECK (octet_length(digest) = 32),
    created_by      uuid REFERENCES app.users (id),
    created_at      timestamptz NOT NULL,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, tool_id, number),
    UNIQUE (tenant_id, tool_id, id),
    FOREIGN KEY (tenant_id, tool_id) REFERENCES app.tools (tenant_id, id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (tenant_id, credential_id) REFERENCES app.credentials (tenant_id, id)
);
COMMENT ON TABLE app.tool_versions IS 'One published definition of a tool. Insert-only: a version never changes. Lives as long as its tool.';
SELECT app.protect('tool_versions');
GRANT SELECT, INSERT ON app.tool_versions TO trunkline_app;

-- The version a tool points at is one of its own.
ALTER TABLE app.tools ADD FOREIGN KEY (tenant_id, id, version_id)
    REFERENCES app.tool_versions (tenant_id, tool_id, id) DEFERRABLE INITIALLY DEFERRED;
CREATE TRIGGER catalog AFTER INSERT OR UPDATE OR DELETE ON app.tools FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();

CREATE TABLE app.limits (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    scope      text NOT NULL CHECK (scope IN ('agent_tool', 'agent', 'tool', 'tenant')),
    -- NULL in an agent_tool limit means "any".
    agent_id   uuid,
    tool_id    uuid,
    per_minute int NOT NULL CHECK (per_minute BETWEEN 1 AND 6000000),
    burst      int NOT NULL CHECK (burst BETWEEN 1 AND 6000000),
    UNIQUE (tenant_id, id),
    UNIQUE NULLS NOT DISTINCT (tenant_id, scope, agent_id, tool_id),
    CHECK (CASE scope WHEN 'agent' THEN agent_id IS NOT NULL AND tool_id IS NULL
                      WHEN 'tool' THEN tool_id IS NOT NULL AND agent_id IS NULL
                      WHEN 'tenant' THEN agent_id IS NULL AND tool_id IS NULL
                      ELSE agent_id IS NOT NULL OR tool_id IS NOT NULL END),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES app.agents (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, tool_id) REFERENCES app.tools (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE app.limits IS 'A token bucket that departs from the default. Written by quota; deleted when the default applies again.';
SELECT app.protect('limits');
GRANT SELECT, INSERT, UPDATE, DELETE ON app.limits TO trunkline_app;
CREATE TRIGGER catalog AFTER INSERT OR UPDATE OR DELETE ON app.limits FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();

CREATE TABLE app.replicas (
    id      uuid PRIMARY KEY,
    seen_at timestamptz NOT NULL
);
COMMENT ON TABLE app.replicas IS 'Heartbeat of each server process. Global: it says by how many a limit is shared while Redis is away. Rows older than a minute are deleted.';
GRANT SELECT, INSERT, UPDATE, DELETE ON app.replicas TO trunkline_app;
