//! What every page of a tenant says when something is not as it should be: from what this process knows anyway, and from what was read with the
//! membership. Nobody is asked for it.

use trunkline_platform::{accounts::Membership, health::Standing};

use super::{format, home::DEGRADED, layout::Notice};

/// Pages that ask Redis themselves, and say so themselves.
const ASK: [&str; 2] = ["home", "limits"];
/// Pages whose numbers are sums.
const OF_SUMS: [&str; 4] = ["home", "usage", "tools", "agents"];

/// What that page has to say.
pub(crate) fn notices(standing: Standing, section: &str, tenant: &Membership) -> Vec<Notice> {
    let mut notices = Vec::new();
    let mut say = |is_stale, title, text: String| notices.push(Notice { is_stale, title, text });
    if standing.is_redis_away && !ASK.contains(&section) {
        say(false, "Running degraded", DEGRADED.to_owned());
    }
    if standing.is_record_closed {
        let text =
            "The record of calls is full, or its disk cannot be written. It heals by itself when Postgres or the disk is back.";
        say(false, "New calls are refused", text.to_owned());
    }
    if let Some(stalled) = standing.stalled {
        let text = format!(
            "No call has reached the database for {}. Calls are safe on this server’s disk and will be here when Postgres takes them.",
            format::minutes(stalled)
        );
        say(true, "Stale", text);
    }
    if OF_SUMS.contains(&section) && !tenant.wrong_days.is_empty() {
        let mut days: Vec<_> = tenant.wrong_days.clone();
        days.sort_unstable();
        let (first, last) = (days[0], days[days.len() - 1]);
        let words = if first == last { first.to_string() } else { format!("{first} to {last}") };
        let text = format!(
            "The hourly check found sums of {words} (UTC) that differ from the record. The log of calls is right; \
             “trunkline usage rebuild --tenant {} --from {first} --to {last}” corrects the sums.",
            tenant.slug
        );
        say(true, "Sums are wrong", text);
    }
    notices
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use trunkline_platform::{actor::Role, ids::TenantId};

    use super::*;

    fn tenant() -> Membership {
        Membership {
            tenant: TenantId::NIL,
            slug: "acme".parse().expect("a slug"),
            name: "Acme".to_owned(),
            currency: "EUR".to_owned(),
            role: Role::Owner,
            requires_second_factor: false,
            requires_sso: false,
            firing: 0,
            wrong_days: Vec::new(),
        }
    }

    #[test]
    fn what_is_well_says_nothing() {
        assert_eq!(notices(Standing::default(), "usage", &tenant()), []);
    }

    #[test]
    fn each_trouble_is_told_where_it_matters() {
        let standing = Standing { is_redis_away: true, is_record_closed: true, stalled: Some(Duration::from_secs(150)) };
        let titles = |section| notices(standing, section, &tenant()).into_iter().map(|notice| notice.title).collect::<Vec<_>>();
        assert_eq!(titles("logs"), ["Running degraded", "New calls are refused", "Stale"]);
        assert_eq!(titles("home"), ["New calls are refused", "Stale"]);
        assert!(notices(standing, "logs", &tenant())[2].text.contains("for 2 minutes"));
        let wrong =
            Membership { wrong_days: ["2026-11-03", "2026-11-01"].map(|day| day.parse().expect("a day")).into(), ..tenant() };
        let told = notices(Standing::default(), "usage", &wrong);
        assert!(told[0].is_stale && told[0].text.contains("--from 2026-11-01 --to 2026-11-03"), "{told:?}");
        assert_eq!(notices(Standing::default(), "members", &wrong), []);
    }
}
