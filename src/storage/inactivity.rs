//! Inactivity jobs: what becomes of sessions without messages, and when the next job is due.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::channel::Capabilities;
use crate::domain::delivery::{DeliveryErrorClass, DeliveryStatus};
use crate::domain::inactivity::{self, Decision, Facts, Warning};
use crate::domain::message::MessageKind;
use crate::domain::message_plan::{self, MessagePlan};
use crate::domain::number::SendPolicy;
use crate::domain::outbound_limit::LimitReached;
use crate::domain::quiet_hours::QuietHours;
use crate::domain::session::{Channel, InactivityOutcome, SessionStatus};
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::new_id;
use crate::storage::outbound_limits::{self, ToCount};
use crate::storage::planned_message::{Content, Conversation, PlannedMessage};
use crate::storage::quiet_hours::{self, Quiet};

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
    pub suppressed: Option<DeliveryErrorClass>,
}

/// A session as it was loaded under the lock of its contact.
#[derive(Debug)]
struct Locked {
    session_id: Uuid,
    project_id: Uuid,
    endpoint_id: Uuid,
    contact: String,
    now: DateTime<Utc>,
    channel: Channel,
    status: SessionStatus,
    last_message_at: DateTime<Utc>,
    warn_after_seconds: i32,
    grace_seconds: i32,
    warning_body: String,
    closing_body: Option<String>,
    owes_answer: bool,
    quiet_hours: Option<Json<QuietHours>>,
    warning_status: Option<DeliveryStatus>,
    warning_accepted_at: Option<DateTime<Utc>>,
    send_policy: SendPolicy,
    has_limits: bool,
    smart_encoding: bool,
}

impl Locked {
    /// The contact, if the project has quiet hours.
    fn quiet(&self) -> Option<Quiet<'_>> {
        self.quiet_hours.map(|Json(hours)| Quiet { hours, contact: &self.contact, now: self.now })
    }

    fn facts(&self, capabilities: Capabilities, quiet_until: Option<DateTime<Utc>>) -> Facts {
        let warning = match self.status {
            SessionStatus::Open => None,
            // A warning has its delivery. Without it nobody would know whether the contact was
            // warned.
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
            quiet_until,
            warning,
            has_closing: self.closing_body.is_some(),
            has_warnings: capabilities.inactivity_warnings,
        }
    }

    /// What decides about a message of the session.
    fn of_message(&self, capabilities: Capabilities) -> message_plan::Facts {
        let Self { send_policy, has_limits, .. } = *self;
        message_plan::Facts { has_delivery: capabilities.delivery_reports, send_policy, has_limits }
    }

    /// The message that a decision says.
    fn says(&self, decision: &Decision, capabilities: Capabilities) -> Option<Content<'_>> {
        let (kind, body) = match decision {
            Decision::LookAgain { .. } => return None,
            Decision::Warn { .. } => (MessageKind::Warning, self.warning_body.as_str()),
            Decision::End { says_closing, .. } => {
                (MessageKind::Closing, self.closing_body.as_deref().filter(|_| *says_closing)?)
            }
        };
        Some(Content { kind, text: capabilities.outbound(body, self.smart_encoding) })
    }

    fn message<'a>(&'a self, says: &Content<'a>, plan: &MessagePlan) -> PlannedMessage<'a> {
        let Self { project_id, session_id, endpoint_id, .. } = *self;
        let conversation = Conversation { project_id, session_id, endpoint_id, contact: &self.contact };
        let planned = PlannedMessage::new(new_id(), conversation, says.clone(), plan);
        let inactivity_seconds = (says.kind == MessageKind::Warning).then_some(self.warn_after_seconds);
        PlannedMessage { inactivity_seconds, ..planned }
    }
}

/// A session with what was decided about it.
struct Session<'a> {
    locked: &'a Locked,
    facts: Facts,
    of_message: message_plan::Facts,
    decision: Decision,
    says: Option<Content<'a>>,
}

impl<'a> Session<'a> {
    fn decide(locked: &'a Locked, capabilities: Capabilities, quiet_until: Option<DateTime<Utc>>) -> Self {
        let facts = locked.facts(capabilities, quiet_until);
        let decision = inactivity::decide(&facts);
        let says = locked.says(&decision, capabilities);
        Self { locked, facts, of_message: locked.of_message(capabilities), decision, says }
    }

    /// Its message, if that must be counted.
    fn to_count(&self) -> Option<ToCount<'a>> {
        self.says.as_ref().and_then(|_| ToCount::one(&self.of_message, self.locked.project_id, &self.locked.contact))
    }
}

/// What is written about a batch, column by column.
#[derive(Debug, Default)]
struct Writes<'a> {
    postponed: Vec<Uuid>,
    postponed_to: Vec<DateTime<Utc>>,
    warned: Vec<Uuid>,
    next_at: Vec<DateTime<Utc>>,
    warnings: Vec<PlannedMessage<'a>>,
    ended: Vec<Uuid>,
    /// When the end of each was due.
    ends_due_at: Vec<DateTime<Utc>>,
    closings: Vec<PlannedMessage<'a>>,
}

/// Decides about the sessions whose job is due, at most `limits.most`, by what their channels can
/// do. It may be ended by a deadlock: it locks as many rows as a batch of turns, and neither knows
/// which rows the other needs. The caller commits, and tells the workers of deliveries when a
/// message is planned.
pub async fn decide(
    connection: &mut PgConnection,
    limits: &ClaimLimits,
    capabilities: &(dyn Fn(Channel) -> Capabilities + Send + Sync),
) -> Result<Vec<Decided>, sqlx::Error> {
    let most = i32::try_from(limits.most).unwrap_or(i32::MAX);
    let locked = sqlx::query_file_as!(Locked, "sql/queries/inactivity/load.sql", most, limits.only.as_deref())
        .fetch_all(&mut *connection)
        .await?;
    let quiet = quiet_hours::until_each(connection, locked.iter().map(Locked::quiet)).await?;
    let decided = locked.iter().zip(quiet);
    let sessions: Vec<Session<'_>> =
        decided.map(|(locked, quiet)| Session::decide(locked, capabilities(locked.channel), quiet)).collect();
    let reached = outbound_limits::count_each(connection, sessions.iter().map(Session::to_count)).await?;
    let mut writes = Writes::default();
    let all = sessions.iter().zip(reached).map(|(session, limit)| writes.add(session, limit)).collect();
    writes.write(connection).await?;
    Ok(all)
}

impl<'a> Writes<'a> {
    /// Adds what is to be written about a session. `limit`: the one that stops its message.
    fn add(&mut self, session: &Session<'a>, limit: Option<LimitReached>) -> Decided {
        let Session { locked, facts, of_message, decision, says } = session;
        let plan = message_plan::plan(of_message, limit);
        let message = says.as_ref().map(|says| locked.message(says, &plan));
        let planned = message.is_some();
        let (outcome, late) = match *decision {
            Decision::LookAgain { at } => {
                self.postponed.push(locked.session_id);
                self.postponed_to.push(at);
                (InactivityOutcome::Moved, TimeDelta::zero())
            }
            Decision::Warn { due_at } => {
                self.warned.push(locked.session_id);
                self.next_at.push(inactivity::next_look(facts, &plan));
                self.warnings.extend(message);
                (InactivityOutcome::Warned, locked.now - due_at)
            }
            Decision::End { due_at, .. } => {
                self.ended.push(locked.session_id);
                self.ends_due_at.push(due_at);
                self.closings.extend(message);
                (InactivityOutcome::Ended, locked.now - due_at)
            }
        };
        Decided {
            session_id: locked.session_id,
            project_id: locked.project_id,
            outcome,
            late_seconds: late.as_seconds_f64(),
            planned,
            suppressed: limit.map(|limit| limit.class()),
        }
    }

    /// Writes a batch.
    async fn write(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !self.postponed.is_empty() {
            sqlx::query_file!("sql/queries/inactivity/postpone.sql", &self.postponed[..], &self.postponed_to[..])
                .execute(&mut *connection)
                .await?;
        }
        if !self.warned.is_empty() {
            let (sessions, next_at) = (&self.warned[..], &self.next_at[..]);
            sqlx::query_file!("sql/queries/inactivity/warn.sql", sessions, next_at, self.warnings as _)
                .execute(&mut *connection)
                .await?;
        }
        if !self.ended.is_empty() {
            let (sessions, due_at) = (&self.ended[..], &self.ends_due_at[..]);
            sqlx::query_file!("sql/queries/inactivity/end.sql", sessions, due_at, self.closings as _)
                .execute(connection)
                .await?;
        }
        Ok(())
    }
}

/// In how many seconds the next job is due. Negative when one is overdue, `None` when there is
/// none.
pub async fn next_due(connection: &mut PgConnection) -> Result<Option<f64>, sqlx::Error> {
    sqlx::query_file_scalar!("sql/queries/inactivity/next_due.sql").fetch_one(connection).await
}
