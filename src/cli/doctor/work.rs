//! Checks the jobs: invariants that do not hold, limits that are reached, and jobs that are due,
//! stuck or set aside.

use super::Findings;
use crate::domain::{agent_error, bounds};
use crate::storage::{Storage, health, invariant, model_budget, outbound_limits, quiet_hours, rollup};
use crate::telemetry::masked;

/// A job that is older than this is stuck: by then a lease, the search for an unknown delivery and
/// a retry are over.
const STUCK_SECONDS: f64 = 300.0;
/// How long a job may be due without a claim. The deliveries of a paused carrier account wait for
/// at most 60 s.
const UNCLAIMED_SECONDS: f64 = 120.0;
/// How long ago the last hour may have ended that is counted for good. An hour is final 5 minutes
/// after its end, so this is at most 66 minutes while a worker counts.
const ROLLUP_LAG_SECONDS: f64 = 7_200.0;
/// How long a lost worker is told of: a week.
const LOST_SECONDS: f64 = 604_800.0;

/// Runs all checks of this module.
pub(super) async fn check_work(storage: &Storage, findings: &mut Findings) {
    check_invariants(storage, findings).await;
    for (what, result) in [
        ("limits", check_limits(storage, findings).await),
        ("models", check_models(storage, findings).await),
        ("due", check_backlog(storage, findings).await),
        ("unclaimed", check_unclaimed(storage, findings).await),
        ("set aside", check_set_aside(storage, findings).await),
        ("lost workers", check_lost_workers(storage, findings).await),
        ("stuck", check_stuck(storage, findings).await),
        ("time zones", check_time_zones(storage, findings).await),
        ("rollups", check_rollups(storage, findings).await),
    ] {
        if let Err(error) = result {
            findings.failed_check(what, &error);
        }
    }
}

/// Reports invariants that do not hold.
async fn check_invariants(storage: &Storage, findings: &mut Findings) {
    let checking = async { invariant::check(&mut *storage.connection().await?).await };
    let breaches = match checking.await {
        Ok(breaches) => breaches,
        // The views are made by migrate (42P01).
        Err(error) if error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42P01")) => {
            return findings.bad("invariants", &format!("their views can't be read: {error}"), "run: textback migrate");
        }
        Err(error) => return findings.failed_check("invariants", &error),
    };
    if breaches.is_empty() {
        findings.ok("invariants", "all hold");
    }
    for breach in breaches {
        let found = format!("{} has {} rows", breach.view, breach.rows);
        // Only writes that bypass the triggers, the foreign keys and the sequences break these two.
        let repair = match breach.view.get(..13) {
            Some("invariant_11_") => {
                "rows are missing, as after a partial restore of a backup: restore all of it (the view shows which rows)"
            }
            Some("invariant_12_") => {
                "set the sequences before anything writes; docs/operations/database.md shows how, for a promoted replica"
            }
            _ => "this is a bug in textback: please report it with the rows of that view",
        };
        findings.bad("invariants", &found, repair);
    }
}

/// Reports time zones of phone numbers that the database does not know. Quiet hours then go by the
/// other zones of a number.
async fn check_time_zones(storage: &Storage, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let unknown = quiet_hours::unknown_zones(&mut *storage.connection().await?).await?;
    if unknown.is_empty() {
        findings.ok("time zones", "the database knows those of all phone numbers");
    } else {
        let found = format!("the database does not know {}: quiet hours pass them over", health::brief(&unknown));
        findings.bad(
            "time zones",
            &found,
            "update the time zones of the database's machine (its package tzdata), or PostgreSQL",
        );
    }
    Ok(())
}

/// Reports that the counts by hour, which dashboards read, are behind.
async fn check_rollups(storage: &Storage, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let rollup::RollupState { lag_seconds, backlog_hours, marked } =
        rollup::state(&mut *storage.connection().await?).await?;
    if lag_seconds > ROLLUP_LAG_SECONDS {
        let found = format!("the counts for dashboards are {:.1} hours behind", lag_seconds / 3600.0);
        let repair = "is textback work running? its log has the errors; a transaction that runs for hours keeps hours from being \
                      final: select pid, xact_start, query from pg_stat_activity order by xact_start";
        findings.bad("rollups", &found, repair);
    } else if backlog_hours > 0 {
        findings.ok("rollups", &format!("{backlog_hours} older hours are still to be counted"));
    } else {
        findings.ok("rollups", &format!("the counts for dashboards are current; {marked} late changes wait"));
    }
    Ok(())
}

/// Reports projects whose language models have used what they may today: contacts get error
/// messages.
async fn check_models(storage: &Storage, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let spent = model_budget::spent(&mut *storage.connection().await?).await?;
    if spent.is_empty() {
        findings.ok("models", "no project has used what its language models may use today");
    }
    for model_budget::Spent { name, refused } in spent {
        let found = format!(
            "the project {name:?} has used what its language models may use today; {refused} requests were not made"
        );
        let repair = "is an agent used too much? if not, raise llm_max_tokens_per_day or llm_max_cost_per_day: PATCH /v1/project; the day ends at midnight UTC";
        findings.bad("models", &found, repair);
    }
    Ok(())
}

/// Reports projects that have reached a limit: their messages are refused or wait.
async fn check_limits(storage: &Storage, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let at_limit = outbound_limits::at_limit(&mut *storage.connection().await?).await?;
    if at_limit.is_empty() {
        findings.ok("limits", "no project has reached a limit on outbound messages");
    }
    for at in at_limit {
        let outbound_limits::AtLimit { name, limit, most, contacts, resets_at } = &at;
        if limit.is_of_project() {
            let found = format!("the project {name:?} is at {limit} ({most}) until {resets_at}");
            findings.bad("limits", &found, "is this a loop? if not, raise the limit: PATCH /v1/project");
        } else {
            findings.ok("limits", &format!("{contacts} contacts of the project {name:?} are at {limit} ({most})"));
        }
    }
    Ok(())
}

/// Reports rows that were set aside because they could not be claimed. No other part of textback
/// reports them later.
async fn check_set_aside(storage: &Storage, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let all = health::set_aside(&mut *storage.connection().await?).await?;
    if all.is_empty() {
        findings.ok("set aside", "nothing");
    }
    for health::SetAside { kind, rows, seconds, why } in all {
        let found = format!(
            "{rows} of the kind {kind} could not be claimed and {}, the last {seconds:.0} s ago: {}",
            kind.set_aside_outcome(),
            bounds::text(&why, 300)
        );
        findings.bad(
            "set aside",
            &found,
            "see: select * from textback.unreadable_row; delete rows there once they are repaired or no longer needed",
        );
    }
    Ok(())
}

/// Reports agents whose turns were given up (`worker_lost`), because the processes that ran them
/// ended again and again.
async fn check_lost_workers(storage: &Storage, findings: &mut Findings) -> Result<(), sqlx::Error> {
    for lost in health::lost_workers(&mut *storage.connection().await?, LOST_SECONDS).await? {
        let health::LostWorkers { project, agent, turns, seconds } = lost;
        let found = format!(
            "{turns} turns of the agent {agent:?} of the project {project:?} were given up (worker_lost), the last {seconds:.0} s \
             ago: the processes that ran them ended"
        );
        findings.bad(
            "lost workers",
            &found,
            "why did they end: out of memory, or killed? the system's log says; GET /v1/agents/{id} tells the session (last_error)",
        );
    }
    Ok(())
}

/// Counts the jobs that are due.
async fn check_backlog(storage: &Storage, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let backlog = health::backlog(&mut *storage.connection().await?).await?;
    for (what, count) in [
        ("turns", backlog.turns),
        ("deliveries", backlog.deliveries),
        ("inactivity", backlog.inactivity_jobs),
        ("scheduled", backlog.scheduled_messages),
    ] {
        findings.ok(what, &format!("{count} are due"));
    }
    Ok(())
}

/// Reports jobs that are due and that no worker claims.
async fn check_unclaimed(storage: &Storage, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let all = health::unclaimed(&mut *storage.connection().await?, UNCLAIMED_SECONDS).await?;
    for unclaimed in all {
        let found = format!(
            "{} of the kind {} are due and not claimed, the oldest for {:.0} s",
            unclaimed.due, unclaimed.kind, unclaimed.seconds
        );
        findings.bad(
            "unclaimed",
            &found,
            "is textback work running? if it is, its /readyz and its log say what keeps it from claiming jobs",
        );
    }
    Ok(())
}

/// Reports jobs that have been running for too long.
async fn check_stuck(storage: &Storage, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let all = health::stuck(&mut *storage.connection().await?, STUCK_SECONDS).await?;
    for stuck in all {
        let found = format!(
            "a {} for {} is {:.0} s old; its last error: {}",
            stuck.kind,
            masked(&stuck.contact),
            stuck.seconds,
            agent_error::shown(&stuck.error)
        );
        findings.bad("stuck", &found, "is textback work running? its log has the errors");
    }
    Ok(())
}
