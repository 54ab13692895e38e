//! A program that texts through the simulator, as its users have one: webhooks, the API, status
//! callbacks, faults.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test that stumbles has failed")]

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use base64::Engine;
use poem::http::HeaderMap;
use poem::listener::TcpAcceptor;
use poem::web::{Data, Form};
use poem::{EndpointExt, Route, handler, post};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use twilio_simulator::{Account, Fault, MessageStatus, NewText, Remote, Server, Settings, Simulator};

const ACCOUNT_SID: &str = "AC0123456789abcdef0123456789abcdef";
const AUTH_TOKEN: &str = "auth-token";
const NUMBER: &str = "+14155550199";
const PHONE: &str = "+14155550101";

/// A request to the program's webhook.
struct Webhook {
    path: &'static str,
    signature: String,
    form: BTreeMap<String, String>,
}

/// A simulator with one account and one number, and a program with webhooks.
struct TestSimulator {
    twilio: Simulator,
    server: Server,
    program: String,
    webhooks: UnboundedReceiver<Webhook>,
    http: reqwest::Client,
}

fn note(webhooks: &UnboundedSender<Webhook>, path: &'static str, headers: &HeaderMap, form: BTreeMap<String, String>) {
    let signature = headers.get("X-Twilio-Signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let _ = webhooks.send(Webhook { path, signature: signature.to_owned(), form });
}

#[handler]
fn take_inbound(
    headers: &HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
    webhooks: Data<&UnboundedSender<Webhook>>,
) {
    note(&webhooks, "/sms", headers, form);
}

#[handler]
fn take_status(
    headers: &HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
    webhooks: Data<&UnboundedSender<Webhook>>,
) {
    note(&webhooks, "/status", headers, form);
}

impl TestSimulator {
    async fn new() -> Self {
        let (sender, webhooks) = unbounded_channel();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let program = format!("http://{}", listener.local_addr().expect("an address"));
        let routes = Route::new().at("/sms", post(take_inbound)).at("/status", post(take_status)).data(sender);
        let acceptor = TcpAcceptor::from_tokio(listener).expect("an acceptor");
        tokio::spawn(poem::Server::new_with_acceptor(acceptor).run(routes));

        let twilio = Simulator::new(Settings::default()).expect("a simulator");
        twilio.add_account(Account::new(ACCOUNT_SID, AUTH_TOKEN));
        twilio.add_number(ACCOUNT_SID, NUMBER);
        let server = twilio.listen("127.0.0.1:0".parse().expect("an address")).await.expect("a server");
        Self { twilio, server, program, webhooks, http: reqwest::Client::new() }
    }

    /// Calls the API with a form, and returns the status and the body.
    async fn call(&self, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
        let url = format!("{}/2010-04-01/Accounts/{ACCOUNT_SID}/{path}", self.server.url());
        let request = self.http.post(url).basic_auth(ACCOUNT_SID, Some(AUTH_TOKEN)).form(form);
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    /// Sends a text through the API, with status callbacks.
    async fn send(&self, body: &str) -> (u16, Value) {
        let callback = format!("{}/status", self.program);
        self.call("Messages.json", &[("From", NUMBER), ("To", PHONE), ("Body", body), ("StatusCallback", &callback)])
            .await
    }

    /// The next webhook, after its signature was checked by the rule of Twilio's page.
    async fn webhook(&mut self) -> Webhook {
        let webhook = self.webhooks.recv().await.expect("a webhook");
        let parameters: String = webhook.form.iter().map(|(name, value)| format!("{name}{value}")).collect();
        let signed = format!("{}{}{parameters}", self.program, webhook.path);
        let signature = base64::engine::general_purpose::STANDARD.decode(&webhook.signature).expect("base64");
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, AUTH_TOKEN.as_bytes());
        hmac::verify(&key, signed.as_bytes(), &signature).expect("a right signature");
        webhook
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_arrives_signed_at_the_webhook_of_its_number() {
    let mut test = TestSimulator::new().await;
    test.twilio.change_number(NUMBER, |number| number.sms_url = format!("{}/sms#rc=2&rp=5xx", test.program));
    let outcome = test.twilio.say(PHONE, NUMBER, "Grüße & hi").await;
    assert_eq!((outcome.webhook_status, outcome.webhook_attempts, outcome.error), (Some(200), 1, None));
    let webhook = test.webhook().await;
    assert_eq!((webhook.path, webhook.form["Body"].as_str()), ("/sms", "Grüße & hi"));
    assert_eq!((webhook.form["From"].as_str(), webhook.form["MessageSid"].as_str()), (PHONE, outcome.sid.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_webhook_is_retried_and_then_its_fallback_is_tried() {
    let mut test = TestSimulator::new().await;
    test.twilio.change_number(NUMBER, |number| {
        number.sms_url = format!("{}/nowhere#rc=2&rp=4xx", test.program);
        number.sms_fallback_url = format!("{}/sms", test.program);
    });
    let outcome = test.twilio.say(PHONE, NUMBER, "hi").await;
    assert_eq!((outcome.webhook_status, outcome.webhook_attempts), (Some(200), 4));
    let webhook = test.webhook().await;
    assert_eq!(webhook.form["ErrorCode"], "11200");
    assert_eq!(webhook.form["ErrorUrl"], format!("{}/nowhere#rc=2&rp=4xx", test.program));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_its_phone_and_its_status_is_called_back() {
    let mut test = TestSimulator::new().await;
    let (code, message) = test.send("Your table is ready.").await;
    assert_eq!((code, &message["status"]), (201, &json!("queued")));
    for expected in ["sent", "delivered"] {
        let callback = test.webhook().await;
        assert_eq!((callback.path, callback.form["MessageStatus"].as_str()), ("/status", expected));
        assert_eq!(callback.form["MessageSid"], message["sid"]);
    }
    test.twilio.idle().await;
    assert_eq!(test.twilio.received(PHONE, NUMBER), ["Your table is ready."]);
    assert_eq!(test.twilio.screen(PHONE)[0].status, MessageStatus::Delivered);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_fault_spoils_one_answer() {
    let test = TestSimulator::new().await;
    test.twilio.plan_faults([Fault::TooManyRequests, Fault::AcceptThen500]);
    let (status, error) = test.send("one").await;
    assert_eq!((status, &error["code"]), (429, &json!(20429)));
    assert_eq!(test.send("two").await.0, 500);
    assert_eq!(test.send("three").await.0, 201);
    test.twilio.until_received(PHONE, NUMBER, 2).await;
    test.twilio.idle().await;
    let mut received = test.twilio.received(PHONE, NUMBER);
    received.sort();
    assert_eq!(received, ["three", "two"], "what was answered with 500 was sent all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_sent_stop_gets_no_texts() {
    let test = TestSimulator::new().await;
    test.twilio.say(PHONE, NUMBER, "Stop.").await;
    let (status, error) = test.send("hello?").await;
    assert_eq!((status, &error["code"]), (400, &json!(21610)));
    test.twilio.say(PHONE, NUMBER, "start").await;
    assert_eq!(test.send("hello again").await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_code_texts_and_is_texted_and_leaves_keywords_to_the_program() {
    let mut test = TestSimulator::new().await;
    let sid = test.twilio.add_short_code(ACCOUNT_SID, "72975");
    assert_eq!(test.twilio.phone_numbers(), [NUMBER, "72975"]);
    let url = format!("{}/2010-04-01/Accounts/{ACCOUNT_SID}/SMS/ShortCodes.json?ShortCode=729", test.server.url());
    let listed = test.http.get(url).basic_auth(ACCOUNT_SID, Some(AUTH_TOKEN)).send().await.expect("an answer");
    let listed: Value = listed.json().await.expect("JSON");
    assert_eq!((&listed["short_codes"][0]["sid"], &listed["short_codes"][0]["sms_url"]), (&json!(sid), &json!("")));
    let path = format!("SMS/ShortCodes/{sid}.json");
    let (status, changed) = test.call(&path, &[("SmsUrl", &format!("{}/sms", test.program))]).await;
    assert_eq!((status, &changed["short_code"]), (200, &json!("72975")));

    assert_eq!(test.twilio.say(PHONE, "72975", "STOP").await.webhook_status, Some(200));
    assert_eq!(test.webhook().await.form["To"], "72975");
    let confirmation = [("From", "72975"), ("To", PHONE), ("Body", "You have opted out.")];
    assert_eq!(test.call("Messages.json", &confirmation).await.0, 201, "Twilio keeps no record of the opt-out");
    test.twilio.idle().await;
    assert_eq!(test.twilio.received(PHONE, "72975"), ["You have opted out."]);
    test.twilio.end_lease("72975");
    assert_eq!(test.call("Messages.json", &confirmation).await.1["code"], 21606);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_bought_once() {
    let test = TestSimulator::new().await;
    let form = [("PhoneNumber", "+14155550120"), ("SmsUrl", "https://sms.example.com/")];
    let (status, number) = test.call("IncomingPhoneNumbers.json", &form).await;
    assert_eq!((status, &number["sms_url"]), (201, &json!("https://sms.example.com/")));
    let (status, error) = test.call("IncomingPhoneNumbers.json", &form).await;
    assert_eq!((status, &error["code"]), (400, &json!(21422)));
    assert_eq!(test.twilio.bought(), ["+14155550120"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_and_an_unknown_path_are_refused_in_twilios_words() {
    let test = TestSimulator::new().await;
    let url = format!("{}/2010-04-01/Accounts/{ACCOUNT_SID}", test.server.url());
    let stranger = test.http.get(format!("{url}/Messages.json")).basic_auth(ACCOUNT_SID, Some("wrong"));
    let refused: Value = stranger.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!((&refused["status"], &refused["code"]), (&json!(401), &json!(20003)));
    let unknown: Value =
        test.http.get(format!("{url}/Calls.json")).send().await.expect("an answer").json().await.expect("JSON");
    assert!(
        unknown["message"].as_str().is_some_and(|text| text.contains("the simulator does not offer it")),
        "{unknown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_texts_and_reads_through_the_phones() {
    let mut test = TestSimulator::new().await;
    test.twilio.change_number(NUMBER, |number| number.sms_url = format!("{}/sms", test.program));
    let phones = Remote::new(test.server.url().parse().expect("a URL")).expect("a client");
    assert_eq!(phones.numbers().await.expect("numbers"), [NUMBER]);
    let mut text = NewText {
        from: PHONE.to_owned(),
        to: NUMBER.to_owned(),
        body: "look".to_owned(),
        media_urls: vec!["https://pictures.example/1.jpg".to_owned()],
        sid: None,
    };
    let outcome = phones.text(&text).await.expect("an outcome");
    assert!(outcome.sid.starts_with("MM") && outcome.webhook_status == Some(200), "{outcome:?}");
    assert_eq!(test.webhook().await.form["MediaUrl0"], "https://pictures.example/1.jpg");
    let screen = phones.screen(PHONE).await.expect("a screen");
    assert_eq!((screen.len(), screen[0].mine, screen[0].body.as_str()), (1, true, "look"));
    let faults = test.http.post(format!("{}/simulator/faults", test.server.url()));
    let planned = faults.json(&json!(["fail500", {"accept_then_hang": 1}])).send().await.expect("an answer");
    assert_eq!((planned.status().as_u16(), test.twilio.faults_left()), (204, 2));
    text.to = "+14155550000".to_owned();
    let refused = phones.text(&text).await.expect_err("a refusal").to_string();
    assert_eq!(refused, format!("the simulated carrier has no number +14155550000; it has {NUMBER}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_through_a_service_names_it_and_its_sender_must_be_a_member() {
    let mut test = TestSimulator::new().await;
    let service = test.twilio.service_of(NUMBER).expect("a service").sid;
    let callback = format!("{}/status", test.program);
    let of = |from: &'static str| [("From", from), ("To", PHONE), ("Body", "hi")];
    let through = [("MessagingServiceSid", service.as_str()), ("StatusCallback", &callback)];
    let (status, message) = test.call("Messages.json", &[&of(NUMBER)[..], &through].concat()).await;
    assert_eq!((status, &message["status"], &message["from"]), (201, &json!("accepted"), &json!(NUMBER)));
    assert_eq!(message["messaging_service_sid"], service);
    for expected in ["queued", "sent", "delivered"] {
        let callback = test.webhook().await;
        assert_eq!(
            (callback.form["MessageStatus"].as_str(), &callback.form["MessagingServiceSid"]),
            (expected, &service)
        );
    }
    test.twilio.change_number(NUMBER, |number| number.sms_url = format!("{}/sms", test.program));
    test.twilio.say(PHONE, NUMBER, "yes").await;
    assert_eq!(test.webhook().await.form["MessagingServiceSid"], service);

    test.twilio.leave_service(NUMBER);
    let (status, error) = test.call("Messages.json", &[&of(NUMBER)[..], &through].concat()).await;
    assert_eq!((status, &error["code"]), (400, &json!(21711)), "it is no member any more");
    let (_, error) = test.call("Messages.json", &[("To", PHONE), ("Body", "hi"), through[0]]).await;
    assert_eq!(error["code"], 21704, "the service is empty");
    let unknown = ("MessagingServiceSid", "MG00000000000000000000000000000000");
    let (_, error) = test.call("Messages.json", &[("To", PHONE), ("Body", "hi"), unknown]).await;
    assert_eq!(error["code"], 21701);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_chooses_the_sender_that_the_phone_knows_and_encodes_and_opts_out_as_a_whole() {
    let test = TestSimulator::new().await;
    let other = "+14155550188";
    test.twilio.change_service(NUMBER, |service| service.smart_encoding = true);
    let service = test.twilio.service_of(NUMBER).expect("a service").sid;
    test.twilio.add_number(ACCOUNT_SID, other);
    test.twilio.enter_service(other, &service);
    test.twilio.say(PHONE, other, "hi").await;
    let form = [("MessagingServiceSid", service.as_str()), ("To", PHONE), ("Body", "“It’s ½ past”")];
    let (_, message) = test.call("Messages.json", &form).await;
    assert_eq!((&message["from"], &message["body"]), (&json!(other), &json!("\"It's 1/2 past\"")));
    test.twilio.idle().await;
    assert_eq!(test.twilio.received(PHONE, other), ["\"It's 1/2 past\""]);
    test.twilio.say(PHONE, other, "STOP").await;
    assert_eq!(test.send("hello?").await.1["code"], 21610, "the whole service is stopped");
}
