//! People: sign-up, browser sessions, second factors, single sign-on, tenants, who belongs to them as what.
//!
//! Nobody is a user before they opened a link mailed to their address, and a password counts only from then on: whoever signs up with
//! another's address gains nothing. No verb here tells a stranger whether an address has an account, neither by words nor by time.
//! Mailed links work once, for an hour (invitations a week), and sign nobody in.

mod account;
pub(crate) mod attempt;
mod invitation;
mod membership;
mod passkey;
mod password;
mod recovery;
mod reset;
mod second;
mod seed;
mod session;
mod signup;
mod sso;
mod store;
mod tenant;
pub(crate) mod totp;

pub use crate::mail::EmailAddress;
pub use account::{
    Protection, change_password, confirm_email_change, delete_account, find_email_change, protection, request_email_change,
};
pub use invitation::{Invitation, OpenInvitation, accept, find_invitation, invite, list_invitations, withdraw};
pub use membership::{MemberRow, Membership, change_role, leave, list_members, member, memberships, remove};
pub use passkey::{
    Challenge, Passkey, begin_passkey_second, begin_passkey_sign_in, begin_registration, finish_passkey_second,
    finish_passkey_sign_in, finish_registration, passkey_origin, remove_passkey,
};
pub(crate) use password::Passwords;
pub use recovery::make_recovery_codes;
pub use reset::{find_reset, request_reset, reset};
pub use second::{Pending, find_pending, finish_with_code};
pub use seed::create_verified_user;
pub use session::{
    Begun, Browser, LogIn, OwnSession, Session, end_other_sessions, end_session, find_session, list_sessions, log_in, log_out,
    prove,
};
pub use signup::{Intent, PendingSignup, confirm, find_signup, sign_up};
pub(crate) use sso::reseal as reseal_sso;
pub use sso::{
    Answer, CALLBACK, Connection, GroupRole, NewConnection, Refusal, Settings as SsoSettings, SignInRules, SignOn, Through,
    begin_sign_on, change_rules, find_connection, finish_sign_on, remove_connection, set_connection, sign_in_rules,
};
pub use tenant::{TenantSlug, change_tenant, create_tenant};
pub use totp::{TotpSetup, begin_totp, confirm_totp, remove_totp, totp_setup};

use crate::{Platform, error::Result};

/// Settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Days without a visit after which a browser is signed out.
    pub session_idle_days: u32,
    /// Days after which it is signed out in any case.
    pub session_days: u32,
    /// Minutes for which a mailed link works.
    pub link_minutes: u32,
    /// Days for which an invitation works.
    pub invitation_days: u32,
    /// Passwords checked at once; each takes 19 MiB and a core, which calls do not have meanwhile.
    pub password_concurrency: u32,
    /// Passwords that may wait for it; more are refused.
    pub password_queue: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            session_idle_days: 14,
            session_days: 90,
            link_minutes: 60,
            invitation_days: 7,
            password_concurrency: 1,
            password_queue: 32,
        }
    }
}

/// Deletes sessions and links that have run out; tells how many. They are refused without it: this only gives back the room.
pub async fn forget_expired(platform: &Platform) -> Result<u64> {
    let now = platform.clock.now();
    let mut tx = platform.db.system().await?;
    let idle = now - session::idle(&platform.settings.accounts);
    let forgotten = store::delete_expired(&mut tx, now, idle).await?;
    tx.commit().await?;
    Ok(forgotten)
}
