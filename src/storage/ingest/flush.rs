//! Ingests a batch of messages in one transaction: locks and facts, the decisions, the writes.

use std::collections::HashMap;

use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::domain::ingest::{self, Decision, Target};
use crate::domain::quarantine::{self as in_quarantine, QuarantineKind};
use crate::domain::rate_limit::ProjectAllowances;
use crate::failpoint;
use crate::storage::ingest::load::{Loaded, load};
use crate::storage::ingest::store::{self, ToStore};
use crate::storage::ingest::{InboundMessage, IngestOutcome, Ingested};
use crate::storage::passes::passes;
use crate::storage::quarantine::{self, NewItem};
use crate::storage::since::Since;
use crate::storage::turn::{Claim, WaitingMessage};
use crate::storage::{database, new_id};

/// Stores all messages in one transaction. Returns one outcome a message, in their order.
///
/// Only a turn that is claimed at once needs the session's state. If the state can't be read, the
/// messages are stored without claims, and the claim of the turn sets the session aside. A single
/// message that the database refuses is kept in quarantine; of several, the caller tries one by
/// one.
pub async fn flush(
    connection: &mut PgConnection,
    mut messages: Vec<InboundMessage>,
) -> Result<Vec<Ingested>, sqlx::Error> {
    if messages.iter().any(|message| message.permit.is_some()) {
        match ingest(connection, &messages).await {
            Err(error) if database::is_of_the_data(&error) => database::count_retry("unreadable_row"),
            ingested => return ingested,
        }
        messages.iter_mut().for_each(|message| message.permit = None);
    }
    match (ingest(connection, &messages).await, messages.as_slice()) {
        (Err(error), [message]) => match refusal(&error) {
            Some(reason) => Ok(vec![keep(connection, message, reason).await?]),
            None => Err(error),
        },
        (ingested, _) => ingested,
    }
}

/// A message with its position in the batch.
type Positioned<'a> = (usize, &'a InboundMessage);

async fn ingest(connection: &mut PgConnection, messages: &[InboundMessage]) -> Result<Vec<Ingested>, sqlx::Error> {
    failpoint::reach("ingest.before_insert");
    let storing = async {
        let mut ingested = Vec::with_capacity(messages.len());
        let mut transaction = connection.begin().await?;
        // What decides about a message includes what the contact's message before it did.
        for pass in passes(messages.iter().map(|message| (message.project_id, &message.to, &message.from))) {
            let pass: Vec<Positioned<'_>> =
                pass.into_iter().filter_map(|position| Some((position, messages.get(position)?))).collect();
            ingested.extend(ingest_pass(&mut transaction, &pass).await?);
        }
        transaction.commit().await?;
        Ok::<_, sqlx::Error>(ingested)
    };
    let mut ingested: Vec<(usize, Ingested)> = failpoint::during("ingest.in_commit", storing).await?;
    failpoint::reach("ingest.after_commit");
    ingested.sort_by_key(|(position, _)| *position);
    Ok(ingested.into_iter().map(|(_, ingested)| ingested).collect())
}

async fn ingest_pass(
    connection: &mut PgConnection,
    pass: &[Positioned<'_>],
) -> Result<Vec<(usize, Ingested)>, sqlx::Error> {
    let fits = pass.iter().copied().filter(|(_, message)| message.reject_reason.is_none());
    let loaded = load(connection, fits).await?;
    failpoint::reach("ingest.after_load");
    let decisions = decide(connection, pass, &loaded).await?;

    let mut ingested = Vec::with_capacity(pass.len());
    let mut to_store = Vec::with_capacity(pass.len());
    let mut positions = Vec::with_capacity(pass.len());
    for ((position, message), decision) in pass.iter().zip(&decisions) {
        match (decision, loaded.get(position)) {
            (Decision::Store(decided), Some(loaded)) => {
                to_store.push(ToStore::new(message, loaded, decided));
                positions.push(*position);
            }
            (Decision::Duplicate { message_id, session_id }, _) => {
                let outcome = IngestOutcome::Duplicate { message_id: *message_id, session_id: *session_id };
                ingested.push((*position, Ingested::without_a_turn(outcome)));
            }
            (Decision::Quarantine { reason }, _) => {
                ingested.push((*position, keep(connection, message, reason.as_str().to_owned()).await?));
            }
            (Decision::Store(_), None) => return Err(sqlx::Error::RowNotFound),
        }
    }

    let token = new_id();
    // It is the same for all turns of a process.
    let lease_seconds = pass.iter().filter_map(|(_, message)| message.permit).map(|permit| permit.lease_seconds).max();
    let seqs = store::store(connection, &to_store, token, lease_seconds).await?;
    store::apply_effects(connection, &to_store).await?;
    if seqs.len() != to_store.len() {
        return Err(sqlx::Error::RowNotFound);
    }
    for ((position, stored), seq) in positions.into_iter().zip(&to_store).zip(seqs) {
        ingested.push((position, ingested_by(stored, seq, token)));
    }
    Ok(ingested)
}

/// Decides about the messages of a pass. Only what would be answered counts against the limit of
/// its project.
async fn decide(
    connection: &mut PgConnection,
    pass: &[Positioned<'_>],
    loaded: &HashMap<usize, Loaded>,
) -> Result<Vec<Decision>, sqlx::Error> {
    let decide = |(position, message): &Positioned<'_>, over_project_limit| {
        let loaded = loaded.get(position);
        let is_reaction = loaded.is_some_and(|loaded| loaded.reaction(message.reaction.as_ref()).is_some());
        let facts = loaded.map(|loaded| loaded.facts(message.answers_keywords, over_project_limit));
        let own_words = loaded.and_then(|loaded| loaded.own_words.as_deref());
        ingest::decide(&message.as_inbound(own_words, is_reaction), facts.as_ref())
    };
    let mut decisions: Vec<Decision> = pass.iter().map(|positioned| decide(positioned, false)).collect();

    let mut counts: HashMap<Uuid, i32> = HashMap::new();
    for ((position, message), decision) in pass.iter().zip(&decisions) {
        if decision.is_answered() && loaded.get(position).is_some_and(|loaded| loaded.has_project_limit) {
            *counts.entry(message.project_id).or_default() += 1;
        }
    }
    if !counts.is_empty() {
        let mut allowances = ProjectAllowances::of(count(connection, counts).await?);
        for (positioned, decision) in pass.iter().zip(&mut decisions) {
            if decision.is_answered() && !allowances.admit(positioned.1.project_id) {
                *decision = decide(positioned, true);
            }
        }
    }
    Ok(decisions)
}

/// Counts messages of projects that have a limit. Returns how many of each project are within it.
async fn count(connection: &mut PgConnection, counts: HashMap<Uuid, i32>) -> Result<HashMap<Uuid, i32>, sqlx::Error> {
    let (projects, counts): (Vec<Uuid>, Vec<i32>) = counts.into_iter().unzip();
    let counted =
        sqlx::query_file!("sql/queries/inbound/count.sql", &projects[..], &counts[..]).fetch_all(connection).await?;
    Ok(counted.into_iter().map(|counted| (counted.project_id, counted.within)).collect())
}

fn ingested_by(stored: &ToStore<'_>, seq: i64, token: Uuid) -> Ingested {
    let (session_id, message_id) = (stored.session_id, stored.message_id);
    let opens = matches!(stored.decided.session, Target::Open { .. });
    match stored.skip_reason() {
        Some(reason) => {
            let outcome = IngestOutcome::Skipped { session_id, message_id, reason };
            Ingested { opens, ..Ingested::without_a_turn(outcome) }
        }
        None => Ingested {
            outcome: IngestOutcome::Stored { session_id, message_id, turn_id: stored.new_turn() },
            agent_id: Some(stored.loaded.agent_id),
            claim: claim(stored, seq, token).map(Box::new),
            opens,
        },
    }
}

/// The claim of the message's turn, if the caller runs it: the turn is new, and answers this
/// message alone.
fn claim(stored: &ToStore<'_>, seq: i64, token: Uuid) -> Option<Claim> {
    let (message, loaded) = (stored.message, stored.loaded);
    let (origin, state, handled_seq) = (loaded.origin?, loaded.state.clone()?, loaded.handled_seq?);
    let media = message.media.iter().map(|attachment| {
        json!({"id": attachment.id, "url": attachment.url, "content_type": attachment.content_type, "bytes": null})
    });
    let waiting =
        WaitingMessage { id: stored.message_id, seq, text: message.body.clone(), media: Value::Array(media.collect()) };
    stored.is_claimed().then(|| Claim {
        turn_id: stored.message_id,
        session_id: stored.session_id,
        project_id: message.project_id,
        endpoint_id: loaded.endpoint_id,
        origin,
        begun_by_agent: loaded.begun_by_agent,
        address: message.to.clone(),
        contact: message.from.clone(),
        channel: message.channel.channel,
        token,
        attempt: 1,
        failures: 0,
        created_at: loaded.now,
        claimed_at: loaded.now,
        text_since: Some(Since::now()),
        agent_id: loaded.agent_id,
        agent_version: loaded.agent_version,
        environment: loaded.environment,
        started: loaded.started,
        state,
        language: loaded.language.clone(),
        handled_seq,
        waiting: Json(vec![waiting]),
        history: Json(Vec::new()),
    })
}

/// Why the database will always refuse a message, if it does.
fn refusal(error: &sqlx::Error) -> Option<String> {
    let refused = error.as_database_error()?;
    in_quarantine::refusal(&refused.code()?, refused.constraint())
}

/// Keeps a message in quarantine, as it came.
async fn keep(
    connection: &mut PgConnection,
    message: &InboundMessage,
    reason: String,
) -> Result<Ingested, sqlx::Error> {
    let request = NewItem {
        project_id: message.project_id,
        kind: QuarantineKind::Inbound,
        reason: &reason,
        carrier_id: message.carrier_id.as_deref(),
        form: &message.form,
    };
    quarantine::keep(connection, request).await?;
    Ok(Ingested::without_a_turn(IngestOutcome::Quarantined { reason }))
}
