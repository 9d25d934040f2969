//! Idempotency keys: what a caller repeats under the same key is answered with what came of it the first time, for a day.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::{CallRequest, Caller, state::canonical};
use crate::{Platform, quota::Once, redis::Away};

/// How long a result is kept, in seconds.
const KEPT_S: u64 = 24 * 3_600;
/// Longest result that is kept.
const MOST_KEPT: usize = 256 * 1024;
/// Stands for a result that is longer.
const TOO_LARGE: &[u8] = b"-";
/// What results are sealed for.
const PURPOSE: &str = "idempotent result";

/// A call that runs at most once.
#[derive(Debug)]
pub(super) struct OnceOnly {
    pub(super) once: Once,
    /// The whole key in Redis.
    key: String,
    /// What the result is sealed for.
    place: String,
}

/// What is known of an earlier call.
#[derive(Debug)]
pub(super) enum Earlier {
    /// Its result.
    Result(String),
    /// It had one, too large to be kept.
    TooLarge,
}

impl OnceOnly {
    /// The call of that request, if it brings a key. Keys are the agent's own.
    pub(super) fn of(platform: &Platform, caller: &Caller, request: &CallRequest<'_>) -> Option<Self> {
        let given = request.idempotency?;
        let (tenant, agent) = (caller.snapshot.tenant, caller.agent.id);
        let name = format!("i:{}:{}", agent.uuid().simple(), BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(given)));
        let mut hash = Sha256::new();
        for part in [
            request.name.as_bytes(),
            &canonical(request.arguments.map(serde_json::value::RawValue::get)),
            request.input.state.map_or(b"", |state| state.get().as_bytes()),
            request.input.responses.map_or(b"", |responses| responses.get().as_bytes()),
        ] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        let digest = BASE64_URL_SAFE_NO_PAD.encode(hash.finalize());
        let key = platform.redis.tenant_key(tenant, &name);
        let place = format!("{tenant} {agent} {name} {digest}");
        Some(Self { once: Once { key: name, digest }, key, place })
    }

    /// Reads what is kept of an earlier call; `None` if nobody can.
    pub(super) fn open(&self, platform: &Platform, kept: &[u8]) -> Option<Earlier> {
        if kept == TOO_LARGE {
            return Some(Earlier::TooLarge);
        }
        let bytes = platform.master_key.derive(PURPOSE).open(&self.place, kept).ok()?;
        String::from_utf8(bytes.to_vec()).ok().map(Earlier::Result)
    }

    /// Keeps the result, or, without one, lets the call be made anew. Before the caller has the answer, so that it finds it when it asks again.
    pub(super) async fn settle(self, platform: &Platform, result: Option<&str>) {
        if let Err(error) = self.keep(platform, result).await {
            tracing::warn!(%error, "what came of an idempotent call is not kept");
        }
    }

    async fn keep(&self, platform: &Platform, result: Option<&str>) -> Result<(), Away> {
        let Some(result) = result else {
            return platform.redis.command(redis::cmd("DEL").arg(&self.key)).await;
        };
        let sealed = if result.len() > MOST_KEPT {
            TOO_LARGE.to_vec()
        } else {
            platform.master_key.derive(PURPOSE).seal(&self.place, result.as_bytes())
        };
        let value = [self.once.digest.as_bytes(), &sealed].concat();
        platform.redis.command(redis::cmd("SET").arg(&self.key).arg(value).arg("EX").arg(KEPT_S)).await
    }
}
