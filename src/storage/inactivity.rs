//! Inactivity jobs: what becomes of sessions without messages, and when the next job is due.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::channel::Capabilities;
use crate::domain::delivery::{DeliveryStatus, RefusalReason};
use crate::domain::inactivity::{self, Decision, Facts, Warning};
use crate::domain::quiet_hours;
use crate::domain::segments::Encoding;
use crate::domain::session::{Channel, InactivityOutcome, SessionStatus};
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::new_id;

/// What was decided about one session.
#[derive(Debug, Clone)]
pub struct Decided {
    pub session_id: Uuid,
    pub project_id: Uuid,
    pub outcome: InactivityOutcome,
    /// How long after its time it was warned or ended.
    pub late_seconds: f64,
    /// Whether a message is planned.
    pub planned: bool,
    /// The project's limit that suppressed the warning or the closing message.
    pub refused: Option<RefusalReason>,
}

/// A session as it was loaded under the lock of its contact.
#[derive(Debug)]
struct Locked {
    session_id: Uuid,
    project_id: Uuid,
    now: DateTime<Utc>,
    channel: Channel,
    status: SessionStatus,
    last_message_at: DateTime<Utc>,
    warn_after_seconds: i32,
    grace_seconds: i32,
    warning_body: String,
    closing_body: Option<String>,
    owes_answer: bool,
    quiet_hours: Option<Json<quiet_hours::Facts>>,
    warning_status: Option<DeliveryStatus>,
    warning_accepted_at: Option<DateTime<Utc>>,
}

impl Locked {
    fn facts(&self, capabilities: Capabilities) -> Facts {
        let warning = match self.status {
            SessionStatus::Open => None,
            // A warning has its delivery. Without it nobody would know whether the contact was warned.
            SessionStatus::Warned | SessionStatus::Closed => Some(Warning {
                status: self.warning_status.unwrap_or(DeliveryStatus::Unknown),
                accepted_at: self.warning_accepted_at,
            }),
        };
        Facts {
            now: self.now,
            last_message_at: self.last_message_at,
            warn_after: TimeDelta::seconds(self.warn_after_seconds.into()),
            grace: TimeDelta::seconds(self.grace_seconds.into()),
            owes_answer: self.owes_answer,
            quiet_until: self.quiet_hours.as_ref().and_then(|facts| facts.quiet_until()),
            warning,
            has_closing: self.closing_body.is_some(),
            has_warnings: capabilities.inactivity_warnings,
        }
    }

    fn decided(&self, outcome: InactivityOutcome, due_at: DateTime<Utc>, planned: bool) -> Decided {
        let late_seconds = match outcome {
            InactivityOutcome::Moved => 0.0,
            InactivityOutcome::Warned | InactivityOutcome::Ended => (self.now - due_at).as_seconds_f64(),
        };
        let (session_id, project_id) = (self.session_id, self.project_id);
        Decided { session_id, project_id, outcome, late_seconds, planned, refused: None }
    }
}

/// What is written about a batch, column by column.
#[derive(Debug, Default)]
struct Writes {
    postponed: Vec<Uuid>,
    postponed_to: Vec<DateTime<Utc>>,
    warned: Vec<Uuid>,
    warnings: Messages,
    ended: Vec<Uuid>,
    closings: Messages,
}

/// Messages that are to be planned, column by column; all columns are null where a session gets none.
#[derive(Debug, Default)]
struct Messages {
    ids: Vec<Option<Uuid>>,
    bodies: Vec<Option<String>>,
    encodings: Vec<Option<Encoding>>,
    segments: Vec<Option<i32>>,
    delivered: Vec<bool>,
}

impl Messages {
    fn push(&mut self, body: Option<&str>, capabilities: Capabilities) {
        let segmentation = body.and_then(|body| capabilities.segmentation(body));
        self.delivered.push(capabilities.delivery_reports);
        self.ids.push(body.map(|_| new_id()));
        self.bodies.push(body.map(str::to_owned));
        self.encodings.push(segmentation.map(|text| text.encoding));
        self.segments.push(segmentation.map(|text| text.segments));
    }
}

/// Decides about the sessions whose job is due, at most `limits.most`, by what their channels can do. It may be ended by a deadlock: it locks as many rows
/// as a batch of turns, and neither knows which rows the other needs. The caller commits, and tells the workers of
/// deliveries when a message is planned.
pub async fn decide(
    connection: &mut PgConnection,
    limits: &ClaimLimits,
    capabilities: &(dyn Fn(Channel) -> Capabilities + Send + Sync),
) -> Result<Vec<Decided>, sqlx::Error> {
    let most = i32::try_from(limits.most).unwrap_or(i32::MAX);
    let sessions = sqlx::query_file_scalar!("sql/queries/inactivity/lock_due.sql", most, limits.only.as_deref())
        .fetch_one(&mut *connection)
        .await?;
    if sessions.is_empty() {
        return Ok(Vec::new());
    }
    let locked = sqlx::query_file_as!(Locked, "sql/queries/inactivity/load.sql", &sessions[..])
        .fetch_all(&mut *connection)
        .await?;
    let mut writes = Writes::default();
    let mut all: Vec<Decided> =
        locked.iter().map(|session| writes.add(session, capabilities(session.channel))).collect();
    let refused = writes.write(connection).await?;
    for decided in &mut all {
        decided.refused = refused.get(&decided.session_id).copied();
    }
    Ok(all)
}

impl Writes {
    /// Decides about a session and adds what is to be written about it.
    fn add(&mut self, session: &Locked, capabilities: Capabilities) -> Decided {
        match inactivity::decide(&session.facts(capabilities)) {
            Decision::LookAgain { at } => {
                self.postponed.push(session.session_id);
                self.postponed_to.push(at);
                session.decided(InactivityOutcome::Moved, at, false)
            }
            Decision::Warn { due_at } => {
                self.warned.push(session.session_id);
                self.warnings.push(Some(&session.warning_body), capabilities);
                session.decided(InactivityOutcome::Warned, due_at, true)
            }
            Decision::End { due_at, says_closing } => {
                self.ended.push(session.session_id);
                self.closings.push(session.closing_body.as_deref().filter(|_| says_closing), capabilities);
                session.decided(InactivityOutcome::Ended, due_at, says_closing)
            }
        }
    }

    /// Writes a batch. Returns the limits that suppressed messages.
    async fn write(&self, connection: &mut PgConnection) -> Result<HashMap<Uuid, RefusalReason>, sqlx::Error> {
        let mut refused = HashMap::new();
        if !self.postponed.is_empty() {
            sqlx::query_file!("sql/queries/inactivity/postpone.sql", &self.postponed[..], &self.postponed_to[..])
                .execute(&mut *connection)
                .await?;
        }
        if !self.warned.is_empty() {
            let Messages { ids, bodies, encodings, segments, .. } = &self.warnings;
            let warning = sqlx::query_file!(
                "sql/queries/inactivity/warn.sql",
                &self.warned[..],
                &ids[..] as _,
                &bodies[..] as _,
                &encodings[..] as _,
                &segments[..] as _,
            );
            refused.extend(
                warning
                    .fetch_all(&mut *connection)
                    .await?
                    .into_iter()
                    .filter_map(|row| Some((row.session_id, row.refused?))),
            );
        }
        if !self.ended.is_empty() {
            let Messages { ids, bodies, encodings, segments, delivered } = &self.closings;
            let ending = sqlx::query_file!(
                "sql/queries/inactivity/end.sql",
                &self.ended[..],
                &ids[..] as _,
                &bodies[..] as _,
                &encodings[..] as _,
                &segments[..] as _,
                &delivered[..],
            );
            refused.extend(
                ending.fetch_all(connection).await?.into_iter().filter_map(|row| Some((row.session_id, row.refused?))),
            );
        }
        Ok(refused)
    }
}

/// In how many seconds the next job is due. Negative when one is overdue, `None` when there is none.
pub async fn next_due(connection: &mut PgConnection) -> Result<Option<f64>, sqlx::Error> {
    sqlx::query_file_scalar!("sql/queries/inactivity/next_due.sql").fetch_one(connection).await
}
