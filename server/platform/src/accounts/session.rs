//! Browser sessions: an opaque secret in a cookie, its digest in the database. Ended by log-out, by time and by a password reset.
//!
//! A session has a state. Only one that is proven in full is found by [`find_session`]; one that waits for its second factor exists for
//! the verbs of `second` alone. One that a tenant's own identity provider began is good for that tenant and nothing else: whoever runs
//! the provider could make it say that they are anybody.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};

use super::{EmailAddress, Settings, password::NO_PASSWORD, store};
use crate::{
    Platform,
    error::{Error, ErrorKind, Result, Step},
    ids::{SessionId, TenantId, UserId},
    quota::attempts::{self, Attempt},
    secret::Plaintext,
};

/// A visit is noted this often at most.
const TOUCH: TimeDelta = TimeDelta::minutes(5);
/// For how long a right password waits for its second factor.
const SECOND_WITHIN: TimeDelta = TimeDelta::minutes(10);
/// For how long somebody who has proven to be there may change the account itself.
const PROOF_LASTS: TimeDelta = TimeDelta::minutes(15);

/// What somebody signs in with.
#[derive(Debug)]
pub struct LogIn {
    /// The address as typed.
    pub email: String,
    /// The password as typed.
    pub password: Plaintext,
    /// Which browser.
    pub browser: Browser,
}

/// A browser, as far as it can be told. Shown to its owner, believed by nobody.
#[derive(Debug, Clone)]
pub struct Browser {
    /// What it says it is.
    pub user_agent: String,
    /// Where it is.
    pub from: IpAddr,
}

/// A session that has begun.
#[derive(Debug)]
pub struct Begun {
    /// The cookie's secret.
    pub secret: Plaintext,
    /// It is good for nothing but showing the second factor.
    pub needs_second: bool,
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
    /// The one tenant it is good for, if a tenant's own identity provider began it.
    pub limited_to: Option<TenantId>,
    /// Tenants whose identity provider has vouched for it.
    pub signed_on: Vec<TenantId>,
    /// Has the user a second factor?
    pub has_second_factor: bool,
    /// When the user last proved to be there.
    pub proved_at: DateTime<Utc>,
}

/// One of somebody's sessions, as they see it.
#[derive(Debug, Clone)]
pub struct OwnSession {
    /// Which.
    pub id: SessionId,
    /// `password`, `passkey` or `sso`.
    pub method: String,
    /// What the browser said it is.
    pub user_agent: String,
    /// Where it was when it signed in.
    pub address: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// When it was last seen, to a few minutes.
    pub last_seen_at: DateTime<Utc>,
    /// The one that asks.
    pub is_this: bool,
}

impl Session {
    /// Ok if it is good for everything its user may, not for one tenant only.
    pub fn require_own(&self) -> Result<()> {
        if self.limited_to.is_none() { Ok(()) } else { Err(Error::new(ErrorKind::First(Step::SignIn))) }
    }

    /// Ok if its user has proven lately to be there: who finds an open browser must not take over the account.
    pub fn require_proof(&self, platform: &Platform) -> Result<()> {
        self.require_own()?;
        let is_fresh = self.proved_at + PROOF_LASTS > platform.clock.now();
        if is_fresh { Ok(()) } else { Err(Error::new(ErrorKind::First(Step::Prove))) }
    }
}

pub(super) fn idle(settings: &Settings) -> TimeDelta {
    TimeDelta::days(i64::from(settings.session_idle_days))
}

/// What a new session of that user in that browser is made of. The texts are the caller's, because the store borrows them.
pub(super) struct Draft {
    pub(super) secret: Plaintext,
    user_agent: String,
    address: String,
}

impl Draft {
    pub(super) fn new(browser: &Browser) -> Self {
        Self {
            secret: Plaintext::generate(""),
            user_agent: browser.user_agent.chars().filter(|c| !c.is_control()).take(200).collect(),
            address: browser.from.to_string(),
        }
    }

    pub(super) fn session(&self, platform: &Platform, user: UserId, method: &'static str) -> store::NewSession<'_> {
        let now = platform.clock.now();
        store::NewSession {
            digest: self.secret.digest(),
            id: SessionId::new(now),
            user,
            method,
            limited_to: None,
            signed_on: &[],
            user_agent: &self.user_agent,
            address: &self.address,
            expires_at: now + TimeDelta::days(i64::from(platform.settings.accounts.session_days)),
        }
    }
}

/// Starts a session. `None`: wrong address or wrong password, and it takes equally long to learn.
pub async fn log_in(platform: &Platform, log_in: LogIn) -> Result<Option<Begun>> {
    let email = EmailAddress::parse(&log_in.email)?;
    if log_in.password.reveal().is_empty() {
        return Err(Error::invalid("password", "Enter your password."));
    }
    let place = platform.passwords.place()?;
    attempts::check(platform, Attempt::LoginFromIp, &log_in.browser.from.to_string()).await?;
    attempts::check(platform, Attempt::LoginToAccount, email.as_str()).await?;

    let mut tx = platform.db.system().await?;
    let user = store::find_user(&mut tx, &email).await?;
    tx.commit().await?;
    let user = user.filter(|row| row.password_hash != NO_PASSWORD);
    let (user, hash) = user.map_or((None, None), |row| (Some(row.id), Some(row.password_hash)));
    let right = place.verify(log_in.password, hash.clone()).await?;
    let (Some(user), Some(hash), true) = (user, hash, right) else { return Ok(None) };

    let now = platform.clock.now();
    let draft = Draft::new(&log_in.browser);
    let mut tx = platform.db.system().await?;
    let session = draft.session(platform, user, "password");
    let state = store::insert_session_by_password(&mut tx, &session, &hash, now + SECOND_WITHIN, now).await?;
    tx.commit().await?;
    // No state: the password was reset while the old one was being checked.
    Ok(state.map(|state| Begun { secret: draft.secret, needs_second: state == "second" }))
}

/// Ends the session of that secret; nothing happens if there is none.
pub async fn log_out(platform: &Platform, secret: &Plaintext) -> Result<()> {
    let mut tx = platform.db.system().await?;
    store::delete_session(&mut tx, secret.digest()).await?;
    tx.commit().await
}

/// The session of that secret, if it is proven in full and has not run out. Counts as a visit.
pub async fn find_session(platform: &Platform, secret: &Plaintext) -> Result<Option<Session>> {
    let now = platform.clock.now();
    let seen_since = now - idle(&platform.settings.accounts);
    let mut tx = platform.db.system().await?;
    let found = store::find_session(&mut tx, secret.digest(), now, seen_since).await?;
    // What has only been read is not waited for: every page begins with this.
    if found.as_ref().is_some_and(|row| row.last_seen_at < now - TOUCH) {
        store::touch_session(&mut tx, secret.digest(), now).await?;
        tx.commit().await?;
    }
    let session = |row: store::SessionRow| {
        Ok(Session {
            id: row.id,
            user: row.user_id,
            email: EmailAddress::parse(&row.email)?,
            limited_to: row.limited_to,
            signed_on: row.signed_on,
            has_second_factor: row.has_second_factor,
            proved_at: row.proved_at,
        })
    };
    found.map(session).transpose()
}

/// Everywhere the user is signed in, last seen first.
pub async fn list_sessions(platform: &Platform, session: &Session) -> Result<Vec<OwnSession>> {
    session.require_own()?;
    let now = platform.clock.now();
    let mut tx = platform.db.system().await?;
    let rows = store::list_sessions(&mut tx, session.user, now, now - idle(&platform.settings.accounts)).await?;
    tx.commit().await?;
    let own = |row: store::OwnSessionRow| OwnSession {
        id: row.id,
        method: row.method,
        user_agent: row.user_agent,
        address: row.address,
        since: row.created_at,
        last_seen_at: row.last_seen_at,
        is_this: row.id == session.id,
    };
    Ok(rows.into_iter().map(own).collect())
}

/// Signs one browser of the user out.
pub async fn end_session(platform: &Platform, session: &Session, id: SessionId) -> Result<()> {
    session.require_own()?;
    let mut tx = platform.db.system().await?;
    if !store::delete_session_of(&mut tx, session.user, id).await? {
        return Err(Error::not_found("session"));
    }
    tx.commit().await
}

/// Signs all browsers of the user out but the one that asks; tells how many.
pub async fn end_other_sessions(platform: &Platform, session: &Session) -> Result<u64> {
    session.require_own()?;
    let mut tx = platform.db.system().await?;
    let ended = store::delete_other_sessions(&mut tx, session.user, session.id).await?;
    tx.commit().await?;
    Ok(ended)
}

/// The password once more, before something about the account is changed. False if it is wrong.
pub async fn prove(platform: &Platform, session: &Session, secret: &Plaintext, password: Plaintext) -> Result<bool> {
    session.require_own()?;
    attempts::check(platform, Attempt::LoginToAccount, session.email.as_str()).await?;
    let mut tx = platform.db.system().await?;
    let (_, hash) = store::get_user(&mut tx, session.user).await?;
    tx.commit().await?;
    if !platform.passwords.verify(password, Some(hash).filter(|hash| hash != NO_PASSWORD)).await? {
        return Ok(false);
    }
    let mut tx = platform.db.system().await?;
    store::update_proved(&mut tx, secret.digest(), platform.clock.now()).await?;
    tx.commit().await?;
    Ok(true)
}
