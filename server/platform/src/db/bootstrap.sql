-- Roles belong to the cluster, so they are made before the first migration and shared by all databases on it. Safe to run again.
DO $$
BEGIN
    -- Two installations may do this at the same time.
    PERFORM pg_advisory_xact_lock(7302116);
    -- Owns everything, is used for migrations only, cannot log in.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'trunkline_owner') THEN
        CREATE ROLE trunkline_owner NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    END IF;
    -- Adds records for all tenants, cannot log in, can change nothing.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'trunkline_audit') THEN
        CREATE ROLE trunkline_audit NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    END IF;
    -- Chains and signs audit entries of all tenants, cannot log in. Reads what it chains, which the one that writes records must not.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'trunkline_chain') THEN
        CREATE ROLE trunkline_chain NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    END IF;
    -- What the server runs as. NOINHERIT: it has the rights of the other two only after SET ROLE.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'trunkline_app') THEN
        CREATE ROLE trunkline_app LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    END IF;
    -- From version 16 on inheritance belongs to the grant, before that to the role.
    IF current_setting('server_version_num')::int >= 160000 THEN
        EXECUTE 'GRANT trunkline_audit, trunkline_chain TO trunkline_app WITH INHERIT FALSE, SET TRUE';
    ELSIF NOT (pg_has_role('trunkline_app', 'trunkline_audit', 'MEMBER') AND pg_has_role('trunkline_app', 'trunkline_chain', 'MEMBER')) THEN
        GRANT trunkline_audit, trunkline_chain TO trunkline_app;
    END IF;
    IF NOT pg_has_role(current_user, 'trunkline_owner', 'MEMBER') THEN
        EXECUTE format('GRANT trunkline_owner TO %I', current_user);
    END IF;
    IF to_regnamespace('app') IS NULL THEN
        CREATE SCHEMA app AUTHORIZATION trunkline_owner;
    END IF;
    GRANT USAGE ON SCHEMA app TO trunkline_app, trunkline_audit, trunkline_chain;
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
END $$;
