//! Hears of changes that other replicas committed, through Postgres. Redis' epochs say the same sooner; this holds when Redis is away.

use sqlx::postgres::PgListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Platform, ids::TenantId};

/// Wait before a lost connection is made again.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

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
    // `None`: the connection was lost, and with it perhaps a notification.
    while let Some(notification) = listener.try_recv().await? {
        if let Ok(tenant) = notification.payload().parse::<Uuid>() {
            platform.generations.advance(TenantId::from(tenant));
        }
    }
    Ok(())
}
