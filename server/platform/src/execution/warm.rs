//! The first call of a function after a start or an update should not wait for the engine to be compiled.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::logs;
use crate::Platform;

/// Between two attempts to ask whether there are functions.
const AGAIN: Duration = Duration::from_secs(10);

/// Has the engine of functions compiled, if any tenant has one; then waits to be told to stop. Nothing waits for it: a call that comes sooner
/// compiles as it would have.
pub async fn warm_functions(platform: Platform, stop: CancellationToken) {
    let _ = stop.run_until_cancelled(warm(&platform)).await;
    stop.cancelled().await;
}

async fn warm(platform: &Platform) {
    loop {
        match logs::are_functions(platform).await {
            Ok(false) => return,
            Ok(true) => break,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "it is not known whether there are functions");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    let began = std::time::Instant::now();
    match platform.sandboxes.warm().await {
        Ok(()) => tracing::info!(took_ms = began.elapsed().as_millis(), "the engine of functions is ready"),
        Err(error) => tracing::warn!(error = %error, "the engine of functions is not ready: no process can be started"),
    }
}
