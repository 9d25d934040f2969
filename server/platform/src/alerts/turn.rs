//! From looks to messages: an alert begins after some bad looks in a row and ends after more good ones, so that what flaps is told once.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    alert::{Alert, State},
    judge::{Look, Verdict},
};

/// What nobody calls any more cannot be seen to be well again: it is over after this.
const QUIET: TimeDelta = TimeDelta::hours(1);
/// What came back so often lately has to be well for longer: twice as long for each time.
const MOST_DOUBLINGS: i32 = 3;

/// What becomes of an alert.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It goes on, or is over.
    Keep,
    /// It was nothing.
    Forget,
}

/// Enters a look into an alert. `episodes`: how often the same was over within the last hours.
pub(super) fn enter(alert: &mut Alert, look: &Look, episodes: i32, now: DateTime<Utc>) -> Turn {
    match look.verdict {
        Verdict::Bad => {
            (alert.bad, alert.good, alert.last_bad_at) = (alert.bad + 1, 0, now);
            if alert.state == State::Watched && alert.bad >= alert.kind.bad_looks() {
                alert.state = State::Firing;
            }
        }
        _ if alert.state == State::Watched => return Turn::Forget,
        Verdict::Good => {
            (alert.bad, alert.good) = (0, alert.good + 1);
            if alert.good >= alert.kind.good_looks() << episodes.clamp(0, MOST_DOUBLINGS) {
                (alert.state, alert.resolved_at) = (State::Resolved, Some(now));
            }
        }
        Verdict::Between => (alert.bad, alert.good) = (0, 0),
        Verdict::Quiet if now - alert.last_bad_at >= QUIET => (alert.state, alert.resolved_at) = (State::Resolved, Some(now)),
        Verdict::Quiet => alert.bad = 0,
    }
    if look.verdict != Verdict::Quiet || alert.state == State::Resolved {
        alert.message.clone_from(&look.message);
    }
    Turn::Keep
}

#[cfg(test)]
mod tests {
    use super::{super::alert::Kind, *};
    use crate::ids::AlertId;

    fn run(verdicts: &str, episodes: i32) -> Vec<State> {
        let mut alert = alert();
        let mut states = Vec::new();
        for (minute, verdict) in verdicts.chars().enumerate() {
            let verdict = match verdict {
                'b' => Verdict::Bad,
                'g' => Verdict::Good,
                'm' => Verdict::Between,
                _ => Verdict::Quiet,
            };
            let look = Look {
                kind: alert.kind,
                subject: String::new(),
                name: String::new(),
                verdict,
                usual: 0.0,
                message: String::new(),
            };
            let now = DateTime::UNIX_EPOCH + TimeDelta::minutes(i64::try_from(minute).expect("few"));
            if enter(&mut alert, &look, episodes, now) == Turn::Forget {
                break;
            }
            states.push(alert.state);
        }
        states
    }

    fn alert() -> Alert {
        Alert {
            id: AlertId::NIL,
            kind: Kind::ErrorRate,
            subject: String::new(),
            name: String::new(),
            state: State::Watched,
            bad: 0,
            good: 0,
            usual: 0.0,
            message: String::new(),
            since: DateTime::UNIX_EPOCH,
            last_bad_at: DateTime::UNIX_EPOCH,
            resolved_at: None,
            is_told: false,
            acknowledged: None,
            silenced_until: None,
        }
    }

    #[test]
    fn three_bad_looks_begin_it_and_ten_good_ones_end_it() {
        assert_eq!(run("bb", 0).last(), Some(&State::Watched));
        assert_eq!(run("bbb", 0).last(), Some(&State::Firing));
        assert_eq!(run("bbg", 0).len(), 2, "it was nothing");
        assert_eq!(run("bbbggggggggg", 0).last(), Some(&State::Firing));
        assert_eq!(run("bbbgggggggggg", 0).last(), Some(&State::Resolved));
    }

    #[test]
    fn what_flaps_stays_one_alert() {
        let flapping = format!("bbb{}", "gggggbmgggbbg".repeat(20));
        assert!(run(&flapping, 0)[2..].iter().all(|state| *state == State::Firing));
        let again = format!("bbb{}", "g".repeat(79));
        assert_eq!(run(&again, 3).last(), Some(&State::Firing), "it came back too often");
        assert_eq!(run(&format!("{again}g"), 9).last(), Some(&State::Resolved));
    }

    #[test]
    fn what_nobody_calls_is_over_after_an_hour() {
        assert_eq!(run(&format!("bbb{}", "q".repeat(59)), 0).last(), Some(&State::Firing));
        assert_eq!(run(&format!("bbb{}", "q".repeat(60)), 0).last(), Some(&State::Resolved));
    }
}
