//! The further effects of settled turns, which are rare. Each has a statement of its own that runs only if a turn has
//! the effect.

use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::session::CloseReason;
use crate::domain::turn_settlement::Next;
use crate::storage::new_id;
use crate::storage::turn::settle::Decided;
use crate::storage::turn::settlement::{PlannedSend, Settlement};

/// Writes the further effects of turns that are written.
pub(super) async fn follow(connection: &mut PgConnection, decided: &[Decided<'_>]) -> Result<(), sqlx::Error> {
    skip_messages(connection, decided).await?;
    store_sends(connection, decided).await?;
    expedite_inactivity(connection, decided).await?;
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
    if !sends.is_empty() {
        sqlx::query_file!("sql/queries/turn/store_sends.sql", Json(sends) as _).execute(connection).await?;
    }
    Ok(())
}

async fn expedite_inactivity(connection: &mut PgConnection, decided: &[Decided<'_>]) -> Result<(), sqlx::Error> {
    let late = decided.iter().filter(|turn| turn.store.expedites_inactivity);
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

/// Enqueues turns for messages that came in while the agent ran, and opens the next session for those of a closed one.
async fn enqueue_next(connection: &mut PgConnection, decided: &[Decided<'_>]) -> Result<(), sqlx::Error> {
    let (mut turns, mut sessions) = (Vec::new(), Vec::new());
    for Decided { settlement, store, .. } in decided {
        match store.next {
            Next::Nothing => {}
            Next::Turn => {
                turns.push(new_id());
                sessions.push(settlement.session_id);
            }
            Next::Session => {
                let Settlement { session_id, seen_seq, .. } = *settlement;
                sqlx::query_file!("sql/queries/session/open_next.sql", session_id, seen_seq, new_id(), new_id())
                    .execute(&mut *connection)
                    .await?;
            }
        }
    }
    if !turns.is_empty() {
        sqlx::query_file!("sql/queries/turn/enqueue.sql", &turns[..], &sessions[..]).execute(connection).await?;
    }
    Ok(())
}
