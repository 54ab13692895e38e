//! Messages that are to be sent later or after a turn. They become messages with deliveries when
//! they are due.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::channel::ChannelFacts;
use crate::domain::delivery::RefusalReason;
use crate::domain::message::{ScheduledOutcome, WaitReason};
use crate::domain::message_plan::MessagePlan;
use crate::domain::phone_number;
use crate::domain::pool::{Choice, choose};
use crate::domain::sending::{self as rules, Admission, Decision, Facts, OnLandline, Refusal, Request};
use crate::domain::session::{Channel, OnActiveSession};
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::outbound_limits::{self, ToCount};
use crate::storage::pagination::{Page, rows_to_read};
use crate::storage::pool::{self, PoolContact};
use crate::storage::quiet_hours::{self, Quiet};
use crate::storage::sending::{self, PlannedText, SessionEffect};

/// A message that waits for its time, or that was refused when it came.
#[derive(Debug, Clone)]
pub struct ScheduledMessage {
    /// The id that its message will have.
    pub id: Uuid,
    /// Our number. `None`: it is chosen when the message is due.
    pub number: Option<String>,
    /// The carrier's id of the pool that it is sent to.
    pub pool_id: Option<String>,
    pub contact: String,
    pub body: String,
    pub media_urls: Vec<String>,
    pub on_active_session: OnActiveSession,
    pub send_at: DateTime<Utc>,
    /// Later than `send_at` when quiet hours or a limit put it off. `None` once it was refused.
    pub due_at: Option<DateTime<Utc>>,
    /// What it waits for, or waited for before it was refused.
    pub waits_for: WaitReason,
    /// Why it will not be sent.
    pub refusal_reason: Option<RefusalReason>,
    /// The turn whose agent wanted it.
    pub turn_id: Option<Uuid>,
    pub created_at: DateTime<Utc>,
}

/// What became of one that was due.
#[derive(Debug, Clone)]
pub struct Due {
    pub message_id: Uuid,
    pub project_id: Uuid,
    /// The session that it is in now.
    pub session_id: Option<Uuid>,
    /// The turn that sent it, if one did. It is not loaded of a message to a pool that is refused.
    pub turn_id: Option<Uuid>,
    pub outcome: ScheduledOutcome,
    /// How long after its time.
    pub late_seconds: f64,
}

/// One that is due and locked, as it was loaded under the lock of its contact.
#[derive(Debug)]
struct DueMessage {
    id: Uuid,
    project_id: Uuid,
    number_id: Uuid,
    pool_id: Option<String>,
    contact: String,
    body: String,
    media_urls: Vec<String>,
    on_active_session: OnActiveSession,
    turn_id: Option<Uuid>,
    created_at: DateTime<Utc>,
    late_seconds: f64,
    facts: Json<Facts>,
}

impl DueMessage {
    /// The contact, if quiet hours delay the message.
    fn quiet(&self) -> Option<Quiet<'_>> {
        self.facts.quiet_hours.map(|hours| Quiet { hours, contact: &self.contact, now: self.facts.now })
    }

    fn decide(&self, quiet_until: Option<DateTime<Utc>>) -> Decision {
        // An operator was told when the message was planned, and insisted. An agent is not asked.
        let on_landline = match self.turn_id {
            Some(_) => OnLandline::Refuse,
            None => OnLandline::RefuseSince(self.created_at),
        };
        let on_active_session = self.on_active_session;
        rules::decide(&Request { on_active_session, send_at: None, quiet_until, on_landline }, &self.facts)
    }

    fn text(&self, channel: ChannelFacts, effect: SessionEffect, plan: MessagePlan) -> PlannedText<'_> {
        PlannedText {
            message_id: self.id,
            project_id: self.project_id,
            number_id: self.number_id,
            pool_id: self.pool_id.as_deref(),
            contact: &self.contact,
            channel,
            text: channel.capabilities.outbound(&self.body, self.facts.smart_encoding),
            media_urls: &self.media_urls,
            turn_id: self.turn_id,
            effect,
            plan,
        }
    }

    fn due(&self, outcome: ScheduledOutcome, session_id: Option<Uuid>) -> Due {
        let (message_id, project_id, late_seconds) = (self.id, self.project_id, self.late_seconds);
        Due { message_id, project_id, session_id, turn_id: self.turn_id, outcome, late_seconds }
    }
}

/// What is written about scheduled messages, column by column.
#[derive(Debug, Default)]
struct Writes {
    put_off: Vec<Uuid>,
    put_off_to: Vec<DateTime<Utc>>,
    put_off_for: Vec<&'static str>,
    refused: Vec<Uuid>,
    reasons: Vec<&'static str>,
    sent: Vec<Uuid>,
    all: Vec<Due>,
}

/// Turns scheduled messages that are due into messages of a channel with deliveries, at most
/// `limits.most`. It may be ended by a deadlock: it locks as many rows as a batch of turns, and
/// neither knows which rows the other needs. The caller commits. When one was sent, the caller
/// tells the workers of deliveries, and those of turns, because a new session runs its start
/// function.
pub async fn send_due(
    connection: &mut PgConnection,
    limits: &ClaimLimits,
    channel: ChannelFacts,
) -> Result<Vec<Due>, sqlx::Error> {
    let most = i32::try_from(limits.most).unwrap_or(i32::MAX);
    let mut waiting =
        sqlx::query_file_as!(Locked, "sql/queries/scheduled_message/lock_due.sql", most, limits.only.as_deref())
            .fetch_all(&mut *connection)
            .await?;
    let mut writes = Writes::default();
    while !waiting.is_empty() {
        let (first, later) = first_of_each_contact(waiting);
        let ids = choose_numbers(connection, first, channel.channel, &mut writes).await?;
        send_round(connection, &ids, channel, &mut writes).await?;
        waiting = later;
    }
    writes.write(connection).await?;
    Ok(writes.all)
}

/// One that is due and locked.
#[derive(Debug)]
struct Locked {
    message_id: Uuid,
    project_id: Uuid,
    pool_id: Option<String>,
    contact: String,
}

/// Chooses the numbers of messages to pools, and returns all that have a number. A message whose
/// number and contact somebody else has locked stays due.
async fn choose_numbers(
    connection: &mut PgConnection,
    locked: Vec<Locked>,
    channel: Channel,
    writes: &mut Writes,
) -> Result<Vec<Uuid>, sqlx::Error> {
    let mut chosen = Vec::with_capacity(locked.len());
    for message in locked {
        let Locked { message_id, project_id, pool_id, contact } = &message;
        let Some(pool_id) = pool_id else {
            chosen.push(*message_id);
            continue;
        };
        let of = PoolContact { project_id: *project_id, pool_id, contact, channel };
        let facts = pool::facts(&mut *connection, of).await?;
        let number_id = match choose(&facts, contact, phone_number::country(contact).as_deref()) {
            Choice::Number(member) => member.id,
            Choice::ContactOptedOut => {
                writes.refuse_of_pool(&message, Refusal::ContactOptedOut);
                continue;
            }
            Choice::NoNumber => {
                writes.refuse_of_pool(&message, Refusal::NumberDetached);
                continue;
            }
        };
        let assigning =
            sqlx::query_file_scalar!("sql/queries/scheduled_message/assign.sql", message_id, number_id, contact);
        if assigning.fetch_one(&mut *connection).await? {
            chosen.push(*message_id);
        }
    }
    Ok(chosen)
}

/// The first message of a project to each contact, and the others: what the first one does to a
/// session is a fact of the next one, and of the choice of its number.
fn first_of_each_contact(waiting: Vec<Locked>) -> (Vec<Locked>, Vec<Locked>) {
    let (mut first, mut later, mut contacts) = (Vec::new(), Vec::new(), HashSet::new());
    for one in waiting {
        if contacts.insert((one.project_id, one.contact.clone())) {
            first.push(one);
        } else {
            later.push(one);
        }
    }
    (first, later)
}

/// Decides about messages to different contacts and writes those that are sent.
async fn send_round(
    connection: &mut PgConnection,
    ids: &[Uuid],
    channel: ChannelFacts,
    writes: &mut Writes,
) -> Result<(), sqlx::Error> {
    let due = sqlx::query_file_as!(DueMessage, "sql/queries/scheduled_message/load.sql", ids, channel.channel.as_str())
        .fetch_all(&mut *connection)
        .await?;
    let mut to_send = Vec::new();
    let quiet = quiet_hours::until_each(connection, due.iter().map(DueMessage::quiet)).await?;
    for (message, quiet_until) in due.iter().zip(quiet) {
        match message.decide(quiet_until) {
            Decision::Refuse { reason, session_id } => writes.refuse(message, reason, session_id),
            Decision::Wait { until, reason } => writes.put_off(message, until, reason),
            Decision::Send(effect) => {
                to_send.push((message, effect, message.facts.of_message(channel.capabilities.delivery_reports)));
            }
        }
    }
    let to_count = to_send.iter().map(|(message, _, facts)| ToCount::one(facts, message.project_id, &message.contact));
    let limits = outbound_limits::count_each(connection, to_count).await?;
    let mut texts = Vec::new();
    for ((message, effect, facts), limit) in to_send.into_iter().zip(limits) {
        match rules::admit(&facts, limit) {
            Admission::Send(plan) => {
                let effect = SessionEffect::new(effect);
                writes.sent(message, effect.session_id());
                texts.push(message.text(channel, effect, plan));
            }
            Admission::Refuse { reason, until } => {
                match rules::wait_for_limit(message.turn_id.is_some(), message.facts.now, until) {
                    Some(until) => writes.put_off(message, until, WaitReason::OutboundLimit),
                    None => writes.refuse(message, reason, None),
                }
            }
        }
    }
    if !texts.is_empty() {
        sending::write(connection, &texts).await?;
    }
    Ok(())
}

impl Writes {
    fn sent(&mut self, message: &DueMessage, session_id: Uuid) {
        self.sent.push(message.id);
        self.all.push(message.due(ScheduledOutcome::Sent, Some(session_id)));
    }

    fn put_off(&mut self, message: &DueMessage, until: DateTime<Utc>, reason: WaitReason) {
        self.put_off.push(message.id);
        self.put_off_to.push(until);
        self.put_off_for.push(reason.as_str());
        self.all.push(message.due(ScheduledOutcome::PutOff, None));
    }

    fn refuse(&mut self, message: &DueMessage, reason: Refusal, session_id: Option<Uuid>) {
        self.refused.push(message.id);
        self.reasons.push(RefusalReason::from(reason).as_str());
        self.all.push(message.due(reason.into(), session_id));
    }

    /// Refuses a message that no number of its pool can send.
    fn refuse_of_pool(&mut self, message: &Locked, reason: Refusal) {
        self.refused.push(message.message_id);
        self.reasons.push(RefusalReason::from(reason).as_str());
        let (message_id, project_id) = (message.message_id, message.project_id);
        let (session_id, turn_id, outcome) = (None, None, reason.into());
        self.all.push(Due { message_id, project_id, session_id, turn_id, outcome, late_seconds: 0.0 });
    }

    async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !self.sent.is_empty() {
            sqlx::query_file!("sql/queries/scheduled_message/delete.sql", &self.sent[..])
                .execute(&mut *connection)
                .await?;
        }
        if !self.put_off.is_empty() {
            let (ids, times, reasons) = (&self.put_off[..], &self.put_off_to[..], &self.put_off_for[..]);
            sqlx::query_file!("sql/queries/scheduled_message/put_off.sql", ids, times, reasons as _)
                .execute(&mut *connection)
                .await?;
        }
        if !self.refused.is_empty() {
            let (ids, reasons) = (&self.refused[..], &self.reasons[..]);
            sqlx::query_file!("sql/queries/scheduled_message/refuse.sql", ids, reasons as _)
                .execute(connection)
                .await?;
        }
        Ok(())
    }
}

/// In how many seconds the next one is due. Negative when one is overdue, `None` when there is
/// none.
pub async fn next_due(connection: &mut PgConnection) -> Result<Option<f64>, sqlx::Error> {
    sqlx::query_file_scalar!("sql/queries/scheduled_message/next_due.sql").fetch_one(connection).await
}

/// One scheduled message of a project.
pub async fn find(
    connection: &mut PgConnection,
    project_id: Uuid,
    id: Uuid,
) -> Result<Option<ScheduledMessage>, sqlx::Error> {
    sqlx::query_file_as!(ScheduledMessage, "sql/queries/scheduled_message/find.sql", project_id, id)
        .fetch_optional(connection)
        .await
}

/// The scheduled messages of a project that wait or were refused, newest first, before the one that
/// the cursor names.
pub async fn list(
    connection: &mut PgConnection,
    project_id: Uuid,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Page<ScheduledMessage>, sqlx::Error> {
    let rows = sqlx::query_file_as!(
        ScheduledMessage,
        "sql/queries/scheduled_message/list.sql",
        project_id,
        before,
        rows_to_read(limit),
    )
    .fetch_all(connection)
    .await?;
    Ok(Page::of(rows, limit, |message: &ScheduledMessage| message.id.to_string()))
}

/// Cancels one that still waits. Returns false if there is none.
pub async fn cancel(connection: &mut PgConnection, project_id: Uuid, id: Uuid) -> Result<bool, sqlx::Error> {
    let cancelled =
        sqlx::query_file!("sql/queries/scheduled_message/cancel.sql", project_id, id).execute(connection).await?;
    Ok(cancelled.rows_affected() == 1)
}
