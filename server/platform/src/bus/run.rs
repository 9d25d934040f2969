//! Hears what other replicas send.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Bus;
use crate::{Platform, redis::Away};

/// Wait before a lost connection is made again.
const AGAIN: Duration = Duration::from_millis(500);

/// Listens until told to stop. What is sent while the connection is away is not heard; senders to this replica are told so.
pub async fn run(platform: Platform, stop: CancellationToken) {
    let mut told = false;
    loop {
        let Some(ended) = stop.run_until_cancelled(listen(&platform, &mut told)).await else { return };
        if let Err(error) = ended
            && !std::mem::replace(&mut told, true)
        {
            tracing::warn!(%error, "other replicas are not heard; listening again");
        }
        if stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
            return;
        }
    }
}

async fn listen(platform: &Platform, told: &mut bool) -> Result<(), Away> {
    let channels = [Bus::channel(&platform.redis, &platform.bus.replica), Bus::channel(&platform.redis, "all")];
    let mut messages = platform.redis.subscribe(&channels).await?;
    *told = false;
    while let Some(message) = messages.next(&platform.redis).await {
        platform.bus.receive(message.get_payload_bytes());
    }
    Ok(())
}
