-- Descriptions of APIs that have a link are read again in the background and held against their pin; what is otherwise waits for a person.

ALTER TABLE app.apis
    -- When its link last led to the document that is pinned; NULL: not since it was imported, or there is no link.
    ADD COLUMN verified_at timestamptz,
    -- Since when its link cannot be read, and why; NULL and empty while it can. Was anybody told?
    ADD COLUMN failing_since timestamptz,
    ADD COLUMN failure text NOT NULL DEFAULT '' CHECK (char_length(failure) <= 400),
    ADD COLUMN failure_told boolean NOT NULL DEFAULT false,
    ADD CHECK ((failing_since IS NULL) = (failure = '')),
    ADD CHECK (failing_since IS NOT NULL OR NOT failure_told);

CREATE TABLE app.api_changes (
    tenant_id  uuid NOT NULL,
    api_id     uuid NOT NULL,
    -- Of the document that was found.
    sha256     bytea NOT NULL CHECK (octet_length(sha256) = 32),
    bytes      int NOT NULL CHECK (bytes BETWEEN 1 AND 10485760),
    -- The document itself, so that what is approved is what was looked at; kept while somebody has to decide.
    document   bytea,
    -- Where it was read from; NULL: somebody uploaded it.
    link       text CHECK (link ~ '^https?://'),
    title      text NOT NULL,
    version    text NOT NULL,
    -- What it changes. See catalog::api::Review.
    review     json NOT NULL,
    -- pending: somebody has to decide. replaced: another one was found before anybody did. returned: the pinned document was back before anybody did.
    state      text NOT NULL CHECK (state IN ('pending', 'approved', 'dismissed', 'replaced', 'returned')),
    -- NULL: it was found by reading again in the background.
    brought_by uuid REFERENCES app.users (id),
    found_at   timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL,
    -- When letters about it were written; NULL: none were.
    told_at    timestamptz,
    settled_at timestamptz,
    settled_by uuid REFERENCES app.users (id),
    PRIMARY KEY (tenant_id, api_id, sha256),
    CHECK ((state = 'pending') = (document IS NOT NULL)),
    CHECK ((state = 'pending') = (settled_at IS NULL)),
    FOREIGN KEY (tenant_id, api_id) REFERENCES app.apis (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE app.api_changes IS 'A document that an API''s link led to, or that somebody brought, and that is not the pinned one: nothing of it is used until somebody approves it. Written by catalog; the last fifty of an API, lives as long as that.';
SELECT app.protect('api_changes');
CREATE UNIQUE INDEX api_changes_pending ON app.api_changes (tenant_id, api_id) WHERE state = 'pending';
GRANT SELECT, INSERT, UPDATE, DELETE ON app.api_changes TO trunkline_app;

CREATE TABLE app.api_rounds (
    api_id       uuid PRIMARY KEY REFERENCES app.apis (id) ON DELETE CASCADE,
    tenant       uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    due_at       timestamptz NOT NULL,
    leased_until timestamptz
);
COMMENT ON TABLE app.api_rounds IS 'When the description of each API that has a link is read again, and which replica reads it now. Global: replicas look for what is due in all tenants; it holds ids and times only. Written by catalog; deleted with its API.';
CREATE INDEX api_rounds_due ON app.api_rounds (due_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.api_rounds TO trunkline_app;

-- What is there already, not all at once.
INSERT INTO app.api_rounds (api_id, tenant, due_at)
SELECT id, tenant_id, now() + random() * interval '1 hour' FROM app.apis WHERE link IS NOT NULL;
