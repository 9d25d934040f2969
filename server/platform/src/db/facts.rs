//! What the server says about itself, for `trunkline doctor`.

use chrono::{DateTime, Utc};

use super::Db;
use crate::error::Result;

/// The server, and what we are to it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Facts {
    /// Such as `150018` for 15.18.
    pub version: i32,
    /// The role we are.
    pub role: String,
    /// May that role do everything? Then row-level security does not bind it.
    pub is_superuser: bool,
    /// Is that role exempt from row-level security?
    pub bypasses_isolation: bool,
    /// The server's clock.
    pub now: DateTime<Utc>,
    /// Has any migration run?
    pub is_migrated: bool,
}

/// Asks the server.
pub async fn facts(db: &Db) -> Result<Facts> {
    let mut tx = db.system().await?;
    let facts = sqlx::query_as(
        "SELECT current_setting('server_version_num')::int AS version, current_user::text AS role, rolsuper AS is_superuser,
                rolbypassrls AS bypasses_isolation, clock_timestamp() AS now, to_regclass('app._sqlx_migrations') IS NOT NULL AS is_migrated
         FROM pg_roles
         WHERE rolname = current_user",
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(facts)
}
