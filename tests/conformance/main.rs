//! Compares the carrier client and the simulator with Twilio's own documents and Twilio's own
//! client (`make conformance`).
//!
//! Two validating mocks made of Twilio's OpenAPI documents check every call of our client. The same
//! tool as a proxy checks the answers of the simulator. The official Python client drives the
//! simulator, and its validator checks the simulator's signatures and the answers of our webhook.
//! It prints a line for each check, and exits with 1 when one fails.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a check that stumbles has failed")]
#![allow(dead_code, unused_imports, reason = "the harness serves the stories too")]

#[path = "../it/databases.rs"]
mod databases;
#[path = "../it/harness.rs"]
mod harness;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::process::{Command, ExitCode};

use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use textback::carriers::message::OutboundMessage;
use textback::carriers::number::{CarrierNumber, NumberCapabilities, NumberSearch, NumberWebhooks};
use textback::carriers::twilio::client::{ApiError, Client};
use textback::carriers::twilio::send::SendAnswer;
use textback::carriers::twilio::services::{Members, ServiceCache};
use textback::carriers::webhook::WebhookUrls;
use textback::domain::carrier_account::{CarrierKind, Credentials};
use textback::domain::number::NumberType;
use textback::http::listener::Listening;
use url::Url;

use harness::{ACCOUNT_SID, ADA, AUTH_TOKEN, ECHO, NUMBER, TestApp};

/// What was checked so far.
#[derive(Default)]
struct Checks {
    passed: usize,
    failed: usize,
}

impl Checks {
    fn note(&mut self, what: &str, went_well: bool, told: impl Debug) {
        if went_well {
            self.passed += 1;
            println!("ok    {what}");
        } else {
            self.failed += 1;
            println!("BAD   {what}: {told:?}");
        }
    }

    /// A call that the document allows: its answer can be read, or is one that our bounds refuse.
    fn allowed<T: Debug>(&mut self, what: &str, answer: Result<T, ApiError>) {
        self.note(what, answer.is_ok(), answer);
    }

    /// A list of a mock's: its example of a page names a next one, for ever, and we end that.
    fn endless<T: Debug>(&mut self, what: &str, answer: Result<T, ApiError>) {
        let ended = matches!(&answer, Err(ApiError::Unreadable(why)) if why.contains("pages of"));
        self.note(what, answer.is_ok() || ended, answer);
    }

    /// A call that the document forbids.
    fn forbidden<T: Debug>(&mut self, what: &str, answer: Result<T, ApiError>, status: u16) {
        let refused = matches!(&answer, Err(ApiError::Refused { status: told, .. }) if *told == status);
        self.note(what, refused, answer);
    }
}

fn account(sid: &str) -> Credentials {
    Credentials {
        account_sid: sid.to_owned(),
        auth_token: SecretString::from(AUTH_TOKEN.to_owned()),
        next_auth_token: None,
        api_key: None,
    }
}

fn url_of(variable: &str) -> Url {
    let text = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; run: make conformance"));
    Url::parse(&text).expect("a URL")
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut checks = Checks::default();
    let app = TestApp::new().await;
    println!("--- every call of the client, before mocks made of Twilio's documents");
    let mocks = Client::new(url_of("TEXTBACK_MOCK_API"), url_of("TEXTBACK_MOCK_MESSAGING")).expect("a client");
    every_call(&mut checks, &mocks, "mock").await;
    invalid_calls(&mut checks, &mocks).await;
    println!("--- every answer of the simulator, through the same tool as a proxy");
    answers_of_the_simulator(&mut checks, &app).await;
    println!("--- every operation of the documents, before the mocks and to the simulator");
    every_path(&mut checks).await;
    println!("--- Twilio's Python client and its validator");
    python(&mut checks, &app).await;
    println!("{} passed, {} failed", checks.passed, checks.failed);
    if checks.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

const SID: &str = "PN0123456789abcdef0123456789abcdef";
/// A short code of the account. The documents that the mocks are made of lack the short codes of
/// the 2010 API, so Twilio's Python client is their judge.
const SHORT_CODE: &str = "72975";
const SERVICE: &str = "MG0123456789abcdef0123456789abcdef";

async fn send(client: &Client, account: &Credentials, body: &str, media_urls: &[String]) -> Result<String, ApiError> {
    let status_url = "https://sms.example.com/webhooks/twilio/key/status?delivery=1";
    let delivery_id = uuid::Uuid::nil();
    let message = OutboundMessage { delivery_id, from: NUMBER, pool_id: None, to: ADA, body, media_urls, status_url };
    match client.send(account, &message).await {
        SendAnswer::Accepted { sid } => Ok(sid),
        SendAnswer::Refused { code, status, detail, .. } => Err(ApiError::Refused { status, code, message: detail }),
        SendAnswer::NotReached { detail } => Err(ApiError::NotReached(detail)),
        // The mock's example of a message has an id that is none.
        SendAnswer::Unsure { detail } if detail.contains("names no message but") => Ok(detail),
        SendAnswer::Unsure { detail } => Err(ApiError::Unreadable(detail)),
    }
}

/// A number of the account, by its id.
fn number_with(carrier_id: &str, webhooks: NumberWebhooks) -> CarrierNumber {
    CarrierNumber {
        carrier_id: carrier_id.to_owned(),
        number: NUMBER.to_owned(),
        number_type: None,
        capabilities: NumberCapabilities::default(),
        webhooks,
    }
}

/// Each call that our client can make, as it makes it.
async fn every_call(checks: &mut Checks, client: &Client, who: &str) {
    let account = account(ACCOUNT_SID);
    let urls = WebhookUrls::of_key("https://sms.example.com", CarrierKind::Twilio, "key");
    let long_ago = chrono::DateTime::UNIX_EPOCH;
    let pictures = ["https://pictures.example/1.jpg".to_owned(), "https://pictures.example/2.jpg".to_owned()];
    checks.allowed(&format!("{who}: send a text"), send(client, &account, "Héllo 🎉", &[]).await);
    checks.allowed(&format!("{who}: send 1600 characters"), send(client, &account, &"a".repeat(1600), &[]).await);
    checks.allowed(&format!("{who}: send pictures"), send(client, &account, "", &pictures).await);
    checks.endless(&format!("{who}: list what was sent"), client.list_sent(&account, NUMBER, ADA, long_ago).await);
    checks.endless(&format!("{who}: list what was received"), client.list_received(&account, NUMBER, long_ago).await);
    checks.allowed(&format!("{who}: list the newest"), client.list_newest(&account).await);
    let message = "MM0123456789abcdef0123456789abcdef";
    checks.allowed(&format!("{who}: list media"), client.list_media(&account, message).await);
    checks.allowed(&format!("{who}: try credentials"), client.try_login(&account).await);
    for number_type in [NumberType::Local, NumberType::Mobile, NumberType::TollFree] {
        let contains = Some("555****".to_owned());
        let country = if number_type == NumberType::Mobile { "GB" } else { "US" }.to_owned();
        let wanted = NumberSearch { country, number_type, contains, sms: true, limit: 20 };
        checks
            .allowed(&format!("{who}: search {number_type:?} numbers"), client.search_numbers(&account, &wanted).await);
    }
    checks.allowed(&format!("{who}: find a number"), client.find_number(&account, NUMBER).await);
    checks.allowed(&format!("{who}: buy a number"), client.buy_number(&account, "+14155550120", &urls).await);
    let number = number_with(SID, NumberWebhooks::default());
    checks.allowed(&format!("{who}: set webhooks"), client.set_webhooks(&account, &number, &urls).await);
    // The document gives addresses the format of a URI, which an empty one has not; the carrier
    // takes it to clear them.
    let set =
        NumberWebhooks { messages: urls.messages.clone(), status: urls.status.clone(), ..NumberWebhooks::default() };
    let ours = number_with(SID, set);
    let cleared = client.clear_webhooks(&account, &ours, &urls).await;
    checks.forbidden(
        &format!("{who}: clearing webhooks is the one call that the document has no shape for"),
        cleared,
        400,
    );
    checks.allowed(&format!("{who}: release a number"), client.release_number(&account, SID).await);
    for members in [Members::PhoneNumbers, Members::ShortCodes] {
        let read = client.service_members(&account, members).await;
        checks.endless(&format!("{who}: read the messaging services with their {members:?}"), read);
    }
    checks.allowed(&format!("{who}: read a campaign"), client.campaign(&account, SERVICE).await);
    checks.allowed(&format!("{who}: read a verification"), client.verification(&account, SID).await);
}

/// Calls that nobody should make, one at least of each that the client can make: the mock must be
/// seen to notice.
async fn invalid_calls(checks: &mut Checks, client: &Client) {
    let well = account(ACCOUNT_SID);
    let urls = WebhookUrls::of_key("https://sms.example.com", CarrierKind::Twilio, "key");
    let long_ago = chrono::DateTime::UNIX_EPOCH;
    checks.forbidden("mock: 1601 characters are refused", send(client, &well, &"a".repeat(1601), &[]).await, 400);
    checks.forbidden("mock: a text that says nothing is refused", send(client, &well, "", &[]).await, 400);
    let wanted = |limit| NumberSearch {
        country: "US".to_owned(),
        number_type: NumberType::Local,
        contains: None,
        sms: true,
        limit,
    };
    checks.forbidden(
        "mock: 5000 numbers on a page are refused",
        client.search_numbers(&well, &wanted(5_000)).await,
        400,
    );
    let relative = WebhookUrls::of_key("", CarrierKind::Twilio, "key");
    checks.forbidden(
        "mock: a webhook that leads nowhere is refused",
        client.buy_number(&well, NUMBER, &relative).await,
        400,
    );
    let strange = account("AC1");
    let of_nobody = "mock: of an account that is none:";
    checks.forbidden(&format!("{of_nobody} send"), send(client, &strange, "hi", &[]).await, 400);
    checks.forbidden(
        &format!("{of_nobody} what was sent"),
        client.list_sent(&strange, NUMBER, ADA, long_ago).await,
        400,
    );
    checks.forbidden(
        &format!("{of_nobody} what was received"),
        client.list_received(&strange, NUMBER, long_ago).await,
        400,
    );
    checks.forbidden(&format!("{of_nobody} the newest"), client.list_newest(&strange).await, 400);
    checks.forbidden(&format!("{of_nobody} credentials"), client.try_login(&strange).await, 400);
    checks.forbidden(&format!("{of_nobody} search"), client.search_numbers(&strange, &wanted(5)).await, 400);
    checks.forbidden(&format!("{of_nobody} find"), client.find_number(&strange, NUMBER).await, 400);
    checks.forbidden(&format!("{of_nobody} buy"), client.buy_number(&strange, NUMBER, &urls).await, 400);
    let of_nothing = "mock: of an id that is none:";
    let number = number_with("PN1", NumberWebhooks { status: urls.status.clone(), ..NumberWebhooks::default() });
    checks.forbidden(&format!("{of_nothing} media"), client.list_media(&well, "MM1").await, 400);
    checks.forbidden(&format!("{of_nothing} set webhooks"), client.set_webhooks(&well, &number, &urls).await, 400);
    checks.forbidden(&format!("{of_nothing} clear webhooks"), client.clear_webhooks(&well, &number, &urls).await, 400);
    checks.forbidden(&format!("{of_nothing} release"), client.release_number(&well, "PN1").await, 400);
    checks.forbidden(&format!("{of_nothing} campaign"), client.campaign(&well, "MG1").await, 400);
    checks.forbidden(&format!("{of_nothing} verification"), client.verification(&well, "PN1").await, 400);
}

/// The whole life of a number and a text, each answer of the simulator judged on its way to the
/// client.
async fn answers_of_the_simulator(checks: &mut Checks, app: &TestApp) {
    // Where the proxies lead to.
    let port: u16 = std::env::var("TEXTBACK_SIMULATOR_PORT").ok().and_then(|port| port.parse().ok()).expect("a port");
    let listening =
        Listening::at(SocketAddr::from(([127, 0, 0, 1], port)), "TEXTBACK_SIMULATOR_PORT").await.expect("a free port");
    tokio::spawn(listening.serve(app.simulator.routes(), std::future::pending()));
    let client = Client::new(url_of("TEXTBACK_PROXY_API"), url_of("TEXTBACK_PROXY_MESSAGING")).expect("a client");
    let account = account(ACCOUNT_SID);
    let urls = WebhookUrls::of_key(&format!("http://{}", app.api), CarrierKind::Twilio, &app.webhook_key);
    let long_ago = chrono::DateTime::UNIX_EPOCH;
    let wanted =
        NumberSearch { country: "US".to_owned(), number_type: NumberType::Local, contains: None, sms: true, limit: 5 };
    checks.allowed("simulator: search", client.search_numbers(&account, &wanted).await);
    let bought = client.buy_number(&account, "+14155550120", &urls).await;
    let sid = bought.as_ref().map(|bought| bought.carrier_id.clone()).unwrap_or_default();
    checks.allowed("simulator: buy", bought);
    checks.forbidden(
        "simulator: what is sold is not sold twice",
        client.buy_number(&account, "+14155550120", &urls).await,
        400,
    );
    let found = client.find_number(&account, "+14155550120").await;
    if let Ok(Some(found)) = &found {
        checks.allowed("simulator: set webhooks", client.set_webhooks(&account, found, &urls).await);
    }
    checks.note("simulator: find", matches!(found, Ok(Some(_))), &found);
    let service = ServiceCache::default().service(&client, &account, &sid).await;
    let service_sid = service.as_ref().ok().and_then(|service| service.as_ref()).map(|service| service.sid.clone());
    checks.note("simulator: find the messaging service", service_sid.is_some(), &service);
    let code = app.simulator.add_short_code(ACCOUNT_SID, SHORT_CODE);
    app.simulator.put_short_code_into_service(SHORT_CODE, |_| {});
    let of_code = ServiceCache::default().service(&client, &account, &code).await;
    checks.note("simulator: find the messaging service of a short code", matches!(of_code, Ok(Some(_))), &of_code);
    checks.allowed("simulator: read its campaign", client.campaign(&account, &service_sid.unwrap_or_default()).await);
    checks.allowed("simulator: read a verification", client.verification(&account, &sid).await);
    checks.allowed("simulator: send", send(&client, &account, "hi", &[]).await);
    checks.allowed("simulator: list what was sent", client.list_sent(&account, NUMBER, ADA, long_ago).await);
    let text =
        json!({"from": ADA, "to": "+14155550120", "body": "look", "media_urls": ["https://pictures.example/1.jpg"]});
    let texted = app.simulator.text(serde_json::from_value(text).expect("a text")).await;
    checks.allowed("simulator: list what was received", client.list_received(&account, "+14155550120", long_ago).await);
    checks.allowed("simulator: list media", client.list_media(&account, &texted.sid).await);
    checks.allowed("simulator: release", client.release_number(&account, &sid).await);
    let mut stranger = account.clone();
    stranger.auth_token = SecretString::from("wrong".to_owned());
    checks.forbidden("simulator: a wrong token is refused", client.try_login(&stranger).await, 401);
}

/// The official client and its validator.
async fn python(checks: &mut Checks, app: &TestApp) {
    app.attach(ECHO, json!({"first_message": "process"})).await;
    app.ok(Method::PATCH, "/v1/project", Some(harness::without_rate_limits())).await;
    let webhook = format!("http://{}/webhooks/twilio/{}", app.api, app.webhook_key);
    let simulator = format!("http://{}", app.simulator_address);
    script(
        checks,
        "official_client.py",
        &[
            ("SIMULATOR", simulator),
            ("WEBHOOK", webhook),
            ("NUMBER", NUMBER.to_owned()),
            ("SHORT_CODE", SHORT_CODE.to_owned()),
        ],
    )
    .await;
}

/// All paths of the documents, whether our client calls them or not.
async fn every_path(checks: &mut Checks) {
    let spec = std::env::var("TEXTBACK_TWILIO_SPEC").expect("TEXTBACK_TWILIO_SPEC; run: make conformance");
    let at = |variable| url_of(variable).to_string();
    let settings = [
        ("SPEC", spec),
        ("MOCK_API", at("TEXTBACK_MOCK_API")),
        ("MOCK_MESSAGING", at("TEXTBACK_MOCK_MESSAGING")),
        ("PROXY_API", at("TEXTBACK_PROXY_API")),
        ("PROXY_MESSAGING", at("TEXTBACK_PROXY_MESSAGING")),
    ];
    script(checks, "every_path.py", &settings).await;
}

/// Runs a script of this folder, and notes its checks.
async fn script(checks: &mut Checks, name: &str, settings: &[(&str, String)]) {
    let mut script = Command::new(std::env::var("TEXTBACK_PYTHON").expect("TEXTBACK_PYTHON; run: make conformance"));
    script
        .arg(format!("{}/tests/conformance/{name}", env!("CARGO_MANIFEST_DIR")))
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .env("ACCOUNT_SID", ACCOUNT_SID)
        .env("AUTH_TOKEN", AUTH_TOKEN);
    let output = tokio::task::spawn_blocking(move || script.output()).await.expect("it ran").expect("it ran");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in printed.lines() {
        match serde_json::from_str::<Value>(line) {
            Ok(check) => checks.note(check["what"].as_str().unwrap_or_default(), check["ok"] == true, &check["told"]),
            Err(_) => println!("      {line}"),
        }
    }
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    checks.note(&format!("python: {name} came to its end"), output.status.success(), complaint);
}
