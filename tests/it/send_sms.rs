//! Tests outbound messages of the API, and the sessions that they open.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{ACCOUNT_SID, ADA, ECHO, NUMBER, TestApp, bodies};

/// Says what start left behind, what was said before, and what it hears.
const KNOWING: &str = "
def start(conv):
    conv.state.started = conv.state.get(\"started\", 0) + 1
    conv.state.greet_message = \"Welcome!\"

def reply(conv, text):
    said = \" / \".join([line.role + \": \" + line.text for line in conv.history])
    return \"start \" + str(conv.state.started) + \"; \" + said + \" -> \" + text
";

async fn app() -> TestApp {
    TestApp::with_agent(ECHO, json!({"first_message": "process"})).await
}

impl TestApp {
    /// Sends a text by the API, which takes it.
    async fn send(&self, body: Value) -> Value {
        self.ok(Method::POST, "/v1/messages", Some(body)).await
    }

    /// The same with a key; status and answer.
    async fn send_once(&self, key: &str, body: &Value) -> (StatusCode, Value) {
        let url = format!("http://{}/v1/messages", self.api);
        let request = self.http.post(url).bearer_auth(&self.key).header("Idempotency-Key", key).json(body);
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.json().await.expect("JSON"))
    }

    async fn message(&self, sent: &Value) -> Value {
        let path = format!("/v1/messages/{}", sent["message_id"].as_str().expect("an id"));
        self.call(&self.key, Method::GET, &path, None).await.1
    }

    async fn attach_another(&self, number: &str) {
        self.simulator.add_number(ACCOUNT_SID, number);
        let agents = self.ok(Method::GET, "/v1/agents", None).await;
        let body = json!({"number": number, "agent_id": agents["items"][0]["id"]});
        self.ok(Method::POST, "/v1/numbers", Some(body)).await;
    }
}

#[tokio::test]
async fn a_reply_to_an_outbound_text_joins_its_session_and_the_agent_knows_what_was_said() {
    let app = TestApp::with_agent(KNOWING, json!({})).await;
    let (status, sent) = app
        .call(&app.key, Method::POST, "/v1/messages", Some(json!({"to": ADA, "body": "Your table is ready."})))
        .await;
    assert_eq!(status, 202);
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["Your table is ready."], "it is the greeting");
    let session = app.sessions().await.remove(0);
    assert_eq!(session["id"], sent["session_id"]);
    assert_eq!((&session["origin"], &session["engaged"]), (&json!("outbound"), &json!(false)));
    assert_eq!(app.state(&session).await["started"], 1, "start ran when it was opened");
    let answers = app.answers(ADA, "thanks").await;
    assert_eq!(answers[1], "start 1; agent: Your table is ready. -> thanks");
    assert_eq!(app.sessions().await.len(), 1);
    let message = app.message(&sent).await;
    assert_eq!((&message["kind"], &message["status"]), (&json!("text"), &json!("delivered")));
}

#[tokio::test]
async fn a_reply_that_is_faster_than_start_is_answered_with_all_of_it() {
    let app = TestApp::with_agent(KNOWING, json!({"first_message": "greet_then_process"})).await;
    app.send(json!({"to": ADA, "body": "Your table is ready."})).await;
    app.workers.deliveries.step().await.expect("deliveries");
    let answers = app.answers(ADA, "thanks").await;
    assert_eq!(answers, ["Your table is ready.", "start 1; agent: Your table is ready. -> thanks"]);
}

#[tokio::test]
async fn a_start_that_fails_texts_nobody_and_is_tried_again_with_the_reply() {
    let agent = "
def start(conv):
    if not conv.history[-1].text.startswith(\"again\"):
        fail(\"not yet\")
    conv.state.ok = True

def reply(conv, text): return \"ok\" if conv.state.ok else \"not started\"
";
    let app = TestApp::with_agent(agent, json!({"error_message": "Sorry!"})).await;
    app.send(json!({"to": ADA, "body": "hello"})).await;
    for _ in 0..4 {
        app.run_jobs().await;
        app.sql("update turn set due_at = now()").await;
    }
    assert_eq!(app.simulator.received(ADA, NUMBER), ["hello"], "nobody is told of an error they did not see");
    app.send(json!({"to": ADA, "body": "again", "on_active_session": "join"})).await;
    assert_eq!(app.answers(ADA, "hi").await.pop().as_deref(), Some("ok"));
}

#[tokio::test]
async fn on_an_active_session_a_text_supersedes_joins_or_is_rejected() {
    let app = app().await;
    app.answers(ADA, "hi").await;
    let first = app.sessions().await.remove(0);
    let request = |policy: &str| json!({"to": ADA, "body": policy, "on_active_session": policy});
    assert_eq!(
        app.refused(Method::POST, "/v1/messages", Some(request("reject"))).await,
        (409, "session_active".to_owned())
    );
    let joined = app.send(request("join")).await;
    assert_eq!(joined["session_id"], first["id"]);
    let opened = app.send(json!({"to": ADA, "body": "supersede"})).await;
    assert_ne!(opened["session_id"], first["id"], "the usual way is a new session");
    app.run_jobs().await;
    let sessions = app.sessions().await;
    assert_eq!((&sessions[1]["status"], &sessions[1]["close_reason"]), (&json!("closed"), &json!("superseded")));
    assert_eq!(sessions[0]["previous_session_id"], first["id"]);
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi", "join", "supersede"]);
    assert_eq!(app.answers(ADA, "new").await.pop().as_deref(), Some("1: new"), "another state");
}

#[tokio::test]
async fn a_question_that_waits_when_its_session_is_superseded_is_answered_in_the_new_one() {
    let app = app().await;
    app.text(ADA, "are you open?").await;
    app.send(json!({"to": ADA, "body": "News from us"})).await;
    app.run_jobs().await;
    let mut received = app.simulator.received(ADA, NUMBER);
    received.sort();
    assert_eq!(received, ["1: are you open?", "News from us"]);
    let session = app.sessions().await.remove(0);
    assert_eq!(bodies(&app.messages(&session).await, "inbound"), ["are you open?"]);
    assert_eq!(session["engaged"], true);
}

#[tokio::test]
async fn a_joined_message_revokes_a_warning_and_restarts_the_timeout() {
    let app = app().await;
    app.answers(ADA, "hi").await;
    let project = textback::storage::project::find_by_name(&mut *crate::harness::pooled(&app.storage).await, "tests")
        .await
        .expect("an answer")
        .expect("one");
    let session = crate::harness::id(&app.sessions().await[0]["id"]);
    textback::storage::session::skip(&mut *crate::harness::pooled(&app.storage).await, project.id, session, 86_400)
        .await
        .expect("an answer");
    app.workers.inactivity.step().await.expect("decided");
    assert_eq!(app.sessions().await[0]["status"], "warned");
    app.send(json!({"to": ADA, "body": "one more thing", "on_active_session": "join"})).await;
    app.run_jobs().await;
    assert_eq!(app.sessions().await[0]["status"], "open");
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi", "one more thing"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_key_is_one_text_however_often_and_however_parallel_it_is_asked() {
    let app = app().await;
    let body = json!({"to": ADA, "body": "Your code is 1234"});
    let request = (0..20).map(|_| app.send_once("order-7", &body));
    let answers = futures::future::join_all(request).await;
    let first = &answers[0];
    assert_eq!(first.0, 202);
    assert!(answers.iter().all(|answer| answer == first), "all get the first answer");
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER).len(), 1);

    let (status, other) = app.send_once("order-7", &json!({"to": ADA, "body": "Your code is 5678"})).await;
    assert_eq!((status.as_u16(), &other["code"]), (422, &json!("idempotency_key_reused")));
    // A day later it is still the same.
    app.sql("update idempotency_key set created_at = created_at - interval '25 hours'").await;
    assert_eq!(app.send_once("order-7", &body).await, *first);
    app.sql("update idempotency_key set created_at = created_at - interval '8 days'").await;
    app.send_once("order-8", &body).await;
    assert_eq!(app.count("select count(*) from idempotency_key").await, 1, "old keys are forgotten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_key_with_two_requests_at_once_is_one_text_and_one_refusal_each() {
    let app = app().await;
    let bodies: Vec<Value> = (0..4).map(|n| json!({"to": ADA, "body": format!("code {n}")})).collect();
    let request = (0..24).map(|n| app.send_once("order-9", &bodies[n % 4]));
    let answers = futures::future::join_all(request).await;
    let taken: Vec<usize> =
        answers.iter().enumerate().filter(|(_, answer)| answer.0 == 202).map(|(n, _)| n % 4).collect();
    assert_eq!(taken.len(), 6);
    assert!(taken.iter().all(|request| *request == taken[0]), "only the first request's: {taken:?}");
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), [format!("code {}", taken[0])]);
}

#[tokio::test]
async fn a_text_after_a_keyword_alone_begins_the_conversation_and_its_answer_is_processed() {
    for policy in ["join", "reject", "supersede"] {
        let app = TestApp::with_agent(KNOWING, json!({})).await;
        app.answers(ADA, "START").await;
        app.send(json!({"to": ADA, "body": "Reply 1 to confirm", "on_active_session": policy})).await;
        app.run_jobs().await;
        let answers = app.answers(ADA, "1").await;
        assert_eq!(answers, ["Reply 1 to confirm", "start 1; agent: Reply 1 to confirm -> 1"], "{policy}");
    }
}

/// Whom a script texts has a session whose start runs too: that must not text the next one, and so
/// on.
#[tokio::test]
async fn a_script_that_texts_from_its_start_texts_once() {
    for to in ["\"+14155550177\"", "conv.caller_number"] {
        let agent = format!(
            "def start(conv):\n    conv.send_sms({to}, None, \"New text\")\n    return {{\"utterance\": \"We are closed\", \"hangup\": True}}\n"
        );
        let app = TestApp::with_agent(&agent, json!({})).await;
        app.answers(ADA, "hello").await;
        assert_eq!(app.count("select count(*) from delivery").await, 2, "{to}: an answer and a text");
    }
}

#[tokio::test]
async fn a_key_whose_request_was_refused_is_free() {
    let app = app().await;
    app.answers(ADA, "STOP").await;
    let body = json!({"to": ADA, "body": "hello"});
    assert_eq!(app.send_once("k", &body).await.0, 409);
    app.answers(ADA, "START").await;
    assert_eq!(app.send_once("k", &body).await.0, 202);
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["hello"]);
    // Afterwards the first answer stands, whatever the contact says since.
    app.answers(ADA, "STOP").await;
    assert_eq!(app.send_once("k", &body).await.0, 202);
    for key in ["", &"k".repeat(256)] {
        assert_eq!(app.send_once(key, &body).await.1["code"], "idempotency_key_invalid");
    }
}

#[tokio::test]
async fn without_a_from_the_number_is_the_last_one_then_the_countrys_then_the_default() {
    let app = app().await;
    let (london, berlin) = ("+442071838750", "+4930901820");
    app.attach_another(london).await;
    app.attach_another(berlin).await;
    app.ok(Method::PATCH, "/v1/project", Some(json!({"allowed_countries": ["US", "GB", "DE", "FR"]}))).await;
    let sender = async |to: &str| {
        let sent = app.send(json!({"to": to, "body": "hello"})).await;
        app.message(&sent).await["number"].as_str().unwrap_or_default().to_owned()
    };
    let (in_london, in_paris) = ("+442079460000", "+33142685300");
    assert_eq!(sender(in_london).await, london, "of the same country");
    assert_eq!(sender(in_paris).await, NUMBER, "the oldest, without a default");
    app.ok(Method::PATCH, "/v1/project", Some(json!({"default_number": berlin}))).await;
    assert_eq!(sender("+33142685301").await, berlin);
    assert_eq!(sender(in_paris).await, NUMBER, "the one that they had to do with");
    app.send(json!({"to": in_london, "body": "hi", "from": berlin})).await;
    assert_eq!(sender(in_london).await, berlin, "the last one");
}

#[tokio::test]
async fn what_cannot_be_sent_says_why() {
    let app = app().await;
    for (body, status, code) in [
        (json!({"to": "0441555", "body": "x"}), 422, "to_not_e164"),
        (json!({"to": ADA, "body": "x", "from": "+14155559999"}), 422, "number_not_ours"),
        (json!({"to": ADA, "body": "x".repeat(1601)}), 422, "body_too_long"),
        (json!({"to": ADA, "body": "  "}), 422, "body_empty"),
        (json!({"to": ADA, "body": "\u{200b}"}), 422, "body_empty"),
        (json!({"to": ADA, "body": "🎉".repeat(801)}), 422, "body_too_long"),
        (json!({"to": ADA, "body": "x", "variables": {}}), 422, "variables_without_template"),
        (json!({"to": ADA, "body": "x", "media_urls": ["https://a.example/\u{0}"]}), 422, "text_has_nul"),
        (json!({"to": ADA}), 422, "body_empty"),
        (json!({"to": ADA, "body": "x", "template": "y"}), 422, "body_and_template"),
        (json!({"to": ADA, "template": "nothing"}), 422, "template_unknown"),
        (json!({"to": NUMBER, "body": "x"}), 422, "to_is_from"),
        (json!({"to": ADA, "body": "x", "media_urls": ["file:///etc/passwd"]}), 422, "media_url_invalid"),
        (json!({"to": ADA, "body": "x", "media_urls": ["http://localhost:8000/a.png"]}), 422, "media_url_invalid"),
        (json!({"to": ADA, "body": "x", "send_at": "2100-01-01T00:00:00Z"}), 422, "send_at_too_far"),
        // Croatia has no texts in both directions: see migrations/0013_country.sql.
        (json!({"to": "+385912345678", "body": "x"}), 422, "country_without_sms"),
        (json!({"to": ADA, "body": "x", "on_active_session": "perhaps"}), 400, "request_invalid"),
    ] {
        assert_eq!(
            app.refused(Method::POST, "/v1/messages", Some(body.clone())).await,
            (status, code.to_owned()),
            "{body}"
        );
    }
    assert_eq!(app.count("select count(*) from message").await, 0);
    let bare = TestApp::new().await;
    let refused = bare.refused(Method::POST, "/v1/messages", Some(json!({"to": ADA, "body": "x"}))).await;
    assert_eq!(refused, (409, "number_missing".to_owned()));
}

#[tokio::test]
async fn a_number_that_the_carrier_calls_unregistered_sends_nothing_until_it_is_attached_again() {
    let app = app().await;
    let sent = app.send(json!({"to": ADA, "body": "hello"})).await;
    app.run_jobs().await;
    let sid = app.message(&sent).await["carrier_id"].as_str().expect("a sid").to_owned();
    // The report of a carrier comes late: the text was sent, and not delivered.
    app.sql("update delivery set status = 'sent'").await;
    let report = format!("AccountSid={ACCOUNT_SID}&MessageSid={sid}&MessageStatus=undelivered&ErrorCode=30034");
    app.post("status", &report, crate::harness::AUTH_TOKEN).await;
    let again = json!({"to": ADA, "body": "hello"});
    let refused = app.refused(Method::POST, "/v1/messages", Some(again.clone())).await;
    assert_eq!(refused, (409, "number_not_registered".to_owned()));
    let agents = app.ok(Method::GET, "/v1/agents", None).await;
    let attach = json!({"number": NUMBER, "agent_id": agents["items"][0]["id"]});
    app.ok(Method::POST, "/v1/numbers", Some(attach)).await;
    app.send(again).await;
}

#[tokio::test]
async fn a_scheduled_text_leaves_at_its_time_once_and_can_be_cancelled() {
    let app = app().await;
    let soon = (chrono::Utc::now() + chrono::Duration::hours(1)).to_rfc3339();
    let body = json!({"to": ADA, "body": "See you at eight", "send_at": soon});
    let (status, sent) = app.send_once("a", &body).await;
    assert_eq!((status.as_u16(), &sent["session_id"]), (202, &Value::Null));
    let other = app.send(json!({"to": ADA, "body": "never", "send_at": soon})).await;
    app.run_jobs().await;
    assert!(app.simulator.received(ADA, NUMBER).is_empty());
    assert_eq!(app.message(&sent).await["status"], "scheduled");
    let path = format!("/v1/messages/{}", other["message_id"].as_str().expect("an id"));
    assert_eq!(app.ok(Method::DELETE, &path, None).await["reason"], "cancelled");

    app.sql("update scheduled_message set due_at = due_at - interval '1 hour'").await;
    app.run_jobs().await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["See you at eight"]);
    let message = app.message(&sent).await;
    assert_eq!((&message["status"], &message["id"]), (&json!("delivered"), &sent["message_id"]));
    assert_eq!(app.send_once("a", &body).await.1["message_id"], sent["message_id"]);
    let path = format!("/v1/messages/{}", sent["message_id"].as_str().expect("an id"));
    assert_eq!(app.refused(Method::DELETE, &path, None).await, (409, "message_not_scheduled".to_owned()));
    let listed = app.ok(Method::GET, "/v1/scheduled-messages", None).await;
    assert_eq!(listed["items"].as_array().expect("items").len(), 1, "the cancelled one");
    assert_eq!(app.answers(ADA, "ok").await.pop().as_deref(), Some("1: ok"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn scheduled_texts_that_are_due_together_are_sent_once_each_by_four_workers() {
    let app = app().await;
    let soon = (chrono::Utc::now() + chrono::Duration::hours(1)).to_rfc3339();
    for n in 0..60 {
        app.send(json!({"to": format!("+141555504{n:02}"), "body": "now", "send_at": soon})).await;
    }
    app.sql("update scheduled_message set due_at = now()").await;
    let workers = (0..4).map(|_| app.workers.scheduled_messages.step());
    for done in futures::future::join_all(workers).await {
        done.expect("sent");
    }
    app.run_jobs().await;
    assert_eq!(app.count("select count(*) from message where kind = 'text'").await, 60);
    for n in 0..60 {
        assert_eq!(app.simulator.received(&format!("+141555504{n:02}"), NUMBER), ["now"]);
    }
}

/// All of them are sent in one transaction.
#[tokio::test]
async fn scheduled_texts_to_one_contact_go_in_their_order_and_each_meets_the_session_of_the_one_before() {
    let app = app().await;
    let mut sent = Vec::new();
    for (minutes, on_active_session) in [(60, "reject"), (61, "join"), (62, "supersede"), (63, "reject")] {
        let at = (chrono::Utc::now() + chrono::Duration::minutes(minutes)).to_rfc3339();
        let body = json!({"to": ADA, "body": on_active_session, "send_at": at, "on_active_session": on_active_session});
        sent.push(app.send(body).await);
    }
    app.sql("update scheduled_message set due_at = due_at - interval '2 hours'").await;
    assert_eq!(app.workers.scheduled_messages.step().await.expect("sent"), 4);
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["reject", "join", "supersede"]);
    assert_eq!(app.message(&sent[3]).await["reason"], "session_active");
    assert_eq!(app.count("select count(*) from session").await, 2);
}

#[tokio::test]
async fn quiet_hours_are_those_of_the_contact() {
    let app = app().await;
    app.answers(ADA, "hi").await;
    // From an hour ago until an hour ahead, by the clock of San Francisco, where Ada's number is.
    let clock: (String, String) = sqlx::query_as(
        "select to_char(now() at time zone 'America/Los_Angeles' - interval '1 hour', 'HH24:MI'),
                to_char(now() at time zone 'America/Los_Angeles' + interval '1 hour', 'HH24:MI')",
    )
    .fetch_one(app.storage.pool())
    .await
    .expect("a time");
    let quiet = json!({"quiet_hours": {"from": clock.0, "until": clock.1}, "allowed_countries": ["US", "JP"]});
    let project = app.ok(Method::PATCH, "/v1/project", Some(quiet)).await;
    assert_eq!(project["quiet_hours"]["from"], clock.0);

    let sent = app.send(json!({"to": ADA, "body": "later", "send_at": (chrono::Utc::now() + chrono::Duration::hours(5)).to_rfc3339(), "on_active_session": "join"})).await;
    let in_tokyo = app.send(json!({"to": "+81312345678", "body": "later", "send_at": (chrono::Utc::now() + chrono::Duration::hours(5)).to_rfc3339()})).await;
    app.sql("update scheduled_message set due_at = now(), send_at = now()").await;
    app.sql("update session set last_message_at = now() - interval '1 day'").await;
    app.sql("update inactivity set due_at = now()").await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi"], "neither the text nor a warning");
    assert_eq!(app.message(&sent).await["status"], "scheduled");
    assert_eq!(app.simulator.received("+81312345678", NUMBER), ["later"], "it is another hour there");
    assert_eq!(app.message(&in_tokyo).await["status"], "delivered");
    let put_off = "select count(*) from scheduled_message join inactivity on true
                    where scheduled_message.due_at between now() + interval '58 minutes' and now() + interval '61 minutes'
                      and inactivity.due_at between now() + interval '58 minutes' and now() + interval '61 minutes'";
    assert_eq!(app.count(put_off).await, 1, "both wait for the end of the hours");
    assert_eq!(app.answers(ADA, "awake").await.pop().as_deref(), Some("2: awake"), "who texts is answered");
    app.ok(Method::PATCH, "/v1/project", Some(json!({"quiet_hours": null}))).await;
    app.sql("update scheduled_message set due_at = now()").await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER).pop().as_deref(), Some("later"));
    for wrong in [json!({"from": "25:00", "until": "08:00"}), json!({"from": "08:00", "until": "08:00"})] {
        app.refused(Method::PATCH, "/v1/project", Some(json!({"quiet_hours": wrong}))).await;
    }
}

#[tokio::test]
async fn templates_are_filled_in_strictly() {
    let app = app().await;
    let text = json!({"body": "Hi {{ name }}, your order {{ order.id }} is ready."});
    app.ok(Method::PUT, "/v1/templates/order_ready", Some(text)).await;
    let variables = json!({"name": "Ada", "order": {"id": 7}});
    app.send(json!({"to": ADA, "template": "order_ready", "variables": variables})).await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["Hi Ada, your order 7 is ready."]);
    let missing = json!({"to": ADA, "template": "order_ready", "variables": {"name": "Ada"}});
    let refused = app.refused(Method::POST, "/v1/messages", Some(missing)).await;
    assert_eq!(refused, (422, "template_not_filled".to_owned()));
    for (name, body, code) in [
        ("a", "{{ open".to_owned(), "template_has_faults"),
        ("a", "x".repeat(501), "request_invalid"),
        ("a%20b", "x".to_owned(), "value_refused"),
    ] {
        let refused = app.refused(Method::PUT, &format!("/v1/templates/{name}"), Some(json!({"body": body}))).await;
        assert_eq!(refused.1, code, "{body}");
    }
    let (_, told) = app.call(&app.key, Method::PUT, "/v1/templates/gr%C3%BC%C3%9Fe", Some(json!({"body": "x"}))).await;
    assert!(told["detail"].as_str().is_some_and(|detail| detail.contains("\"grüße\"")), "{told}");
    let listed = app.ok(Method::GET, "/v1/templates", None).await;
    assert_eq!(listed["items"][0]["name"], "order_ready");
    assert_eq!(app.call(&app.key, Method::DELETE, "/v1/templates/order_ready", None).await.0, 204);
    assert_eq!(app.refused(Method::GET, "/v1/templates/order_ready", None).await.0, 404);
}

#[tokio::test]
async fn a_script_sends_texts_outside_its_answer_when_its_turn_is_over() {
    let agent = "
def reply(conv, text):
    conv.send_sms(\"+14155550177\", None, \"A customer asks: \" + text)
    conv.send_sms_template(conv.caller_number, \"ticket\", {\"id\": 7})
    return \"I have asked.\"
";
    let app = TestApp::with_agent(agent, json!({"first_message": "process"})).await;
    app.ok(Method::PUT, "/v1/templates/ticket", Some(json!({"body": "Ticket {{ id }}"}))).await;
    assert_eq!(
        app.answers(ADA, "help me").await,
        ["I have asked.", "Ticket 7"],
        "after the answer, in the same session"
    );
    assert_eq!(app.simulator.received("+14155550177", NUMBER), ["A customer asks: help me"]);
    let sessions = app.sessions().await;
    assert_eq!(
        (sessions.len(), &sessions[0]["origin"]),
        (2, &json!("outbound")),
        "who is told has a session to answer in"
    );
    let told = app.messages(&sessions[0]).await.remove(0);
    assert!(
        app.message(&json!({"message_id": told["id"]})).await["history"]
            .as_array()
            .is_some_and(|steps| steps.len() >= 3)
    );
}

#[tokio::test]
async fn what_a_script_cannot_send_is_its_fault_and_told() {
    for (call, tells) in [
        // What is spelled out in the call is refused when the script is saved.
        ("conv.send_sms(conv.state.a or \"ada\", None, \"x\")", "E.164"),
        ("conv.send_sms(\"+14155550177\", conv.state.a or \"+1\", \"x\")", "E.164"),
        ("conv.send_sms(\"+14155550177\", None, conv.state.a or \" \")", "1 to 1600"),
        ("conv.send_sms_template(\"+14155550177\", \"nothing\")", "no such template"),
        ("[conv.send_sms(\"+14155550177\", None, \"x\") for _ in range(11)]", "at most 10"),
    ] {
        let agent = format!("def reply(conv, text):\n    {call}\n    return \"done\"\n");
        let app = TestApp::with_agent(&agent, json!({"first_message": "process"})).await;
        app.text(ADA, "hi").await;
        app.workers.turns.step().await.expect("turns");
        let error: String =
            sqlx::query_scalar("select last_error from turn").fetch_one(app.storage.pool()).await.expect(call);
        assert!(error.contains(tells), "{call}: {error}");
        assert_eq!(app.count("select count(*) from scheduled_message").await, 0, "a turn that failed sent nothing");
    }
}
