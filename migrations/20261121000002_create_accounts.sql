-- People: users, their browser sessions and mailed links, memberships and invitations.

CREATE TABLE app.signups (
    digest        bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    email         text NOT NULL CHECK (email = lower(email) AND char_length(email) <= 254),
    password_hash text NOT NULL,
    -- The organisation to create when the address is confirmed; NULL when somebody signs up to accept an invitation.
    tenant_name   text CHECK (char_length(tenant_name) BETWEEN 1 AND 80),
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL
);
COMMENT ON TABLE app.signups IS 'A sign-up that waits for its mailed link, by the SHA-256 of its secret. Global: nobody is a user, and no password counts, before the address is confirmed. Deleted on use and on expiry.';
CREATE INDEX signups_email ON app.signups (email);
CREATE INDEX signups_expiry ON app.signups (expires_at);
GRANT SELECT, INSERT, DELETE ON app.signups TO trunkline_app;

CREATE TABLE app.users (
    id                uuid PRIMARY KEY,
    email             text NOT NULL UNIQUE CHECK (email = lower(email) AND char_length(email) <= 254),
    name              text NOT NULL DEFAULT '' CHECK (char_length(name) <= 80),
    password_hash     text NOT NULL,
    email_verified_at timestamptz NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE app.users IS 'A person. Global: may belong to several tenants. Written by accounts; lives until the account is deleted.';
GRANT SELECT, INSERT, UPDATE ON app.users TO trunkline_app;

CREATE TABLE app.user_sessions (
    digest       bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    id           uuid NOT NULL UNIQUE,
    user_id      uuid NOT NULL REFERENCES app.users (id) ON DELETE CASCADE,
    user_agent   text NOT NULL DEFAULT '' CHECK (char_length(user_agent) <= 200),
    created_at   timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL
);
COMMENT ON TABLE app.user_sessions IS 'A signed-in browser, by the SHA-256 of its cookie. Global: found before a tenant is known. Deleted at log-out, password reset and expiry.';
CREATE INDEX user_sessions_user ON app.user_sessions (user_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.user_sessions TO trunkline_app;

CREATE TABLE app.password_resets (
    digest     bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    user_id    uuid NOT NULL REFERENCES app.users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE app.password_resets IS 'A mailed link that sets a new password, by the SHA-256 of its secret. Global: opened without a session. Deleted on use and on expiry.';
CREATE INDEX password_resets_user ON app.password_resets (user_id);
GRANT SELECT, INSERT, DELETE ON app.password_resets TO trunkline_app;

CREATE TABLE app.memberships (
    tenant_id  uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    user_id    uuid NOT NULL REFERENCES app.users (id) ON DELETE CASCADE,
    role       text NOT NULL CHECK (role IN ('owner', 'admin', 'developer', 'viewer', 'auditor')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id)
);
COMMENT ON TABLE app.memberships IS 'Which user may enter a tenant, as what. Written by accounts; deleted when the member leaves.';
SELECT app.protect('memberships');
-- The one reading across tenants: a person sees where they belong, before a tenant is chosen.
CREATE POLICY own ON app.memberships FOR SELECT
    USING (user_id = NULLIF(pg_catalog.current_setting('app.user', true), '')::uuid);
CREATE INDEX memberships_user ON app.memberships (user_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.memberships TO trunkline_app;

CREATE TABLE app.invitations (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    email       text NOT NULL CHECK (email = lower(email) AND char_length(email) <= 254),
    role        text NOT NULL CHECK (role IN ('owner', 'admin', 'developer', 'viewer', 'auditor')),
    digest      bytea NOT NULL CHECK (octet_length(digest) = 32),
    invited_by  uuid NOT NULL REFERENCES app.users (id),
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    UNIQUE (tenant_id, email),
    UNIQUE (tenant_id, id)
);
COMMENT ON TABLE app.invitations IS 'An open invitation, by the SHA-256 of its mailed secret. Deleted when accepted, withdrawn or expired.';
SELECT app.protect('invitations');
GRANT SELECT, INSERT, UPDATE, DELETE ON app.invitations TO trunkline_app;

CREATE TABLE app.jobs (
    id           uuid PRIMARY KEY,
    kind         text NOT NULL,
    payload      jsonb NOT NULL,
    run_at       timestamptz NOT NULL,
    attempts     int NOT NULL DEFAULT 0,
    leased_until timestamptz,
    last_error   text,
    dead_at      timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE app.jobs IS 'Work with outside effects, enqueued in the transaction that wants it. Global: workers serve all tenants. Deleted when done; kept with dead_at when it failed for good.';
CREATE INDEX jobs_due ON app.jobs (run_at) WHERE dead_at IS NULL;
GRANT SELECT, INSERT, UPDATE, DELETE ON app.jobs TO trunkline_app;
