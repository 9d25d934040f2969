-- A credential's secret is exchanged in place, so that what refers to it stays as it is. For a while the value before is kept beside it.

-- Never written so far.
ALTER TABLE app.credentials RENAME COLUMN hint TO label;
ALTER TABLE app.credentials
    ADD CONSTRAINT credentials_label_check CHECK (char_length(label) <= 80),
    -- Counts changes of what is sent: connections and sessions that were made with an older one end.
    ADD COLUMN edition       int NOT NULL DEFAULT 1,
    ADD COLUMN rotated_at    timestamptz,
    ADD COLUMN rotated_by    uuid REFERENCES app.users (id),
    -- The other value, sealed at the same place, and until when calls go on with it where the one in force is refused.
    ADD COLUMN previous      bytea,
    ADD COLUMN overlap_until timestamptz,
    -- How often that happened in this overlap, and when last; noted once a minute.
    ADD COLUMN refused       bigint NOT NULL DEFAULT 0 CHECK (refused >= 0),
    ADD COLUMN refused_at    timestamptz,
    ADD CONSTRAINT credentials_overlap_check CHECK ((previous IS NULL) = (overlap_until IS NULL));
GRANT UPDATE (label, edition, rotated_at, rotated_by, previous, overlap_until, refused, refused_at) ON app.credentials TO trunkline_app;
CREATE TRIGGER catalog AFTER UPDATE OF edition ON app.credentials FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();

CREATE INDEX tool_versions_by_credential ON app.tool_versions (tenant_id, credential_id) WHERE credential_id IS NOT NULL;

CREATE TABLE app.credential_overlaps (
    credential_id uuid PRIMARY KEY REFERENCES app.credentials (id) ON DELETE CASCADE,
    tenant        uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    due_at        timestamptz NOT NULL
);
COMMENT ON TABLE app.credential_overlaps IS 'When the previous value of a credential is destroyed. Global: replicas look for what is due in all tenants; it holds ids and times only. Written by catalog; deleted when the overlap has ended.';
CREATE INDEX credential_overlaps_due ON app.credential_overlaps (due_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.credential_overlaps TO trunkline_app;
