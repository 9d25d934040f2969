//! What a look at the numbers says: bad, well, or nothing. To begin takes more than to go on, so that what wavers stays what it is.

use super::alert::Kind;

/// Calls in ten minutes without which nothing begins, and failures or refusals among them.
const LEAST_CALLS: i64 = 20;
const LEAST_FAILED: i64 = 5;
const LEAST_LIMITED: i64 = 10;
/// Calls without which a 99th percentile says nothing: now, and in the days before.
const LEAST_TIMED: i64 = 50;
const LEAST_LEARNT: i64 = 200;
/// A tool of which little is known is taken for one that fails in one of twenty calls.
const PRIOR_FAILED: f64 = 1.0;
const PRIOR_RAN: f64 = 20.0;
/// So much above what is usual, at least, as a share; and so many standard deviations of as many calls.
const MARGIN: f64 = 0.10;
const DEVIATIONS: f64 = 4.0;
/// Refused of all calls: where it begins, and below which it is over.
const LIMITED: (f64, f64) = (0.20, 0.10);
/// Times the usual 99th percentile, and above it in ms: where it begins, and below which it is over.
const SLOWER: (f64, f64) = (2.0, 1.5);
const SLOWER_MS: (f64, f64) = (200.0, 100.0);

/// Refused credentials in ten minutes without which nothing begins, and times the usual: where it begins, and below which it is over.
const LEAST_REFUSED: f64 = 20.0;
const REFUSED: (f64, f64) = (5.0, 2.0);

/// What a look says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Out of the ordinary.
    Bad,
    /// Neither: it stays what it is.
    Between,
    /// As usual.
    Good,
    /// Nothing was called.
    Quiet,
}

/// What was found of a subject.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) kind: Kind,
    pub(super) subject: String,
    pub(super) name: String,
    pub(super) verdict: Verdict,
    /// What is usual, for what goes on to be measured by.
    pub(super) usual: f64,
    pub(super) message: String,
}

/// Calls of a tool or an agent within the last minutes.
#[derive(Debug, Clone, Default)]
pub(super) struct Recent {
    /// Those that ran.
    pub(super) ran: i64,
    /// Those of them that failed.
    pub(super) failed: i64,
    /// Calls at all.
    pub(super) calls: i64,
    /// Those that limits or budgets refused.
    pub(super) limited: i64,
    /// Of what ran, in milliseconds.
    pub(super) p99_ms: Option<f64>,
}

/// What is usual for a tool.
#[derive(Debug, Clone, Copy, Default, sqlx::FromRow)]
pub(super) struct Usual {
    pub(super) ran: i64,
    pub(super) failed: i64,
    pub(super) p99_ms: Option<f64>,
}

impl Usual {
    /// The share of calls that usually fails.
    pub(super) fn share(self) -> f64 {
        (float(self.failed) + PRIOR_FAILED) / (float(self.ran) + PRIOR_RAN)
    }

    /// The usual 99th percentile, if enough is known.
    pub(super) fn p99_ms(self) -> Option<f64> {
        self.p99_ms.filter(|_| self.ran >= LEAST_LEARNT)
    }
}

/// Does more fail than usual?
pub(super) fn error_rate(recent: &Recent, usual: f64) -> (Verdict, String) {
    if recent.ran == 0 {
        return (Verdict::Quiet, "No calls in the last 10 minutes.".to_owned());
    }
    let (ran, share) = (float(recent.ran), float(recent.failed) / float(recent.ran));
    let margin = MARGIN.max(DEVIATIONS * (usual * (1.0 - usual) / ran).sqrt());
    let begins = (usual + margin).min(0.95);
    let verdict = if share <= usual + margin / 2.0 {
        Verdict::Good
    } else if share >= begins && recent.ran >= LEAST_CALLS && recent.failed >= LEAST_FAILED {
        Verdict::Bad
    } else {
        Verdict::Between
    };
    let (share, usual) = (percent(share), percent(usual));
    (verdict, format!("{share} of {} calls failed in the last 10 minutes; usually {usual}.", recent.ran))
}

/// Is it slower than usual?
pub(super) fn p99(recent: &Recent, usual_ms: f64) -> (Verdict, String) {
    let Some(now_ms) = recent.p99_ms.filter(|_| recent.ran > 0) else {
        return (Verdict::Quiet, "No calls in the last 10 minutes.".to_owned());
    };
    let verdict = if now_ms <= (usual_ms * SLOWER.1).max(usual_ms + SLOWER_MS.1) {
        Verdict::Good
    } else if now_ms >= (usual_ms * SLOWER.0).max(usual_ms + SLOWER_MS.0) && recent.ran >= LEAST_TIMED {
        Verdict::Bad
    } else {
        Verdict::Between
    };
    let message =
        format!("99 of 100 of {} calls took up to {now_ms:.0} ms in the last 10 minutes; usually {usual_ms:.0} ms.", recent.ran);
    (verdict, message)
}

/// Do limits or budgets refuse much?
pub(super) fn limits(recent: &Recent) -> (Verdict, String) {
    if recent.calls == 0 {
        return (Verdict::Quiet, "No calls in the last 10 minutes.".to_owned());
    }
    let share = float(recent.limited) / float(recent.calls);
    let verdict = if share <= LIMITED.1 {
        Verdict::Good
    } else if share >= LIMITED.0 && recent.limited >= LEAST_LIMITED {
        Verdict::Bad
    } else {
        Verdict::Between
    };
    (verdict, format!("Limits or budgets refused {} of {} calls in the last 10 minutes.", percent(share), recent.calls))
}

/// Are more credentials refused than usual?
pub(super) fn authentication(refused: i64, usual: f64) -> (Verdict, String) {
    let now = float(refused);
    let verdict = if now <= (usual * REFUSED.1).max(LEAST_REFUSED / 2.0) {
        Verdict::Good
    } else if now >= (usual * REFUSED.0).max(LEAST_REFUSED) {
        Verdict::Bad
    } else {
        Verdict::Between
    };
    (verdict, format!("{refused} credentials were refused in the last 10 minutes; usually {usual:.0}."))
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^52")]
fn float(count: i64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::{
        Verdict::{Bad, Between, Good, Quiet},
        *,
    };

    fn of(ran: i64, failed: i64) -> Recent {
        Recent { ran, failed, calls: ran, ..Recent::default() }
    }

    #[test]
    fn errors_are_measured_by_what_is_usual() {
        let quiet = Usual { ran: 10_000, failed: 20, p99_ms: None }.share();
        let shaky = Usual { ran: 10_000, failed: 4_000, p99_ms: None }.share();
        let verdict = |ran, failed, usual| error_rate(&of(ran, failed), usual).0;
        assert_eq!(verdict(100, 30, quiet), Bad);
        assert_eq!(verdict(100, 30, shaky), Good);
        assert_eq!(verdict(100, 80, shaky), Bad);
        assert_eq!(verdict(100, 8, quiet), Between);
        assert_eq!(verdict(100, 2, quiet), Good);
        assert_eq!(verdict(10, 10, quiet), Between, "too few to begin");
        assert_eq!(verdict(0, 0, quiet), Quiet);
        assert_eq!(verdict(50, 50, Usual { ran: 1_000, failed: 700, p99_ms: None }.share()), Bad);
        assert_eq!(verdict(30, 5, Usual::default().share()), Between, "little is known");
    }

    #[test]
    fn slowness_needs_a_past_and_a_difference_that_matters() {
        let slow = |ms: f64, ran| Recent { p99_ms: Some(ms), ..of(ran, 0) };
        assert_eq!(p99(&slow(900.0, 100), 300.0).0, Bad);
        assert_eq!(p99(&slow(900.0, 10), 300.0).0, Between);
        assert_eq!(p99(&slow(9.0, 100), 3.0).0, Good);
        assert_eq!(p99(&slow(500.0, 100), 300.0).0, Between);
        assert_eq!(Usual { ran: 10, failed: 0, p99_ms: Some(3.0) }.p99_ms(), None);
    }

    #[test]
    fn refused_credentials_are_measured_by_what_is_usual() {
        let verdict = |refused, usual| authentication(refused, usual).0;
        assert_eq!([verdict(0, 0.0), verdict(10, 0.0), verdict(15, 0.0), verdict(20, 0.0)], [Good, Good, Between, Bad]);
        assert_eq!([verdict(40, 20.0), verdict(99, 20.0), verdict(100, 20.0)], [Good, Between, Bad]);
    }

    #[test]
    fn refusals_begin_later_than_they_end() {
        let refused = |calls, limited| limits(&Recent { calls, limited, ..Recent::default() }).0;
        assert_eq!([refused(100, 20), refused(100, 15), refused(100, 10), refused(0, 0)], [Bad, Between, Good, Quiet]);
        assert_eq!(refused(9, 9), Between);
    }
}
