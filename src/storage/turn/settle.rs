//! Settles turns. One transaction locks and loads the facts of a batch, lets the domain decide, and
//! writes the decisions.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::types::Json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::domain::agent_error::AgentErrorCode;
use crate::domain::delivery::{DeliveryErrorClass, DeliveryStatus};
use crate::domain::job::JobKind;
use crate::domain::number::SendPolicy;
use crate::domain::outbound_limit::LimitReached;
use crate::domain::session::{CloseReason, SessionOrigin};
use crate::domain::turn_settlement::{Decision, Facts, Next, Store, TurnEnd, decide, must_count};
use crate::failpoint;
use crate::storage::batcher::BatchError;
use crate::storage::composite::composite;
use crate::storage::outbound_limits::{self, Limits, ToCount};
use crate::storage::passes::{at_ordinal, items_at, passes, put_at};
use crate::storage::planned_message::{Content, Conversation, PlannedMessage};
use crate::storage::turn::settlement::{PlannedSend, Settlement};
use crate::storage::{Storage, delivery, new_id, session};
use crate::telemetry::metrics;

/// Whether a settlement was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    Written {
        /// How many deliveries it has.
        planned: i32,
        more_work: bool,
        /// The delivery of the first message, if it is claimed for the caller.
        first_delivery: Option<Box<delivery::Claim>>,
    },
    /// Nothing was written, because another worker holds the turn or the session is closed.
    Stale,
}

/// Settles a turn. When this returns, the settlement is committed. The caller must send the
/// delivery that was claimed for it.
pub async fn settle(storage: &Storage, settlement: Settlement) -> Result<Settled, BatchError> {
    let sends = !settlement.sends.is_empty();
    let settled = storage.turn_batches.submit(settlement).await?;
    if let Settled::Written { planned, more_work, first_delivery } = &settled {
        if *planned > i32::from(first_delivery.is_some()) {
            storage.notifier.notify(JobKind::Delivery);
        }
        if *more_work {
            storage.notifier.notify(JobKind::Turn);
        }
        if sends {
            storage.notifier.notify(JobKind::ScheduledMessage);
        }
    }
    Ok(settled)
}

/// The facts of a turn that is still claimed under its token.
#[derive(Debug, Clone)]
struct Loaded {
    project_id: Uuid,
    handled_seq: i64,
    /// The pool through which the messages of the session leave.
    pool_id: Option<String>,
    /// The first message that came in while the agent ran. The turn that answers it gets its id.
    newer_message_id: Option<Uuid>,
    facts: Facts,
}

/// A turn whose settlement is written, and how.
struct Decided<'a> {
    settlement: &'a Settlement,
    loaded: &'a Loaded,
    store: Store,
}

/// Settles a batch of turns in one transaction.
pub(in crate::storage) async fn flush(
    connection: &mut PgConnection,
    settlements: Vec<Settlement>,
) -> Result<Vec<Settled>, sqlx::Error> {
    let settling = async {
        let mut transaction = connection.begin().await?;
        let (mut settled, mut suppressed) = (vec![Settled::Stale; settlements.len()], Vec::new());
        // A pass has at most one turn of a contact.
        for pass in passes(settlements.iter().map(|turn| (turn.endpoint_id, turn.contact.as_str()))) {
            let of_pass = settle_pass(&mut transaction, &items_at(&settlements, &pass), &mut suppressed).await?;
            put_at(&mut settled, &pass, of_pass);
        }
        transaction.commit().await?;
        Ok::<_, sqlx::Error>((settled, suppressed))
    };
    let (settled, suppressed) = failpoint::during("turn.in_commit", settling).await?;
    failpoint::reach("turn.after_settle");
    for (settlement, _) in settlements.iter().zip(&settled).filter(|(_, settled)| **settled != Settled::Stale) {
        if let Some(reason) = settlement.close {
            session::count_closed(reason, 1);
        }
    }
    for (turn_id, session_id, class) in suppressed {
        let reason = class.as_str();
        tracing::warn!(%session_id, %turn_id, reason, "a message of a turn was over a limit of its project and was not sent");
        metrics::OUTBOUND_REFUSED.count(&[reason]);
    }
    Ok(settled)
}

/// Settles turns of different contacts: locks and loads their facts, decides, and writes. Adds to
/// `suppressed` the limits that stopped messages, with the turn and the session.
async fn settle_pass(
    connection: &mut PgConnection,
    settlements: &[&Settlement],
    suppressed: &mut Vec<(Uuid, Uuid, DeliveryErrorClass)>,
) -> Result<Vec<Settled>, sqlx::Error> {
    let loaded = load(connection, settlements).await?;
    let limits = count(connection, settlements, &loaded).await?;
    let mut decided = Vec::with_capacity(settlements.len());
    let mut settled = Vec::with_capacity(settlements.len());
    for ((settlement, loaded), limits) in settlements.iter().zip(&loaded).zip(&limits) {
        let decision = decide(settlement.outcome(), loaded.as_ref().map(|loaded| &loaded.facts), limits);
        let pool_id = loaded.as_ref().and_then(|loaded| loaded.pool_id.as_ref());
        settled.push(Settled::of(settlement, &decision, pool_id));
        if let (Decision::Store(store), Some(loaded)) = (decision, loaded) {
            decided.push(Decided { settlement, loaded, store });
        }
    }
    if !decided.is_empty() {
        store(connection, &decided).await?;
        follow(connection, &decided).await?;
    }
    for (settlement, limits) in settlements.iter().zip(&limits) {
        let of_turn = |limit: &LimitReached| (settlement.turn_id, settlement.session_id, limit.class());
        suppressed.extend(limits.iter().map(|(_, limit)| of_turn(limit)));
    }
    Ok(settled)
}

impl Settled {
    fn of(settlement: &Settlement, decision: &Decision, pool_id: Option<&String>) -> Self {
        let Decision::Store(store) = decision else { return Self::Stale };
        let first_delivery = settlement.first_delivery.as_ref().filter(|_| store.claims_delivery);
        Self::Written {
            planned: i32::try_from(store.messages.iter().filter(|plan| plan.status().is_some()).count())
                .unwrap_or(i32::MAX),
            more_work: store.next != Next::Nothing,
            first_delivery: first_delivery.map(|first| {
                let mut claim = first.claim.clone();
                claim.pool_id = pool_id.cloned();
                claim
            }),
        }
    }
}

/// A row of `load_turns`.
struct LoadedRow {
    ordinal: i64,
    project_id: Uuid,
    handled_seq: i64,
    send_policy: SendPolicy,
    has_limits: bool,
    delivery_waits: bool,
    newer_message_id: Option<Uuid>,
    warn_after_seconds: i32,
    current_warn_after_seconds: i32,
    pool_id: Option<String>,
}

impl From<LoadedRow> for Loaded {
    fn from(row: LoadedRow) -> Self {
        Self {
            project_id: row.project_id,
            handled_seq: row.handled_seq,
            pool_id: row.pool_id,
            newer_message_id: row.newer_message_id,
            facts: Facts {
                send_policy: row.send_policy,
                has_limits: row.has_limits,
                delivery_waits: row.delivery_waits,
                newer_waits: row.newer_message_id.is_some(),
                warn_after_seconds: row.warn_after_seconds,
                current_warn_after_seconds: row.current_warn_after_seconds,
            },
        }
    }
}

async fn load(connection: &mut PgConnection, settlements: &[&Settlement]) -> Result<Vec<Option<Loaded>>, sqlx::Error> {
    let ids = |id: fn(&Settlement) -> Uuid| settlements.iter().map(|turn| id(turn)).collect::<Vec<Uuid>>();
    let contacts: Vec<&str> = settlements.iter().map(|turn| turn.contact.as_str()).collect();
    let seen_seqs: Vec<i64> = settlements.iter().map(|turn| turn.seen_seq).collect();
    let loading = sqlx::query_file_as!(
        LoadedRow,
        "sql/queries/turn/load.sql",
        &ids(|turn| turn.turn_id),
        &ids(|turn| turn.session_id),
        &ids(|turn| turn.token),
        &ids(|turn| turn.endpoint_id),
        &contacts[..] as &[&str],
        &seen_seqs[..],
    );
    let mut loaded = vec![None; settlements.len()];
    for row in loading.fetch_all(connection).await? {
        if let Some(loaded) = at_ordinal(&mut loaded, row.ordinal) {
            *loaded = Some(row.into());
        }
    }
    Ok(loaded)
}

/// Counts the messages of turns whose projects have outbound limits.
async fn count(
    connection: &mut PgConnection,
    settlements: &[&Settlement],
    loaded: &[Option<Loaded>],
) -> Result<Vec<Limits>, sqlx::Error> {
    let items = settlements.iter().zip(loaded).map(|(settlement, loaded)| {
        let loaded = loaded.as_ref().filter(|loaded| must_count(settlement.outcome(), &loaded.facts))?;
        let (project_id, contact) = (loaded.project_id, settlement.contact.as_str());
        Some(ToCount { project_id, contact, messages: settlement.messages.len() })
    });
    outbound_limits::count(connection, items).await
}

/// How a turn is stored.
#[derive(Debug, sqlx::Encode)]
struct TurnRow<'a> {
    session_id: Uuid,
    state: Option<Json<&'a Map<String, Value>>>,
    language: Option<&'a str>,
    handled_seq: i64,
    started: bool,
    speaks: bool,
    warn_after_seconds: i32,
}

composite!(TurnRow<'_>, "settled_turn");

/// What is recorded of a turn without messages.
#[derive(Debug, sqlx::Encode)]
struct SilentTurn {
    id: Uuid,
    project_id: Uuid,
    session_id: Uuid,
    milliseconds: Option<i32>,
    attempts: i32,
    failures: i32,
    outcome: &'static str,
    error_code: Option<&'static str>,
    created_at: DateTime<Utc>,
}

composite!(SilentTurn, "silent_turn");

impl<'a> Decided<'a> {
    fn row(&self) -> TurnRow<'a> {
        TurnRow {
            session_id: self.settlement.session_id,
            state: self.settlement.state.as_ref().map(Json),
            language: self.settlement.language.as_deref(),
            handled_seq: self.settlement.seen_seq,
            started: self.settlement.started,
            speaks: self.settlement.speaks(),
            warn_after_seconds: self.loaded.facts.current_warn_after_seconds,
        }
    }

    /// What is recorded of a turn without messages. The first message of another turn has it.
    fn silent(&self) -> Option<SilentTurn> {
        let Self { settlement: Settlement { turn_id, session_id, record, messages, .. }, loaded, .. } = self;
        messages.is_empty().then(|| SilentTurn {
            id: *turn_id,
            project_id: loaded.project_id,
            session_id: *session_id,
            milliseconds: record.milliseconds,
            attempts: record.attempts,
            failures: record.failures,
            outcome: if record.has_failed { TurnEnd::Failed } else { TurnEnd::Silent }.as_str(),
            error_code: record.error_code.map(AgentErrorCode::as_str),
            created_at: record.created_at,
        })
    }

    fn planned_messages(&self) -> impl Iterator<Item = PlannedMessage<'_>> {
        let Self { settlement, loaded, store } = self;
        let last = settlement.messages.len().saturating_sub(1);
        let claimed = settlement.first_delivery.as_ref().filter(|_| store.claims_delivery);
        let conversation = Conversation {
            project_id: loaded.project_id,
            session_id: settlement.session_id,
            endpoint_id: settlement.endpoint_id,
            contact: &settlement.contact,
        };
        settlement.messages.iter().zip(&store.messages).enumerate().map(move |(position, (message, plan))| {
            let claimed = claimed.filter(|_| position == 0);
            let says = Content { kind: message.kind, text: message.text.borrowed() };
            let cut = settlement.truncated.filter(|_| position == last);
            let record = Some(&settlement.record).filter(|_| position == 0);
            let planned = PlannedMessage::new(message.id, conversation, says, plan);
            PlannedMessage {
                turn_id: Some(settlement.turn_id),
                truncated: cut
                    .or(message.shortened)
                    .map(|_| cut.unwrap_or(0).saturating_add(message.shortened.unwrap_or(0))),
                status: if claimed.is_some() { Some(DeliveryStatus::Sending) } else { planned.status },
                lease_token: claimed.map(|first| first.claim.token),
                lease_seconds: claimed.map(|first| f64::from(first.lease_seconds)),
                turn_created_at: record.map(|turn| turn.created_at),
                turn_attempts: record.map(|turn| turn.attempts),
                turn_failures: record.map(|turn| turn.failures),
                turn_messages: record.map(|_| i32::try_from(settlement.messages.len()).unwrap_or(i32::MAX)),
                turn_milliseconds: record.and_then(|turn| turn.milliseconds),
                turn_error_code: record.and_then(|turn| turn.error_code).map(AgentErrorCode::as_str),
                ..planned
            }
        })
    }
}

/// Writes the decisions.
async fn store(connection: &mut PgConnection, decided: &[Decided<'_>]) -> Result<(), sqlx::Error> {
    let turns: Vec<TurnRow<'_>> = decided.iter().map(Decided::row).collect();
    let messages: Vec<PlannedMessage<'_>> = decided.iter().flat_map(Decided::planned_messages).collect();
    let silent: Vec<SilentTurn> = decided.iter().filter_map(Decided::silent).collect();
    sqlx::query_file!("sql/queries/turn/store.sql", turns as _, messages as _, silent as _).execute(connection).await?;
    Ok(())
}

/// Writes the further effects of turns, which are rare. Each has a statement of its own that runs
/// only if a turn has the effect.
async fn follow(connection: &mut PgConnection, decided: &[Decided<'_>]) -> Result<(), sqlx::Error> {
    skip_messages(connection, decided).await?;
    store_sends(connection, decided).await?;
    bring_inactivity_forward(connection, decided).await?;
    close_sessions(connection, decided).await?;
    enqueue_next(connection, decided).await
}

async fn skip_messages(connection: &mut PgConnection, decided: &[Decided<'_>]) -> Result<(), sqlx::Error> {
    for Decided { settlement, loaded, .. } in decided {
        let Some(reason) = settlement.skip else { continue };
        sqlx::query_file!(
            "sql/queries/turn/skip_messages.sql",
            settlement.session_id,
            loaded.handled_seq,
            settlement.seen_seq,
            reason.as_str(),
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// A message that the agent sends outside its answer.
#[derive(Serialize)]
struct SendRow<'a> {
    project_id: Uuid,
    turn_id: Uuid,
    number_id: Uuid,
    #[serde(flatten)]
    send: &'a PlannedSend,
}

async fn store_sends(connection: &mut PgConnection, decided: &[Decided<'_>]) -> Result<(), sqlx::Error> {
    let mut sends = Vec::new();
    for Decided { settlement, loaded, .. } in decided {
        let (project_id, turn_id, number_id) = (loaded.project_id, settlement.turn_id, settlement.endpoint_id);
        sends.extend(settlement.sends.iter().map(|send| SendRow { project_id, turn_id, number_id, send }));
    }
    if sends.is_empty() {
        return Ok(());
    }
    let names_number = |row: &&SendRow<'_>| row.send.number.is_some() && row.send.refused.is_none();
    let named: Vec<Uuid> = sends.iter().filter(names_number).map(|row| row.send.message_id).collect();
    sqlx::query_file!("sql/queries/turn/store_sends.sql", Json(sends) as _).execute(&mut *connection).await?;
    // A number that is not the project's is noticed here. All other refusals are logged where they
    // are decided.
    if !named.is_empty() {
        let refused = sqlx::query_file!("sql/queries/turn/refused_sends.sql", &named[..]).fetch_all(connection).await?;
        for message in refused {
            tracing::warn!(
                message_id = %message.id,
                why = message.reason,
                "a message outside an answer was not sent, because the number that it names is not the project's"
            );
        }
    }
    Ok(())
}

async fn bring_inactivity_forward(connection: &mut PgConnection, decided: &[Decided<'_>]) -> Result<(), sqlx::Error> {
    let late = decided.iter().filter(|turn| turn.store.brings_inactivity_forward);
    let (sessions, seconds): (Vec<Uuid>, Vec<i32>) =
        late.map(|turn| (turn.settlement.session_id, turn.loaded.facts.current_warn_after_seconds)).unzip();
    if !sessions.is_empty() {
        sqlx::query_file!("sql/queries/inactivity/bring_forward.sql", &sessions[..], &seconds[..])
            .execute(connection)
            .await?;
    }
    Ok(())
}

async fn close_sessions(connection: &mut PgConnection, decided: &[Decided<'_>]) -> Result<(), sqlx::Error> {
    let closing = decided.iter().filter_map(|turn| Some((turn.settlement.session_id, turn.settlement.close?)));
    let (sessions, reasons): (Vec<Uuid>, Vec<CloseReason>) = closing.unzip();
    if !sessions.is_empty() {
        sqlx::query_file!("sql/queries/session/close.sql", &sessions[..], &reasons[..] as &[CloseReason])
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Enqueues turns for messages that came in while the agent ran, and opens the next session for
/// those of a closed one.
async fn enqueue_next(connection: &mut PgConnection, decided: &[Decided<'_>]) -> Result<(), sqlx::Error> {
    let (mut turns, mut sessions) = (Vec::new(), Vec::new());
    for Decided { settlement, loaded, store } in decided {
        let turn_id = loaded.newer_message_id.unwrap_or_else(new_id);
        match store.next {
            Next::Nothing => {}
            Next::Turn => {
                turns.push(turn_id);
                sessions.push(settlement.session_id);
            }
            Next::Session => {
                let Settlement { session_id, seen_seq, .. } = *settlement;
                sqlx::query_file!("sql/queries/session/open_next.sql", session_id, seen_seq, new_id(), turn_id)
                    .execute(&mut *connection)
                    .await?;
                metrics::SESSIONS_OPENED.count(&[SessionOrigin::Inbound.as_str()]);
            }
        }
    }
    if !turns.is_empty() {
        sqlx::query_file!("sql/queries/turn/enqueue.sql", &turns[..], &sessions[..]).execute(connection).await?;
    }
    Ok(())
}
