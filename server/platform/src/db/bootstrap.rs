//! From an empty database to a migrated one: roles, schema, migrations, the password of the application role.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, migrate::Migrator, postgres::PgConnectOptions};

use crate::{
    error::{Error, Result},
    secret::Plaintext,
};

/// Who migrates this database holds it.
const LOCK: i64 = 7_302_118;
/// How often roles are tried, and the pause between.
const ATTEMPTS: usize = 20;
const AGAIN: Duration = Duration::from_millis(50);

/// All migrations, embedded.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// Brings the database to this binary's schema.
///
/// `admin_url` may create roles; `app_url` names the application role's password, which is set to it. Safe to run again and by several
/// replicas at once.
pub async fn migrate(admin_url: &Plaintext, app_url: &Plaintext) -> Result<()> {
    let app: PgConnectOptions = app_url.reveal().parse().map_err(Error::internal)?;
    let mut connection = connect(admin_url).await?;
    // One at a time in this database; the lock goes with the connection.
    connection.execute(AssertSqlSafe(format!("SELECT pg_advisory_lock({LOCK})"))).await?;
    prepare_roles(&mut connection, app.get_username(), password(app_url).as_ref()).await?;
    connection.execute("SET ROLE trunkline_owner").await?;
    connection.execute("SET search_path = app").await?;
    MIGRATOR.run_direct(None, &mut connection, false).await.map_err(Error::internal)?;
    // `doctor` runs as the application and tells which migrations are missing.
    connection.execute("GRANT SELECT ON app._sqlx_migrations TO trunkline_app").await?;
    connection.close().await?;
    Ok(())
}

/// How many migrations this binary has that the database has not.
pub async fn pending_migrations(db: &super::Db) -> Result<usize> {
    let mut tx = db.system().await?;
    let applied: i64 =
        sqlx::query_scalar("SELECT count(*) FROM app._sqlx_migrations WHERE success").fetch_one(tx.connection()).await?;
    let known = MIGRATOR.iter().filter(|m| !m.migration_type.is_down_migration()).count();
    Ok(known.saturating_sub(usize::try_from(applied).unwrap_or(0)))
}

/// Roles belong to the cluster, where no lock of ours reaches: who prepares another database at the same moment makes this fail, once.
async fn prepare_roles(connection: &mut PgConnection, role: &str, password: Option<&Plaintext>) -> Result<()> {
    for _ in 0..ATTEMPTS {
        match prepare_roles_once(connection, role, password).await {
            Err(error) if is_concurrent_update(&error) => tokio::time::sleep(AGAIN).await,
            outcome => return Ok(outcome?),
        }
    }
    Ok(prepare_roles_once(connection, role, password).await?)
}

async fn prepare_roles_once(connection: &mut PgConnection, role: &str, password: Option<&Plaintext>) -> sqlx::Result<()> {
    connection.execute(include_str!("bootstrap.sql")).await?;
    match password {
        Some(password) => set_app_password(connection, role, password).await,
        None => Ok(()),
    }
}

/// Postgres has no code of its own for this: "tuple concurrently updated", or a role that appeared meanwhile.
fn is_concurrent_update(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("XX000" | "23505" | "42710"))
}

async fn connect(url: &Plaintext) -> Result<PgConnection> {
    let options: PgConnectOptions = url.reveal().parse().map_err(Error::internal)?;
    Ok(PgConnection::connect_with(&options.application_name("trunkline migrate")).await?)
}

fn password(url: &Plaintext) -> Option<Plaintext> {
    let url = url::Url::parse(url.reveal()).ok()?;
    let password = percent_encoding::percent_decode_str(url.password()?).decode_utf8().ok()?;
    Some(Plaintext::new(password.into_owned()))
}

/// `ALTER ROLE` takes no parameters, so the server itself quotes the password.
async fn set_app_password(connection: &mut PgConnection, role: &str, password: &Plaintext) -> sqlx::Result<()> {
    let statement: String = sqlx::query_scalar("SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)")
        .bind(role)
        .bind(password.reveal())
        .fetch_one(&mut *connection)
        .await?;
    connection.execute(AssertSqlSafe(statement)).await?;
    Ok(())
}
