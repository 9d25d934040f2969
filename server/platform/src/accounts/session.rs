//! Browser sessions: an opaque secret in a cookie, its digest in the database. Ended by log-out, by time and by a password reset.

use std::net::IpAddr;

use chrono::TimeDelta;

use super::{EmailAddress, Settings, store};
use crate::{
    Platform,
    error::{Error, Result},
    ids::{SessionId, UserId},
    quota::attempts::{self, Attempt},
    secret::Plaintext,
};

/// A visit is noted this often at most.
const TOUCH: TimeDelta = TimeDelta::minutes(5);

/// What somebody signs in with.
#[derive(Debug)]
pub struct LogIn {
    /// The address as typed.
    pub email: String,
    /// The password as typed.
    pub password: Plaintext,
    /// What the browser says it is; shown to its owner, believed by nobody.
    pub user_agent: String,
    /// Where from.
    pub from: IpAddr,
}

/// A signed-in browser.
#[derive(Debug, Clone)]
pub struct Session {
    /// Which.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// The user's address.
    pub email: EmailAddress,
}

pub(super) fn idle(settings: &Settings) -> TimeDelta {
    TimeDelta::days(i64::from(settings.session_idle_days))
}

/// Starts a session; the answer is the cookie's secret. `None`: wrong address or wrong password, and it takes equally long to learn.
pub async fn log_in(platform: &Platform, log_in: LogIn) -> Result<Option<Plaintext>> {
    let email = EmailAddress::parse(&log_in.email)?;
    if log_in.password.reveal().is_empty() {
        return Err(Error::invalid("password", "Enter your password."));
    }
    attempts::check(platform, Attempt::LoginFromIp, &log_in.from.to_string()).await?;
    attempts::check(platform, Attempt::LoginToAccount, email.as_str()).await?;

    let mut tx = platform.db.system().await?;
    let user = store::find_user(&mut tx, &email).await?;
    tx.commit().await?;
    let (user, hash) = user.map_or((None, None), |row| (Some(row.id), Some(row.password_hash)));
    let right = platform.passwords.verify(log_in.password, hash.clone()).await?;
    let (Some(user), Some(hash), true) = (user, hash, right) else { return Ok(None) };

    let now = platform.clock.now();
    let secret = Plaintext::generate("");
    let session = store::NewSession {
        digest: secret.digest(),
        id: SessionId::new(now),
        user,
        verified_against: &hash,
        user_agent: &log_in.user_agent.chars().filter(|c| !c.is_control()).take(200).collect::<String>(),
        expires_at: now + TimeDelta::days(i64::from(platform.settings.accounts.session_days)),
    };
    let mut tx = platform.db.system().await?;
    let begun = store::insert_session(&mut tx, &session, now).await?;
    tx.commit().await?;
    // Not begun: the password was reset while the old one was being checked.
    Ok(begun.then_some(secret))
}

/// Ends the session of that secret; nothing happens if there is none.
pub async fn log_out(platform: &Platform, secret: &Plaintext) -> Result<()> {
    let mut tx = platform.db.system().await?;
    store::delete_session(&mut tx, secret.digest()).await?;
    tx.commit().await
}

/// The session of that secret, if it has not run out. Counts as a visit.
pub async fn find_session(platform: &Platform, secret: &Plaintext) -> Result<Option<Session>> {
    let now = platform.clock.now();
    let seen_since = now - idle(&platform.settings.accounts);
    let mut tx = platform.db.system().await?;
    let found = store::find_session(&mut tx, secret.digest(), now, seen_since).await?;
    if found.as_ref().is_some_and(|row| row.last_seen_at < now - TOUCH) {
        store::touch_session(&mut tx, secret.digest(), now).await?;
    }
    tx.commit().await?;
    found.map(|row| Ok(Session { id: row.id, user: row.user_id, email: EmailAddress::parse(&row.email)? })).transpose()
}
