//! A person's own account: what it has, its address, its password, its end.

use super::{EmailAddress, Session, password, password::NO_PASSWORD, signup::link_lifetime, store};
use crate::{
    Platform,
    actor::{Member, Role},
    audit::{self, Event},
    db::SystemTx,
    error::{Error, Result},
    ids::UserId,
    jobs::{self, Job},
    mail::{AccountChange, Letter},
    quota::attempts::{self, Attempt},
    secret::Plaintext,
};

/// How an account is protected, for its owner.
#[derive(Debug, Clone)]
pub struct Protection {
    /// Is there a password? Accounts that single sign-on made have none.
    pub has_password: bool,
    /// Is an authenticator app set up?
    pub has_totp: bool,
    /// Passkeys, oldest first.
    pub passkeys: Vec<super::Passkey>,
    /// Recovery codes that are left.
    pub recovery_codes: i64,
}

/// What protects the account.
pub async fn protection(platform: &Platform, session: &Session) -> Result<Protection> {
    session.require_own()?;
    let mut tx = platform.db.system().await?;
    let (_, hash) = store::get_user(&mut tx, session.user).await?;
    let totp = store::lock_totp(&mut tx, session.user).await?;
    let passkeys = store::lock_passkeys(&mut tx, session.user).await?;
    let recovery_codes = store::count_recovery_codes(&mut tx, session.user).await?;
    tx.commit().await?;
    Ok(Protection {
        has_password: hash != NO_PASSWORD,
        has_totp: totp.is_some_and(|totp| totp.is_confirmed),
        passkeys: passkeys.into_iter().map(super::Passkey::from).collect(),
        recovery_codes,
    })
}

/// Tells of a change of somebody's account, in its transaction: them by a letter, and every tenant they belong to by its audit log.
pub(super) async fn tell(
    platform: &Platform,
    mut tx: SystemTx,
    user: UserId,
    to: EmailAddress,
    change: AccountChange,
) -> Result<SystemTx> {
    jobs::enqueue(platform, &mut tx, &Job::SendLetter { to, letter: Letter::AccountChanged { change } }).await?;
    let now = platform.clock.now();
    for membership in store::list_memberships(&mut tx, user, "").await? {
        let mut tenant = tx.enter(membership.tenant).await?;
        audit::append(&mut tenant, now, &membership.actor(user), &Event::AccountChanged(user, change)).await?;
        tx = tenant.leave().await?;
    }
    Ok(tx)
}

/// Sets another password. Every other browser is signed out; this one goes on with the secret that is returned.
pub async fn change_password(
    platform: &Platform,
    session: &Session,
    secret: &Plaintext,
    new_password: Plaintext,
) -> Result<Plaintext> {
    session.require_proof(platform)?;
    password::check_rules(&new_password, Some(&session.email))?;
    let hash = platform.passwords.hash(new_password).await?;
    let fresh = Plaintext::generate("");
    let mut tx = platform.db.user(session.user).await?;
    store::update_password(&mut tx, session.user, &hash).await?;
    store::delete_resets(&mut tx, session.user).await?;
    store::delete_other_sessions(&mut tx, session.user, session.id).await?;
    if !store::rotate_session(&mut tx, secret.digest(), fresh.digest()).await? {
        return Err(Error::not_found("session"));
    }
    tell(platform, tx, session.user, session.email.clone(), AccountChange::PasswordChanged).await?.commit().await?;
    Ok(fresh)
}

/// Writes a letter with a link to the new address, and one that says so to the old. The answer is the same if the new one is taken.
pub async fn request_email_change(platform: &Platform, session: &Session, email: &str) -> Result<EmailAddress> {
    session.require_proof(platform)?;
    let email = EmailAddress::parse(email)?;
    if email == session.email {
        return Err(Error::invalid("email", "This is your address already."));
    }
    attempts::check(platform, Attempt::MailToAccount, email.as_str()).await?;
    attempts::check(platform, Attempt::MailToAccount, session.email.as_str()).await?;
    let now = platform.clock.now();
    let token = Plaintext::generate("");
    let mut tx = platform.db.user(session.user).await?;
    let letter = if store::find_user(&mut tx, &email).await?.is_some() {
        Letter::AlreadyRegistered
    } else {
        // The last link counts, so that a typo can be mended.
        store::delete_email_changes(&mut tx, session.user).await?;
        let expires_at = now + link_lifetime(&platform.settings.accounts);
        store::insert_email_change(&mut tx, token.digest(), session.user, &email, now, expires_at).await?;
        Letter::ConfirmNewEmail { token: token.reveal().to_owned(), minutes: platform.settings.accounts.link_minutes }
    };
    jobs::enqueue(platform, &mut tx, &Job::SendLetter { to: email.clone(), letter }).await?;
    tell(platform, tx, session.user, session.email.clone(), AccountChange::EmailChangeAsked).await?.commit().await?;
    Ok(email)
}

/// The address that the link would set, if it still works. Looks only.
pub async fn find_email_change(platform: &Platform, token: &Plaintext) -> Result<Option<EmailAddress>> {
    let mut tx = platform.db.system().await?;
    let email = store::find_email_change(&mut tx, token.digest(), platform.clock.now()).await?;
    tx.commit().await?;
    email.map(|email| EmailAddress::parse(&email)).transpose()
}

/// Sets the new address. Links that were mailed to the old one work no more. Signs nobody in and nobody out.
pub async fn confirm_email_change(platform: &Platform, token: &Plaintext) -> Result<()> {
    let link_is_gone = || Error::not_found("link");
    let now = platform.clock.now();
    let mut tx = platform.db.system().await?;
    let (user, email) = store::take_email_change(&mut tx, token.digest(), now).await?.ok_or_else(link_is_gone)?;
    let (old, _) = store::get_user(&mut tx, user).await?;
    if !store::update_email(&mut tx, user, &email, now).await? {
        return Err(link_is_gone());
    }
    store::delete_resets(&mut tx, user).await?;
    let tx = tx.act_for(user).await?;
    tell(platform, tx, user, EmailAddress::parse(&old)?, AccountChange::EmailChanged).await?.commit().await
}

/// Deletes the account: memberships, sessions, second factors, links and whatever says who it was. What the person made in their
/// organisations stays theirs. Fails with `Conflict` while they are the last owner of one.
pub async fn delete_account(platform: &Platform, session: &Session) -> Result<()> {
    session.require_proof(platform)?;
    let (now, user) = (platform.clock.now(), session.user);
    let tx = platform.db.user(user).await?;
    let mut tx = tell(platform, tx, user, session.email.clone(), AccountChange::Deleted).await?;
    let mut alone = Vec::new();
    for membership in store::list_memberships(&mut tx, user, "").await? {
        let mut tenant = tx.enter(membership.tenant).await?;
        let roles = store::lock_roles(&mut tenant, &[user]).await?;
        let others = roles.iter().filter(|(other, role)| *other != user && *role == Role::Owner).count();
        let own = roles.iter().find(|(other, _)| *other == user).map(|(_, role)| *role);
        if own == Some(Role::Owner) && others == 0 {
            alone.push(membership.name.clone());
        }
        store::delete_membership(&mut tenant, user).await?;
        store::delete_invitations_by(&mut tenant, user).await?;
        let actor = Member { user, tenant: membership.tenant, role: own.unwrap_or(membership.role) };
        audit::append(&mut tenant, now, &actor, &Event::MemberRemoved(user)).await?;
        tx = tenant.leave().await?;
    }
    if !alone.is_empty() {
        return Err(Error::conflict(format!(
            "You are the last owner of {}. Make somebody else an owner there first, on its members page.",
            alone.join(" and ")
        )));
    }
    erase(&mut tx, user).await?;
    store::erase_user(&mut tx, user, NO_PASSWORD, now).await?;
    tx.commit().await
}

async fn erase(tx: &mut SystemTx, user: UserId) -> Result<()> {
    store::delete_sessions(tx, user).await?;
    store::delete_resets(tx, user).await?;
    store::delete_email_changes(tx, user).await?;
    store::erase_totp(tx, user).await?;
    store::delete_recovery_codes(tx, user).await?;
    store::delete_passkeys(tx, user).await?;
    store::delete_identities(tx, user).await
}
