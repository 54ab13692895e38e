//! Tests short codes of ours: they are attached, texted and answered like numbers, and textback
//! answers their keywords.

use reqwest::Method;
use serde_json::{Value, json};
use twilio_simulator::Fault;

use crate::harness::{ACCOUNT_SID, ADA, AUTH_TOKEN, ECHO, NUMBER, TestApp, bodies};

const CODE: &str = "72975";
const BOB: &str = "+14155550102";
const CAROL: &str = "+14155550103";
/// What textback says where the project has no texts of its own.
const OUT: &str = "You have opted out and will get no more messages from this number. Reply START to get them again.";
const IN: &str = "You will get messages from this number again. Reply HELP for help, STOP to opt out.";
const HELP: &str =
    "Reply STOP to get no more messages from this number, START to get them again. Msg&data rates may apply.";

impl TestApp {
    /// Attaches the short code, which the account has from now on.
    async fn attach_code(&self, source: &str) -> Value {
        self.simulator.add_short_code(ACCOUNT_SID, CODE);
        let agent_id = self.agent("of the code", source, json!({"first_message": "process"})).await;
        self.ok(Method::POST, "/v1/numbers", Some(json!({"number": CODE, "agent_id": agent_id}))).await
    }

    /// A contact texts the short code, all jobs run, and these are all messages that the contact
    /// has received from it.
    async fn answers_of_code(&self, from: &str, body: &str) -> Vec<String> {
        assert_eq!(self.simulator.say(from, CODE, body).await.error, None);
        self.run_jobs().await;
        self.simulator.received(from, CODE)
    }

    /// A text to the short code as the carrier posts it, with what the carrier took it for.
    async fn post_to_code(&self, sid: &str, body: &str, opt_out_type: &str) {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs([("AccountSid", ACCOUNT_SID), ("MessageSid", sid), ("From", ADA), ("To", CODE)]);
        form.extend_pairs([("Body", body), ("OptOutType", opt_out_type)]);
        assert_eq!(self.post("messages", &form.finish(), AUTH_TOKEN).await.status(), 200);
        self.run_jobs().await;
    }

    /// The path of the short code's number.
    async fn path_of_code(&self) -> String {
        format!("/v1/numbers/{}", self.number().await["id"].as_str().expect("an id"))
    }
}

/// An app with the short code alone.
async fn app() -> TestApp {
    let app = TestApp::new().await;
    app.attach_code(ECHO).await;
    app
}

#[tokio::test]
async fn a_short_code_is_attached_texted_and_answered_like_a_number() {
    let app = TestApp::new().await;
    let attached = app.attach_code(ECHO).await;
    assert_eq!(
        (&attached["number"], &attached["number_type"], &attached["webhook"]),
        (&json!(CODE), &json!("short-code"), &json!("ok"))
    );
    assert_eq!(
        (&attached["registration"], &attached["sends"], &attached["warnings"]),
        (&json!("not_required"), &json!("open"), &json!([])),
        "carriers approved it when it was leased"
    );
    assert_eq!(attached["country"], Value::Null, "its digits identify none");
    let set = app.simulator.short_code(CODE).expect("a short code");
    assert!(set.sms_url.contains("/messages#rc=3") && set.sms_fallback_url.contains("/fallback#"), "{set:?}");
    assert_eq!((set.sms_method.as_str(), set.sms_fallback_method.as_str()), ("POST", "POST"));
    assert_eq!(app.health().await.0, "ok");

    assert_eq!(app.answers_of_code(ADA, "hi").await, ["1: hi"]);
    let sessions = app.ok(Method::GET, &format!("/v1/sessions?number={CODE}"), None).await;
    assert_eq!((&sessions["items"][0]["number"], &sessions["items"][0]["contact"]), (&json!(CODE), &json!(ADA)));
    let messages = app.messages(&sessions["items"][0]).await;
    assert_eq!(messages[1]["status"], "delivered", "its messages have status callbacks of their own");

    let sent = json!({"to": BOB, "from": CODE, "body": "Your table is ready."});
    app.ok(Method::POST, "/v1/messages", Some(sent)).await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(BOB, CODE), ["Your table is ready."]);
    app.ok(Method::PATCH, "/v1/project", Some(json!({"default_number": CODE}))).await;
    assert_eq!(app.ok(Method::GET, "/v1/project", None).await["default_number"], CODE);
}

#[tokio::test]
async fn drift_of_a_short_code_is_repaired_if_that_is_wanted_and_detaching_leaves_what_is_not_ours() {
    let app = app().await;
    let elsewhere = "https://elsewhere.example/sms";
    app.simulator.change_short_code(CODE, |code| code.sms_url = elsewhere.to_owned());
    app.reconcile_numbers().await;
    assert_eq!(app.number().await["webhook"], "ok");
    assert_eq!(app.answers_of_code(ADA, "hi").await, ["1: hi"]);
    app.simulator.change_short_code(CODE, |code| code.sms_method = "GET".to_owned());
    app.reconcile_numbers().await;
    assert_eq!(app.simulator.short_code(CODE).expect("a short code").sms_method, "POST");

    let path = app.path_of_code().await;
    app.ok(Method::PATCH, &path, Some(json!({"repair_drift": false}))).await;
    app.simulator.change_short_code(CODE, |code| code.sms_url = elsewhere.to_owned());
    app.reconcile_numbers().await;
    let number = app.number().await;
    assert_eq!(number["webhook"], "drifted");
    assert!(number["webhook_detail"].as_str().is_some_and(|detail| detail.contains(elsewhere)), "{number}");

    assert_eq!(app.call(&app.key, Method::DELETE, &format!("{path}?at_carrier=keep"), None).await.0, 204);
    let code = app.simulator.short_code(CODE).expect("the account keeps it");
    assert_eq!((code.sms_url.as_str(), code.sms_fallback_url.as_str()), (elsewhere, ""), "the fallback was ours");

    let again = json!({"number": CODE, "agent_id": app.an_agent().await});
    app.ok(Method::POST, "/v1/numbers", Some(again)).await;
    let path = app.path_of_code().await;
    assert_eq!(app.call(&app.key, Method::DELETE, &format!("{path}?at_carrier=keep"), None).await.0, 204);
    assert_eq!(app.simulator.short_code(CODE).expect("the account keeps it").sms_url, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_compares_the_webhooks_of_a_short_code() {
    let app = app().await;
    for (url, expected) in [
        (None, "72975 is in the account, and its webhooks lead here"),
        (Some("https://elsewhere.example/sms"), "the settings of 72975 at the carrier have drifted"),
    ] {
        app.simulator.change_short_code(CODE, |code| code.sms_url = url.map_or(code.sms_url.clone(), str::to_owned));
        let mut doctor = app.command("doctor", &app.secret_key);
        let output = tokio::task::spawn_blocking(move || doctor.output()).await.expect("it runs").expect("it runs");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(printed.contains(expected), "{printed}");
        assert_eq!(output.status.success(), url.is_none(), "{printed}");
    }
}

#[tokio::test]
async fn a_messaging_service_that_swallows_texts_to_a_short_code_is_told() {
    let app = TestApp::new().await;
    app.simulator.add_short_code(ACCOUNT_SID, CODE);
    app.simulator.put_short_code_into_service(CODE, |service| service.use_inbound_webhook_on_number = false);
    let number = app.attach_code(ECHO).await;
    assert!(app.simulator.say(ADA, CODE, "hi").await.error.is_some(), "the carrier drops it");
    assert!(number["warnings"][0].as_str().is_some_and(|told| told.contains("drops inbound texts")), "{number}");
    app.simulator.put_short_code_into_service(CODE, |_| {});
    let path = app.path_of_code().await;
    assert_eq!(app.ok(Method::GET, &format!("{path}/health?refresh=true"), None).await["status"], "ok");
    assert_eq!(app.answers_of_code(ADA, "hi").await, ["1: hi"]);
}

#[tokio::test]
async fn a_short_code_is_neither_bought_nor_released_and_must_be_the_accounts() {
    let app = TestApp::new().await;
    let agent_id = app.an_agent().await;
    for (number, buy, code, advice) in [
        (CODE, true, "short_code_not_sold", "lease it at the carrier"),
        (CODE, false, "number_not_owned", "lease it at the carrier"),
        ("12", false, "number_not_e164", "3 to 8 digits"),
        ("123456789", false, "number_not_e164", "3 to 8 digits"),
        ("7297a", false, "number_not_e164", "3 to 8 digits"),
        ("+72975", false, "number_not_e164", "country code"),
    ] {
        let body = json!({"number": number, "agent_id": agent_id, "buy": buy});
        let (status, answer) = app.call(&app.key, Method::POST, "/v1/numbers", Some(body)).await;
        assert_eq!((status.as_u16(), &answer["code"]), (422, &json!(code)), "{number}: {answer}");
        assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains(advice)), "{number}: {answer}");
    }
    assert_eq!(app.ok(Method::GET, "/v1/numbers", None).await["items"], json!([]), "none of them is left behind");
    let search = app.call(&app.key, Method::GET, "/v1/available-numbers?country=US&type=short_code", None).await;
    assert_eq!((search.0.as_u16(), &search.1["code"]), (400, &json!("request_invalid")));
    assert!(search.1["detail"].as_str().is_some_and(|detail| detail.contains("toll_free")), "{}", search.1);

    app.attach_code(ECHO).await;
    let path = app.path_of_code().await;
    let released = app.refused(Method::DELETE, &format!("{path}?at_carrier=release"), None).await;
    assert_eq!(released, (422, "short_code_not_released".to_owned()));
    assert_eq!(app.answers_of_code(ADA, "hi").await, ["1: hi"], "it is still attached");

    app.simulator.end_lease(CODE);
    app.reconcile_numbers().await;
    let (status, told) = app.health().await;
    assert!(status == "blocked" && told.contains("renew its lease"), "{told}");
}

#[tokio::test]
async fn stop_at_a_short_code_is_confirmed_once_and_nothing_follows_it() {
    let app = app().await;
    assert_eq!(app.answers_of_code(ADA, "hi").await, ["1: hi"]);
    let stop = app.simulator.say(ADA, CODE, "STOP").await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, CODE), ["1: hi", OUT]);
    let session = app.sessions().await.remove(0);
    assert_eq!((&session["status"], &session["close_reason"]), (&json!("closed"), &json!("opted_out")));
    let confirmation = app.messages(&session).await.pop().expect("a message");
    assert_eq!((&confirmation["kind"], &confirmation["status"]), (&json!("opt_out"), &json!("delivered")));
    assert_eq!(app.consents().await, [("opted_out".to_owned(), "keyword".to_owned())]);

    let again = json!({"from": ADA, "to": CODE, "body": "STOP", "sid": stop.sid});
    app.simulator.text(serde_json::from_value(again).expect("a text")).await;
    app.run_jobs().await;
    assert_eq!(app.answers_of_code(ADA, "are you there?").await.len(), 2, "nobody answers who has opted out");
    assert_eq!(app.answers_of_code(ADA, "stop!").await.len(), 2, "the contact knows it already");
    let refused = app.refused(Method::POST, "/v1/messages", Some(json!({"to": ADA, "from": CODE, "body": "x"}))).await;
    assert_eq!(refused, (409, "contact_opted_out".to_owned()));
    assert_eq!(app.answers_of_code(ADA, "HELP").await, ["1: hi", OUT, HELP], "everybody gets help who asks for it");
}

#[tokio::test]
async fn start_and_help_at_a_short_code_are_answered_once_each() {
    let app = app().await;
    assert_eq!(app.answers_of_code(ADA, "help").await, [HELP]);
    assert_eq!(app.answers_of_code(ADA, "help!!").await, [HELP], "two machines would answer each other for ever");
    assert_eq!(app.answers_of_code(ADA, "stop").await, [HELP, OUT]);
    assert_eq!(app.answers_of_code(ADA, "yes").await, [HELP, OUT, IN], "yes means start to who has opted out");
    assert_eq!(app.answers_of_code(ADA, "start").await, [HELP, OUT, IN]);
    assert_eq!(app.answers_of_code(ADA, "Quit").await, [HELP, OUT, IN, OUT], "the contact's mind has changed");
    app.sql("update message set created_at = created_at - interval '1 minute'").await;
    assert_eq!(app.answers_of_code(ADA, "START").await[4..], [IN]);
    assert_eq!(app.answers_of_code(ADA, "hi").await[5..], ["1: hi"]);
    let session = app.sessions().await.remove(0);
    assert_eq!(session["engaged"], true);
    let kinds: Vec<Value> = app.messages(&session).await.iter().map(|message| message["kind"].clone()).collect();
    assert_eq!(kinds, ["keyword", "opt_in", "text", "reply"]);
}

#[tokio::test]
async fn the_projects_texts_and_words_are_used_at_a_short_code_and_its_numbers_are_left_to_the_carrier() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.attach_code(ECHO).await;
    let settings = json!({"opt_out_message": "Acme: stopped.", "opt_in_message": "Acme: welcome back.",
        "help_message": "Acme: 555-0100.", "keywords": {"opt_out": ["ARRET"], "opt_in": ["REPRENDRE"], "help": ["AIDE"]}});
    let changed = app.ok(Method::PATCH, "/v1/project", Some(settings)).await;
    assert_eq!(changed["opt_out_message"], "Acme: stopped.");
    for (body, expected) in [
        ("aide", "Acme: 555-0100."),
        ("l'arrêt du bus ?", "1: l'arrêt du bus ?"),
        ("Arrêt", "Acme: stopped."),
        ("reprendre", "Acme: welcome back."),
    ] {
        assert_eq!(app.answers_of_code(ADA, body).await.pop().as_deref(), Some(expected), "{body}");
    }
    for body in ["STOP", "START", "ARRET", "REPRENDRE"] {
        assert!(app.answers(ADA, body).await.is_empty(), "{body}: the carrier answers at a number");
    }
    for (name, value, code) in
        [("opt_out_message", " ", "text_is_blank"), ("opt_in_message", &*"é😀".repeat(600), "text_too_long")]
    {
        assert_eq!(app.refused(Method::PATCH, "/v1/project", Some(json!({name: value}))).await.1, code, "{name}");
    }
    let none = json!({"opt_out_message": null, "opt_in_message": null});
    assert_eq!(app.ok(Method::PATCH, "/v1/project", Some(none)).await["opt_out_message"], Value::Null);
    assert_eq!(app.answers_of_code(ADA, "STOP").await.pop().as_deref(), Some(OUT));
}

#[tokio::test]
async fn a_keyword_that_the_carrier_answered_is_not_answered_again() {
    let app = app().await;
    for (sid, body, opt_out_type) in [("SM1", "adios", "STOP"), ("SM2", "hola", "START"), ("SM3", "ayuda", "HELP")] {
        app.post_to_code(sid, body, opt_out_type).await;
    }
    assert!(app.simulator.received(ADA, CODE).is_empty(), "Advanced Opt-Out answered them");
    assert_eq!(app.consents().await.len(), 2);
    app.post_to_code("SM4", "stop", "").await;
    assert_eq!(app.simulator.received(ADA, CODE), [OUT]);
}

#[tokio::test]
async fn a_confirmation_outlives_a_second_stop_and_no_limit_keeps_it_back() {
    let app = app().await;
    // An answer and a confirmation wait for a worker when the contact says it once more.
    app.simulator.say(ADA, CODE, "hi").await;
    app.workers.turns.step().await.expect("turns");
    app.simulator.say(ADA, CODE, "STOP").await;
    assert_eq!(app.answers_of_code(ADA, "STOP").await, [OUT]);
    assert_eq!(app.statuses().await, ["suppressed", "delivered"], "the answer is not sent");
    // The confirmation of a START is not true any more after a STOP.
    app.simulator.say(CAROL, CODE, "START").await;
    assert_eq!(app.answers_of_code(CAROL, "STOP").await, [OUT]);

    app.ok(Method::PATCH, "/v1/project", Some(json!({"outbound_per_contact_per_day": 1}))).await;
    assert_eq!(app.answers_of_code(BOB, "hi").await, ["1: hi"]);
    assert_eq!(app.answers_of_code(BOB, "and now?").await, ["1: hi"], "the contact has got its one message");
    assert_eq!(app.answers_of_code(BOB, "STOP").await, ["1: hi", OUT]);
}

#[tokio::test]
async fn what_a_lost_webhook_brought_to_a_short_code_is_backfilled_and_answered() {
    let app = app().await;
    app.sql("update number set attached_at = attached_at - interval '5 seconds'").await;
    app.simulator.lose_webhooks(true);
    assert!(app.simulator.say(ADA, CODE, "hi").await.error.is_some());
    assert!(app.simulator.say(BOB, CODE, "STOP").await.error.is_some());
    app.simulator.lose_webhooks(false);
    // The carrier's clock counts whole seconds.
    app.sql("update number set backfilled_until = backfilled_until - interval '5 seconds'").await;
    app.workers.backfill.step().await.expect("numbers");
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, CODE), ["1: hi"]);
    assert_eq!(app.simulator.received(BOB, CODE), [OUT]);
}

#[tokio::test]
async fn an_unsure_message_of_a_short_code_is_found_in_the_carriers_list() {
    let app = app().await;
    app.simulator.report_statuses(false);
    app.simulator.plan_faults([Fault::AcceptThen500]);
    assert_eq!(app.answers_of_code(ADA, "STOP").await, [OUT]);
    assert_eq!(app.statuses().await, ["unknown"]);
    app.later(5).await;
    assert_eq!(app.statuses().await, ["accepted"]);
    app.later(500).await;
    assert_eq!(app.simulator.received(ADA, CODE), [OUT], "it is not sent again");
}

#[tokio::test]
async fn a_text_to_a_short_code_that_is_not_attached_waits_in_quarantine_until_it_is() {
    let app = TestApp::new().await;
    app.post_to_code("SM1", "anybody there?", "").await;
    let items = app.ok(Method::GET, "/v1/quarantine", None).await;
    assert_eq!(items["items"][0]["reason"], "number_not_attached");
    app.attach_code(ECHO).await;
    let path = format!("/v1/quarantine/{}/replay", items["items"][0]["id"].as_str().expect("an id"));
    assert_eq!(app.ok(Method::POST, &path, None).await["outcome"], "stored");
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, CODE), ["1: anybody there?"]);
}

#[tokio::test]
async fn a_picture_comes_to_a_short_code_and_another_leaves_from_it() {
    let app = app().await;
    let picture = json!({"from": ADA, "to": CODE, "body": "look", "media_urls": ["data:image/png;base64,aGk="]});
    assert_eq!(app.simulator.text(serde_json::from_value(picture).expect("a text")).await.error, None);
    let sent = json!({"to": ADA, "from": CODE, "body": "a map", "media_urls": ["https://maps.example/1.png"], "on_active_session": "join"});
    app.ok(Method::POST, "/v1/messages", Some(sent)).await;
    app.run_jobs().await;
    let messages = app.messages(&app.sessions().await.remove(0)).await;
    let medium = messages[0]["media"][0]["id"].as_str().expect("a medium").to_owned();
    let url = format!("http://{}/v1/media/{medium}", app.api);
    let fetched = app.http.get(url).bearer_auth(&app.key).send().await.expect("an answer");
    assert_eq!((fetched.status().as_u16(), &*fetched.bytes().await.expect("a body")), (200, &b"hi"[..]));
    assert!(app.simulator.received(ADA, CODE).contains(&"a map".to_owned()));
}

#[tokio::test]
async fn texts_between_a_short_code_and_a_number_of_the_project_are_held() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.attach_code(ECHO).await;
    assert!(app.answers_of_code(NUMBER, "hi").await.is_empty());
    assert!(app.answers(CODE, "STOP").await.is_empty());
    let reasons: Vec<Value> = {
        let sessions = app.sessions().await;
        let mut reasons = Vec::new();
        for session in &sessions {
            reasons.extend(app.messages(session).await.into_iter().map(|message| message["reason"].clone()));
        }
        reasons
    };
    assert_eq!(reasons, ["from_own_number", "from_own_number"]);
    assert!(app.consents().await.is_empty(), "nobody gave a consent");
}

#[tokio::test]
async fn the_short_code_sends_where_it_is_named_or_the_contact_texted_it() {
    let app = TestApp::new().await;
    app.attach_code("def reply(conv, text): conv.send_sms(\"+14155550103\", \"72975\", \"from the code\")").await;
    // The digits of the short code tell no country to which the project would be limited; those of
    // the number do.
    let abroad = |n: u8| Some(json!({"to": format!("+3361234567{n}"), "from": CODE, "body": "news"}));
    app.ok(Method::POST, "/v1/messages", abroad(1)).await;
    app.attach(ECHO, json!({"first_message": "process"})).await;
    assert_eq!(app.refused(Method::POST, "/v1/messages", abroad(2)).await, (422, "country_not_allowed".to_owned()));
    app.ok(Method::PATCH, "/v1/project", Some(json!({"allowed_countries": ["US", "GB"]}))).await;
    app.answers_of_code(ADA, "hi").await;
    assert_eq!(app.simulator.received(CAROL, CODE), ["from the code"]);
    // The short code is older than the number, and reaches one country only.
    for (to, from) in [(ADA, CODE), (BOB, NUMBER), ("+447700900123", NUMBER)] {
        app.ok(Method::POST, "/v1/messages", Some(json!({"to": to, "body": "news"}))).await;
        app.run_jobs().await;
        assert_eq!(bodies(&app.messages(&app.sessions().await.remove(0)).await, "outbound"), ["news"]);
        assert!(app.simulator.received(to, from).contains(&"news".to_owned()), "{to} hears from {from}");
    }
}
