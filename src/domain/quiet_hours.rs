//! Quiet hours of a contact, by the clocks of the time zones that the contact's number may be in.

use chrono::{DateTime, NaiveTime, Utc};
use serde::Deserialize;

/// The hours of a project in which its contacts get no message that can wait. They may pass midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct QuietHours {
    /// When they begin.
    pub from: NaiveTime,
    /// When they end.
    pub until: NaiveTime,
}

/// The clock of a time zone now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct LocalClock {
    /// The local time of day.
    pub time: NaiveTime,
    /// When it is `QuietHours::until` on this local day.
    pub ends_today: DateTime<Utc>,
    /// When it is `QuietHours::until` on the next local day.
    pub ends_tomorrow: DateTime<Utc>,
}

/// The quiet hours of a project, with the clocks of the zones that a contact may be in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Facts {
    pub hours: QuietHours,
    pub clocks: Vec<LocalClock>,
}

impl Facts {
    /// When it is no longer quiet for the contact; `None` if it is not quiet now.
    pub fn quiet_until(&self) -> Option<DateTime<Utc>> {
        quiet_until(self.hours, &self.clocks)
    }
}

/// When the quiet hours end in the last of the zones in which they last now; `None` if they last in none.
pub fn quiet_until(hours: QuietHours, clocks: &[LocalClock]) -> Option<DateTime<Utc>> {
    clocks.iter().filter_map(|clock| ends(hours, clock)).max()
}

fn ends(hours: QuietHours, clock: &LocalClock) -> Option<DateTime<Utc>> {
    let (from, until, now) = (hours.from, hours.until, clock.time);
    if from < until {
        (from <= now && now < until).then_some(clock.ends_today)
    } else if now >= from {
        Some(clock.ends_tomorrow)
    } else {
        (now < until).then_some(clock.ends_today)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> NaiveTime {
        text.parse().unwrap_or_default()
    }

    fn hours(from: &str, until: &str) -> QuietHours {
        QuietHours { from: time(from), until: time(until) }
    }

    fn instant(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(hour * 3600, 0).unwrap_or_default()
    }

    fn clock(now: &str) -> LocalClock {
        LocalClock { time: time(now), ends_today: instant(8), ends_tomorrow: instant(32) }
    }

    #[test]
    fn quiet_hours_may_pass_midnight() {
        for (from, until, now, expected) in [
            ("21:00:00", "08:00:00", "20:59:59", None),
            ("21:00:00", "08:00:00", "21:00:00", Some(32)),
            ("21:00:00", "08:00:00", "23:59:59", Some(32)),
            ("21:00:00", "08:00:00", "00:00:00", Some(8)),
            ("21:00:00", "08:00:00", "07:59:59", Some(8)),
            ("21:00:00", "08:00:00", "08:00:00", None),
            ("00:30:00", "08:00:00", "00:29:59", None),
            ("00:30:00", "08:00:00", "00:30:00", Some(8)),
            ("00:30:00", "08:00:00", "08:00:00", None),
            // The same time twice means the whole day.
            ("08:00:00", "08:00:00", "12:00:00", Some(32)),
            ("08:00:00", "08:00:00", "07:00:00", Some(8)),
        ] {
            let found = quiet_until(hours(from, until), &[clock(now)]);
            assert_eq!(found, expected.map(instant), "{from} to {until} at {now}");
        }
    }

    #[test]
    fn the_facts_are_read_as_the_database_writes_them() {
        let written = r#"{"hours": {"from": "21:00:00", "until": "08:00:00"}, "clocks": [{"time": "22:15:00.123456",
            "ends_today": "1970-01-01T08:00:00+00:00", "ends_tomorrow": "1970-01-02T08:00:00+00:00"}]}"#;
        let facts: Option<Facts> = serde_json::from_str(written).ok();
        assert_eq!(facts.and_then(|facts| facts.quiet_until()), Some(instant(32)));
    }

    #[test]
    fn of_several_zones_the_last_one_that_is_quiet_counts() {
        let hours = hours("21:00:00", "08:00:00");
        let east = LocalClock { ends_today: instant(12), ..clock("07:30:00") };
        let west = LocalClock { ends_today: instant(15), ..clock("04:30:00") };
        let awake = LocalClock { ends_today: instant(99), ..clock("12:00:00") };
        assert_eq!(quiet_until(hours, &[east, west, awake]), Some(instant(15)));
        assert_eq!(quiet_until(hours, &[awake]), None);
        assert_eq!(quiet_until(hours, &[]), None);
    }
}
