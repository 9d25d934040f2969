-- People in full: second factors, sessions that say how they were proven, single sign-on.

-- An account that was deleted keeps its row, which agents, tools and decisions refer to; address and password are gone from it.
ALTER TABLE app.users ADD COLUMN deleted_at timestamptz;

ALTER TABLE app.tenants
    ADD COLUMN require_second_factor boolean NOT NULL DEFAULT false,
    ADD COLUMN require_sso           boolean NOT NULL DEFAULT false;

ALTER TABLE app.user_sessions
    -- second: the password was right, the second factor has not been shown yet.
    ADD COLUMN state      text NOT NULL DEFAULT 'full' CHECK (state IN ('second', 'full')),
    ADD COLUMN method     text NOT NULL DEFAULT 'password' CHECK (method IN ('password', 'passkey', 'sso')),
    ADD COLUMN address    text NOT NULL DEFAULT '' CHECK (char_length(address) <= 45),
    -- When the person last proved to be there; NULL: when the session began.
    ADD COLUMN proved_at  timestamptz,
    -- Begun by a tenant's own identity provider: good for that tenant and nothing else.
    ADD COLUMN limited_to uuid REFERENCES app.tenants (id) ON DELETE CASCADE,
    -- Tenants whose identity provider has vouched for this session.
    ADD COLUMN signed_on  uuid[] NOT NULL DEFAULT '{}';

CREATE TABLE app.totp_secrets (
    user_id      uuid PRIMARY KEY REFERENCES app.users (id) ON DELETE CASCADE,
    kek_id       text NOT NULL,
    -- A key of its own, wrapped by the installation's key, and the secret sealed under it.
    wrapped      bytea NOT NULL,
    sealed       bytea NOT NULL,
    -- NULL: shown, but no code of it has been typed yet.
    confirmed_at timestamptz,
    -- The last time step whose code was taken: none is taken twice.
    last_step    bigint NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL
);
COMMENT ON TABLE app.totp_secrets IS 'The secret of a person''s authenticator app, sealed. Global: asked for before a tenant is known. Written by accounts; deleted when it is switched off.';
GRANT SELECT, INSERT, UPDATE, DELETE ON app.totp_secrets TO trunkline_app;

CREATE TABLE app.recovery_codes (
    digest     bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    user_id    uuid NOT NULL REFERENCES app.users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL
);
COMMENT ON TABLE app.recovery_codes IS 'Codes that stand in for a lost second factor, by the SHA-256 of person and code. Global, as second factors are. Deleted on use and when new ones are made.';
CREATE INDEX recovery_codes_user ON app.recovery_codes (user_id);
GRANT SELECT, INSERT, DELETE ON app.recovery_codes TO trunkline_app;

CREATE TABLE app.passkeys (
    id            uuid PRIMARY KEY,
    user_id       uuid NOT NULL REFERENCES app.users (id) ON DELETE CASCADE,
    credential_id bytea NOT NULL UNIQUE,
    name          text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 80),
    -- Public key, counter and properties, as the library writes them.
    credential    jsonb NOT NULL,
    created_at    timestamptz NOT NULL,
    last_used_at  timestamptz
);
COMMENT ON TABLE app.passkeys IS 'A public key by which a person signs in. Global: found by its credential id before a tenant is known. Written by accounts; deleted by its person.';
CREATE INDEX passkeys_user ON app.passkeys (user_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.passkeys TO trunkline_app;

CREATE TABLE app.sign_in_attempts (
    digest     bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    -- Digest of the cookie of the browser that began it.
    browser    bytea NOT NULL CHECK (octet_length(browser) = 32),
    kind       text NOT NULL CHECK (kind IN ('sso', 'passkey_registration', 'passkey_sign_in', 'passkey_second')),
    sealed     bytea NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE app.sign_in_attempts IS 'A challenge that waits for its answer, by the SHA-256 of its secret, sealed. Global: nobody is signed in yet. Deleted on use and on expiry, minutes later.';
CREATE INDEX sign_in_attempts_expiry ON app.sign_in_attempts (expires_at);
GRANT SELECT, INSERT, DELETE ON app.sign_in_attempts TO trunkline_app;

CREATE TABLE app.email_changes (
    digest     bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    user_id    uuid NOT NULL REFERENCES app.users (id) ON DELETE CASCADE,
    email      text NOT NULL CHECK (email = lower(email) AND char_length(email) <= 254),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE app.email_changes IS 'A new address that waits for its mailed link, by the SHA-256 of its secret. Global: addresses belong to people. Deleted on use and on expiry.';
CREATE INDEX email_changes_user ON app.email_changes (user_id);
GRANT SELECT, INSERT, DELETE ON app.email_changes TO trunkline_app;

CREATE TABLE app.identities (
    issuer     text NOT NULL CHECK (char_length(issuer) <= 500),
    subject    text NOT NULL CHECK (char_length(subject) <= 255),
    user_id    uuid NOT NULL REFERENCES app.users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (issuer, subject)
);
COMMENT ON TABLE app.identities IS 'Who a person is at an identity provider: the only link between both. Global: an account may belong to several tenants. Written by accounts; lives as long as the account.';
CREATE INDEX identities_user ON app.identities (user_id);
GRANT SELECT, INSERT, DELETE ON app.identities TO trunkline_app;

CREATE TABLE app.sso_connections (
    tenant_id    uuid PRIMARY KEY REFERENCES app.tenants (id) ON DELETE CASCADE,
    issuer       text NOT NULL CHECK (issuer ~ '^https?://' AND char_length(issuer) <= 500),
    client_id    text NOT NULL CHECK (char_length(client_id) BETWEEN 1 AND 255),
    -- Sealed under the tenant's data key.
    sealed       bytea NOT NULL,
    -- Whose addresses the provider may vouch for.
    domains      text[] NOT NULL CHECK (cardinality(domains) BETWEEN 1 AND 50),
    groups_claim text NOT NULL CHECK (char_length(groups_claim) <= 100),
    -- [{"group": …, "role": …}], the first that fits counts.
    group_roles  jsonb NOT NULL,
    -- What somebody in none of the groups is; NULL: not let in.
    default_role text CHECK (default_role IN ('admin', 'developer', 'viewer', 'auditor')),
    updated_at   timestamptz NOT NULL
);
COMMENT ON TABLE app.sso_connections IS 'A tenant''s own identity provider. Written by accounts; deleted when somebody switches single sign-on off.';
SELECT app.protect('sso_connections');
GRANT SELECT, INSERT, UPDATE, DELETE ON app.sso_connections TO trunkline_app;
