//! A new password by a mailed link.

use std::net::IpAddr;

use super::{EmailAddress, password, signup::link_lifetime, store};
use crate::{
    Platform,
    error::{Error, Result},
    jobs::{self, Job},
    mail::Letter,
    quota::attempts::{self, Attempt},
    secret::Plaintext,
};

/// Writes a letter with a link, if the address has an account. The answer is the same if it has not.
pub async fn request_reset(platform: &Platform, email: &str, from: IpAddr) -> Result<()> {
    let email = EmailAddress::parse(email)?;
    attempts::check(platform, Attempt::LoginFromIp, &from.to_string()).await?;
    attempts::check(platform, Attempt::MailToAccount, email.as_str()).await?;
    let now = platform.clock.now();
    let token = Plaintext::generate("");
    let mut tx = platform.db.system().await?;
    let expires_at = now + link_lifetime(&platform.settings.accounts);
    let job = if store::insert_reset(&mut tx, token.digest(), &email, now, expires_at).await? {
        let minutes = platform.settings.accounts.link_minutes;
        Job::SendLetter { to: email, letter: Letter::ResetPassword { token: token.reveal().to_owned(), minutes } }
    } else {
        Job::Decoy
    };
    jobs::enqueue(platform, &mut tx, &job).await?;
    tx.commit().await
}

/// Whose password the link would set, if it still works. Looks only.
pub async fn find_reset(platform: &Platform, token: &Plaintext) -> Result<Option<EmailAddress>> {
    let mut tx = platform.db.system().await?;
    let email = store::find_reset(&mut tx, token.digest(), platform.clock.now()).await?;
    tx.commit().await?;
    email.map(|email| EmailAddress::parse(&email)).transpose()
}

/// Sets the password, ends all sessions of the user and every other reset link. Signs nobody in.
pub async fn reset(platform: &Platform, token: &Plaintext, new_password: Plaintext) -> Result<()> {
    let link_is_gone = || Error::not_found("link");
    // Looked at before the expensive hash, used up only with it: a refused password leaves the link as it was.
    let email = find_reset(platform, token).await?.ok_or_else(link_is_gone)?;
    password::check_rules(&new_password, Some(&email))?;
    let hash = platform.passwords.hash(new_password).await?;
    let mut tx = platform.db.system().await?;
    let user = store::take_reset(&mut tx, token.digest(), platform.clock.now()).await?.ok_or_else(link_is_gone)?;
    store::update_password(&mut tx, user, &hash).await?;
    store::delete_resets(&mut tx, user).await?;
    store::delete_sessions(&mut tx, user).await?;
    tx.commit().await
}
