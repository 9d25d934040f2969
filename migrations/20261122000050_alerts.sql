-- Alerts: what is out of the ordinary is looked for once a minute, told once when it begins and once when it is over.
CREATE TABLE app.alerts (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    kind            text NOT NULL CHECK (kind IN ('error_rate', 'p99', 'limits', 'probe')),
    -- Id of the tool, agent or source that it is about, and what that was called.
    subject         text NOT NULL,
    name            text NOT NULL,
    -- watched: seen, but not often enough to tell anybody.
    state           text NOT NULL CHECK (state IN ('watched', 'firing', 'resolved')),
    -- Looks in a row that found it bad, and well again.
    bad             int NOT NULL DEFAULT 0 CHECK (bad >= 0),
    good            int NOT NULL DEFAULT 0 CHECK (good >= 0),
    -- What was usual when it began: a share from 0 to 1, or milliseconds. It is measured by that until it is over.
    usual           double precision NOT NULL,
    message         text NOT NULL,
    since           timestamptz NOT NULL,
    last_bad_at     timestamptz NOT NULL,
    resolved_at     timestamptz,
    -- Was anybody told that it began?
    told            boolean NOT NULL DEFAULT false,
    acknowledged_at timestamptz,
    acknowledged_by uuid REFERENCES app.users (id),
    silenced_until  timestamptz,
    UNIQUE (tenant_id, id),
    CHECK ((state = 'resolved') = (resolved_at IS NOT NULL)),
    CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL))
);
COMMENT ON TABLE app.alerts IS 'That something was out of the ordinary, from its first bad look on. Names and numbers, never content. Written by alerts; kept for 30 days after it was over.';
SELECT app.protect('alerts');
CREATE UNIQUE INDEX alerts_open ON app.alerts (tenant_id, kind, subject) WHERE state <> 'resolved';
CREATE INDEX alerts_subject ON app.alerts (tenant_id, kind, subject, since DESC);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.alerts TO trunkline_app;

CREATE TABLE app.alert_targets (
    tenant_id      uuid PRIMARY KEY REFERENCES app.tenants (id) ON DELETE CASCADE,
    -- Members with one of these roles get letters.
    mail_roles     text[] NOT NULL,
    webhook_url    text CHECK (webhook_url ~ '^https?://' AND char_length(webhook_url) <= 2000),
    -- Sealed under the tenant's data key: what deliveries are signed with, and a URL that is a secret as a whole.
    webhook_secret bytea,
    chat_url       bytea,
    updated_at     timestamptz NOT NULL,
    CHECK ((webhook_url IS NULL) = (webhook_secret IS NULL))
);
COMMENT ON TABLE app.alert_targets IS 'Whom alerts of a tenant are told; without a row, its owners and admins by mail. Written by alerts; lives as long as its tenant.';
SELECT app.protect('alert_targets');
GRANT SELECT, INSERT, UPDATE ON app.alert_targets TO trunkline_app;

CREATE TABLE app.alert_baselines (
    tenant_id uuid NOT NULL,
    tool_id   uuid NOT NULL,
    -- The hour before which it was learnt: once an hour is enough.
    hour      timestamptz NOT NULL,
    ran       bigint NOT NULL,
    failed    bigint NOT NULL,
    -- NULL: nothing ran.
    p99_ms    double precision,
    PRIMARY KEY (tenant_id, tool_id),
    FOREIGN KEY (tenant_id, tool_id) REFERENCES app.tools (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE app.alert_baselines IS 'What is usual for a tool, learnt from the sums of the seven days before. Written by alerts; rebuildable from usage_rollups.';
SELECT app.protect('alert_baselines');
GRANT SELECT, INSERT, UPDATE ON app.alert_baselines TO trunkline_app;

CREATE TABLE app.alert_rounds (
    tenant       uuid PRIMARY KEY REFERENCES app.tenants (id) ON DELETE CASCADE,
    due_at       timestamptz NOT NULL,
    leased_until timestamptz
);
COMMENT ON TABLE app.alert_rounds IS 'When each tenant is looked at for alerts, and which replica does so now. Global: replicas look for what is due in all tenants; it holds ids and times only. Written by alerts; deleted with its tenant.';
CREATE INDEX alert_rounds_due ON app.alert_rounds (due_at);
GRANT SELECT, INSERT, UPDATE ON app.alert_rounds TO trunkline_app;

-- Every tenant is looked at from its beginning on, whoever makes it.
CREATE FUNCTION app.begin_alerts() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.alert_rounds (tenant, due_at) VALUES (NEW.id, pg_catalog.to_timestamp(0));
    RETURN NULL;
END $$;
CREATE TRIGGER begin_alerts AFTER INSERT ON app.tenants FOR EACH ROW EXECUTE FUNCTION app.begin_alerts();
INSERT INTO app.alert_rounds (tenant, due_at) SELECT id, to_timestamp(0) FROM app.tenants;
