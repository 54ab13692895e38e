//! `textback doctor`: looks at everything that keeps texts from being answered, and says how to mend it; it mends nothing.

mod outside;
mod work;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use clap::Args;
use url::Url;

use super::{Done, print};
use crate::config::{CarrierSettings, DatabaseSettings};
use crate::storage::connection_settings::Unsuitable;
use crate::storage::database;
use crate::storage::notifier::Notifier;
use crate::storage::{Storage, health};
use crate::telemetry::one_line;

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

    /// A look that failed. The other looks go on.
    fn unseen(&mut self, what: &str, error: &sqlx::Error) {
        let (why, mend) = match error.as_database_error() {
            Some(told) if database::is_lock_timeout(told) => {
                ("somebody holds a table that it reads".to_owned(), health::END_THE_HOLDER)
            }
            Some(refused) if database::is_given_up(refused) => {
                (format!("the database took too long ({error})"), "is it overloaded, or its disk slow? try again then")
            }
            _ => (told(error), "is it running, and is DATABASE_URL right? its log may say more"),
        };
        self.bad(what, &format!("could not be looked at: {why}"), mend);
    }

    fn skipped(&self, what: &str, why: &str) {
        let _ = print(&format!("-     {what:<12} {why}"));
    }
}

/// Runs `textback doctor`; exits with 1 when something is wrong.
pub async fn run(options: Options) -> Done {
    let mut findings = Findings::default();
    let url = options.database.required()?;
    let storage = Storage::open(url, 2, Arc::new(Notifier::default()))?;
    if look_at_database(&storage, url, &mut findings).await {
        work::look_at_work(&storage, &mut findings).await;
        outside::look_at_carrier(&storage, &options, &mut findings).await?;
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
async fn look_at_database(storage: &Storage, url: &str, findings: &mut Findings) -> bool {
    if let Err(error) = database::check_suits(url).await {
        let mend = Unsuitable::of(&error).map_or("is DATABASE_URL right?", Unsuitable::mend);
        findings.bad("database", &told(&error), mend);
        findings.skipped("the rest", "what is asked through such connections can't be trusted");
        return false;
    }
    let asked = Instant::now();
    let asking = async { health::clock(&mut *storage.connection().await?).await };
    let (version, now) = match asking.await {
        Ok(told) => told,
        Err(error) => {
            let error = database::reason(storage.pool(), error).await;
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
    if !look_at_rights(storage, findings).await {
        return false;
    }
    look_at_readiness(storage, findings).await && look_at_notices(storage, findings).await
}

/// What `/readyz` of a process would say. Whether there is a schema to look further into.
async fn look_at_readiness(storage: &Storage, findings: &mut Findings) -> bool {
    let Err(error) = health::check(storage).await else {
        findings.ok("schema", "is this binary's");
        return true;
    };
    let (what, mend, goes_on) = match &error {
        health::NotReady::ReadOnly => ("database", "give the URL of the server that writes", true),
        health::NotReady::Blocked(_) => ("tables", health::END_THE_HOLDER, true),
        health::NotReady::NotClaimable { .. } => ("work", "the log of that process says why", true),
        health::NotReady::Unsuitable(unsuitable) => ("database", unsuitable.mend(), false),
        health::NotReady::Database(_) => ("database", "is it running, and is DATABASE_URL right?", false),
        health::NotReady::Rights { .. } | health::NotReady::Schema { .. } | health::NotReady::Functions { .. } => {
            ("schema", "run: textback migrate", false)
        }
    };
    findings.bad(what, &error.to_string(), mend);
    goes_on
}

/// The text of an error.
fn told(error: &sqlx::Error) -> String {
    Unsuitable::of(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Whether the role has the rights that textback needs. Without some of them, no other check can run.
async fn look_at_rights(storage: &Storage, findings: &mut Findings) -> bool {
    let asking = async { health::missing_grants(&mut *storage.connection().await?, None).await };
    match asking.await {
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
async fn look_at_notices(storage: &Storage, findings: &mut Findings) -> bool {
    let mend = "let DATABASE_URL lead to PostgreSQL itself, or to a pooler in session mode";
    match storage.notifier().round_trip(storage.pool()).await {
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
