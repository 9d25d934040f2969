-- What the tenant's private registry says of its endpoints: each version as it was, the newest last.
CREATE TABLE app.registry_entries (
    id           uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    -- NULL: the endpoint of the whole tenant.
    toolset_id   uuid,
    number       int NOT NULL CHECK (number > 0),
    -- SHA-256 over what it is about: words, address, and the definition of each tool.
    digest       bytea NOT NULL CHECK (octet_length(digest) = 32),
    -- server.json.
    server       json NOT NULL,
    published_at timestamptz NOT NULL,
    UNIQUE (tenant_id, id),
    UNIQUE NULLS NOT DISTINCT (tenant_id, toolset_id, number),
    FOREIGN KEY (tenant_id, toolset_id) REFERENCES app.toolsets (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE app.registry_entries IS 'A version of an entry of the tenant''s registry. Insert-only, and only while nothing of it is known to fail. Written by registry; lives as long as its toolset.';
SELECT app.protect('registry_entries');
GRANT SELECT, INSERT ON app.registry_entries TO trunkline_app;
