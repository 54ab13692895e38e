//! Limits on outbound messages: the count of messages, the usage of each limit, and the countries
//! that a project may send to. The schema decides what exceeds a limit.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::message_plan;
use crate::domain::outbound_limit::{LimitReached, OutboundLimit};
use crate::storage::passes::at_ordinal;

/// Messages to a contact that are about to be planned.
#[derive(Debug, Clone, Copy)]
pub(super) struct ToCount<'a> {
    pub(super) project_id: Uuid,
    pub(super) contact: &'a str,
    pub(super) messages: usize,
}

impl<'a> ToCount<'a> {
    /// One message, if it must be counted.
    pub(super) fn one(facts: &message_plan::Facts, project_id: Uuid, contact: &'a str) -> Option<Self> {
        message_plan::must_count(facts).then_some(Self { project_id, contact, messages: 1 })
    }
}

/// The positions of messages that a limit stops, with the limits.
pub(super) type Limits = Vec<(usize, LimitReached)>;

/// A row of `count_messages`.
struct LimitRow {
    ordinal: i64,
    message: i32,
    full_limit: OutboundLimit,
    most: i32,
    until_at: DateTime<Utc>,
}

/// Counts messages, and returns the limits that stop some of each item's. What is `None` needs no
/// count, and if all are, no statement runs. The caller holds the locks of the contacts.
pub(super) async fn count<'a>(
    connection: &mut PgConnection,
    items: impl Iterator<Item = Option<ToCount<'a>>>,
) -> Result<Vec<Limits>, sqlx::Error> {
    let items: Vec<Option<ToCount<'a>>> = items.collect();
    let mut limits = vec![Limits::new(); items.len()];
    let counted = items.iter().zip(&mut limits).filter_map(|(item, limits)| Some((item.as_ref()?, limits)));
    let (items, mut counted): (Vec<&ToCount<'_>>, Vec<&mut Limits>) = counted.unzip();
    if items.is_empty() {
        return Ok(limits);
    }
    let projects: Vec<Uuid> = items.iter().map(|item| item.project_id).collect();
    let contacts: Vec<&str> = items.iter().map(|item| item.contact).collect();
    let messages: Vec<i32> = items.iter().map(|item| i32::try_from(item.messages).unwrap_or(i32::MAX)).collect();
    let counting = sqlx::query_file_as!(
        LimitRow,
        "sql/queries/outbound/count_messages.sql",
        &projects[..],
        &contacts[..] as &[&str],
        &messages[..]
    );
    for LimitRow { ordinal, message, full_limit: limit, most, until_at: until } in
        counting.fetch_all(connection).await?
    {
        let position = usize::try_from(message - 1).ok();
        if let Some((limits, position)) = at_ordinal(&mut counted, ordinal).zip(position) {
            limits.push((position, LimitReached { limit, most, until }));
        }
    }
    Ok(limits)
}

/// Counts a single message, and returns the limit that stops it, as [`count`] does.
pub(super) async fn count_one(
    connection: &mut PgConnection,
    item: Option<ToCount<'_>>,
) -> Result<Option<LimitReached>, sqlx::Error> {
    Ok(count_each(connection, std::iter::once(item)).await?.into_iter().next().flatten())
}

/// Counts single messages, and returns the limit that stops each, as [`count`] does.
pub(super) async fn count_each<'a>(
    connection: &mut PgConnection,
    items: impl Iterator<Item = Option<ToCount<'a>>>,
) -> Result<Vec<Option<LimitReached>>, sqlx::Error> {
    let limits = count(connection, items).await?;
    Ok(limits.into_iter().map(|limits| limits.first().map(|(_, limit)| *limit)).collect())
}

/// The usage of a limit in the current window.
#[derive(Debug, Clone)]
pub struct Usage {
    pub limit: OutboundLimit,
    /// The limit. 0 means no limit, and then nothing is counted.
    pub most: i32,
    pub sent: i32,
    /// When the window ends; null without a current window.
    pub resets_at: Option<DateTime<Utc>>,
}

/// A project's usage of its limits, and with a contact the usage of that contact's limits.
pub async fn usage(
    connection: &mut PgConnection,
    project_id: Uuid,
    contact: Option<&str>,
) -> Result<Vec<Usage>, sqlx::Error> {
    sqlx::query_file_as!(Usage, "sql/queries/outbound/usage.sql", project_id, contact).fetch_all(connection).await
}

/// A limit that is reached.
#[derive(Debug, Clone)]
pub struct AtLimit {
    /// The project's name.
    pub name: String,
    pub limit: OutboundLimit,
    pub most: i32,
    /// How many contacts are at the limit; 1 for a limit of the whole project.
    pub contacts: i64,
    pub resets_at: DateTime<Utc>,
}

/// The limits that projects have reached now.
pub async fn at_limit(connection: &mut PgConnection) -> Result<Vec<AtLimit>, sqlx::Error> {
    sqlx::query_file_as!(AtLimit, "sql/queries/outbound/at_limit.sql").fetch_all(connection).await
}

/// The countries that a project may send to, if it has a list of its own.
pub async fn allowed_countries(
    connection: &mut PgConnection,
    project_id: Uuid,
) -> Result<Option<Arc<[String]>>, sqlx::Error> {
    let found = sqlx::query_file_scalar!("sql/queries/outbound/allowed_countries.sql", project_id)
        .fetch_optional(connection)
        .await?;
    Ok(found.flatten().map(Arc::from))
}
