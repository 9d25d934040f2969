//! Idempotency keys: what a caller repeats under the same key is answered with what came of it the first time, for a day. What was begun, and whose
//! end nobody knows, is never begun again: its replica may have died between the effect and the answer.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use trunkline_protocol::jsonrpc::ErrorObject;

use super::{CallRequest, Caller, state::canonical};
use crate::{Platform, quota::Once, redis::Away};

/// How long a result is kept, in seconds.
const KEPT_S: u64 = 24 * 3_600;
/// Longest result that is kept.
const MOST_KEPT: usize = 256 * 1024;
/// Stands for a result that is longer.
const TOO_LARGE: &[u8] = b"-";
/// Stands before an error; a result is an object.
const ERROR: char = '!';
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
    /// Its result, or the error it ended with.
    Answer(Result<String, ErrorObject>),
    /// It had a result, too large to be kept.
    TooLarge,
}

impl OnceOnly {
    /// The call of that request, if it brings a key. Keys are the agent's own.
    pub(super) fn of(platform: &Platform, caller: &Caller, request: &CallRequest<'_>, may_repeat: bool) -> Option<Self> {
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
        Some(Self { once: Once { key: name, digest, kept_s: KEPT_S, may_repeat }, key, place })
    }

    /// Reads what is kept of an earlier call; `None` if nobody can.
    pub(super) fn open(&self, platform: &Platform, kept: &[u8]) -> Option<Earlier> {
        if kept == TOO_LARGE {
            return Some(Earlier::TooLarge);
        }
        let bytes = platform.master_key.derive(PURPOSE).open(&self.place, kept).ok()?;
        let text = String::from_utf8(bytes.to_vec()).ok()?;
        match text.strip_prefix(ERROR) {
            Some(error) => Some(Earlier::Answer(Err(serde_json::from_str(error).ok()?))),
            None => Some(Earlier::Answer(Ok(text))),
        }
    }

    /// Keeps the answer, or, without one, lets the call be made anew. Before the caller has the answer, so that it finds it when it asks again.
    pub(super) async fn settle(self, platform: &Platform, answer: Option<&Result<String, ErrorObject>>) {
        if let Err(error) = self.keep(platform, answer).await {
            tracing::warn!(%error, "what came of an idempotent call is not kept");
        }
    }

    async fn keep(&self, platform: &Platform, answer: Option<&Result<String, ErrorObject>>) -> Result<(), Away> {
        let text: Cow<'_, str> = match answer {
            None => return platform.redis.command(redis::cmd("DEL").arg(&self.key)).await,
            Some(Ok(result)) => result.into(),
            Some(Err(error)) => format!("{ERROR}{}", error.to_json()).into(),
        };
        let sealed = if text.len() > MOST_KEPT {
            TOO_LARGE.to_vec()
        } else {
            platform.master_key.derive(PURPOSE).seal(&self.place, text.as_bytes())
        };
        let value = [self.once.digest.as_bytes(), b"=", &sealed].concat();
        platform.redis.command(redis::cmd("SET").arg(&self.key).arg(value).arg("EX").arg(KEPT_S)).await
    }
}
