-- What every later migration stands on: the canonical tenant policy and the tenants themselves.

-- The tenant of the running transaction, or NULL. NULL matches no row, so a forgotten setting shows nothing and writes nothing.
CREATE FUNCTION app.current_tenant() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN NULLIF(pg_catalog.current_setting('app.tenant', true), '')::uuid;

-- Puts a table under the canonical policy. FORCE binds the owner too.
CREATE FUNCTION app.protect(name text) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE pg_catalog.format('ALTER TABLE app.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE pg_catalog.format('ALTER TABLE app.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE pg_catalog.format(
        'CREATE POLICY tenant ON app.%I USING (tenant_id = app.current_tenant()) WITH CHECK (tenant_id = app.current_tenant())', name);
END $$;
REVOKE ALL ON FUNCTION app.protect(text) FROM PUBLIC;

CREATE TABLE app.tenants (
    id         uuid PRIMARY KEY,
    slug       text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$'),
    name       text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 80),
    currency   text NOT NULL DEFAULT 'USD' CHECK (currency ~ '^[A-Z]{3}$'),
    state      text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended')),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE app.tenants IS 'One organisation. Global: its slug is looked up before a tenant is known. Written by accounts; lives until the tenant is deleted.';
GRANT SELECT, INSERT, UPDATE ON app.tenants TO trunkline_app;

-- Tells every replica that what it holds in memory of this tenant is stale. Delivered on commit, never before.
CREATE FUNCTION app.notify_catalog() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'tenants' THEN
        PERFORM pg_catalog.pg_notify('catalog', COALESCE(NEW.id, OLD.id)::text);
    ELSE
        PERFORM pg_catalog.pg_notify('catalog', COALESCE(NEW.tenant_id, OLD.tenant_id)::text);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER catalog AFTER UPDATE OR DELETE ON app.tenants FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();
