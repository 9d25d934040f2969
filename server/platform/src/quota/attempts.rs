//! Attempts on public pages, by address and by account, and of members who run tools by hand: in Redis for all replicas together; while it is away, each replica counts alone.

use std::sync::LazyLock;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{Decision, Rate, Scope, bucket::Bucket};
use crate::{
    Platform,
    error::{Error, ErrorKind, Result},
    redis::Script,
};

static ADMIT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("admit.lua")));

/// Limits on attempts.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Log-ins from one address.
    pub login_per_ip: Rate,
    /// Log-ins to one account.
    pub login_per_account: Rate,
    /// Second factors shown for one account.
    pub second_per_account: Rate,
    /// Sign-ups from one address.
    pub signup_per_ip: Rate,
    /// Mails to one account: confirmations, resets, invitations.
    pub mail_per_account: Rate,
    /// Runs of tools by hand, of one member.
    pub trials_per_member: Rate,
    /// Clients that register themselves, from one address, per hour.
    pub registrations_per_ip_hour: u32,
    /// Requests to the token endpoint that fail, from one address.
    pub token_failures_per_ip: Rate,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            login_per_ip: Rate { per_minute: 10, burst: 20 },
            login_per_account: Rate { per_minute: 30, burst: 100 },
            // Six digits, three of which are right at any time: a day of guessing finds them once in three hundred days.
            second_per_account: Rate { per_minute: 1, burst: 10 },
            signup_per_ip: Rate { per_minute: 2, burst: 10 },
            mail_per_account: Rate { per_minute: 1, burst: 5 },
            trials_per_member: Rate::per_minute(20),
            registrations_per_ip_hour: 10,
            token_failures_per_ip: Rate::per_minute(60),
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
    /// A second factor, by account.
    SecondToAccount,
    /// A sign-up, by client address.
    SignupFromIp,
    /// A mail, by e-mail address.
    MailToAccount,
    /// A tool run by hand, by member.
    TrialByMember,
    /// A client that registers itself, by its address.
    RegistrationFromIp,
    /// A failed request to the token endpoint, by its address.
    TokenFailureFromIp,
}

/// Counts one attempt of `who`. Fails with `Exhausted` when there were too many.
pub async fn check(platform: &Platform, attempt: Attempt, who: &str) -> Result<()> {
    let settings = &platform.settings.quota.attempts;
    let (word, rate) = match attempt {
        Attempt::LoginFromIp => ("login:ip", settings.login_per_ip),
        Attempt::LoginToAccount => ("login:account", settings.login_per_account),
        Attempt::SecondToAccount => ("second:account", settings.second_per_account),
        Attempt::SignupFromIp => ("signup:ip", settings.signup_per_ip),
        Attempt::MailToAccount => ("mail:account", settings.mail_per_account),
        Attempt::TrialByMember => ("trial:member", settings.trials_per_member),
        // While Redis is away, an hour's worth at once and one a minute.
        Attempt::RegistrationFromIp => ("register:ip", Rate { per_minute: 1, burst: settings.registrations_per_ip_hour }),
        Attempt::TokenFailureFromIp => ("token:ip", settings.token_failures_per_ip),
    };
    // Keyed, so that Redis holds no addresses.
    let who = platform.master_key.mac("attempts", who.as_bytes());
    let who = BASE64_URL_SAFE_NO_PAD.encode(&who[..12]);
    let bucket = Bucket { scope: Scope::Agent, key: format!("attempts:{word}:{who}"), rate };
    let interval_us = match attempt {
        Attempt::RegistrationFromIp => 3_600_000_000.0 / f64::from(settings.registrations_per_ip_hour.max(1)),
        _ => rate.interval_us(),
    };
    let key = platform.redis.global_key(&bucket.key);
    let mut script = ADMIT.prepare_invoke();
    for _ in 0..7 {
        script.key(&key);
    }
    // Neither epoch nor session, call, day, idempotency key or strikes: one bucket.
    script.arg("").arg("").arg(0).arg("").arg(0).arg("").arg("").arg(0).arg(1).arg(0).arg(0).arg(interval_us).arg(rate.burst);
    let retry_after_ms = match platform.redis.run::<Vec<i64>>(&script).await.as_deref() {
        Ok([2, _, wait_us, ..]) => Some(u64::try_from(*wait_us).unwrap_or(0).div_ceil(1000)),
        Ok(_) => None,
        Err(away) => {
            platform.metrics.degraded_decisions.inc();
            tracing::debug!(error = %away, "attempts are counted without redis");
            match platform.local_buckets.admit(&bucket.into(), &platform.counters, 0, platform.replicas.share()) {
                Decision::Limited { retry_after_ms, .. } => Some(retry_after_ms),
                _ => None,
            }
        }
    };
    match retry_after_ms {
        Some(retry_after_ms) => Err(Error::new(ErrorKind::Exhausted { retry_after_ms })),
        None => Ok(()),
    }
}
