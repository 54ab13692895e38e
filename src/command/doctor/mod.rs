//! `textback doctor`: looks at everything that keeps texts from being answered, and says how to mend it; it mends nothing.

mod outside;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use clap::Args;
use url::Url;

use super::{Done, print};
use crate::bounds;
use crate::config::{CarrierSettings, DatabaseSettings};
use crate::db;
use crate::db::session::Unsuitable;
use crate::ledger::wake::Wakes;
use crate::ledger::{Ledger, health, invariant, outbound};
use crate::telemetry::{masked, one_line};

/// Work that is older than this is stuck: a lease, the search for an unsure text and a second try are over by then.
const STUCK_SECONDS: f64 = 300.0;
/// How long work may be due without a claim. The work of a paused carrier account waits for at most 60 s.
const UNCLAIMED_SECONDS: f64 = 120.0;
/// Clocks that are further apart make logs hard to read; nothing else depends on ours.
const CLOCKS_APART_SECONDS: f64 = 2.0;

/// What `textback doctor` takes.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    carrier: CarrierSettings,
    /// How the carrier reaches `textback serve` from outside
    #[arg(long, env = "TEXTBACK_PUBLIC_URL")]
    public_url: Option<Url>,
}

/// What was found so far.
#[derive(Default)]
struct Findings {
    bad: usize,
}

impl Findings {
    fn ok(&self, what: &str, found: &str) {
        let _ = print(&format!("ok    {what:<12} {}", one_line(found)));
    }

    /// Something that is wrong, and how it is mended.
    fn bad(&mut self, what: &str, found: &str, mend: &str) {
        self.bad += 1;
        let found = one_line(found);
        let _ = print(&format!("BAD   {what:<12} {found}\n      {:<12} -> {mend}", ""));
    }

    fn skipped(&self, what: &str, why: &str) {
        let _ = print(&format!("-     {what:<12} {why}"));
    }
}

/// Runs `textback doctor`; exits with 1 when something is wrong.
pub async fn run(options: Options) -> Done {
    let mut findings = Findings::default();
    let url = options.database.required()?;
    let ledger = Ledger::open(url, 2, Arc::new(Wakes::default()))?;
    if look_at_database(&ledger, url, &mut findings).await {
        look_at_work(&ledger, &mut findings).await?;
        outside::look_at_carrier(&ledger, &options, &mut findings).await?;
    }
    outside::look_at_public_url(options.public_url.as_ref(), &mut findings).await;
    print(&match findings.bad {
        0 => "all is well".to_owned(),
        1 => "1 thing is wrong".to_owned(),
        bad => format!("{bad} things are wrong"),
    })?;
    Ok(if findings.bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether there is a database to look further into.
async fn look_at_database(ledger: &Ledger, url: &str, findings: &mut Findings) -> bool {
    if let Err(error) = db::check_suits(url).await {
        let mend = Unsuitable::of(&error).map_or("is DATABASE_URL right?", Unsuitable::mend);
        findings.bad("database", &told(&error), mend);
        findings.skipped("the rest", "what is asked through such connections can't be trusted");
        return false;
    }
    let asked = Instant::now();
    let (version, now) = match health::clock(ledger).await {
        Ok(told) => told,
        Err(error) => {
            let error = db::reason(ledger.pool(), error).await;
            let may_not = error.as_database_error().is_some_and(|told| told.code().as_deref() == Some("42501"));
            let mend = match Unsuitable::of(&error) {
                Some(unsuitable) => unsuitable.mend(),
                None if may_not => "as the owner of the database: grant connect on database … to its role",
                None => "is it running, and is DATABASE_URL right?",
            };
            findings.bad("database", &told(&error), mend);
            return false;
        }
    };
    findings.ok("database", &format!("PostgreSQL {version} answers in {:.1} ms", asked.elapsed().as_secs_f64() * 1e3));
    let apart = (Utc::now() - now).as_seconds_f64().abs();
    if apart > CLOCKS_APART_SECONDS {
        let found = format!("this machine's clock and the database's are {apart:.0} s apart");
        findings.bad("clock", &found, "let both keep time (chrony, ntpd); rows use the database's, logs use ours");
    } else {
        findings.ok("clock", &format!("within {apart:.1} s of the database's"));
    }
    if !look_at_rights(ledger, findings).await {
        return false;
    }
    let fit = match health::check(ledger).await {
        Ok(()) => {
            findings.ok("schema", "is this binary's");
            true
        }
        Err(error @ health::NotReady::ReadOnly) => {
            findings.bad("database", &error.to_string(), "give the URL of the server that writes");
            true
        }
        Err(error) => {
            findings.bad("schema", &error.to_string(), "run: textback migrate");
            false
        }
    };
    fit && look_at_notices(ledger, findings).await
}

/// The text of an error.
fn told(error: &sqlx::Error) -> String {
    Unsuitable::of(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Whether the role has the rights that textback needs. Without some of them, no other check can run.
async fn look_at_rights(ledger: &Ledger, findings: &mut Findings) -> bool {
    match health::missing_grants(ledger, None).await {
        Ok(missing) if missing.is_empty() => true,
        Ok(missing) => {
            let found = format!("the role of DATABASE_URL lacks {} rights", missing.len());
            let mend = format!(
                "as the owner of the schema: {}; or all of them: textback migrate --grant-to ROLE",
                health::brief(&missing)
            );
            findings.bad("rights", &found, &mend);
            findings.skipped("the rest", "it can't be looked at without these rights");
            false
        }
        Err(error) => {
            findings.bad("rights", &told(&error), "is it running, and is DATABASE_URL right?");
            false
        }
    }
}

/// Whether connections keep what is set on them: workers listen on one, and statements are prepared on each.
async fn look_at_notices(ledger: &Ledger, findings: &mut Findings) -> bool {
    let mend = "let DATABASE_URL lead to PostgreSQL itself, or to a pooler in session mode";
    match ledger.wakes().round_trip(ledger.pool()).await {
        Ok(Some(took)) => {
            findings.ok("notices", &format!("reach another connection in {:.1} ms", took.as_secs_f64() * 1e3));
            true
        }
        Ok(None) => {
            let found = "NOTIFY on one connection is not heard on another: a pooler in transaction mode is in between";
            findings.bad("notices", found, mend);
            true
        }
        Err(error) => {
            let found =
                format!("connections don't keep what is set on them, as behind a pooler in transaction mode: {error}");
            findings.bad("notices", &found, mend);
            findings.skipped("the rest", "what is asked through such connections can't be trusted");
            false
        }
    }
}

/// Reports projects that have reached a limit: their messages are refused or wait.
async fn look_at_limits(ledger: &Ledger, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let at_limit = outbound::at_limit(ledger).await?;
    if at_limit.is_empty() {
        findings.ok("limits", "no project is at a limit of what it sends");
    }
    for at in at_limit {
        let outbound::AtLimit { name, limit, most, contacts, resets_at } = &at;
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
async fn look_at_set_aside(ledger: &Ledger, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let all = health::set_aside(ledger).await?;
    if all.is_empty() {
        findings.ok("set aside", "nothing");
    }
    for health::SetAside { work, rows, seconds, why } in all {
        let became = match work.as_str() {
            "turn" | "silence" => {
                "closed their sessions (close_reason unreadable; their state is in the table quarantine)"
            }
            "delivery" | "unknown" => "failed (error_class unreadable)",
            "scheduled_message" => "were refused (unreadable)",
            _ => "are tried again each hour",
        };
        let found = format!(
            "{rows} of the kind {work} could not be claimed and {became}, the last {seconds:.0} s ago: {}",
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

async fn look_at_work(ledger: &Ledger, findings: &mut Findings) -> Result<(), sqlx::Error> {
    match invariant::check(ledger).await {
        Ok(breaches) if breaches.is_empty() => findings.ok("invariants", "all hold"),
        Ok(breaches) => {
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
        Err(error) => {
            findings.bad("invariants", &format!("their views can't be read: {error}"), "run: textback migrate");
        }
    }
    look_at_limits(ledger, findings).await?;
    let backlog = health::backlog(ledger).await?;
    for (what, count) in [("turns", backlog.turns), ("deliveries", backlog.deliveries)] {
        findings.ok(what, &format!("{count} are due"));
    }
    for unclaimed in health::unclaimed(ledger, UNCLAIMED_SECONDS).await? {
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
    look_at_set_aside(ledger, findings).await?;
    for stuck in health::stuck(ledger, STUCK_SECONDS).await? {
        let found = format!(
            "a {} for {} is {:.0} s old; the last that was heard of it: {}",
            stuck.kind,
            masked(&stuck.contact),
            stuck.seconds,
            stuck.error
        );
        findings.bad("stuck", &found, "is textback work running? its log says what it meets");
    }
    for (what, count) in [("silences", backlog.silences), ("scheduled", backlog.scheduled_messages)] {
        findings.ok(what, &format!("{count} are due"));
    }
    Ok(())
}
