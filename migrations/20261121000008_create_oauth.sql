-- The authorization server: its keys, its clients, and what people have let them do.

CREATE TABLE app.signing_keys (
    -- RFC 7638 thumbprint of the public key.
    kid         text PRIMARY KEY CHECK (kid ~ '^[A-Za-z0-9_-]{43}$'),
    algorithm   text NOT NULL CHECK (algorithm IN ('EdDSA', 'ES256')),
    public_jwk  jsonb NOT NULL,
    -- The private key as PKCS#8, sealed under a key derived from the installation's, and which one that was.
    sealed      bytea NOT NULL,
    kek_id      text NOT NULL,
    created_at  timestamptz NOT NULL,
    -- From when on it signs. Its state follows from this, its successor's and the clock; nothing has to be written for it to change.
    active_from timestamptz NOT NULL,
    -- Removed at once, because it may be known to somebody.
    removed_at  timestamptz
);
COMMENT ON TABLE app.signing_keys IS 'Keys that sign access tokens. Global: one issuer serves all tenants. Written by oauth; a key that nothing can be signed with any more is deleted.';
GRANT SELECT, INSERT, UPDATE, DELETE ON app.signing_keys TO trunkline_app;
CREATE FUNCTION app.notify_signing_keys() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('catalog', 'signing_keys');
    RETURN NULL;
END $$;
CREATE TRIGGER signing_keys AFTER INSERT OR UPDATE OR DELETE ON app.signing_keys
    FOR EACH STATEMENT EXECUTE FUNCTION app.notify_signing_keys();

CREATE TABLE app.client_registrations (
    client_id     text PRIMARY KEY CHECK (client_id ~ '^tl_dcr_[0-9A-Za-z]{22}$'),
    -- RFC 7591 metadata as it was taken.
    metadata      jsonb NOT NULL,
    secret_digest bytea CHECK (octet_length(secret_digest) = 32),
    created_at    timestamptz NOT NULL,
    -- Who gives consent for it keeps it; NULL until then.
    used_at       timestamptz
);
COMMENT ON TABLE app.client_registrations IS 'Clients that registered themselves. Global: at registration no tenant is known. Written by oauth; deleted a day later unless somebody gave consent, else 90 days after the last use.';
CREATE INDEX client_registrations_used ON app.client_registrations (COALESCE(used_at, created_at));
GRANT SELECT, INSERT, UPDATE, DELETE ON app.client_registrations TO trunkline_app;

CREATE TABLE app.client_documents (
    client_id  text PRIMARY KEY CHECK (octet_length(client_id) <= 512),
    metadata   jsonb NOT NULL,
    fetched_at timestamptz NOT NULL,
    fresh_until timestamptz NOT NULL
);
COMMENT ON TABLE app.client_documents IS 'Client metadata documents as they were last fetched and found right. Global: anybody may read them where they stand. Written by oauth; the last good copy counts for 7 days.';
GRANT SELECT, INSERT, UPDATE, DELETE ON app.client_documents TO trunkline_app;

CREATE TABLE app.client_policies (
    tenant_id uuid PRIMARY KEY REFERENCES app.tenants (id) ON DELETE CASCADE,
    admission text NOT NULL CHECK (admission IN ('any', 'listed', 'approval')),
    -- Hosts of client ids and redirect URIs, for 'listed'.
    hosts     text[] NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE app.client_policies IS 'Which clients a tenant lets its members use; without a row: any. Written by oauth; lives as long as the tenant.';
SELECT app.protect('client_policies');
GRANT SELECT, INSERT, UPDATE ON app.client_policies TO trunkline_app;

CREATE TABLE app.clients (
    id             uuid PRIMARY KEY,
    tenant_id      uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    -- As the client shows it: a URL for a document.
    client_id      text NOT NULL CHECK (octet_length(client_id) <= 512),
    kind           text NOT NULL CHECK (kind IN ('manual', 'document', 'dynamic')),
    name           text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    state          text NOT NULL CHECK (state IN ('approved', 'pending', 'blocked')),
    -- The rest is known here for manual clients only.
    authentication text NOT NULL DEFAULT 'none' CHECK (authentication IN ('none', 'client_secret', 'private_key_jwt', 'tls_client_auth')),
    redirect_uris  text[] NOT NULL DEFAULT '{}',
    secret_digest  bytea CHECK (octet_length(secret_digest) = 32),
    jwks           jsonb,
    -- The agent that a service acts as with its own credentials.
    agent_id       uuid,
    created_by     uuid REFERENCES app.users (id),
    created_at     timestamptz NOT NULL,
    last_used_at   timestamptz,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, client_id),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES app.agents (tenant_id, id)
);
COMMENT ON TABLE app.clients IS 'OAuth clients that a tenant knows: registered by hand, or met when a member was asked for consent. Written by oauth; never deleted, since grants point at them.';
SELECT app.protect('clients');
GRANT SELECT, INSERT, UPDATE ON app.clients TO trunkline_app;

CREATE TABLE app.grants (
    id           uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL,
    -- NULL when a service acts with its own credentials.
    user_id      uuid REFERENCES app.users (id) ON DELETE CASCADE,
    agent_id     uuid NOT NULL,
    client_id    uuid NOT NULL,
    -- Audience of its tokens: the URL of an endpoint.
    resource     text NOT NULL,
    toolset      text,
    scopes       text[] NOT NULL,
    redirect_uri text NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    revoked_at   timestamptz,
    revoked_why  text,
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES app.agents (tenant_id, id),
    FOREIGN KEY (tenant_id, client_id) REFERENCES app.clients (tenant_id, id),
    CHECK ((revoked_at IS NULL) = (revoked_why IS NULL))
);
COMMENT ON TABLE app.grants IS 'A member let a client act as an agent: the root of a family of refresh tokens. Written by oauth, revoked by accounts too; never deleted, so that an old record can name its grant.';
SELECT app.protect('grants');
CREATE INDEX grants_agent ON app.grants (tenant_id, agent_id);
CREATE INDEX grants_client ON app.grants (tenant_id, client_id);
CREATE INDEX grants_user ON app.grants (tenant_id, user_id);
CREATE INDEX grants_revoked ON app.grants (tenant_id, revoked_at) WHERE revoked_at IS NOT NULL;
GRANT SELECT, INSERT, UPDATE ON app.grants TO trunkline_app;
CREATE TRIGGER catalog AFTER UPDATE OF revoked_at ON app.grants FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();

CREATE TABLE app.revoked_tokens (
    tenant_id  uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    jti        uuid NOT NULL,
    revoked_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, jti)
);
COMMENT ON TABLE app.revoked_tokens IS 'Single access tokens that were revoked before their time. Written by oauth; deleted when they would have expired.';
SELECT app.protect('revoked_tokens');
GRANT SELECT, INSERT, DELETE ON app.revoked_tokens TO trunkline_app;
CREATE TRIGGER catalog AFTER INSERT ON app.revoked_tokens FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();

CREATE TABLE app.authorization_codes (
    id             uuid PRIMARY KEY,
    tenant_id      uuid NOT NULL,
    digest         bytea NOT NULL CHECK (octet_length(digest) = 32),
    user_id        uuid NOT NULL REFERENCES app.users (id) ON DELETE CASCADE,
    agent_id       uuid NOT NULL,
    client_id      uuid NOT NULL,
    redirect_uri   text NOT NULL,
    -- Whether the request named it: then the redemption must too.
    redirect_named boolean NOT NULL,
    code_challenge text NOT NULL,
    resource       text NOT NULL,
    toolset        text,
    scopes         text[] NOT NULL,
    grant_expires_at timestamptz NOT NULL,
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    failures       int NOT NULL DEFAULT 0,
    used_at        timestamptz,
    grant_id       uuid,
    UNIQUE (tenant_id, digest),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES app.agents (tenant_id, id),
    FOREIGN KEY (tenant_id, client_id) REFERENCES app.clients (tenant_id, id),
    FOREIGN KEY (tenant_id, grant_id) REFERENCES app.grants (tenant_id, id)
);
COMMENT ON TABLE app.authorization_codes IS 'Codes as SHA-256 only. Written by oauth; kept for a day after their end, so that a replay is recognised.';
SELECT app.protect('authorization_codes');
CREATE INDEX authorization_codes_expiry ON app.authorization_codes (tenant_id, expires_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.authorization_codes TO trunkline_app;

CREATE TABLE app.refresh_tokens (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL,
    digest     bytea NOT NULL CHECK (octet_length(digest) = 32),
    grant_id   uuid NOT NULL,
    parent_id  uuid,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    -- What it was exchanged for; replaced once, if the answer was lost.
    successor_id uuid,
    forgiven_at timestamptz,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, digest),
    FOREIGN KEY (tenant_id, grant_id) REFERENCES app.grants (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE app.refresh_tokens IS 'Refresh tokens as SHA-256 only; a family hangs on its grant. Written by oauth; deleted with the family, when it has ended for a day.';
SELECT app.protect('refresh_tokens');
CREATE INDEX refresh_tokens_grant ON app.refresh_tokens (tenant_id, grant_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.refresh_tokens TO trunkline_app;

CREATE TABLE app.consents (
    id           uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL,
    user_id      uuid NOT NULL REFERENCES app.users (id) ON DELETE CASCADE,
    client_id    uuid NOT NULL,
    redirect_uri text NOT NULL,
    resource     text NOT NULL,
    agent_id     uuid NOT NULL,
    scopes       text[] NOT NULL,
    hours        int NOT NULL CHECK (hours BETWEEN 1 AND 2160),
    given_at     timestamptz NOT NULL,
    UNIQUE (tenant_id, user_id, client_id, redirect_uri, resource),
    FOREIGN KEY (tenant_id, client_id) REFERENCES app.clients (tenant_id, id),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES app.agents (tenant_id, id)
);
COMMENT ON TABLE app.consents IS 'What a person let a client do when last asked; the same is not asked again. Written by oauth; deleted when a grant of it is revoked.';
SELECT app.protect('consents');
GRANT SELECT, INSERT, UPDATE, DELETE ON app.consents TO trunkline_app;

-- Records name the grant that a token came from.
ALTER TABLE app.calls ADD COLUMN grant_id uuid;
