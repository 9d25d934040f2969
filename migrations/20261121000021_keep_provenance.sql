-- Where calls came from and what they were about (networks and fingerprints, no content), and the key that arguments are fingerprinted with.

ALTER TABLE app.calls
    -- Of the caller's address: 24 bits of IPv4, 48 of IPv6.
    ADD COLUMN network           text,
    ADD COLUMN region            text,
    ADD COLUMN arguments_digest  bytea,
    ADD COLUMN definition_digest bytea,
    -- First digit of the HTTP status that upstream answered with.
    ADD COLUMN upstream_status   smallint;

-- A key of the record is kept when the key that seals secrets is renewed: fingerprints have to stay comparable.
ALTER TABLE app.tenant_keys ADD COLUMN purpose text NOT NULL DEFAULT 'secrets' CHECK (purpose IN ('secrets', 'record'));
CREATE UNIQUE INDEX tenant_keys_record ON app.tenant_keys (tenant_id) WHERE purpose = 'record';
COMMENT ON TABLE app.tenant_keys IS 'Keys of a tenant, wrapped by the installation key: those that seal its secrets, and the one that fingerprints arguments in its record. Written by the vault; deleting one makes every value sealed under it unreadable.';
