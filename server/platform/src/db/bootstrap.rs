//! From an empty database to a migrated one: roles, schema, migrations, the password of the application role.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, migrate::Migrator, postgres::PgConnectOptions};

use crate::{
    error::{Error, Result},
    secret::Plaintext,
};

/// All migrations, embedded.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// Brings the database to this binary's schema.
///
/// `admin_url` may create roles; `app_url` names the application role's password, which is set to it. Safe to run again and by several
/// replicas at once.
pub async fn migrate(admin_url: &Plaintext, app_url: &Plaintext) -> Result<()> {
    let app: PgConnectOptions = app_url.reveal().parse().map_err(Error::internal)?;
    let mut connection = connect(admin_url).await?;
    connection.execute(include_str!("bootstrap.sql")).await?;
    if let Some(password) = password(app_url) {
        set_app_password(&mut connection, app.get_username(), &password).await?;
    }
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
async fn set_app_password(connection: &mut PgConnection, role: &str, password: &Plaintext) -> Result<()> {
    let statement: String = sqlx::query_scalar("SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)")
        .bind(role)
        .bind(password.reveal())
        .fetch_one(&mut *connection)
        .await?;
    connection.execute(AssertSqlSafe(statement)).await?;
    Ok(())
}
