//! Whole days in UTC, in which the windows of entries are given.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_hours(24);

/// A day of the Gregorian calendar in UTC, from 1970 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u32);

impl Day {
    /// Returns the day of a time. A time before 1970 counts as its first day, one too far ahead as the last day.
    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u32::try_from(since.as_secs() / DAY.as_secs()).unwrap_or(u32::MAX))
    }

    /// Parses `YYYY-MM-DD` (RFC 3339, full-date). Returns `None` for other texts, and for days before 1970.
    pub fn parse(text: &str) -> Option<Self> {
        let is_date = text.len() == "1970-01-01".len();
        is_date.then(|| humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).ok().map(Self::of)).flatten()
    }

    /// Returns the day after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns the time at which the day begins.
    pub fn begin(self) -> SystemTime {
        UNIX_EPOCH + DAY * self.0
    }
}

impl FromStr for Day {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).ok_or("expected a date such as 2026-12-01")
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&humantime::format_rfc3339_seconds(self.begin()).to_string()[..10])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_in_utc() {
        let day = Day::parse("2026-12-01").expect("a day");
        assert_eq!(day.to_string(), "2026-12-01");
        assert_eq!(Day::of(day.begin()), day);
        assert_eq!(Day::of(day.begin() - Duration::from_nanos(1)).next(), day);
        assert_eq!(day.next().to_string(), "2026-12-02");
        assert_eq!(Day::parse("2028-02-29").map(Day::next), Day::parse("2028-03-01"));
        assert_eq!(Day::of(UNIX_EPOCH - DAY), Day::of(UNIX_EPOCH));
    }

    #[test]
    fn refuses_what_is_no_date() {
        for text in ["", "2026-02-29", "2026-13-01", "2026-1-1", "1969-12-31", "today", "2026-12-01T00"] {
            assert_eq!(Day::parse(text), None, "{text}");
        }
    }
}
