//! Limits, of tenants and of the installation.

use trunkline_platform::quota::{self, AtOnce, Ladder, Rate, attempts};

use super::reader::Reader;

pub(super) fn quota(reader: &mut Reader) -> Option<quota::Settings> {
    let read = rate(reader, "quota.read.per_minute", "quota.read.burst");
    let write = rate(reader, "quota.write.per_minute", "quota.write.burst");
    let destructive = rate(reader, "quota.destructive.per_minute", "quota.destructive.burst");
    let agent = rate(reader, "quota.agent.per_minute", "quota.agent.burst");
    let tenant = rate(reader, "quota.tenant.per_minute", "quota.tenant.burst");
    let lists = rate(reader, "quota.lists.per_minute", "quota.lists.burst");
    let at_once = at_once(reader);
    let installation = installation(reader);
    let ladder = ladder(reader);
    let attempts = attempts(reader);
    Some(quota::Settings {
        read: read?,
        write: write?,
        destructive: destructive?,
        agent: agent?,
        tenant: tenant?,
        lists: lists?,
        at_once: at_once?,
        installation: installation?,
        ladder: ladder?,
        attempts: attempts?,
    })
}

fn at_once(reader: &mut Reader) -> Option<AtOnce> {
    let agent = reader.small("quota.at_once.agent", 1..=10_000);
    let read = reader.small("quota.at_once.read", 1..=10_000);
    let write = reader.small("quota.at_once.write", 1..=10_000);
    let destructive = reader.small("quota.at_once.destructive", 1..=10_000);
    Some(AtOnce { agent: agent?, read: read?, write: write?, destructive: destructive? })
}

/// `Some(None)`: not limited.
#[expect(clippy::option_option, reason = "beside what cannot be read, a limit that is not there")]
fn installation(reader: &mut Reader) -> Option<Option<Rate>> {
    let number = |text: &str| match text.parse().ok().filter(|number| (1..=60_000_000).contains(number)) {
        Some(number) => Ok(number),
        None => Err("expected a whole number from 1 to 60000000".to_owned()),
    };
    let per_minute = reader.optional("quota.installation.per_minute", number)?.value();
    let burst = reader.optional("quota.installation.burst", number)?.value();
    match (per_minute, burst) {
        (Some(per_minute), burst) => Some(Some(Rate { per_minute, burst: burst.unwrap_or(per_minute) })),
        (None, None) => Some(None),
        (None, Some(_)) => {
            reader.refuse("quota.installation.per_minute", "is missing, but quota.installation.burst is set; a limit needs both")
        }
    }
}

fn ladder(reader: &mut Reader) -> Option<Ladder> {
    let refusals = reader.small("quota.ladder.refusals", 0..=1_000_000);
    let window_s = reader.small("quota.ladder.window_s", 1..=3_600);
    let throttled_s = reader.small("quota.ladder.throttled_s", 1..=86_400);
    let throttlings = reader.small("quota.ladder.throttlings", 1..=100);
    Some(Ladder { refusals: refusals?, window_s: window_s?, throttled_s: throttled_s?, throttlings: throttlings? })
}

fn attempts(reader: &mut Reader) -> Option<attempts::Settings> {
    let login_per_ip = rate(reader, "quota.attempts.login_per_ip.per_minute", "quota.attempts.login_per_ip.burst");
    let login_per_account = rate(reader, "quota.attempts.login_per_account.per_minute", "quota.attempts.login_per_account.burst");
    let second_per_account =
        rate(reader, "quota.attempts.second_per_account.per_minute", "quota.attempts.second_per_account.burst");
    let signup_per_ip = rate(reader, "quota.attempts.signup_per_ip.per_minute", "quota.attempts.signup_per_ip.burst");
    let mail_per_account = rate(reader, "quota.attempts.mail_per_account.per_minute", "quota.attempts.mail_per_account.burst");
    let trials_per_member = rate(reader, "quota.attempts.trials_per_member.per_minute", "quota.attempts.trials_per_member.burst");
    let registrations_per_ip_hour = reader.small("quota.attempts.registrations_per_ip.per_hour", 1..=6_000_000);
    let token_failures_per_ip =
        rate(reader, "quota.attempts.token_failures_per_ip.per_minute", "quota.attempts.token_failures_per_ip.burst");
    Some(attempts::Settings {
        login_per_ip: login_per_ip?,
        login_per_account: login_per_account?,
        second_per_account: second_per_account?,
        signup_per_ip: signup_per_ip?,
        mail_per_account: mail_per_account?,
        trials_per_member: trials_per_member?,
        registrations_per_ip_hour: registrations_per_ip_hour?,
        token_failures_per_ip: token_failures_per_ip?,
    })
}

fn rate(reader: &mut Reader, per_minute: &'static str, burst: &'static str) -> Option<Rate> {
    let per_minute = reader.small(per_minute, 1..=6_000_000);
    let burst = reader.small(burst, 1..=6_000_000);
    Some(Rate { per_minute: per_minute?, burst: burst? })
}
