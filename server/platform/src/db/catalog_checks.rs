//! The proof of isolation: questions to the database's own catalogue, each of which must return no row. Run by tests after the
//! migrations and by `trunkline doctor`.

use super::Db;
use crate::error::Result;

/// One question.
#[derive(Debug)]
pub struct Check {
    /// Its number in the requirements, such as `I-01`.
    pub id: &'static str,
    /// What holds if no row comes back.
    pub promise: &'static str,
    sql: &'static str,
}

/// A check that found something.
#[derive(Debug)]
pub struct Violation {
    /// The check.
    pub check: &'static Check,
    /// The objects that break the promise.
    pub objects: Vec<String>,
}

/// All checks. Tables without a tenant are named in I-02, each known to hold nothing of one.
pub static CHECKS: &[Check] = &[
    Check {
        id: "I-01",
        promise: "every table with a tenant_id has row-level security, forced",
        sql: "SELECT c.oid::regclass::text FROM pg_class c
              JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
              WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'app'::regnamespace AND NOT (c.relrowsecurity AND c.relforcerowsecurity)",
    },
    Check {
        id: "I-02",
        promise: "a table without a tenant_id is on the list of global tables",
        sql: "SELECT c.oid::regclass::text FROM pg_class c
              WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'app'::regnamespace
              AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)
              AND c.relname NOT IN ('tenants', 'users', 'user_sessions', 'signups', 'password_resets', 'email_changes', 'totp_secrets', 'recovery_codes', 'passkeys', 'sign_in_attempts', 'identities', 'jobs', 'replicas', 'refreshes', 'probe_rounds', 'api_rounds', 'alert_rounds', 'usage_checks', 'connection_refreshes', 'credential_overlaps', 'function_tenants', 'signing_keys', 'client_registrations', 'client_documents', 'plans', 'spools', 'audit_keys', '_sqlx_migrations')",
    },
    Check {
        id: "I-03",
        promise: "each such table has the canonical policy, and beyond it only the named exceptions",
        sql: "SELECT tablename || '.' || policyname FROM pg_policies
              WHERE schemaname = 'app'
              AND NOT (policyname = 'tenant' AND cmd = 'ALL' AND permissive = 'PERMISSIVE' AND roles = '{public}'
                       AND qual = '(tenant_id = app.current_tenant())' AND with_check = qual)
              AND NOT (tablename = 'memberships' AND policyname = 'own' AND cmd = 'SELECT'
                       AND qual = '(user_id = (NULLIF(current_setting(''app.user''::text, true), ''''::text))::uuid)')
              AND NOT (tablename IN ('calls', 'audit_entries', 'usage_rollups', 'usage_sums', 'audit_unchained') AND policyname LIKE 'writer%' AND roles = '{trunkline_audit}')
              AND NOT (tablename IN ('usage_rollups', 'usage_sums') AND policyname = 'retention' AND roles = '{trunkline_chain}'
                       AND qual = '((step = 1) AND (start < (now() - ''8 days''::interval)))' AND with_check = 'false')
              AND NOT (tablename IN ('calls', 'audit_entries', 'audit_unchained', 'audit_chain', 'audit_heads', 'audit_checkpoints', 'audit_receipts') AND policyname = 'chainer' AND roles = '{trunkline_chain}')
              AND NOT (tablename = 'audit_entries' AND policyname = 'retention' AND cmd = 'INSERT' AND roles = '{trunkline_chain}'
                       AND with_check = '(action = ''record.month_dropped''::text)')
              UNION ALL
              SELECT c.relname || ' has no tenant policy' FROM pg_class c
              JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
              WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'app'::regnamespace
              AND NOT EXISTS (SELECT FROM pg_policies p WHERE p.schemaname = 'app' AND p.tablename = c.relname AND p.policyname = 'tenant')",
    },
    Check {
        id: "I-04",
        promise: "runtime roles cannot bypass row-level security, own nothing and create nothing",
        sql: r"SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'trunkline\_%'
              AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)
              UNION ALL SELECT 'trunkline_app has the rights of trunkline_audit without asking for them' WHERE pg_has_role('trunkline_app', 'trunkline_audit', 'USAGE')
              UNION ALL SELECT 'trunkline_app has the rights of trunkline_chain without asking for them' WHERE pg_has_role('trunkline_app', 'trunkline_chain', 'USAGE')
              UNION ALL SELECT c.oid::regclass::text FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
              WHERE r.rolname IN ('trunkline_app', 'trunkline_audit', 'trunkline_chain')
              UNION ALL SELECT n.nspname || ' lets ' || r.rolname || ' create' FROM pg_namespace n, pg_roles r
              WHERE n.nspname IN ('app', 'public') AND r.rolname IN ('trunkline_app', 'trunkline_audit', 'trunkline_chain') AND has_schema_privilege(r.oid, n.oid, 'CREATE')",
    },
    Check {
        id: "I-05",
        promise: "partitions cannot be reached except through their parent",
        sql: "SELECT c.oid::regclass::text FROM pg_class c, pg_roles r
              WHERE c.relispartition AND c.relkind = 'r' AND c.relnamespace = 'app'::regnamespace
              AND r.rolname IN ('trunkline_app', 'trunkline_audit', 'trunkline_chain')
              AND (has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE') OR has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE'))",
    },
    Check {
        id: "I-06",
        promise: "there are no materialized views and no foreign tables, which know no policies",
        sql: "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('m', 'f') AND relnamespace = 'app'::regnamespace",
    },
    Check {
        id: "I-07",
        promise: "views run with the rights of who asks",
        sql: "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'v' AND relnamespace = 'app'::regnamespace
              AND NOT coalesce(reloptions, '{}') @> '{security_invoker=true}'",
    },
    Check {
        id: "I-08",
        promise: "functions with their owner's rights are on the list and have a fixed search path",
        sql: "SELECT oid::regprocedure::text FROM pg_proc WHERE prosecdef AND pronamespace = 'app'::regnamespace
              AND (proname NOT IN ('ensure_partitions', 'drop_month') OR NOT EXISTS (SELECT FROM unnest(proconfig) x WHERE x LIKE 'search_path=%'))",
    },
    Check {
        id: "I-09",
        promise: "unique constraints and foreign keys between tenant tables contain the tenant",
        sql: "SELECT x.conname || ' on ' || x.conrelid::regclass::text FROM pg_constraint x
              JOIN pg_attribute t ON t.attrelid = x.conrelid AND t.attname = 'tenant_id' AND NOT t.attisdropped
              WHERE x.connamespace = 'app'::regnamespace AND NOT t.attnum = ANY (x.conkey)
              AND (x.contype = 'u' OR (x.contype = 'f' AND EXISTS (
                   SELECT FROM pg_attribute f WHERE f.attrelid = x.confrelid AND f.attname = 'tenant_id' AND NOT f.attisdropped)))
              UNION ALL
              SELECT i.indexrelid::regclass::text FROM pg_index i
              JOIN pg_attribute t ON t.attrelid = i.indrelid AND t.attname = 'tenant_id' AND NOT t.attisdropped
              JOIN pg_class c ON c.oid = i.indrelid AND c.relnamespace = 'app'::regnamespace
              WHERE i.indisunique AND NOT i.indisprimary AND NOT t.attnum = ANY (i.indkey::smallint[])",
    },
];

/// Asks every question; what comes back must be mended before the installation serves anybody.
pub async fn run(db: &Db) -> Result<Vec<Violation>> {
    let mut tx = db.system().await?;
    let mut violations = Vec::new();
    for check in CHECKS {
        let objects: Vec<String> = sqlx::query_scalar(check.sql).fetch_all(tx.connection()).await?;
        if !objects.is_empty() {
            violations.push(Violation { check, objects });
        }
    }
    Ok(violations)
}
