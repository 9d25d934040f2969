-- Drafts, what was published when, what the gate and the probes found, and when each probe is due.

-- draft: it has never been published.
ALTER TABLE app.tools DROP CONSTRAINT tools_state_check;
ALTER TABLE app.tools ADD CONSTRAINT tools_state_check CHECK (state IN ('draft', 'published', 'disabled'));

-- Saved without being published. It was published later if tool_publications says so.
ALTER TABLE app.tool_versions ADD COLUMN draft boolean NOT NULL DEFAULT false;
COMMENT ON TABLE app.tool_versions IS 'One definition of a tool, published or a draft. Insert-only: a version never changes. Lives as long as its tool.';

CREATE TABLE app.tool_publications (
    id           uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL,
    tool_id      uuid NOT NULL,
    version_id   uuid NOT NULL,
    -- tried: the gate let it pass. untried: somebody published it without a real call, and said why. returned: it was published before.
    how          text NOT NULL CHECK (how IN ('tried', 'untried', 'returned')),
    reason       text NOT NULL DEFAULT '' CHECK (char_length(reason) <= 400),
    published_by uuid REFERENCES app.users (id),
    at           timestamptz NOT NULL,
    UNIQUE (tenant_id, id),
    CHECK ((how = 'untried') = (reason <> '')),
    FOREIGN KEY (tenant_id, tool_id, version_id) REFERENCES app.tool_versions (tenant_id, tool_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE app.tool_publications IS 'That a tool was pointed at a version by a person, and what it was let through by. Insert-only. Written by publishing; lives as long as its tool.';
SELECT app.protect('tool_publications');
CREATE INDEX tool_publications_by_version ON app.tool_publications (tenant_id, version_id, at);
GRANT SELECT, INSERT ON app.tool_publications TO trunkline_app;

CREATE TABLE app.probes (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL,
    tool_id     uuid,
    source_id   uuid,
    -- The call: of a source, which of its tools, as it names them; empty: one that only reads. Arguments that nobody entered come from the schema.
    called      text NOT NULL DEFAULT '' CHECK (octet_length(called) <= 1024),
    arguments   json,
    -- Somebody said that the call may be made although the tool may change something: at publishing, and again and again.
    confirmed   boolean NOT NULL DEFAULT false,
    repeats     boolean NOT NULL DEFAULT false,
    -- A text that has to stand in the answer; empty: none.
    expected    text NOT NULL DEFAULT '' CHECK (char_length(expected) <= 400),
    within_ms   int NOT NULL DEFAULT 10000 CHECK (within_ms BETWEEN 1 AND 60000),
    may_echo    boolean NOT NULL DEFAULT false,
    -- Whose account the call uses, where each person uses their own.
    set_by      uuid REFERENCES app.users (id),
    -- Seconds between two probes; NULL: there are none.
    every_s     int DEFAULT 300 CHECK (every_s BETWEEN 30 AND 86400),
    -- Is it kept from callers while it fails?
    hides       boolean NOT NULL DEFAULT false,
    state       text NOT NULL DEFAULT 'unknown' CHECK (state IN ('unknown', 'well', 'failing')),
    -- Since when it is in that state.
    since       timestamptz,
    -- Results in a row that speak against it.
    against     int NOT NULL DEFAULT 0,
    -- The check that failed last, and what was wrong; empty while it is well.
    failed      text NOT NULL DEFAULT '',
    problem     text NOT NULL DEFAULT '',
    checked_at  timestamptz,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, tool_id),
    UNIQUE (tenant_id, source_id),
    CHECK ((tool_id IS NULL) <> (source_id IS NULL)),
    FOREIGN KEY (tenant_id, tool_id) REFERENCES app.tools (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, source_id) REFERENCES app.sources (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE app.probes IS 'How a tool or a source is tried, at publishing and again and again, and what is known of it. Written by publishing; lives as long as what it tries.';
SELECT app.protect('probes');
GRANT SELECT, INSERT, UPDATE, DELETE ON app.probes TO trunkline_app;
-- What agents see depends on these two.
CREATE TRIGGER catalog AFTER UPDATE ON app.probes FOR EACH ROW
    WHEN ((OLD.state = 'failing' AND OLD.hides) IS DISTINCT FROM (NEW.state = 'failing' AND NEW.hides))
    EXECUTE FUNCTION app.notify_catalog();

CREATE TABLE app.probe_rounds (
    probe_id     uuid PRIMARY KEY REFERENCES app.probes (id) ON DELETE CASCADE,
    tenant       uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    due_at       timestamptz NOT NULL,
    leased_until timestamptz
);
COMMENT ON TABLE app.probe_rounds IS 'When each probe is due, and which replica makes it now. Global: replicas look for what is due in all tenants; it holds ids and times only. Written by publishing; deleted with its probe or while there are none.';
CREATE INDEX probe_rounds_due ON app.probe_rounds (due_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.probe_rounds TO trunkline_app;

CREATE TABLE app.probe_runs (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL,
    probe_id   uuid NOT NULL,
    -- NULL: of a source.
    version_id uuid,
    kind       text NOT NULL CHECK (kind IN ('gate', 'probe', 'echo')),
    passed     boolean NOT NULL,
    took_ms    int NOT NULL CHECK (took_ms >= 0),
    -- Each check with what was wrong. See gate::Report.
    report     json NOT NULL,
    at         timestamptz NOT NULL,
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, probe_id) REFERENCES app.probes (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE app.probe_runs IS 'What the gate or a probe found: calls of ours, which nobody is billed for. Written by publishing; each new run of a probe leaves the last 300 of its last week.';
SELECT app.protect('probe_runs');
CREATE INDEX probe_runs_by_probe ON app.probe_runs (tenant_id, probe_id, at DESC, id DESC);
GRANT SELECT, INSERT, DELETE ON app.probe_runs TO trunkline_app;
