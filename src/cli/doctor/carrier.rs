//! Checks the connection with the carrier: credentials, numbers, the public URL and webhook
//! signatures.

use std::time::Duration;

use reqwest::StatusCode;
use url::Url;

use super::{Findings, Options};
use crate::carriers::webhook::WebhookUrls;
use crate::carriers::{Carrier, Carriers};
use crate::cli::carriers;
use crate::domain::carrier_account::CarrierAccount;
use crate::domain::number::{DesiredState, NumberHealthStatus, WebhookState};
use crate::numbers::health::diagnose;
use crate::secret::SecretKeys;
use crate::storage::carrier_account::{AccountError, Accounts};
use crate::storage::pagination::HIGHEST_LIMIT;
use crate::storage::{Storage, country, key_rotation, number};

pub(super) async fn check_carrier(
    storage: &Storage,
    options: &Options,
    findings: &mut Findings,
) -> Result<(), Box<dyn std::error::Error>> {
    let Some(key) = options.carrier.secret_key.clone() else {
        findings.skipped("carrier", "TEXTBACK_SECRET_KEY is not set, so accounts and numbers were not checked");
        return Ok(());
    };
    if let Err(error) = check_keys(storage, &key, findings).await {
        findings.failed_check("secret key", &error);
    }
    let accounts = Accounts::new(storage.clone(), key);
    let carriers = carriers(&options.carrier)?;
    let projects = match accounts.projects().await {
        Ok(projects) => projects,
        Err(error) => {
            findings.failed_check("carrier", &error);
            return Ok(());
        }
    };
    if projects.is_empty() {
        findings.skipped("carrier", "no project has a carrier account yet: PUT /v1/carrier");
    }
    for (project_id, project) in projects {
        match accounts.of_project(project_id).await {
            Ok(Some(account)) => {
                let check = AccountCheck::of(&carriers, &account, &project, options.public_url.as_ref());
                check.signature(findings).await;
                check.credentials(findings).await;
                if let Err(error) = check.numbers(storage, findings).await {
                    findings.failed_check("number", &error);
                }
            }
            Ok(None) => {}
            Err(AccountError::Database(error)) => findings.failed_check("carrier", &error),
            Err(error) => findings.bad(
                "carrier",
                &format!("{project}: {error}"),
                "set the key that encrypted it, or PUT /v1/carrier again",
            ),
        }
    }
    Ok(())
}

/// Checks whether the keys decrypt the stored secrets, and whether an old key is still needed.
async fn check_keys(storage: &Storage, keys: &SecretKeys, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let mut connection = storage.connection().await?;
    if let Some(unreadable) = key_rotation::unreadable(&mut connection, keys).await? {
        let repair = "give processes and this command the key of that data";
        findings.bad("secret key", &unreadable.to_string(), repair);
        return Ok(());
    }
    let counts = key_rotation::count(&mut connection).await?;
    let waiting: i64 = counts.iter().filter(|count| count.key_id != keys.id()).map(|count| count.rows).sum();
    match waiting {
        0 => findings.ok("secret key", &all_decrypted(keys.id(), &keys.ids())),
        waiting => findings.skipped(
            "secret key",
            &format!("{waiting} stored secrets wait for the new key: they are re-encrypted when textback serve or work starts with it"),
        ),
    }
    Ok(())
}

/// What is told when one key decrypts all secrets: also which of the given keys can be taken out.
fn all_decrypted(id: &str, given: &[String]) -> String {
    let others: Vec<&str> = given.iter().map(String::as_str).filter(|other| *other != id).collect();
    match others.as_slice() {
        [] => format!("key {id} decrypts all secrets"),
        [other] => format!("key {id} decrypts all secrets; {other} is not needed any more"),
        others => format!("key {id} decrypts all secrets; {} are not needed any more", others.join(", ")),
    }
}

/// A carrier account that is checked, and where its carrier reaches us.
struct AccountCheck<'a> {
    carrier: &'a dyn Carrier,
    account: &'a CarrierAccount,
    project: &'a str,
    /// `None` when no public URL is set.
    urls: Option<WebhookUrls>,
}

impl<'a> AccountCheck<'a> {
    fn of(carriers: &'a Carriers, account: &'a CarrierAccount, project: &'a str, public_url: Option<&Url>) -> Self {
        let urls = public_url.map(|url| WebhookUrls::of(url.as_str().trim_end_matches('/'), account));
        Self { carrier: carriers.of(account), account, project, urls }
    }

    /// Checks all numbers of the project: their webhooks are read from the carrier, everything else
    /// is as last observed.
    async fn numbers(&self, storage: &Storage, findings: &mut Findings) -> Result<(), sqlx::Error> {
        let project_id = self.account.project_id;
        let mut before = None;
        loop {
            let mut connection = storage.connection().await?;
            let numbers = number::list(&mut connection, project_id, before, HIGHEST_LIMIT).await?;
            if numbers.items.is_empty() && before.is_none() {
                findings.skipped("number", &format!("{} has none: POST /v1/numbers", self.project));
            }
            let countries = country::of_numbers(&mut connection, project_id, &numbers.items).await?;
            drop(connection);
            for number in &numbers.items {
                let country = number.country.as_ref().and_then(|iso2| countries.get(iso2));
                // The webhooks of attached numbers are read from the carrier below, so the stored
                // observation is ignored.
                let is_attached = number.desired_state == DesiredState::Attached && number.carrier_id.is_some();
                let observed = match is_attached {
                    true => number::Number { webhook: WebhookState::Ok, refusal_reason: None, ..number.clone() },
                    false => number.clone(),
                };
                for found in diagnose(&observed, country) {
                    match found.severity {
                        NumberHealthStatus::Blocked => findings.bad("number", &found.what, &found.repair),
                        NumberHealthStatus::AtRisk | NumberHealthStatus::Ok => {
                            findings.skipped("number", &format!("{} -> {}", found.what, found.repair));
                        }
                    }
                }
                if is_attached {
                    self.number(&number.number, findings).await;
                }
            }
            before = numbers.items.last().map(|number| number.id);
            if numbers.next_cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// Calls the public URL as the carrier would, with a signature over it.
    async fn signature(&self, findings: &mut Findings) {
        let Some(urls) = &self.urls else {
            return findings.skipped("signature", "TEXTBACK_PUBLIC_URL is not set");
        };
        let (project, url) = (self.project, &urls.check);
        let headers = self.carrier.sign_empty(self.account, url);
        let request = async { http()?.post(url).headers(headers).send().await };
        let repair = "textback serve must have the same TEXTBACK_PUBLIC_URL, TEXTBACK_SECRET_KEY and DATABASE_URL as this command, and a proxy must forward the path and the headers unchanged";
        match request.await {
            Ok(answer) if answer.status() == StatusCode::NO_CONTENT => {
                findings.ok("signature", &format!("signed webhooks for {project} are accepted"));
            }
            Ok(answer) => {
                let found = format!("signed webhooks for {project} are answered with {}", answer.status());
                findings.bad("signature", &found, repair);
            }
            Err(_) => {
                findings.skipped("signature", &format!("not checked for {project}: the public URL can't be reached"));
            }
        }
    }

    /// Checks the credentials by listing messages. Unknown deliveries are looked up in that list,
    /// so with a key that may send but not list messages they would wait forever.
    async fn credentials(&self, findings: &mut Findings) {
        let (project, since) = (self.project, chrono::Utc::now());
        match self.carrier.count_newest(self.account).await {
            Ok(count) => {
                let took = (chrono::Utc::now() - since).num_milliseconds();
                findings.ok(
                    "carrier",
                    &format!("the account of {project} lists its messages ({count} on a page) in {took} ms"),
                );
            }
            Err(error) => {
                let found = format!("{project}: the account's messages can't be listed: {error}");
                let repair = "check the credentials (PUT /v1/carrier); a restricted key needs the right to read messages, and TEXTBACK_TWILIO_API_URL must be the carrier's";
                findings.bad("carrier", &found, repair);
            }
        }
    }

    /// Checks the webhooks of one number at the carrier.
    async fn number(&self, number: &str, findings: &mut Findings) {
        let found = match self.carrier.find_number(self.account, number).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                let found = format!("{number} is no longer in the account");
                return findings.bad("number", &found, "get it back at the carrier, or attach another number");
            }
            Err(error) => {
                let repair = "check the credentials (PUT /v1/carrier) and TEXTBACK_TWILIO_API_URL";
                return findings.bad("carrier", &format!("{number}: {error}"), repair);
            }
        };
        let Some(urls) = &self.urls else {
            return findings.skipped("number", "TEXTBACK_PUBLIC_URL is not set, so webhooks were not compared");
        };
        match found.webhooks.drift(urls) {
            None => findings.ok("number", &format!("{number} is in the account, and its webhooks lead here")),
            Some(drift) => {
                let repair = "attach it again: POST /v1/numbers sets its webhooks";
                findings.bad(
                    "number",
                    &format!("the settings of {number} at the carrier have drifted: {drift}"),
                    repair,
                );
            }
        }
    }
}

fn http() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().timeout(Duration::from_secs(10)).redirect(reqwest::redirect::Policy::none()).build()
}

pub(super) async fn check_public_url(public_url: Option<&Url>, findings: &mut Findings) {
    let Some(public_url) = public_url else {
        return findings.skipped("public URL", "TEXTBACK_PUBLIC_URL is not set");
    };
    let base = public_url.as_str().trim_end_matches('/');
    let request = async { http()?.get(format!("{base}/readyz")).send().await };
    let repair = "start textback serve behind it; a proxy must forward the path unchanged, without a redirect";
    match request.await {
        Ok(answer) if answer.status().is_success() => {
            findings.ok("public URL", &format!("{base} leads to a textback process that is ready"))
        }
        Ok(answer) => findings.bad("public URL", &format!("{base}/readyz answers {}", answer.status()), repair),
        Err(_) => findings.bad("public URL", &format!("{base} can't be reached from here"), repair),
    }
}

#[cfg(test)]
mod tests {
    use super::all_decrypted;

    #[test]
    fn each_key_that_can_be_taken_out_is_named() {
        for (given, told) in [
            (&["a"][..], "key a decrypts all secrets"),
            (&["a", "b"], "key a decrypts all secrets; b is not needed any more"),
            (&["a", "b", "c"], "key a decrypts all secrets; b, c are not needed any more"),
        ] {
            let given: Vec<String> = given.iter().map(ToString::to_string).collect();
            assert_eq!(all_decrypted("a", &given), told);
        }
    }
}
