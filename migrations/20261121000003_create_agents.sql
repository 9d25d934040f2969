-- Who calls: agents, their keys and their limits.

CREATE TABLE app.agents (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    name        text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 64),
    description text NOT NULL DEFAULT '' CHECK (char_length(description) <= 400),
    scopes      text[] NOT NULL,
    state       text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended')),
    created_at  timestamptz NOT NULL,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, name)
);
COMMENT ON TABLE app.agents IS 'An identity that calls tools; scopes is its ceiling. Written by agents; never deleted, since records point at it.';
SELECT app.protect('agents');
GRANT SELECT, INSERT, UPDATE ON app.agents TO trunkline_app;
CREATE TRIGGER catalog AFTER INSERT OR UPDATE OR DELETE ON app.agents FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();

CREATE TABLE app.keys (
    id           uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL,
    agent_id     uuid NOT NULL,
    name         text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 64),
    -- The public part of the key's text, by which it is found.
    lookup       text NOT NULL CHECK (lookup ~ '^[0-9A-Za-z]{12}$'),
    digest       bytea NOT NULL CHECK (octet_length(digest) = 32),
    scopes       text[] NOT NULL,
    created_by   uuid REFERENCES app.users (id),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    revoked_at   timestamptz,
    -- A day is enough to find a forgotten key, and spares a write per call.
    last_used_on date,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, lookup),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES app.agents (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE app.keys IS 'A long-lived bearer secret of an agent, as SHA-256 only. Written by agents; never deleted, so that an old record can name its key.';
SELECT app.protect('keys');
CREATE INDEX keys_agent ON app.keys (tenant_id, agent_id);
GRANT SELECT, INSERT, UPDATE ON app.keys TO trunkline_app;
CREATE TRIGGER catalog AFTER INSERT OR DELETE OR UPDATE OF scopes, expires_at, revoked_at ON app.keys
    FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();
