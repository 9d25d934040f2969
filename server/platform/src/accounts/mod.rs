//! People: sign-up, browser sessions, password reset, tenants, who belongs to them as what.
//!
//! Nobody is a user before they opened a link mailed to their address, and a password counts only from then on: whoever signs up with
//! another's address gains nothing. No verb here tells a stranger whether an address has an account, neither by words nor by time.
//! Mailed links work once, for an hour (invitations a week), and sign nobody in.

mod invitation;
mod membership;
mod password;
mod reset;
mod seed;
mod session;
mod signup;
mod store;
mod tenant;

pub use crate::mail::EmailAddress;
pub use invitation::{Invitation, OpenInvitation, accept, find_invitation, invite, list_invitations, withdraw};
pub use membership::{MemberRow, Membership, change_role, leave, list_members, member, memberships, remove};
pub(crate) use password::Passwords;
pub use reset::{find_reset, request_reset, reset};
pub use seed::create_verified_user;
pub use session::{LogIn, Session, find_session, log_in, log_out};
pub use signup::{Intent, PendingSignup, confirm, find_signup, sign_up};
pub use tenant::{TenantSlug, change_tenant, create_tenant};

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
    /// Passwords checked at once; each takes 19 MiB and a core.
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
            password_concurrency: 2,
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
