//! `textback doctor`: checks everything that can keep messages from being answered, and says how to
//! repair it. It repairs nothing itself.

mod carrier;
mod work;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use url::Url;

use super::{Done, print};
use crate::config::{CarrierSettings, DatabaseSettings, parse_base_url};
use crate::storage::connection_settings::Unsuitable;
use crate::storage::health::NotReady;
use crate::storage::notifier::Notifier;
use crate::storage::{Storage, database, health, reporting, unreachable};
use crate::telemetry::one_line;

/// The repair for a database that only reads.
const LEAD_TO_A_WRITER: &str = "let DATABASE_URL lead to a database that writes";

/// The connections of one process that serves and one that works (`cli/serve.rs`).
const FEWEST_CONNECTIONS: i32 = 20;

/// The options of `textback doctor`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    carrier: CarrierSettings,
    /// The URL of `textback serve` that Twilio calls
    #[arg(long, env = "TEXTBACK_PUBLIC_URL", value_parser = parse_base_url)]
    public_url: Option<Url>,
}

/// Prints the findings, and counts those that need a repair.
#[derive(Default)]
struct Findings {
    bad: usize,
}

impl Findings {
    fn ok(&self, what: &str, found: &str) {
        let _ = print(&format!("ok    {what:<12} {}", one_line(found)));
    }

    /// Prints a problem and its repair.
    fn bad(&mut self, what: &str, found: &str, repair: &str) {
        self.bad += 1;
        let found = one_line(found);
        let _ = print(&format!("BAD   {what:<12} {found}\n      {:<12} -> {repair}", ""));
    }

    /// Prints why no connection could be made.
    fn no_connection(&mut self, storage: &Storage, error: &sqlx::Error) {
        let unreachable = unreachable::explain(&storage.pool().connect_options(), error);
        match (Unsuitable::of(error), unreachable) {
            (Some(unsuitable), _) => self.bad("database", &unsuitable.to_string(), unsuitable.repair()),
            (None, Some(unreachable)) => self.bad("database", &unreachable.found(), unreachable.repair),
            (None, None) => {
                self.bad("database", &unreachable::plain(error), "is the database running, and is DATABASE_URL right?");
            }
        }
    }

    /// Prints that a check could not run. The other checks go on.
    fn failed_check(&mut self, what: &str, error: &sqlx::Error) {
        let (why, repair) = match error.as_database_error() {
            Some(error) if database::is_lock_timeout(error) => {
                ("another session holds a lock on a table that the check reads".to_owned(), health::END_THE_HOLDER)
            }
            Some(cancelled) if database::is_given_up(cancelled) => (
                format!("the database took too long ({error})"),
                "is the database overloaded, or its disk slow? try again later",
            ),
            _ => (text_of(error), "is the database running, and is DATABASE_URL right? its log may say more"),
        };
        self.bad(what, &format!("could not be checked: {why}"), repair);
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
    if check_database(&storage, url, &mut findings).await {
        work::check_work(&storage, &mut findings).await;
        check_reporting(&storage, &mut findings).await;
        carrier::check_carrier(&storage, &options, &mut findings).await?;
    }
    carrier::check_public_url(options.public_url.as_ref(), &mut findings).await;
    print(&match findings.bad {
        0 => "all is well".to_owned(),
        1 => "1 thing is wrong".to_owned(),
        bad => format!("{bad} things are wrong"),
    })?;
    Ok(if findings.bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Checks the database. Returns whether the other checks can use it.
async fn check_database(storage: &Storage, url: &str, findings: &mut Findings) -> bool {
    if let Err(error) = database::check_suits(url).await {
        findings.no_connection(storage, &error);
        findings.skipped("the rest", "can't be checked over such connections");
        return false;
    }
    let started = Instant::now();
    let asking = async { health::server(&mut *storage.connection().await?).await };
    let server = match asking.await {
        Ok(server) => server,
        Err(error) => {
            let error = database::reason(storage.pool(), error).await;
            findings.no_connection(storage, &error);
            return false;
        }
    };
    findings.ok(
        "database",
        &format!("PostgreSQL {} answers in {:.1} ms", server.version, started.elapsed().as_secs_f64() * 1e3),
    );
    if let Some(apart) = health::clocks_apart(server.now) {
        let found = format!("this machine's clock and the database's are {apart:.0} s apart");
        findings.bad(
            "clock",
            &found,
            "synchronise both clocks (chrony, ntpd); rows use the database's clock, logs use this machine's",
        );
    } else {
        findings.ok("clock", "as the database's");
    }
    if server.connections < FEWEST_CONNECTIONS {
        let found = format!("PostgreSQL has {} connections for textback and everything else", server.connections);
        findings.bad("connections", &found, "raise max_connections: serve needs 8, work 12, serve --with-workers 20");
    }
    if !check_rights(storage, findings).await {
        return false;
    }
    check_readiness(storage, findings).await && check_notifications(storage, findings).await
}

/// Checks what `/readyz` of a process reports. Returns whether the other checks can use the schema.
async fn check_readiness(storage: &Storage, findings: &mut Findings) -> bool {
    // The keys are checked by themselves, with those of an earlier rotation.
    let not_ready = match health::check(storage, None).await {
        Ok(ready) => {
            match ready.note() {
                None => findings.ok("schema", "is the schema of this binary"),
                Some(note) => findings.skipped("schema", &note),
            }
            return true;
        }
        Err(not_ready) => not_ready,
    };
    let found = not_ready.to_string();
    let (what, repair, goes_on) = match &not_ready {
        NotReady::Unreachable(unreachable) => {
            findings.bad("database", &unreachable.found(), unreachable.repair);
            return false;
        }
        NotReady::ReadOnly => ("database", LEAD_TO_A_WRITER, true),
        // A standby refuses LISTEN, so the next check would blame a pooler.
        NotReady::Standby => ("database", LEAD_TO_A_WRITER, false),
        NotReady::Blocked(_) => ("tables", health::END_THE_HOLDER, true),
        NotReady::NotClaimable { .. } => ("work", "the log of that process says why", true),
        NotReady::Unsuitable(unsuitable) => ("database", unsuitable.repair(), false),
        NotReady::Database(_) => ("database", "is the database running, and is DATABASE_URL right?", false),
        NotReady::SecretKey(_) => ("secret key", "give the key of that data in TEXTBACK_SECRET_KEY", true),
        NotReady::Rights { .. } => ("rights", "as the owner of the schema: textback migrate --grant-to ROLE", false),
        NotReady::ChangedMigration(_) => ("schema", "run the textback that migrated this database", false),
        NotReady::Schema { .. } | NotReady::Functions { .. } => ("schema", "run: textback migrate", false),
    };
    findings.bad(what, &found, repair);
    goes_on
}

/// Checks whether dashboards can read the views. textback works without them.
async fn check_reporting(storage: &Storage, findings: &mut Findings) {
    let asking = async {
        let mut connection = storage.connection().await?;
        Ok((reporting::missing(&mut connection).await?, reporting::missing_views(&mut connection).await?))
    };
    match asking.await {
        Ok((statements, _)) if !statements.is_empty() => {
            let options = storage.pool().connect_options();
            let database = options.get_database().unwrap_or("of DATABASE_URL");
            findings.skipped("reporting", &cant_read_views(database, statements.len()));
            let _ = print(&as_script(&statements));
            let _ = print("then run: textback migrate");
        }
        Ok((_, views)) if !views.is_empty() => {
            findings.skipped("reporting", &format!("the views {} are missing: run textback migrate", views.join(", ")));
        }
        Ok(_) => findings.ok("reporting", "members of textback_reporting can read the views"),
        Err(error) => findings.failed_check("reporting", &error),
    }
}

/// What is told when an administrator must open the views to dashboards.
fn cant_read_views(database: &str, statements: usize) -> String {
    format!(
        "dashboards can't read all views: an administrator runs these {statements} statements in the database {database}, for example with psql"
    )
}

/// Statements that can be pasted into psql, one a line.
fn as_script(statements: &[String]) -> String {
    statements.iter().map(|statement| format!("{};", one_line(statement))).collect::<Vec<_>>().join("\n")
}

/// The text of an error.
fn text_of(error: &sqlx::Error) -> String {
    unreachable::plain(error)
}

/// Checks whether the role has the rights that textback needs. Without them, no other check can
/// run.
async fn check_rights(storage: &Storage, findings: &mut Findings) -> bool {
    let asking = async { health::missing_grants(&mut *storage.connection().await?, None).await };
    match asking.await {
        Ok(missing) if missing.is_empty() => true,
        Ok(missing) => {
            let found = format!("the role of DATABASE_URL lacks {} rights", missing.len());
            let repair = format!(
                "as the owner of the schema: {}; or all of them: textback migrate --grant-to ROLE",
                health::brief(&missing)
            );
            findings.bad("rights", &found, &repair);
            findings.skipped("the rest", "can't be checked without these rights");
            false
        }
        Err(error) => {
            findings.bad("rights", &text_of(&error), "is the database running, and is DATABASE_URL right?");
            false
        }
    }
}

/// Checks whether connections keep their settings: workers listen on one, and statements are
/// prepared on each.
async fn check_notifications(storage: &Storage, findings: &mut Findings) -> bool {
    let repair = "set DATABASE_URL to PostgreSQL itself, or to a pooler in session mode";
    match storage.notifier().round_trip(storage.pool()).await {
        Ok(Some(took)) => {
            findings.ok("notices", &format!("reach another connection in {:.1} ms", took.as_secs_f64() * 1e3));
            true
        }
        Ok(None) => {
            let found =
                "a NOTIFY of one connection does not reach another: there is a pooler in transaction mode in between";
            findings.bad("notices", found, repair);
            true
        }
        Err(error) => {
            let found =
                format!("connections don't keep their settings, as behind a pooler in transaction mode: {error}");
            findings.bad("notices", &found, repair);
            findings.skipped("the rest", "can't be checked over such connections");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_for_an_administrator_can_be_pasted() {
        let statements = ["create role a".to_owned(), "grant b\nto c".to_owned()];
        let script = as_script(&statements);
        assert_eq!((script.lines().count(), script.lines().all(|line| line.ends_with(';'))), (2, true), "{script}");
        assert!(cant_read_views("shop", 2).contains("these 2 statements in the database shop"));
    }
}
