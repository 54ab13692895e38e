//! The times that people give to `textback report`: `7d` ago, or a date.

use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

/// The longest time that can be given. It is over the age of any textback, and no sum of times
/// overflows.
const MOST_DAYS: i64 = 3660;

/// A length of time, such as `12h`, `7d` or `2w`. It is positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub seconds: i64,
}

/// A point in time, relative to now or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Ago(Span),
    At(DateTime<Utc>),
}

/// Why a text is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    #[error("give a whole number and h, d or w, such as 12h, 7d or 2w")]
    NotASpan,
    #[error("give how long ago, such as 12h, 7d or 2w, or a date, such as 2026-11-01 or 2026-11-01T08:00:00Z")]
    NotAMoment,
    #[error("it must be longer than nothing")]
    Nothing,
    #[error("it is at most {MOST_DAYS}d")]
    TooLong,
}

impl FromStr for Span {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        let unit = text.chars().last().ok_or(MomentError::NotASpan)?;
        let seconds = match unit {
            'h' => 3_600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            _ => return Err(MomentError::NotASpan),
        };
        let digits = text.trim_end_matches(unit);
        if digits.is_empty() || digits.len() + 1 != text.len() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(MomentError::NotASpan);
        }
        let seconds = digits.parse::<i64>().ok().and_then(|count| count.checked_mul(seconds));
        match seconds {
            Some(0) => Err(MomentError::Nothing),
            Some(seconds) if seconds <= MOST_DAYS * 86_400 => Ok(Self { seconds }),
            _ => Err(MomentError::TooLong),
        }
    }
}

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        if let Ok(at) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::At(at.to_utc()));
        }
        if let Ok(day) = text.parse::<NaiveDate>() {
            return Ok(Self::At(day.and_time(NaiveTime::MIN).and_utc()));
        }
        match text.parse() {
            Ok(span) => Ok(Self::Ago(span)),
            Err(MomentError::NotASpan) => Err(MomentError::NotAMoment),
            Err(error) => Err(error),
        }
    }
}

impl Moment {
    /// The point in time, if it is now `now`.
    pub fn at(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::Ago(Span { seconds }) => now - TimeDelta::seconds(seconds),
            Self::At(at) => at,
        }
    }
}

/// The length of a bucket in seconds, for a time of at least so many days. A time then has some
/// thirty of them. The views that are counted by the hour have none shorter.
pub const BUCKETS: [(i64, i64); 4] = [(61, 604_800), (11, 86_400), (3, 21_600), (0, 3_600)];

/// The length of a bucket for a time.
pub fn bucket_of(from: DateTime<Utc>, to: DateTime<Utc>) -> Span {
    let days = (to - from).num_days();
    let found = BUCKETS.iter().find(|(least, _)| days >= *least);
    Span { seconds: found.map_or(3_600, |(_, seconds)| *seconds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_span_or_a_date_and_nonsense_is_told_in_words() {
        let now = DateTime::parse_from_rfc3339("2026-11-30T12:00:00Z").expect("a time").to_utc();
        for (text, expected) in [
            ("7d", Ok("2026-11-23T12:00:00+00:00")),
            ("12h", Ok("2026-11-30T00:00:00+00:00")),
            ("2w", Ok("2026-11-16T12:00:00+00:00")),
            ("2026-11-01", Ok("2026-11-01T00:00:00+00:00")),
            ("2026-11-01T08:00:00+01:00", Ok("2026-11-01T07:00:00+00:00")),
            ("0d", Err(MomentError::Nothing)),
            ("3660d", Ok("2016-11-22T12:00:00+00:00")),
            ("3661d", Err(MomentError::TooLong)),
            ("99999999999999999999h", Err(MomentError::TooLong)),
            ("9223372036854775807w", Err(MomentError::TooLong)),
            ("", Err(MomentError::NotAMoment)),
            ("d", Err(MomentError::NotAMoment)),
            ("7", Err(MomentError::NotAMoment)),
            ("-7d", Err(MomentError::NotAMoment)),
            ("+7d", Err(MomentError::NotAMoment)),
            ("7 d", Err(MomentError::NotAMoment)),
            ("7dd", Err(MomentError::NotAMoment)),
            ("1.5d", Err(MomentError::NotAMoment)),
            ("7m", Err(MomentError::NotAMoment)),
            ("yesterday", Err(MomentError::NotAMoment)),
            ("2026-13-01", Err(MomentError::NotAMoment)),
            ("٧d", Err(MomentError::NotAMoment)),
            ("7é", Err(MomentError::NotAMoment)),
        ] {
            let found = text.parse::<Moment>().map(|moment| moment.at(now).to_rfc3339());
            assert_eq!(found.as_deref(), expected.as_deref(), "{text:?}");
        }
        assert_eq!("7x".parse::<Span>(), Err(MomentError::NotASpan));
    }

    #[test]
    fn a_longer_time_has_longer_buckets() {
        let now = Utc::now();
        for (days, hours) in
            [(0, 1), (1, 1), (2, 1), (3, 6), (7, 6), (11, 24), (30, 24), (60, 24), (61, 168), (365, 168)]
        {
            assert_eq!(bucket_of(now - TimeDelta::days(days), now).seconds, hours * 3_600, "{days}");
        }
    }
}
