//! What keeps work from being done: invariants that do not hold, limits, work that is due, stuck or set aside. Each look
//! fails by itself.

use super::Findings;
use crate::domain::bounds;
use crate::domain::job::JobKind;
use crate::storage::{Storage, health, invariant, outbound_limits};
use crate::telemetry::masked;

/// Work that is older than this is stuck: a lease, the search for an unsure text and a second try are over by then.
const STUCK_SECONDS: f64 = 300.0;
/// How long work may be due without a claim. The work of a paused carrier account waits for at most 60 s.
const UNCLAIMED_SECONDS: f64 = 120.0;

/// Looks at all of it.
pub(super) async fn look_at_work(storage: &Storage, findings: &mut Findings) {
    look_at_invariants(storage, findings).await;
    for (what, looked) in [
        ("limits", look_at_limits(storage, findings).await),
        ("due", look_at_backlog(storage, findings).await),
        ("unclaimed", look_at_unclaimed(storage, findings).await),
        ("set aside", look_at_set_aside(storage, findings).await),
        ("stuck", look_at_stuck(storage, findings).await),
    ] {
        if let Err(error) = looked {
            findings.unseen(what, &error);
        }
    }
}

/// Reports invariants that do not hold.
async fn look_at_invariants(storage: &Storage, findings: &mut Findings) {
    let checking = async { invariant::check(&mut *storage.connection().await?).await };
    let breaches = match checking.await {
        Ok(breaches) => breaches,
        // The views are made by migrate (42P01).
        Err(error) if error.as_database_error().is_some_and(|told| told.code().as_deref() == Some("42P01")) => {
            return findings.bad("invariants", &format!("their views can't be read: {error}"), "run: textback migrate");
        }
        Err(error) => return findings.unseen("invariants", &error),
    };
    if breaches.is_empty() {
        findings.ok("invariants", "all hold");
    }
    for breach in breaches {
        let found = format!("{} has {} rows", breach.view, breach.rows);
        // Only writes that bypass the triggers, the foreign keys and the sequences break these two.
        let mend = match breach.view.get(..13) {
            Some("invariant_11_") => {
                "rows are missing, as after a backup that was restored in part: restore it whole (the view tells which)"
            }
            Some("invariant_12_") => {
                "set the sequences as docs/operations.md says of a replica that is promoted, before anything writes"
            }
            _ => "this is a fault of textback: please report it with the rows of that view",
        };
        findings.bad("invariants", &found, mend);
    }
}

/// Reports projects that have reached a limit: their messages are refused or wait.
async fn look_at_limits(storage: &Storage, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let at_limit = outbound_limits::at_limit(&mut *storage.connection().await?).await?;
    if at_limit.is_empty() {
        findings.ok("limits", "no project is at a limit of what it sends");
    }
    for at in at_limit {
        let outbound_limits::AtLimit { name, limit, most, contacts, resets_at } = &at;
        if at.is_of_project() {
            let found = format!("the project {name:?} is at {limit} ({most}) until {resets_at}");
            findings.bad("limits", &found, "is it a loop? if it is not, raise the limit: PATCH /v1/project");
        } else {
            findings.ok("limits", &format!("{contacts} contacts of the project {name:?} are at {limit} ({most})"));
        }
    }
    Ok(())
}

/// Reports rows that were set aside because they could not be claimed. No other part of textback reports them later.
async fn look_at_set_aside(storage: &Storage, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let all = health::set_aside(&mut *storage.connection().await?).await?;
    if all.is_empty() {
        findings.ok("set aside", "nothing");
    }
    for health::SetAside { kind, rows, seconds, why } in all {
        let became = match kind {
            JobKind::Turn | JobKind::Inactivity => {
                "closed their sessions (close_reason unreadable; their state is in the table quarantine)"
            }
            JobKind::Delivery | JobKind::UnknownDelivery => "failed (error_class unreadable)",
            JobKind::ScheduledMessage => "were refused (unreadable)",
            JobKind::Number | JobKind::Backfill => "are tried again each hour",
        };
        let found = format!(
            "{rows} of the kind {kind} could not be claimed and {became}, the last {seconds:.0} s ago: {}",
            bounds::text(&why, 300)
        );
        findings.bad(
            "set aside",
            &found,
            "look at them: select * from textback.unreadable_row; what is mended or given up is deleted there",
        );
    }
    Ok(())
}

/// Counts the work that is due.
async fn look_at_backlog(storage: &Storage, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let backlog = health::backlog(&mut *storage.connection().await?).await?;
    for (what, count) in [
        ("turns", backlog.turns),
        ("deliveries", backlog.deliveries),
        ("silences", backlog.silences),
        ("scheduled", backlog.scheduled_messages),
    ] {
        findings.ok(what, &format!("{count} are due"));
    }
    Ok(())
}

/// Reports work that is due and that nobody claims.
async fn look_at_unclaimed(storage: &Storage, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let all = health::unclaimed(&mut *storage.connection().await?, UNCLAIMED_SECONDS).await?;
    for unclaimed in all {
        let found = format!(
            "{} of the kind {} are due and not claimed, the oldest for {:.0} s",
            unclaimed.due, unclaimed.kind, unclaimed.seconds
        );
        findings.bad(
            "unclaimed",
            &found,
            "is textback work running? if it is, its /readyz and its log say what keeps it from claiming work",
        );
    }
    Ok(())
}

/// Reports work that is on its way for too long.
async fn look_at_stuck(storage: &Storage, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let all = health::stuck(&mut *storage.connection().await?, STUCK_SECONDS).await?;
    for stuck in all {
        let found = format!(
            "a {} for {} is {:.0} s old; the last that was heard of it: {}",
            stuck.kind,
            masked(&stuck.contact),
            stuck.seconds,
            stuck.error
        );
        findings.bad("stuck", &found, "is textback work running? its log says what it meets");
    }
    Ok(())
}
