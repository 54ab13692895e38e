//! Quiet hours of a contact, by the clocks of the time zones that the contact's number may be in.
//!
//! docs/decisions/016-time-zones.md has the reasons.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use serde::Deserialize;

/// The hours of a project in which its contacts get no message that can wait. They may pass
/// midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
pub struct QuietHours {
    /// When they begin.
    pub from: NaiveTime,
    /// When they end.
    pub until: NaiveTime,
}

/// The quiet hours of one day in one time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Span {
    /// Their first instant.
    pub from: DateTime<Utc>,
    /// The first instant after them.
    pub until: DateTime<Utc>,
}

impl Span {
    fn includes(&self, at: DateTime<Utc>) -> bool {
        self.from <= at && at < self.until
    }
}

/// How far ahead an hour is looked for that is quiet in no zone. Days repeat, but for the two in a
/// year that change the clocks.
const HORIZON: TimeDelta = TimeDelta::hours(48);

/// How far ahead an hour is looked for that is quiet in the fewest zones.
const DAY: TimeDelta = TimeDelta::hours(24);

/// When it is no longer quiet for a contact; `None` if it is not quiet now. `zones`: the quiet
/// hours of each zone that the contact may be in, from before now until [`HORIZON`] ahead.
///
/// It is quiet as long as it is in any zone. Zones that are far apart may leave no hour of a day,
/// as those of Russia do with 14 quiet hours. Then the hour counts in which it is quiet in the
/// fewest: nobody waits for ever.
pub fn quiet_until(now: DateTime<Utc>, zones: &[Vec<Span>]) -> Option<DateTime<Utc>> {
    let mut free = now;
    // In a zone where it is quiet, it stays so until the span ends. So no instant before the last
    // of these ends is free.
    while let Some(end) = spans(zones).filter(|span| span.includes(free)).map(|span| span.until).max() {
        free = end;
        if free > now + HORIZON {
            return least_quiet(now, zones);
        }
    }
    (free > now).then_some(free)
}

/// The first instant of the day ahead at which it is quiet in the fewest zones; `None` if now is as
/// good.
fn least_quiet(now: DateTime<Utc>, zones: &[Vec<Span>]) -> Option<DateTime<Utc>> {
    let quiet_at = |at: DateTime<Utc>| zones.iter().filter(|zone| zone.iter().any(|span| span.includes(at))).count();
    // Their number only falls where a span ends.
    let ends = spans(zones).map(|span| span.until).filter(|end| *end > now && *end <= now + DAY);
    let (fewest, at) = ends.map(|end| (quiet_at(end), end)).min()?;
    (fewest < quiet_at(now)).then_some(at)
}

fn spans(zones: &[Vec<Span>]) -> impl Iterator<Item = &Span> {
    zones.iter().flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(minutes * 60, 0).unwrap_or_default()
    }

    /// The quiet hours of a zone that is `offset` minutes ahead of UTC, from the day before instant
    /// 0 until three days after it.
    fn zone(from: i64, until: i64, offset: i64) -> Vec<Span> {
        let length = (until - from).rem_euclid(1440);
        (-2..=3)
            .map(|day| day * 1440 + from - offset)
            .map(|begin| Span { from: at(begin), until: at(begin + length) })
            .collect()
    }

    const NIGHT: (i64, i64) = (21 * 60, 8 * 60);

    fn night(offset_hours: i64) -> Vec<Span> {
        zone(NIGHT.0, NIGHT.1, offset_hours * 60)
    }

    #[test]
    fn quiet_hours_may_pass_midnight() {
        for (from, until, now, expected) in [
            (1260, 480, 1259, None),
            (1260, 480, 1260, Some(1920)),
            (1260, 480, 1439, Some(1920)),
            (1260, 480, 0, Some(480)),
            (1260, 480, 479, Some(480)),
            (1260, 480, 480, None),
            (30, 480, 29, None),
            (30, 480, 30, Some(480)),
            (30, 480, 480, None),
        ] {
            assert_eq!(quiet_until(at(now), &[zone(from, until, 0)]), expected.map(at), "{from} to {until} at {now}");
        }
    }

    #[test]
    fn of_several_zones_the_last_one_that_is_quiet_counts() {
        let (perth, sydney) = (night(8), night(11));
        // 05:00 in Perth is 08:00 in Sydney.
        let now = at(21 * 60);
        assert_eq!(quiet_until(now, std::slice::from_ref(&sydney)), None);
        assert_eq!(quiet_until(now, &[sydney.clone(), perth.clone()]), Some(at(24 * 60)), "08:00 in Perth");
        // 20:30 in Perth is 23:30 in Sydney: the night begins in Sydney and ends in Perth.
        let evening = at(12 * 60 + 30);
        assert_eq!(quiet_until(evening, &[perth, sydney]), Some(at(24 * 60)));
        assert_eq!(quiet_until(evening, &[]), None);
    }

    #[test]
    fn zones_that_leave_no_hour_go_by_the_one_in_which_the_fewest_are_quiet() {
        // From Kaliningrad to Kamchatka there is always some zone with a time between 18:00 and
        // 09:00.
        let russia: Vec<Vec<Span>> = [2, 3, 5, 7, 12].map(|offset| zone(18 * 60, 9 * 60, offset * 60)).into();
        let chosen = quiet_until(at(20 * 60), &russia);
        assert_eq!(chosen, Some(at(31 * 60)), "09:00 in Kaliningrad, when it is quiet in Kamchatka alone");
        assert_eq!(quiet_until(at(31 * 60), &russia), None, "what has waited for that hour leaves in it");
    }

    #[test]
    fn spans_are_read_as_the_database_writes_them() {
        let written = r#"[{"from": "1970-01-01T21:00:00+00:00", "until": "1970-01-02T10:00:00+02:00"}]"#;
        let spans: Option<Vec<Span>> = serde_json::from_str(written).ok();
        assert_eq!(spans, Some(vec![Span { from: at(21 * 60), until: at(32 * 60) }]));
    }

    proptest! {
        #[test]
        fn a_text_waits_only_while_some_zone_is_quiet_and_never_for_ever(
            from in 0_i64..1440, length in 1_i64..1440, offsets in prop::collection::vec(-44_i64..=56, 0..8), now in 0_i64..1440,
        ) {
            let zones: Vec<Vec<Span>> = offsets.iter().map(|quarter| zone(from, from + length, quarter * 15)).collect();
            let quiet = |at| zones.iter().filter(|zone| zone.iter().any(|span| span.includes(at))).count();
            let now = at(now);
            match quiet_until(now, &zones) {
                None => {
                    let fewest = (0..1440).map(|minute| quiet(now + TimeDelta::minutes(minute))).min();
                    prop_assert_eq!(Some(quiet(now)), fewest.filter(|_| quiet(now) > 0).or(Some(0)));
                }
                Some(until) => {
                    prop_assert!(until > now && until <= now + DAY && quiet(now) > 0);
                    prop_assert!(quiet(until) < quiet(now));
                    // Where there is an hour that is quiet nowhere, it is the first one.
                    let free = (0..1440).map(|minute| now + TimeDelta::minutes(minute)).find(|at| quiet(*at) == 0);
                    prop_assert!(free.is_none_or(|free| free == until), "{free:?} {until}");
                }
            }
        }
    }
}
