//! Challenges that wait for their answer: kept on our side, sealed, for minutes, each good once and in the browser that began it.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use chrono::TimeDelta;
use serde::{Serialize, de::DeserializeOwned};

use super::store;
use crate::{
    Platform,
    db::SystemTx,
    error::{Error, Result},
    secret::{Digest, Plaintext},
};

const LIFETIME: TimeDelta = TimeDelta::minutes(10);

/// Keeps what the answer will be held against; the answer comes with the secret that is returned.
pub(crate) async fn keep(
    platform: &Platform,
    tx: &mut SystemTx,
    kind: &'static str,
    browser: &Plaintext,
    state: &impl Serialize,
) -> Result<Plaintext> {
    let secret = Plaintext::generate("");
    let state = serde_json::to_vec(state).map_err(Error::internal)?;
    let sealed = platform.master_key.derive("sign-in attempts").seal(&place(kind, secret.digest()), &state);
    let expires_at = platform.clock.now() + LIFETIME;
    store::insert_attempt(tx, secret.digest(), browser.digest(), kind, &sealed, expires_at).await?;
    Ok(secret)
}

/// What was kept, used up by this. `None`: never begun, answered already, too late, or begun in another browser.
pub(crate) async fn take<T: DeserializeOwned>(
    platform: &Platform,
    tx: &mut SystemTx,
    kind: &'static str,
    browser: &Plaintext,
    secret: &Plaintext,
) -> Result<Option<T>> {
    let sealed = store::take_attempt(tx, secret.digest(), browser.digest(), kind, platform.clock.now()).await?;
    let Some(sealed) = sealed else { return Ok(None) };
    let key = platform.master_key.derive("sign-in attempts");
    let state = key.open(&place(kind, secret.digest()), &sealed).map_err(Error::internal)?;
    serde_json::from_slice(&state).map(Some).map_err(Error::internal)
}

fn place(kind: &str, digest: Digest) -> String {
    format!("{kind}|{}", BASE64.encode(digest.as_bytes()))
}
