-- Accounts of people at upstream servers: our client towards each provider, and what each person has let it do.

ALTER TABLE app.sources
    DROP CONSTRAINT sources_kind_check,
    DROP CONSTRAINT sources_check,
    -- api: the origin of HTTP tools, without definitions of its own; it is there for the accounts that people have with it.
    ADD CONSTRAINT sources_kind_check CHECK (kind IN ('mcp', 'api', 'conformance')),
    ADD CONSTRAINT sources_url_check CHECK ((kind IN ('mcp', 'api')) = (url ~ '^https?://'));
-- HTTP tools find it by their origin, so that there is one.
CREATE UNIQUE INDEX sources_of_apis ON app.sources (tenant_id, url) WHERE kind = 'api';

ALTER TABLE app.sign_in_attempts
    DROP CONSTRAINT sign_in_attempts_kind_check,
    ADD CONSTRAINT sign_in_attempts_kind_check
        CHECK (kind IN ('sso', 'passkey_registration', 'passkey_sign_in', 'passkey_second', 'connection'));

CREATE TABLE app.connection_providers (
    tenant_id         uuid NOT NULL,
    source_id         uuid NOT NULL,
    -- scheme://host:port of the source. People's tokens go there and nowhere else.
    origin            text NOT NULL CHECK (origin ~ '^https?://'),
    -- NULL: not known, because it was entered by hand.
    issuer            text CHECK (char_length(issuer) <= 500),
    -- Its answers name it (RFC 9207): one that does not is not its.
    names_itself      boolean NOT NULL,
    authorization_url text NOT NULL CHECK (authorization_url ~ '^https?://'),
    token_url         text NOT NULL CHECK (token_url ~ '^https?://'),
    revocation_url    text CHECK (revocation_url ~ '^https?://'),
    client_id         text NOT NULL CHECK (char_length(client_id) BETWEEN 1 AND 500),
    -- Sealed under the tenant's data key. NULL: the client is a public one.
    secret            bytea,
    authentication    text NOT NULL CHECK (authentication IN ('none', 'client_secret_basic', 'client_secret_post')),
    scopes            text NOT NULL CHECK (char_length(scopes) <= 2000),
    resource          text NOT NULL CHECK (char_length(resource) <= 2000),
    -- Whose account reads the source's lists, if it has no secret of the tenant's.
    reader            uuid,
    updated_at        timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, source_id),
    FOREIGN KEY (tenant_id, source_id) REFERENCES app.sources (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, reader) REFERENCES app.memberships (tenant_id, user_id) ON DELETE SET NULL (reader)
);
COMMENT ON TABLE app.connection_providers IS 'How each person''s own account is reached that a source asks for: the authorization server and our client there. Written by connections; deleted with its source, or when the tenant goes back to one credential.';
SELECT app.protect('connection_providers');
GRANT SELECT, INSERT, UPDATE, DELETE ON app.connection_providers TO trunkline_app;
CREATE TRIGGER catalog AFTER INSERT OR UPDATE OR DELETE ON app.connection_providers FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();

CREATE TABLE app.connections (
    id           uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL,
    source_id    uuid NOT NULL,
    user_id      uuid NOT NULL,
    -- Both sealed under the tenant's data key, for this person at this source.
    access       bytea NOT NULL,
    refresh      bytea,
    scopes       text NOT NULL CHECK (char_length(scopes) <= 2000),
    -- NULL: nobody said when.
    expires_at   timestamptz,
    -- broken: the provider refuses what we have; the person has to connect again.
    state        text NOT NULL CHECK (state IN ('working', 'broken')),
    -- Why the last refresh failed; empty if it did not.
    error        text NOT NULL DEFAULT '',
    -- Counts tokens: who refreshed an older one is late.
    version      int NOT NULL DEFAULT 1,
    -- Until when one replica refreshes and the others wait.
    leased_until timestamptz,
    connected_at timestamptz NOT NULL,
    refreshed_at timestamptz NOT NULL,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, source_id, user_id),
    FOREIGN KEY (tenant_id, source_id) REFERENCES app.connection_providers (tenant_id, source_id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, user_id) REFERENCES app.memberships (tenant_id, user_id) ON DELETE CASCADE
);
COMMENT ON TABLE app.connections IS 'One person''s account at the provider of one source: sealed tokens, used for that person''s calls only. Written by connections; deleted when the person disconnects or leaves, and with its source.';
SELECT app.protect('connections');
CREATE INDEX connections_by_user ON app.connections (tenant_id, user_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.connections TO trunkline_app;
-- A refresh is nobody's business but the connection's; that it works or not is everybody's.
CREATE TRIGGER catalog AFTER INSERT OR DELETE OR UPDATE OF state ON app.connections
    FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();

CREATE TABLE app.connection_refreshes (
    connection_id uuid PRIMARY KEY REFERENCES app.connections (id) ON DELETE CASCADE,
    tenant        uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    due_at        timestamptz NOT NULL
);
COMMENT ON TABLE app.connection_refreshes IS 'When the tokens of each connection are refreshed, before they run out. Global: replicas look for what is due in all tenants; it holds ids and times only. Written by connections; deleted with its connection or when that breaks.';
CREATE INDEX connection_refreshes_due ON app.connection_refreshes (due_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.connection_refreshes TO trunkline_app;
