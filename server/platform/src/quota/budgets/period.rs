//! Days and months of the calendar, in UTC, as days since 1970. Pure.

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, Utc};

use crate::quota::charge::DAY_S;

/// For how long a budget lasts before it begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Period {
    /// A day (UTC).
    Day,
    /// A month of the calendar (UTC).
    Month,
}

impl Period {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Day, Self::Month];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// The period that the day lies in: its first day, and the first one after it.
    pub(super) fn around(self, day: i64) -> (i64, i64) {
        match self {
            Self::Day => (day, day + 1),
            Self::Month => {
                let date = date(day);
                let first = date.with_day(1).unwrap_or(date);
                let next = first.checked_add_months(Months::new(1)).unwrap_or(first);
                (days(first), days(next))
            }
        }
    }
}

/// The day of a moment.
pub(super) fn day_of(at: DateTime<Utc>) -> i64 {
    at.timestamp().div_euclid(DAY_S)
}

/// When the day begins.
pub(super) fn at(day: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(day * DAY_S, 0).unwrap_or_default()
}

/// The day's date.
pub(super) fn date(day: i64) -> NaiveDate {
    let days = Days::new(u64::try_from(day).unwrap_or(0));
    NaiveDate::default().checked_add_days(days).unwrap_or_default()
}

fn days(date: NaiveDate) -> i64 {
    date.signed_duration_since(NaiveDate::default()).num_days()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_that_of_the_calendar() {
        let day = |text: &str| days(text.parse().expect("a date"));
        for (at, first, next) in [
            ("2026-11-21", "2026-11-01", "2026-12-01"),
            ("2026-12-31", "2026-12-01", "2027-01-01"),
            ("2028-02-29", "2028-02-01", "2028-03-01"),
            ("1970-01-01", "1970-01-01", "1970-02-01"),
        ] {
            assert_eq!(Period::Month.around(day(at)), (day(first), day(next)), "{at}");
            assert_eq!(Period::Day.around(day(at)), (day(at), day(at) + 1));
            assert_eq!(date(day(at)).to_string(), at);
        }
    }
}
