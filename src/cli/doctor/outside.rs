//! What keeps texts from coming in and going out: credentials, numbers, the public address and its signature; it changes none of them.

use std::time::Duration;

use reqwest::StatusCode;
use url::Url;

use super::{Findings, Options};
use crate::carriers::twilio::client::{Client, WebhookUrls};
use crate::carriers::twilio::form::Form;
use crate::carriers::twilio::signature;
use crate::domain::carrier_account::Account;
use crate::domain::number::{DesiredState, WebhookState};
use crate::secret::SecretKeys;
use crate::storage::carrier_account::{AccountError, Accounts};
use crate::storage::pagination::HIGHEST_LIMIT;
use crate::storage::{Storage, country, key_rotation, number};

pub(super) async fn look_at_carrier(
    storage: &Storage,
    options: &Options,
    findings: &mut Findings,
) -> Result<(), Box<dyn std::error::Error>> {
    let Some(key) = options.carrier.secret_key.clone() else {
        findings.skipped("carrier", "TEXTBACK_SECRET_KEY is not set, so accounts and numbers were not looked at");
        return Ok(());
    };
    if let Err(error) = look_at_keys(storage, &key, findings).await {
        findings.unseen("secret key", &error);
    }
    let accounts = Accounts::new(storage.clone(), key);
    let client = Client::new(options.carrier.twilio_api_url.clone(), options.carrier.twilio_messaging_url.clone())?;
    let projects = match accounts.projects().await {
        Ok(projects) => projects,
        Err(error) => {
            findings.unseen("carrier", &error);
            return Ok(());
        }
    };
    if projects.is_empty() {
        findings.skipped("carrier", "no project has a carrier account yet: PUT /v1/carrier");
    }
    for (project_id, project) in projects {
        match accounts.of_project(project_id).await {
            Ok(Some(account)) => {
                look_at_signature(&account, &project, options.public_url.as_ref(), findings).await;
                look_at_credentials(&client, &account, &project, findings).await;
                let public_url = options.public_url.as_ref();
                if let Err(error) = look_at_numbers(storage, &client, &account, &project, public_url, findings).await {
                    findings.unseen("number", &error);
                }
            }
            Ok(None) => {}
            Err(AccountError::Database(error)) => findings.unseen("carrier", &error),
            Err(error) => findings.bad(
                "carrier",
                &format!("{project}: {error}"),
                "set the key that sealed it, or PUT /v1/carrier again",
            ),
        }
    }
    Ok(())
}

/// Whether the keys open what is stored, and whether an earlier one is still needed.
async fn look_at_keys(storage: &Storage, keys: &SecretKeys, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let (mut waiting, mut unopened) = (0, 0);
    let counts = key_rotation::count(&mut *storage.connection().await?).await?;
    for sealed in counts {
        if !keys.opens(&sealed.key_id) {
            unopened += sealed.rows;
            let found =
                format!("{} stored secrets were sealed with key {}, which is not given", sealed.rows, sealed.key_id);
            findings.bad(
                "secret key",
                &found,
                "add that key to TEXTBACK_SECRET_KEY behind a comma, or give the secrets anew",
            );
        } else if sealed.key_id != keys.id() {
            waiting += sealed.rows;
        }
    }
    match (waiting, keys.others()) {
        _ if unopened > 0 => {}
        (0, 0) => {}
        (0, _) => findings.ok("secret key", &format!("key {} opens all: the other ones can be taken out", keys.id())),
        (waiting, _) => findings.skipped(
            "secret key",
            &format!("{waiting} stored secrets wait for the new key: it seals them when textback serve or work starts with it"),
        ),
    }
    Ok(())
}

/// All numbers of a project: their webhooks as they are at the carrier now; of the rest, what was seen last.
async fn look_at_numbers(
    storage: &Storage,
    client: &Client,
    account: &Account,
    project: &str,
    public_url: Option<&Url>,
    findings: &mut Findings,
) -> Result<(), sqlx::Error> {
    let mut before = None;
    loop {
        let mut connection = storage.connection().await?;
        let numbers = number::list(&mut connection, account.project_id, before, HIGHEST_LIMIT).await?;
        if numbers.items.is_empty() && before.is_none() {
            findings.skipped("number", &format!("{project} has none: POST /v1/numbers"));
        }
        let countries = country::of_numbers(&mut connection, account.project_id, &numbers.items).await?;
        drop(connection);
        for number in &numbers.items {
            let country = number.country.as_ref().and_then(|iso2| countries.get(iso2));
            // What was seen of its webhooks may be over; they are looked at now, of one that should be ours.
            let is_ours = number.desired_state == DesiredState::Attached && number.carrier_sid.is_some();
            let seen = match is_ours {
                true => number::Number { webhook: WebhookState::Ok, refusal_reason: None, ..number.clone() },
                false => number.clone(),
            };
            for finding in seen.findings(country) {
                match finding.severity {
                    "blocked" => findings.bad("number", &finding.what, &finding.mend),
                    _ => findings.skipped("number", &format!("{} -> {}", finding.what, finding.mend)),
                }
            }
            if is_ours {
                look_at_number(client, account, number, public_url, findings).await;
            }
        }
        before = numbers.items.last().map(|number| number.id);
        if numbers.next_cursor.is_none() {
            return Ok(());
        }
    }
}

/// Calls ourselves as the carrier would: by the public address, with a signature over it.
async fn look_at_signature(account: &Account, project: &str, public_url: Option<&Url>, findings: &mut Findings) {
    let Some(public_url) = public_url else {
        return findings.skipped("signature", "TEXTBACK_PUBLIC_URL is not set");
    };
    let url = WebhookUrls::of(public_url.as_str().trim_end_matches('/'), &account.webhook_key).check;
    let signature = signature::sign(&account.auth_token, &url, &Form::read(b""));
    let posted = async { http()?.post(&url).header(signature::HEADER, signature).send().await };
    let mend = "textback serve must have the same TEXTBACK_PUBLIC_URL, TEXTBACK_SECRET_KEY and DATABASE_URL as this command, and a proxy must pass the path and the headers on as they came";
    match posted.await {
        Ok(answer) if answer.status() == StatusCode::NO_CONTENT => {
            findings.ok("signature", &format!("what the carrier signs for {project} is taken"));
        }
        Ok(answer) => {
            let found = format!("what the carrier signs for {project} is answered with {}", answer.status());
            findings.bad("signature", &found, mend);
        }
        Err(_) => findings.skipped("signature", &format!("not tried for {project}: the public URL can't be reached")),
    }
}

fn http() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().timeout(Duration::from_secs(10)).redirect(reqwest::redirect::Policy::none()).build()
}

/// The credentials are tried by what they are for. The list of messages is what tells of an unsure text whether it was
/// sent: a key that may send and not read it would let such texts wait for ever.
async fn look_at_credentials(client: &Client, account: &Account, project: &str, findings: &mut Findings) {
    let since = chrono::Utc::now();
    // The next token would hide that the first one has ended.
    let account = &Account { next_auth_token: None, ..account.clone() };
    match client.list_newest(account).await {
        Ok(count) => {
            let took = (chrono::Utc::now() - since).num_milliseconds();
            findings.ok(
                "carrier",
                &format!("the account of {project} lists its messages ({count} on a page) in {took} ms"),
            );
        }
        Err(error) => {
            let found = format!("{project}: the account's messages can't be listed: {error}");
            let mend = "check the credentials (PUT /v1/carrier); a restricted key needs to read messages, and TEXTBACK_TWILIO_API_URL must be the carrier's";
            findings.bad("carrier", &found, mend);
        }
    }
}

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
    let Some(public_url) = public_url else {
        return findings.skipped("number", "TEXTBACK_PUBLIC_URL is not set, so webhooks were not compared");
    };
    let urls = WebhookUrls::of(public_url.as_str().trim_end_matches('/'), &account.webhook_key);
    match found.drift(&urls) {
        None => findings.ok("number", &format!("{name} is the account's, and its texts come here")),
        Some(drift) => {
            let mend = "attach it again: POST /v1/numbers sets its webhooks";
            findings.bad("number", &format!("{name} is not as it should be at the carrier: {drift}"), mend);
        }
    }
}

pub(super) async fn look_at_public_url(public_url: Option<&Url>, findings: &mut Findings) {
    let Some(public_url) = public_url else {
        return findings.skipped("public URL", "TEXTBACK_PUBLIC_URL is not set");
    };
    let base = public_url.as_str().trim_end_matches('/');
    let answered = async { http()?.get(format!("{base}/readyz")).send().await };
    let mend = "start textback serve behind it; it must pass the path on as it came, and not redirect";
    match answered.await {
        Ok(answer) if answer.status().is_success() => {
            findings.ok("public URL", &format!("{base} leads to a textback that is ready"))
        }
        Ok(answer) => findings.bad("public URL", &format!("{base}/readyz answers {}", answer.status()), mend),
        Err(_) => findings.bad("public URL", &format!("{base} can't be reached from here"), mend),
    }
}
