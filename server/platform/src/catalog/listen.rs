//! Hears of changes that other replicas committed, through Postgres. Redis' epochs say the same sooner; this holds when Redis is away.

use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::store;
use crate::{Platform, ids::TenantId};

/// Wait before a lost connection is made again.
const AGAIN: Duration = Duration::from_secs(1);
/// Silence after which the connection is tried.
const QUIET: Duration = Duration::from_secs(5);

/// Listens until told to stop. While the connection is away changes may be missed, so everything in memory is loaded again after it.
pub async fn run(platform: Platform, stop: CancellationToken) {
    loop {
        let heard = tokio::select! {
            () = stop.cancelled() => return,
            heard = listen(&platform) => heard,
        };
        if let Err(error) = heard {
            tracing::warn!(error = %error, "changes of other replicas are not heard; listening again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

async fn listen(platform: &Platform) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(platform.db.pool()).await?;
    listener.listen("catalog").await?;
    platform.generations.advance_all(platform.snapshots.tenants().into_iter());
    platform.generations.advance_installation();
    loop {
        match tokio::time::timeout(QUIET, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                match notification.payload().parse::<Uuid>() {
                    Ok(tenant) => platform.generations.advance(TenantId::from(tenant)),
                    // Keys that sign tokens belong to no tenant.
                    Err(_) => platform.generations.advance_installation(),
                }
            }
            // The connection was lost, and with it perhaps a notification.
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            // Silence: is anybody there? A connection that is half open never says so by itself.
            Err(_) => match tokio::time::timeout(QUIET, store::ping(&mut listener)).await {
                Ok(answered) => answered?,
                Err(_) => return Err(sqlx::Error::PoolTimedOut),
            },
        }
        platform.generations.hear();
    }
}
