//! From a stranger to a user: the sign-up form, the mailed link, the confirmation.

use std::net::IpAddr;

use chrono::TimeDelta;

use super::{EmailAddress, Settings, TenantSlug, find_invitation, password, store, tenant};
use crate::{
    Platform,
    error::{Error, ErrorKind, Result},
    ids::UserId,
    jobs::{self, Job},
    mail::Letter,
    quota::attempts::{self, Attempt},
    secret::Plaintext,
};

/// What somebody signs up for.
#[derive(Debug, Clone)]
pub enum Intent {
    /// To start with an organisation of that name.
    Organisation(String),
    /// To accept an invitation, by its secret; the account is for the invited address.
    Invitation(Plaintext),
}

/// A sign-up that waits to be confirmed.
#[derive(Debug, Clone)]
pub struct PendingSignup {
    /// Whose.
    pub email: EmailAddress,
    /// The organisation that would come into being.
    pub organisation: Option<String>,
}

/// How long a mailed link works.
pub(super) fn link_lifetime(settings: &Settings) -> TimeDelta {
    TimeDelta::minutes(i64::from(settings.link_minutes))
}

/// Takes a sign-up and writes a letter, whose link confirms it. The answer and the work are the same when the address has an account
/// already; then the letter says so, and nothing else happens.
pub async fn sign_up(platform: &Platform, email: &str, password: Plaintext, intent: Intent, from: IpAddr) -> Result<()> {
    let (email, organisation, invitation) = match intent {
        Intent::Organisation(name) => {
            let (email, name) = (EmailAddress::parse(email), tenant::parse_name("organisation", &name));
            let rules = password::check_rules(&password, email.as_ref().ok());
            let (email, name) = all_fields(email, name, rules)?;
            (email, Some(name), None)
        }
        Intent::Invitation(token) => {
            let invitation = find_invitation(platform, &token).await?.ok_or_else(|| Error::not_found("invitation"))?;
            password::check_rules(&password, Some(&invitation.email))?;
            (invitation.email, None, Some(token))
        }
    };
    attempts::check(platform, Attempt::SignupFromIp, &from.to_string()).await?;
    attempts::check(platform, Attempt::MailToAccount, email.as_str()).await?;

    let hash = platform.passwords.hash(password).await?;
    let now = platform.clock.now();
    let token = Plaintext::generate("");
    let mut tx = platform.db.system().await?;
    // Stored either way, so that the time does not tell; the link of a sign-up for an account that exists is never mailed.
    let expires_at = now + link_lifetime(&platform.settings.accounts);
    let signup = store::NewSignup { digest: token.digest(), email: &email, hash: &hash, tenant_name: organisation.as_deref() };
    store::insert_signup(&mut tx, &signup, now, expires_at).await?;
    let letter = if store::find_user(&mut tx, &email).await?.is_some() {
        Letter::AlreadyRegistered
    } else {
        let invitation = invitation.map(|token| token.reveal().to_owned());
        let minutes = platform.settings.accounts.link_minutes;
        Letter::ConfirmEmail { token: token.reveal().to_owned(), organisation, invitation, minutes }
    };
    jobs::enqueue(platform, &mut tx, &Job::SendLetter { to: email, letter }).await?;
    tx.commit().await
}

/// Every field that does not fit, not only the first.
fn all_fields(email: Result<EmailAddress>, name: Result<String>, rules: Result<()>) -> Result<(EmailAddress, String)> {
    match (email, name, rules) {
        (Ok(email), Ok(name), Ok(())) => Ok((email, name)),
        (email, name, rules) => {
            let mut fields = Vec::new();
            for error in [email.err(), name.err(), rules.err()].into_iter().flatten() {
                match error.kind() {
                    ErrorKind::Invalid(wrong) => fields.extend(wrong.iter().cloned()),
                    _ => return Err(error),
                }
            }
            Err(Error::new(ErrorKind::Invalid(fields)))
        }
    }
}

/// The sign-up of a link that still works. Looks only, so that a mail scanner which opens links uses none up.
pub async fn find_signup(platform: &Platform, token: &Plaintext) -> Result<Option<PendingSignup>> {
    let mut tx = platform.db.system().await?;
    let signup = store::find_signup(&mut tx, token.digest(), platform.clock.now()).await?;
    tx.commit().await?;
    signup.map(|row| Ok(PendingSignup { email: EmailAddress::parse(&row.email)?, organisation: row.tenant_name })).transpose()
}

/// Confirms the address: the user and, if one was named, the organisation come into being. Signs nobody in.
pub async fn confirm(platform: &Platform, token: &Plaintext) -> Result<Option<TenantSlug>> {
    let now = platform.clock.now();
    let mut tx = platform.db.system().await?;
    let signup = store::take_signup(&mut tx, token.digest(), now).await?.ok_or_else(|| Error::not_found("link"))?;
    let user = UserId::new(now);
    if !store::insert_user(&mut tx, user, &signup.email, &signup.password_hash, now).await? {
        // Confirmed by another link of the same address meanwhile.
        return Err(Error::not_found("link"));
    }
    store::delete_signups(&mut tx, &signup.email).await?;
    let Some(name) = signup.tenant_name else {
        tx.commit().await?;
        return Ok(None);
    };
    let (tx, slug) = tenant::insert(platform, tx, user, &name).await?;
    tx.commit().await?;
    Ok(Some(slug))
}
