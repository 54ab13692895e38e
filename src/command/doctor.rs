//! `textback doctor`: looks at everything that keeps texts from being answered, and says how to mend it; it mends nothing.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use clap::Args;
use url::Url;

use super::{Done, print};
use crate::account::Account;
use crate::carrier::Client;
use crate::carrier::client::WebhookUrls;
use crate::config::{CarrierSettings, DatabaseSettings};
use crate::ledger::carrier_account::Accounts;
use crate::ledger::wake::Wakes;
use crate::ledger::{Ledger, health, invariant, number};

/// Work that waits longer than this is stuck: a lease and a retry are over by then.
const STUCK_SECONDS: f64 = 120.0;
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
        let _ = print(&format!("ok    {what:<12} {found}"));
    }

    /// Something that is wrong, and how it is mended.
    fn bad(&mut self, what: &str, found: &str, mend: &str) {
        self.bad += 1;
        let _ = print(&format!("BAD   {what:<12} {found}\n      {:<12} -> {mend}", ""));
    }

    fn skipped(&self, what: &str, why: &str) {
        let _ = print(&format!("-     {what:<12} {why}"));
    }
}

/// Runs `textback doctor`; exits with 1 when something is wrong.
pub async fn run(options: Options) -> Done {
    let mut findings = Findings::default();
    let ledger = Ledger::open(options.database.required()?, 2, Arc::new(Wakes::default()))?;
    if look_at_database(&ledger, &mut findings).await {
        look_at_work(&ledger, &mut findings).await?;
        look_at_carrier(&ledger, &options, &mut findings).await?;
    }
    look_at_public_url(options.public_url.as_ref(), &mut findings).await;
    print(&match findings.bad {
        0 => "all is well".to_owned(),
        1 => "1 thing is wrong".to_owned(),
        bad => format!("{bad} things are wrong"),
    })?;
    Ok(if findings.bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether there is a database to look further into.
async fn look_at_database(ledger: &Ledger, findings: &mut Findings) -> bool {
    let asked = Instant::now();
    let (version, now) = match health::clock(ledger).await {
        Ok(told) => told,
        Err(error) => {
            findings.bad("database", &error.to_string(), "is it running, and is DATABASE_URL right?");
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
    match health::check(ledger).await {
        Ok(()) => {
            findings.ok("schema", "is this binary's");
            true
        }
        Err(error) => {
            findings.bad("schema", &error.to_string(), "run: textback migrate");
            false
        }
    }
}

async fn look_at_work(ledger: &Ledger, findings: &mut Findings) -> Result<(), sqlx::Error> {
    match invariant::check(ledger).await {
        Ok(breaches) if breaches.is_empty() => findings.ok("invariants", "all hold"),
        Ok(breaches) => {
            for breach in breaches {
                let found = format!("{} has {} rows", breach.view, breach.rows);
                let mend = "this is a fault of textback: please report it with the rows of that view";
                findings.bad("invariants", &found, mend);
            }
        }
        Err(error) => {
            findings.bad("invariants", &format!("their views can't be read: {error}"), "run: textback migrate");
        }
    }
    let backlog = health::backlog(ledger).await?;
    for (what, count, oldest) in [
        ("turns", backlog.turns, backlog.oldest_turn_seconds),
        ("deliveries", backlog.deliveries, backlog.oldest_delivery_seconds),
    ] {
        if oldest > STUCK_SECONDS {
            let found = format!("{count} are due, the oldest for {oldest:.0} s");
            findings.bad(what, &found, "is textback work running? its log says what it meets");
        } else {
            findings.ok(what, &format!("{count} are due"));
        }
    }
    Ok(())
}

async fn look_at_carrier(
    ledger: &Ledger,
    options: &Options,
    findings: &mut Findings,
) -> Result<(), Box<dyn std::error::Error>> {
    let Some(key) = options.carrier.secret_key.clone() else {
        findings.skipped("carrier", "TEXTBACK_SECRET_KEY is not set, so accounts and numbers were not looked at");
        return Ok(());
    };
    let accounts = Accounts::new(ledger.clone(), key);
    let client = Client::new(options.carrier.twilio_api_url.clone())?;
    let projects = accounts.projects().await?;
    if projects.is_empty() {
        findings.skipped("carrier", "no project has a carrier account yet: PUT /v1/carrier");
    }
    for (project_id, project) in projects {
        match accounts.of_project(project_id).await {
            Ok(Some(account)) => {
                let numbers = number::list(ledger, project_id, None, crate::ledger::page::HIGHEST_LIMIT).await?.items;
                if numbers.is_empty() {
                    findings.skipped("number", &format!("{project} has none: POST /v1/numbers"));
                }
                for number in numbers {
                    look_at_number(&client, &account, &number, options.public_url.as_ref(), findings).await;
                }
            }
            Ok(None) => {}
            Err(error) => findings.bad(
                "carrier",
                &format!("{project}: {error}"),
                "set the key that sealed it, or PUT /v1/carrier again",
            ),
        }
    }
    Ok(())
}

/// The credentials are tried by what they are for: reading a number's webhooks.
async fn look_at_number(
    client: &Client,
    account: &Account,
    number: &number::Number,
    public_url: Option<&Url>,
    findings: &mut Findings,
) {
    let name = &number.number;
    let found = match client.find_number(account, name).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            let found = format!("{name} is not the account's any more");
            return findings.bad("number", &found, "get it back at the carrier, or attach another one");
        }
        Err(error) => {
            let mend = "check the credentials (PUT /v1/carrier) and TEXTBACK_TWILIO_API_URL";
            return findings.bad("carrier", &format!("{name}: {error}"), mend);
        }
    };
    let again = "attach it again: POST /v1/numbers sets its webhooks";
    if found.sms_application_sid.as_deref().is_some_and(|sid| !sid.is_empty()) {
        let found = format!("{name} has an application at the carrier, which outranks its webhooks");
        return findings.bad("number", &found, again);
    }
    let Some(public_url) = public_url else {
        return findings.skipped("number", "TEXTBACK_PUBLIC_URL is not set, so webhooks were not compared");
    };
    let ours = WebhookUrls::of(public_url.as_str().trim_end_matches('/'), &account.webhook_key).messages;
    match found.sms_url.as_deref() {
        Some(theirs) if theirs.split('#').next() == Some(ours.as_str()) => {
            findings.ok("number", &format!("{name} is the account's, and its texts come here"));
        }
        theirs => {
            let theirs = theirs.filter(|url| !url.is_empty()).unwrap_or("nowhere");
            findings.bad("number", &format!("the texts of {name} go to {theirs}"), again);
        }
    }
}

async fn look_at_public_url(public_url: Option<&Url>, findings: &mut Findings) {
    let Some(public_url) = public_url else {
        return findings.skipped("public URL", "TEXTBACK_PUBLIC_URL is not set");
    };
    let base = public_url.as_str().trim_end_matches('/');
    let answered = async {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        http.get(format!("{base}/readyz")).send().await
    };
    let mend = "start textback serve behind it; it must pass the path on as it came, and not redirect";
    match answered.await {
        Ok(answer) if answer.status().is_success() => {
            findings.ok("public URL", &format!("{base} leads to a textback that is ready"))
        }
        Ok(answer) => findings.bad("public URL", &format!("{base}/readyz answers {}", answer.status()), mend),
        Err(_) => findings.bad("public URL", &format!("{base} can't be reached from here"), mend),
    }
}
