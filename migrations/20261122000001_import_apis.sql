-- Descriptions of HTTP APIs that were imported, and what their operations would be as tools.

CREATE TABLE app.apis (
    id            uuid PRIMARY KEY,
    tenant_id     uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    name          text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,30}$'),
    title         text NOT NULL,
    version       text NOT NULL,
    -- Where the document was read from; NULL: somebody uploaded it.
    link          text CHECK (link ~ '^https?://'),
    -- The document is pinned: of the bytes that were read, by whoever read them.
    sha256        bytea NOT NULL CHECK (octet_length(sha256) = 32),
    bytes         int NOT NULL CHECK (bytes BETWEEN 1 AND 10485760),
    -- As the document has them, and the one that was chosen; empty as long as nobody has.
    servers       text[] NOT NULL,
    server        text NOT NULL,
    -- Names of its tools begin with it.
    prefix        text NOT NULL CHECK (prefix ~ '^[A-Za-z0-9_-]{0,32}$'),
    -- How callers prove who they are. See catalog::openapi::Scheme.
    schemes       json NOT NULL,
    -- All its secrets, sealed together and bound to the server's origin.
    credential_id uuid,
    created_by    uuid REFERENCES app.users (id),
    created_at    timestamptz NOT NULL,
    read_at       timestamptz NOT NULL,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, name),
    FOREIGN KEY (tenant_id, credential_id) REFERENCES app.credentials (tenant_id, id)
);
COMMENT ON TABLE app.apis IS 'An HTTP API whose description was imported. Written by catalog; deleted with its operations when somebody removes it, its tools stay disabled.';
SELECT app.protect('apis');
GRANT SELECT, INSERT, UPDATE, DELETE ON app.apis TO trunkline_app;

CREATE TABLE app.api_operations (
    id            uuid PRIMARY KEY,
    tenant_id     uuid NOT NULL,
    api_id        uuid NOT NULL,
    -- Method and path: what it is known by when the document changes.
    key           text NOT NULL,
    position      int NOT NULL,
    summary       text NOT NULL,
    tags          text[] NOT NULL,
    deprecated    boolean NOT NULL,
    -- Why it cannot be a tool; empty if it can.
    refused       text NOT NULL,
    name          text NOT NULL,
    title         text NOT NULL,
    description   text NOT NULL,
    effect        text NOT NULL CHECK (effect IN ('read', 'write', 'destructive')),
    input_schema  json,
    -- The request, as yet without a server. See catalog::Operation.
    operation     json,
    server        text,
    notes         text NOT NULL,
    -- SHA-256 over what it would be as a tool, and over what was published of it.
    digest        bytea NOT NULL CHECK (octet_length(digest) = 32),
    published     bytea CHECK (octet_length(published) = 32),
    picked        boolean NOT NULL,
    -- Does the document not have it any more?
    gone          boolean NOT NULL DEFAULT false,
    tool_id       uuid,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, api_id, key),
    CHECK ((refused = '') = (input_schema IS NOT NULL AND operation IS NOT NULL)),
    CHECK (NOT picked OR refused = ''),
    FOREIGN KEY (tenant_id, api_id) REFERENCES app.apis (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, tool_id) REFERENCES app.tools (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE app.api_operations IS 'An operation of an imported API: what it would be as a tool, whether somebody wants it, and which tool it is. Written by catalog; lives as long as its API.';
SELECT app.protect('api_operations');
GRANT SELECT, INSERT, UPDATE, DELETE ON app.api_operations TO trunkline_app;
CREATE INDEX api_operations_of_tools ON app.api_operations (tenant_id, tool_id) WHERE tool_id IS NOT NULL;
