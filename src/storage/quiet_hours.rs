//! Until when it is quiet for contacts: the clocks of their time zones are the database's, whose
//! zones the system keeps up to date.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::domain::quiet_hours::{QuietHours, Span, quiet_until};
use crate::domain::time_zone::{self, TimeZone, TimeZones};

/// A contact of a project that has quiet hours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quiet<'a> {
    pub(super) hours: QuietHours,
    pub(super) contact: &'a str,
    /// The time of the transaction.
    pub(super) now: DateTime<Utc>,
}

/// The quiet hours of zones that the database knows.
type Spans = BTreeMap<(QuietHours, TimeZone), Vec<Span>>;

/// Until when it is quiet for each contact. `None` is a contact of a project without quiet hours,
/// and if all are, no statement runs.
pub(super) async fn until_each<'a>(
    connection: &mut PgConnection,
    contacts: impl Iterator<Item = Option<Quiet<'a>>>,
) -> Result<Vec<Option<DateTime<Utc>>>, sqlx::Error> {
    let contacts: Vec<Option<(Quiet<'a>, TimeZones)>> =
        contacts.map(|quiet| quiet.map(|quiet| (quiet, time_zone::zones(quiet.contact)))).collect();
    let spans = load(connection, &contacts).await?;
    let until = |(quiet, zones): &(Quiet<'_>, TimeZones)| {
        let known: Vec<Vec<Span>> = zones.iter().filter_map(|zone| spans.get(&(quiet.hours, *zone)).cloned()).collect();
        match (known.is_empty(), spans.get(&(quiet.hours, TimeZone::UTC))) {
            (true, Some(utc)) => quiet_until(quiet.now, std::slice::from_ref(utc)),
            _ => quiet_until(quiet.now, &known),
        }
    };
    Ok(contacts.iter().map(|contact| contact.as_ref().and_then(until)).collect())
}

/// Loads the quiet hours of all zones of contacts, and those of UTC, by which a contact goes whose
/// zones the database does not know.
async fn load(
    connection: &mut PgConnection,
    contacts: &[Option<(Quiet<'_>, TimeZones)>],
) -> Result<Spans, sqlx::Error> {
    let mut wanted: BTreeMap<(QuietHours, TimeZone), ()> = BTreeMap::new();
    for (quiet, zones) in contacts.iter().flatten() {
        wanted.extend(zones.iter().chain([&TimeZone::UTC]).map(|zone| ((quiet.hours, *zone), ())));
    }
    if wanted.is_empty() {
        return Ok(Spans::new());
    }
    let zones: Vec<&str> = wanted.keys().map(|(_, zone)| zone.as_str()).collect();
    let older: Vec<Option<&str>> = wanted.keys().map(|(_, zone)| zone.older().map(TimeZone::as_str)).collect();
    let from: Vec<NaiveTime> = wanted.keys().map(|(hours, _)| hours.from).collect();
    let until: Vec<NaiveTime> = wanted.keys().map(|(hours, _)| hours.until).collect();
    let spans: Vec<Option<Json<Vec<Span>>>> = sqlx::query_file_scalar!(
        "sql/queries/quiet_hours/load_spans.sql",
        &zones[..] as &[&str],
        &older[..] as &[Option<&str>],
        &from[..],
        &until[..]
    )
    .fetch_all(connection)
    .await?;
    let known = wanted.into_keys().zip(spans).filter_map(|(key, spans)| Some((key, spans?.0)));
    Ok(known.collect())
}

/// The zones of phone numbers that the database knows neither by their name nor by the one that
/// stands in for it.
pub async fn unknown_zones(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let all = time_zone::all();
    let zones: Vec<&str> = all.iter().map(|zone| zone.as_str()).collect();
    let older: Vec<Option<&str>> = all.iter().map(|zone| zone.older().map(TimeZone::as_str)).collect();
    sqlx::query_file_scalar!(
        "sql/queries/quiet_hours/unknown_zones.sql",
        &zones[..] as &[&str],
        &older[..] as &[Option<&str>]
    )
    .fetch_all(connection)
    .await
}
