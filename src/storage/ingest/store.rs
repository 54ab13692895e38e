//! Writes what was decided about inbound messages.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::agent::Environment;
use crate::domain::consent::ConsentKind;
use crate::domain::ingest::{Answer, Effect, Inactivity, KeywordEffect, Store, Target, Turn};
use crate::domain::keyword_answer::KeywordAnswer;
use crate::domain::message::{MessageKind, SkipReason};
use crate::domain::message_plan;
use crate::domain::reaction::Reaction;
use crate::domain::segments::Encoding;
use crate::domain::session::{Channel, CloseReason};
use crate::storage::composite::composite;
use crate::storage::ingest::InboundMessage;
use crate::storage::ingest::load::Loaded;
use crate::storage::new_id;
use crate::storage::outbound_limits::{self, ToCount};
use crate::storage::planned_message::{self, Content, Conversation, PlannedMessage};
use crate::storage::session;

/// A message that is to be stored, and what was decided about it.
#[derive(Debug)]
pub struct ToStore<'a> {
    pub message: &'a InboundMessage,
    pub loaded: &'a Loaded,
    pub decided: &'a Store,
    pub message_id: Uuid,
    /// The session that it joins or opens.
    pub session_id: Uuid,
}

impl<'a> ToStore<'a> {
    pub fn new(message: &'a InboundMessage, loaded: &'a Loaded, decided: &'a Store) -> Self {
        let session_id = match decided.session {
            Target::Join(id) => id,
            Target::Open { .. } => new_id(),
        };
        Self { message, loaded, decided, message_id: new_id(), session_id }
    }

    /// Why no turn answers it.
    pub fn skip_reason(&self) -> Option<SkipReason> {
        match self.decided.effect {
            Effect::Answer(_) => None,
            Effect::Skip(reason) => Some(reason),
            Effect::Obey(_) => Some(SkipReason::Keyword),
        }
    }

    /// The turn that answers it, if it gets a new one: a turn has the id of the first message that
    /// it answers.
    pub const fn new_turn(&self) -> Option<Uuid> {
        match self.decided.effect {
            Effect::Answer(Answer { turn: Turn::Enqueue | Turn::Claim, .. }) => Some(self.message_id),
            Effect::Answer(Answer { turn: Turn::Present, .. }) | Effect::Skip(_) | Effect::Obey(_) => None,
        }
    }

    /// Whether its turn is claimed for the caller.
    pub fn is_claimed(&self) -> bool {
        matches!(self.decided.effect, Effect::Answer(answer) if answer.turn == Turn::Claim)
    }
}

/// A decision as the statement takes it.
#[derive(Debug, sqlx::Encode)]
struct DecisionRow<'a> {
    message_id: Uuid,
    project_id: Uuid,
    channel: Channel,
    endpoint_id: Uuid,
    contact: &'a str,
    session_id: Uuid,
    opens_session: bool,
    previous_session_id: Option<Uuid>,
    agent_id: Uuid,
    agent_version: i32,
    environment: Environment,
    warn_after_seconds: i32,
    paused_until: Option<DateTime<Utc>>,
    kind: MessageKind,
    skip_reason: Option<SkipReason>,
    body: &'a str,
    reaction: Option<Json<Reaction>>,
    encoding: Option<Encoding>,
    segments: Option<i32>,
    carrier_id: Option<&'a str>,
    client_id: Option<&'a str>,
    is_answered: bool,
    inactivity: Inactivity,
    turn_id: Option<Uuid>,
    debounce_seconds: i32,
    is_claimed: bool,
}

composite!(DecisionRow<'_>, "inbound_decision");

impl<'a> DecisionRow<'a> {
    fn of(to_store: &ToStore<'a>) -> Self {
        let ToStore { message, loaded, decided, message_id, session_id, .. } = *to_store;
        let (opens_session, previous_session_id) = match decided.session {
            Target::Join(_) => (false, None),
            Target::Open { previous } => (true, previous),
        };
        let (is_answered, inactivity) = match decided.effect {
            Effect::Answer(answer) => (true, answer.inactivity),
            Effect::Skip(_) | Effect::Obey(_) => (false, Inactivity::Keep),
        };
        let segmentation = message.channel.capabilities.segmentation(&message.body);
        let reaction = loaded.reaction(message.reaction.as_ref()).filter(|_| decided.kind == MessageKind::Reaction);
        Self {
            message_id,
            project_id: message.project_id,
            channel: message.channel.channel,
            endpoint_id: loaded.endpoint_id,
            contact: &message.from,
            session_id,
            opens_session,
            previous_session_id,
            agent_id: loaded.agent_id,
            agent_version: loaded.agent_version,
            environment: loaded.environment,
            warn_after_seconds: loaded.warn_after_seconds,
            paused_until: decided.paused_until,
            kind: decided.kind,
            skip_reason: to_store.skip_reason(),
            body: &message.body,
            reaction: reaction.map(Json),
            encoding: segmentation.map(|text| text.encoding),
            segments: segmentation.map(|text| text.segments),
            carrier_id: message.carrier_id.as_deref(),
            client_id: message.client_id.as_deref(),
            is_answered,
            inactivity,
            turn_id: to_store.new_turn(),
            debounce_seconds: loaded.debounce_seconds,
            is_claimed: to_store.is_claimed(),
        }
    }
}

/// Stores messages with one statement. Turns that are claimed get `token` for `lease_seconds`.
/// Returns the seqs of the messages, in their order.
pub async fn store(
    connection: &mut PgConnection,
    to_store: &[ToStore<'_>],
    token: Uuid,
    lease_seconds: Option<u32>,
) -> Result<Vec<i64>, sqlx::Error> {
    if to_store.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<DecisionRow<'_>> = to_store.iter().map(DecisionRow::of).collect();
    let lease_seconds = lease_seconds.map(f64::from);
    sqlx::query_file_scalar!("sql/queries/inbound/store.sql", rows as _, token, lease_seconds)
        .fetch_one(connection)
        .await
}

/// Stores attachments, withdraws what is no longer true, and obeys keywords. Few messages need any
/// of it, so each has statements of its own: a lock on a table that only they need stops no other
/// message.
pub async fn apply_effects(connection: &mut PgConnection, to_store: &[ToStore<'_>]) -> Result<(), sqlx::Error> {
    attach(connection, to_store).await?;
    let mut rest: Vec<&ToStore<'_>> = to_store.iter().collect();
    // Sorted, two batches lock the windows of rate limits in one order. A deadlock with
    // `count_messages` stays possible; PostgreSQL ends one batch, whose items then go one by one.
    rest.sort_by_key(|stored| (stored.loaded.endpoint_id, &stored.message.from));
    for stored in rest {
        if !stored.decided.withdraws.is_empty() {
            let kinds: Vec<String> = stored.decided.withdraws.iter().map(|kind| kind.as_str().to_owned()).collect();
            let (endpoint_id, contact) = (stored.loaded.endpoint_id, &stored.message.from);
            sqlx::query_file!("sql/queries/delivery/withdraw_stale.sql", endpoint_id, contact, &kinds[..])
                .execute(&mut *connection)
                .await?;
        }
        if let Effect::Obey(keyword) = stored.decided.effect {
            obey(connection, stored, keyword).await?;
        }
    }
    Ok(())
}

async fn attach(connection: &mut PgConnection, to_store: &[ToStore<'_>]) -> Result<(), sqlx::Error> {
    let (mut ids, mut projects, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    let (mut positions, mut urls, mut content_types) = (Vec::new(), Vec::new(), Vec::new());
    for stored in to_store {
        for (attachment, position) in stored.message.media.iter().zip(0_i32..) {
            ids.push(attachment.id);
            projects.push(stored.message.project_id);
            messages.push(stored.message_id);
            positions.push(position);
            urls.push(attachment.url.clone());
            content_types.push(attachment.content_type.clone());
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query_file!(
        "sql/queries/attachment/insert.sql",
        &ids[..],
        &projects[..],
        &messages[..],
        &positions[..],
        &urls[..],
        &content_types[..] as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn obey(connection: &mut PgConnection, stored: &ToStore<'_>, keyword: KeywordEffect) -> Result<(), sqlx::Error> {
    let (id, project_id, endpoint_id) = (new_id(), stored.message.project_id, stored.loaded.endpoint_id);
    let (contact, body, message_id) = (&stored.message.from, &stored.message.body, stored.message_id);
    match keyword.consent {
        Some(ConsentKind::OptedOut) => {
            let opting_out = sqlx::query_file!(
                "sql/queries/consent/opt_out.sql",
                id,
                project_id,
                endpoint_id,
                contact,
                body,
                message_id,
                stored.message.channel.channel.as_str(),
            );
            let closed = opting_out.fetch_one(&mut *connection).await?.closed;
            session::count_closed(CloseReason::OptedOut, closed);
        }
        Some(ConsentKind::OptedIn) => {
            sqlx::query_file!("sql/queries/consent/opt_in.sql", id, project_id, endpoint_id, contact, body, message_id)
                .execute(&mut *connection)
                .await?;
        }
        None => {}
    }
    // An opt-out withdraws what is planned, so its confirmation is planned after it.
    match keyword.answer {
        Some(keyword) => answer(connection, stored, keyword).await,
        None => Ok(()),
    }
}

/// Plans the answer to a keyword.
async fn answer(connection: &mut PgConnection, stored: &ToStore<'_>, answer: KeywordAnswer) -> Result<(), sqlx::Error> {
    let Some(answers) = &stored.loaded.keyword_answers else { return Ok(()) };
    let capabilities = stored.message.channel.capabilities;
    let (project_id, contact) = (stored.message.project_id, stored.message.from.as_str());
    let facts = message_plan::Facts {
        has_delivery: capabilities.delivery_reports,
        send_policy: answers.send_policy,
        has_limits: answers.has_limits,
    };
    let limit = outbound_limits::count_one(connection, ToCount::one(&facts, project_id, contact)).await?;
    // Carriers ask for the answers that they leave to us, so no limit of the project stops them.
    let answers_all = stored.message.answers_keywords;
    let plan = message_plan::plan(&facts, limit.filter(|_| !answers_all));
    let conversation =
        Conversation { project_id, session_id: stored.session_id, endpoint_id: stored.loaded.endpoint_id, contact };
    let says =
        Content { kind: answer.kind(), text: capabilities.outbound(answers.text(answer), answers.smart_encoding) };
    let planned = PlannedMessage {
        despite_opt_out: answer.is_sent_despite_opt_out(answers_all),
        ..PlannedMessage::new(new_id(), conversation, says, &plan)
    };
    planned_message::store(connection, &[planned]).await
}
