//! What may be used once, anywhere: remembered in Redis until it would have ended by itself. Without Redis nothing of the kind is taken.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{Platform, error::Result, secret::Digest};

/// True for the first that brings it, on any replica.
pub(super) async fn claim(platform: &Platform, purpose: &'static str, whose: &str, id: &str, life_s: i64) -> Result<bool> {
    // Strangers choose these texts: they get a fixed length, and cannot run into each other.
    let digest = Digest::of(&format!("{}:{whose}{id}", whose.len()));
    let key = platform.redis.global_key(&format!("once:{purpose}:{}", BASE64_URL_SAFE_NO_PAD.encode(digest.as_bytes())));
    let mut command = redis::cmd("SET");
    command.arg(key).arg(1).arg("NX").arg("EX").arg(life_s.max(1));
    let set: Option<String> = platform.redis.command(&command).await?;
    Ok(set.is_some())
}
