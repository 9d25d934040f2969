//! Passkeys (WebAuthn): registered by a signed-in person, shown instead of a password or after one. They always verify their user, so one
//! alone is two factors. What a challenge was stays on our side until its answer comes.

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use url::{Host, Url};
use webauthn_rs::prelude::{
    AuthenticationResult, CredentialID, DiscoverableAuthentication, Passkey as Credential, PasskeyAuthentication,
    PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential, Webauthn, WebauthnBuilder,
};

use super::{Browser, Session, account::tell, attempt, recovery, second, session::Draft, store, tenant};
use crate::{
    Platform,
    db::SystemTx,
    error::{Error, Result},
    ids::{PasskeyId, UserId},
    mail::AccountChange,
    quota::attempts::{self, Attempt},
    secret::Plaintext,
};

/// More than anybody has devices.
const MOST: usize = 20;

/// A passkey as its owner sees it.
#[derive(Debug, Clone)]
pub struct Passkey {
    /// Which.
    pub id: PasskeyId,
    /// What its owner calls it.
    pub name: String,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// When it was last shown.
    pub last_used_at: Option<DateTime<Utc>>,
}

impl From<store::PasskeyRow> for Passkey {
    fn from(row: store::PasskeyRow) -> Self {
        Self { id: row.id, name: row.name, created_at: row.created_at, last_used_at: row.last_used_at }
    }
}

/// A challenge: what the browser is asked, and the secret that its answer comes back with.
#[derive(Debug)]
pub struct Challenge {
    /// JSON for `navigator.credentials`.
    pub options: String,
    /// The secret.
    pub secret: Plaintext,
}

/// Where passkeys of this installation can be used: its own name, or `localhost` on a developer's computer, whatever its address is
/// written like. `None`: at a bare address, where browsers have none.
pub fn passkey_origin(public_url: &Url) -> Option<Url> {
    let is_loopback = match public_url.host()? {
        Host::Domain(_) => return Some(public_url.clone()),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    let mut origin = public_url.clone();
    (is_loopback && origin.set_host(Some("localhost")).is_ok()).then_some(origin)
}

fn relying_party(platform: &Platform) -> Result<Webauthn> {
    let none = || Error::conflict("Passkeys need a name: this installation is reached by a bare address.");
    let origin = passkey_origin(&platform.settings.public_url).ok_or_else(none)?;
    let name = origin.domain().ok_or_else(none)?;
    let builder = WebauthnBuilder::new(name, &origin).map_err(Error::internal)?;
    builder.rp_name("Trunkline").build().map_err(Error::internal)
}

/// Begins to register a passkey.
pub async fn begin_registration(platform: &Platform, session: &Session, browser: &Plaintext) -> Result<Challenge> {
    session.require_proof(platform)?;
    let relying_party = relying_party(platform)?;
    let mut tx = platform.db.system().await?;
    let known = credentials(&store::lock_passkeys(&mut tx, session.user).await?)?;
    if known.len() >= MOST {
        return Err(Error::conflict("An account has at most 20 passkeys. Remove one first."));
    }
    let known: Vec<CredentialID> = known.iter().map(|credential| credential.cred_id().clone()).collect();
    let name = session.email.as_str();
    let (options, state) =
        relying_party.start_passkey_registration(session.user.uuid(), name, name, Some(known)).map_err(Error::internal)?;
    // Found without a name typed: the library asks for that only of keys whose maker it checks.
    let mut options = serde_json::to_value(options).map_err(Error::internal)?;
    options["publicKey"]["authenticatorSelection"]["residentKey"] = "required".into();
    options["publicKey"]["authenticatorSelection"]["requireResidentKey"] = true.into();
    let secret = attempt::keep(platform, &mut tx, "passkey_registration", browser, &(session.user.uuid(), state)).await?;
    tx.commit().await?;
    Ok(Challenge { options: options.to_string(), secret })
}

/// Registers it under that name. The answer is the recovery codes, if there were none before: this once.
pub async fn finish_registration(
    platform: &Platform,
    session: &Session,
    browser: &Plaintext,
    secret: &Plaintext,
    name: &str,
    answer: &str,
) -> Result<Vec<Plaintext>> {
    session.require_proof(platform)?;
    let name = tenant::parse_name("name", name)?;
    let answer: RegisterPublicKeyCredential = read(answer)?;
    let relying_party = relying_party(platform)?;
    let mut tx = platform.db.user(session.user).await?;
    let kept: Option<(uuid::Uuid, PasskeyRegistration)> =
        attempt::take(platform, &mut tx, "passkey_registration", browser, secret).await?;
    let Some((_, state)) = kept.filter(|(user, _)| *user == session.user.uuid()) else { return Err(too_late()) };
    let credential = relying_party.finish_passkey_registration(&answer, &state).map_err(|error| refused(&error))?;
    let now = platform.clock.now();
    let row = store::PasskeyRow {
        id: PasskeyId::new(now),
        name,
        credential: serde_json::to_value(&credential).map_err(Error::internal)?,
        created_at: now,
        last_used_at: None,
    };
    if !store::insert_passkey(&mut tx, session.user, credential.cred_id().as_ref(), &row).await? {
        return Err(Error::invalid("passkey", "This passkey is registered already."));
    }
    let codes = recovery::first_codes(platform, &mut tx, session.user).await?;
    tell(platform, tx, session.user, session.email.clone(), AccountChange::PasskeyAdded).await?.commit().await?;
    Ok(codes)
}

/// Forgets a passkey.
pub async fn remove_passkey(platform: &Platform, session: &Session, id: PasskeyId) -> Result<()> {
    session.require_proof(platform)?;
    let mut tx = platform.db.user(session.user).await?;
    if !store::delete_passkey(&mut tx, session.user, id).await? {
        return Err(Error::not_found("passkey"));
    }
    recovery::forget_if_useless(&mut tx, session.user).await?;
    tell(platform, tx, session.user, session.email.clone(), AccountChange::PasskeyRemoved).await?.commit().await
}

/// Begins to sign in somebody who has not said who they are: the passkey says it.
pub async fn begin_passkey_sign_in(platform: &Platform, from: &Browser, browser: &Plaintext) -> Result<Challenge> {
    attempts::check(platform, Attempt::LoginFromIp, &from.from.to_string()).await?;
    let (mut options, state) = relying_party(platform)?.start_discoverable_authentication().map_err(Error::internal)?;
    // Asked for by a button, not offered while somebody types.
    options.mediation = None;
    let options = serde_json::to_string(&options).map_err(Error::internal)?;
    let mut tx = platform.db.system().await?;
    let secret = attempt::keep(platform, &mut tx, "passkey_sign_in", browser, &state).await?;
    tx.commit().await?;
    Ok(Challenge { options, secret })
}

/// Signs in. The answer is the new session's secret.
pub async fn finish_passkey_sign_in(
    platform: &Platform,
    from: &Browser,
    browser: &Plaintext,
    secret: &Plaintext,
    answer: &str,
) -> Result<Plaintext> {
    attempts::check(platform, Attempt::LoginFromIp, &from.from.to_string()).await?;
    let answer: PublicKeyCredential = read(answer)?;
    let relying_party = relying_party(platform)?;
    let mut tx = platform.db.system().await?;
    let state: Option<DiscoverableAuthentication> = attempt::take(platform, &mut tx, "passkey_sign_in", browser, secret).await?;
    // Used up, whatever becomes of the answer.
    tx.commit().await?;
    let state = state.ok_or_else(too_late)?;
    let (user, id) = relying_party.identify_discoverable_authentication(&answer).map_err(|error| refused(&error))?;
    let user = UserId::from_uuid(user);
    let mut tx = platform.db.system().await?;
    let rows = store::lock_passkeys(&mut tx, user).await?;
    let known = credentials(&rows)?;
    let Some(at) = known.iter().position(|credential| credential.cred_id().as_slice() == id) else { return Err(unknown()) };
    let result =
        relying_party.finish_discoverable_authentication_v2(&answer, state, &known[at]).map_err(|error| refused(&error))?;
    note_use(platform, &mut tx, &rows, known, &result).await?;
    let draft = Draft::new(from);
    if !store::insert_session(&mut tx, &draft.session(platform, user, "passkey"), platform.clock.now()).await? {
        return Err(unknown());
    }
    tx.commit().await?;
    Ok(draft.secret)
}

/// Begins the second step with a passkey. `None` if the account has none.
pub async fn begin_passkey_second(platform: &Platform, pending: &Plaintext, browser: &Plaintext) -> Result<Option<Challenge>> {
    let (mut tx, row) = second::lock(platform, pending).await?;
    let known = credentials(&store::lock_passkeys(&mut tx, row.user_id).await?)?;
    if known.is_empty() {
        return Ok(None);
    }
    let (options, state) = relying_party(platform)?.start_passkey_authentication(&known).map_err(Error::internal)?;
    let options = serde_json::to_string(&options).map_err(Error::internal)?;
    let secret = attempt::keep(platform, &mut tx, "passkey_second", browser, &(row.user_id.uuid(), state)).await?;
    tx.commit().await?;
    Ok(Some(Challenge { options, secret }))
}

/// Ends the second step with a passkey. The session goes on under the secret that is returned.
pub async fn finish_passkey_second(
    platform: &Platform,
    pending: &Plaintext,
    from: &Browser,
    browser: &Plaintext,
    secret: &Plaintext,
    answer: &str,
) -> Result<Plaintext> {
    let answer: PublicKeyCredential = read(answer)?;
    let relying_party = relying_party(platform)?;
    let mut tx = platform.db.system().await?;
    let kept: Option<(uuid::Uuid, PasskeyAuthentication)> =
        attempt::take(platform, &mut tx, "passkey_second", browser, secret).await?;
    tx.commit().await?;
    let (mut tx, row) = second::lock(platform, pending).await?;
    let Some((_, state)) = kept.filter(|(user, _)| *user == row.user_id.uuid()) else { return Err(too_late()) };
    let result = relying_party.finish_passkey_authentication(&answer, &state).map_err(|error| refused(&error))?;
    let rows = store::lock_passkeys(&mut tx, row.user_id).await?;
    let known = credentials(&rows)?;
    note_use(platform, &mut tx, &rows, known, &result).await?;
    second::finish(platform, tx, pending, row.user_id, from).await
}

/// Writes down that a passkey was shown, and its counter.
async fn note_use(
    platform: &Platform,
    tx: &mut SystemTx,
    rows: &[store::PasskeyRow],
    known: Vec<Credential>,
    result: &AuthenticationResult,
) -> Result<()> {
    let mut pairs = rows.iter().zip(known);
    let (row, mut credential) = pairs.find(|(_, known)| known.cred_id() == result.cred_id()).ok_or_else(unknown)?;
    credential.update_credential(result);
    let credential = serde_json::to_value(&credential).map_err(Error::internal)?;
    store::update_passkey(tx, row.id, &credential, platform.clock.now()).await
}

fn credentials(rows: &[store::PasskeyRow]) -> Result<Vec<Credential>> {
    rows.iter().map(|row| serde_json::from_value(row.credential.clone()).map_err(Error::internal)).collect()
}

fn read<T: DeserializeOwned>(answer: &str) -> Result<T> {
    serde_json::from_str(answer).map_err(|_| Error::invalid("passkey", "The browser sent no passkey. Try again."))
}

fn too_late() -> Error {
    Error::invalid("passkey", "This took too long, or began in another window. Try again.")
}

fn unknown() -> Error {
    Error::invalid("passkey", "This passkey belongs to no account here. It may have been removed.")
}

/// What the library found wrong is for whoever wrote the browser or forged the answer.
fn refused(error: &impl std::fmt::Display) -> Error {
    tracing::debug!(reason = %error, "a passkey was refused");
    Error::invalid("passkey", "This passkey was not accepted. Try again, or sign in another way.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passkeys_belong_to_a_name() {
        let origin = |text: &str| passkey_origin(&Url::parse(text).unwrap()).map(|url| url.to_string());
        assert_eq!(origin("https://trunkline.example").as_deref(), Some("https://trunkline.example/"));
        assert_eq!(origin("http://127.0.0.1:8080").as_deref(), Some("http://localhost:8080/"));
        assert_eq!(origin("http://[::1]:8080").as_deref(), Some("http://localhost:8080/"));
        assert_eq!(origin("https://203.0.113.7"), None);
    }
}
