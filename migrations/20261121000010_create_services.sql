-- Ways in for services: keys and certificates of clients, standing grants, identity providers that a tenant trusts, and client certificates.

ALTER TABLE app.clients
    -- Where the public keys of a private_key_jwt client are, if they are not in `jwks`.
    ADD COLUMN jwks_uri text CHECK (octet_length(jwks_uri) <= 2048),
    -- The name in the certificate of a tls_client_auth client, with its kind: `dns:…`, `uri:…`, `email:…` or `subject:…`.
    ADD COLUMN certificate_name text CHECK (octet_length(certificate_name) <= 1024);

ALTER TABLE app.grants
    -- How it came about. All but `consent` are standing: one for the same parties, used again by each request.
    ADD COLUMN kind text NOT NULL DEFAULT 'consent' CHECK (kind IN ('consent', 'service', 'exchange', 'assertion')),
    -- For whom, as their identity provider calls them.
    ADD COLUMN subject text NOT NULL DEFAULT '' CHECK (octet_length(subject) <= 1024),
    -- RFC 7638 thumbprint of the key that a public client's refresh tokens are bound to.
    ADD COLUMN key_thumbprint text;
CREATE UNIQUE INDEX grants_standing ON app.grants (tenant_id, client_id, agent_id, kind, resource, subject)
    WHERE kind <> 'consent' AND revoked_at IS NULL;

CREATE TABLE app.trusted_issuers (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    -- Exactly as its tokens write it.
    issuer      text NOT NULL CHECK (octet_length(issuer) <= 512),
    -- Clients, as they show themselves, that may bring its assertions.
    clients     text[] NOT NULL CHECK (cardinality(clients) BETWEEN 1 AND 50),
    -- Whoever it speaks for acts as this agent, or as the one that a claim names.
    agent_id    uuid,
    agent_claim text CHECK (octet_length(agent_claim) BETWEEN 1 AND 64),
    created_by  uuid REFERENCES app.users (id),
    created_at  timestamptz NOT NULL,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, issuer),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES app.agents (tenant_id, id),
    CHECK ((agent_id IS NULL) <> (agent_claim IS NULL))
);
COMMENT ON TABLE app.trusted_issuers IS 'Identity providers whose assertions (ID-JAG) a tenant takes. Written by oauth; deleted when a member removes it.';
SELECT app.protect('trusted_issuers');
GRANT SELECT, INSERT, DELETE ON app.trusted_issuers TO trunkline_app;

CREATE TABLE app.certificate_policies (
    tenant_id uuid PRIMARY KEY REFERENCES app.tenants (id) ON DELETE CASCADE,
    -- Certification authorities as PEM; empty: certificates mean nothing here.
    bundle    text NOT NULL CHECK (octet_length(bundle) <= 65536),
    -- Is nobody served without one?
    required  boolean NOT NULL,
    CHECK (bundle <> '' OR NOT required)
);
COMMENT ON TABLE app.certificate_policies IS 'What client certificates mean in a tenant; without a row: nothing. Written by certificates; lives as long as the tenant.';
SELECT app.protect('certificate_policies');
GRANT SELECT, INSERT, UPDATE ON app.certificate_policies TO trunkline_app;
CREATE TRIGGER catalog AFTER INSERT OR UPDATE ON app.certificate_policies FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();

CREATE TABLE app.certificate_names (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    -- With its kind: `dns:…`, `uri:…`, `email:…` or `subject:…`.
    name       text NOT NULL CHECK (octet_length(name) <= 1024),
    agent_id   uuid NOT NULL,
    created_at timestamptz NOT NULL,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, name),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES app.agents (tenant_id, id)
);
COMMENT ON TABLE app.certificate_names IS 'As which agent the holder of a certificate with that name acts. Written by certificates; deleted when a member removes it.';
SELECT app.protect('certificate_names');
GRANT SELECT, INSERT, DELETE ON app.certificate_names TO trunkline_app;
CREATE TRIGGER catalog AFTER INSERT OR DELETE ON app.certificate_names FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();
