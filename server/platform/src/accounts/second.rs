//! The second step of signing in: a code of an authenticator app, a passkey, or a recovery code.

use super::{Browser, EmailAddress, account::tell, recovery, session::Draft, store, totp};
use crate::{
    Platform,
    db::SystemTx,
    error::{Error, Result},
    ids::UserId,
    mail::AccountChange,
    quota::attempts::{self, Attempt},
    secret::Plaintext,
};

/// Somebody whose password was right.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Whose account it is.
    pub email: EmailAddress,
    /// May they show a code of an authenticator app?
    pub has_totp: bool,
    /// May they show a passkey?
    pub has_passkeys: bool,
}

/// Who has to show a second factor, by the secret that a right password was given. `None` when the time for it has run out.
pub async fn find_pending(platform: &Platform, secret: &Plaintext) -> Result<Option<Pending>> {
    let mut tx = platform.db.system().await?;
    let row = store::find_pending(&mut tx, secret.digest(), platform.clock.now()).await?;
    tx.commit().await?;
    row.map(|row| {
        let email = EmailAddress::parse(&row.email)?;
        Ok(Pending { email, has_totp: row.has_totp, has_passkeys: row.has_passkeys })
    })
    .transpose()
}

/// Signs in, if the code is right: of the authenticator app, or a recovery code. The session goes on under the secret that is returned;
/// the one of before works no more. `None`: wrong, and as many more tries as the limit allows.
pub async fn finish_with_code(
    platform: &Platform,
    pending: &Plaintext,
    code: &str,
    browser: &Browser,
) -> Result<Option<Plaintext>> {
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    if code.is_empty() {
        return Err(Error::invalid("code", "Enter a code."));
    }
    let (tx, row) = lock(platform, pending).await?;
    // Not in a transaction while Redis is asked.
    tx.commit().await?;
    attempts::check(platform, Attempt::SecondToAccount, &row.user_id.to_string()).await?;
    let (mut tx, row) = lock(platform, pending).await?;
    let is_totp = code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit());
    if is_totp {
        if !totp::take_totp(platform, &mut tx, row.user_id, &code, false).await? {
            return Ok(None);
        }
    } else {
        if !recovery::take(&mut tx, row.user_id, &code).await? {
            return Ok(None);
        }
        tx = tx.act_for(row.user_id).await?;
        tx = tell(platform, tx, row.user_id, EmailAddress::parse(&row.email)?, AccountChange::RecoveryCodeUsed).await?;
    }
    finish(platform, tx, pending, row.user_id, browser).await.map(Some)
}

/// Whose sign-in it is, under a lock until the transaction ends.
pub(super) async fn lock(platform: &Platform, pending: &Plaintext) -> Result<(SystemTx, store::PendingRow)> {
    let mut tx = platform.db.system().await?;
    let row = store::find_pending(&mut tx, pending.digest(), platform.clock.now()).await?;
    Ok((tx, row.ok_or_else(|| Error::not_found("sign-in"))?))
}

/// The session that was waited for, in the transaction that has seen the second factor.
pub(super) async fn finish(
    platform: &Platform,
    mut tx: SystemTx,
    pending: &Plaintext,
    user: UserId,
    browser: &Browser,
) -> Result<Plaintext> {
    store::delete_session(&mut tx, pending.digest()).await?;
    let draft = Draft::new(browser);
    store::insert_session(&mut tx, &draft.session(platform, user, "password"), platform.clock.now()).await?;
    tx.commit().await?;
    Ok(draft.secret)
}
