//! The database's own catalogue says that isolation holds; and each check can see when it does not.

use trunkline_platform::{
    db::{self, Db, catalog_checks},
    secret::Plaintext,
};

use crate::support::{Database, Kind, run_sql, shared};

fn connect(database: &Database) -> Db {
    let url = Plaintext::new(database.app.clone());
    let settings = db::Settings { url, max_connections: 2, acquire_timeout_ms: 5_000, statement_timeout_ms: 10_000 };
    Db::connect(&settings).expect("a pool")
}

#[tokio::test]
async fn all_checks_of_the_catalogue_hold_after_the_migrations() {
    let database = shared().database(Kind::Migrated).await;
    let violations = catalog_checks::run(&connect(&database)).await.expect("the checks run");
    assert!(violations.is_empty(), "{violations:#?}");
    let ids: Vec<_> = catalog_checks::CHECKS.iter().map(|check| check.id).collect();
    assert_eq!(ids, ["I-01", "I-02", "I-03", "I-04", "I-05", "I-06", "I-07", "I-08", "I-09"]);
}

#[tokio::test]
async fn each_check_sees_its_violation_and_names_it() {
    for (id, object, statement) in [
        ("I-01", "app.agents", "ALTER TABLE app.agents NO FORCE ROW LEVEL SECURITY"),
        ("I-01", "app.keys", "ALTER TABLE app.keys DISABLE ROW LEVEL SECURITY"),
        ("I-02", "app.forgotten", "CREATE TABLE app.forgotten (id uuid)"),
        ("I-03", "tools", "DROP POLICY tenant ON app.tools"),
        ("I-03", "tools.open", "CREATE POLICY open ON app.tools FOR SELECT USING (true)"),
        ("I-03", "agents.tenant", "ALTER POLICY tenant ON app.agents USING (true)"),
        ("I-04", "app.agents", "ALTER TABLE app.agents OWNER TO trunkline_app"),
        ("I-04", "app lets trunkline_app create", "GRANT CREATE ON SCHEMA app TO trunkline_app"),
        ("I-05", "app.calls_default", "GRANT SELECT ON app.calls_default TO trunkline_app"),
        ("I-06", "app.copied", "CREATE MATERIALIZED VIEW app.copied AS SELECT id FROM app.agents"),
        ("I-07", "app.looked", "CREATE VIEW app.looked AS SELECT id FROM app.agents"),
        ("I-08", "app.sneak()", "CREATE FUNCTION app.sneak() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'"),
        ("I-08", "app.ensure_partitions(integer)", "ALTER FUNCTION app.ensure_partitions(int) RESET search_path"),
        ("I-09", "agents_name on app.agents", "ALTER TABLE app.agents ADD CONSTRAINT agents_name UNIQUE (name)"),
        ("I-09", "app.agents_by_name", "CREATE UNIQUE INDEX agents_by_name ON app.agents (name)"),
        (
            "I-09",
            "loose on app.keys",
            "ALTER TABLE app.keys ADD CONSTRAINT loose FOREIGN KEY (agent_id) REFERENCES app.agents (id)",
        ),
    ] {
        let database = shared().database(Kind::Migrated).await;
        run_sql(&mut database.superuser().await, statement.to_owned()).await;
        let pool = connect(&database);
        let violations = catalog_checks::run(&pool).await.expect("the checks run");
        let found: Vec<_> = violations.iter().filter(|violation| violation.check.id == id).flat_map(|v| &v.objects).collect();
        assert!(found.iter().any(|found| found.contains(object)), "{id} does not see `{statement}`: {violations:#?}");
        pool.close().await;
    }
}

#[tokio::test]
async fn migrations_can_run_again_and_by_two_at_once() {
    let database = shared().database(Kind::Empty).await;
    let (admin, app) = (Plaintext::new(database.admin.clone()), Plaintext::new(database.app.clone()));
    let (first, second) = tokio::join!(db::migrate(&admin, &app), db::migrate(&admin, &app));
    first.expect("the first runs");
    second.expect("the second finds its work done");
    db::migrate(&admin, &app).await.expect("nothing is left to do");
    assert_eq!(db::pending_migrations(&connect(&database)).await.expect("an answer"), 0);
}
