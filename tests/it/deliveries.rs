//! Tests deliveries: answers of the carrier, status callbacks, and the order of messages to one
//! contact.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use textback::domain::delivery_settlement::Outcome;
use textback::storage::claim_limits::ClaimLimits;
use textback::storage::{delivery, ingest, project};
use url::Url;
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{ACCOUNT_SID, ADA, AUTH_TOKEN, ECHO, NUMBER, TestApp};

const MESSAGES: &str = "/2010-04-01/Accounts/[^/]+/Messages.json";

/// An app whose carrier gives these answers to sent texts, one after the other, the last one for
/// ever.
async fn app_answered_by(answers: Vec<ResponseTemplate>) -> (TestApp, MockServer) {
    let carrier = MockServer::start().await;
    let number =
        json!({"incoming_phone_numbers": [{"sid": "PN1", "phone_number": NUMBER, "capabilities": {"sms": true}}]});
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(200).set_body_json(number)).mount(&carrier).await;
    let set = json!({"sid": "PN1", "phone_number": NUMBER});
    Mock::given(path_regex("IncomingPhoneNumbers/PN1.json"))
        .respond_with(ResponseTemplate::new(200).set_body_json(set))
        .mount(&carrier)
        .await;
    let last = answers.len() - 1;
    for (n, answer) in answers.into_iter().enumerate() {
        let mock = Mock::given(method("POST")).and(path_regex(MESSAGES)).respond_with(answer);
        let mock = if n < last { mock.up_to_n_times(1) } else { mock };
        mock.mount(&carrier).await;
    }
    let app = TestApp::with_carrier(Some(Url::parse(&carrier.uri()).expect("a URL"))).await;
    app.attach(ECHO, json!({"first_message": "process"})).await;
    (app, carrier)
}

fn accepted(sid: &str) -> ResponseTemplate {
    ResponseTemplate::new(201).set_body_json(json!({"sid": sid, "status": "queued"}))
}

fn refused(status: u16, code: i32) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({"code": code, "message": "refused", "status": status}))
}

async fn sent_texts(carrier: &MockServer) -> Vec<String> {
    let requests = carrier.received_requests().await.expect("recorded");
    let sent =
        requests.iter().filter(|request| request.method == "POST" && request.url.path().ends_with("/Messages.json"));
    sent.map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect()
}

/// A person texts, and everything that can happen now happens.
async fn play(app: &TestApp, body: &str) {
    app.text_form(body).await;
    app.run_jobs().await;
}

impl TestApp {
    /// A text by webhook alone, where the carrier is not the simulator.
    async fn text_form(&self, body: &str) {
        let sid = format!("SM{}", uuid::Uuid::now_v7().simple());
        let form =
            format!("AccountSid={ACCOUNT_SID}&MessageSid={sid}&From=%2B14155550101&To=%2B14155550199&Body={body}");
        assert_eq!(self.post("messages", &form, AUTH_TOKEN).await.status(), 200);
    }

    async fn delivery(&self) -> (String, Option<i32>, Option<String>) {
        sqlx::query_as("select status, error_code, error_class from delivery order by seq desc limit 1")
            .fetch_one(self.storage.pool())
            .await
            .expect("a delivery")
    }
}

#[tokio::test]
async fn a_text_is_sent_once_with_an_address_for_reports_that_names_it() {
    let (app, carrier) = app_answered_by(vec![accepted("SM90")]).await;
    play(&app, "hi").await;
    let sent = sent_texts(&carrier).await;
    assert_eq!(sent.len(), 1);
    let id: uuid::Uuid =
        sqlx::query_scalar("select id from delivery").fetch_one(app.storage.pool()).await.expect("an id");
    assert!(sent[0].contains(&format!("status%3Fdelivery%3D{id}")), "{}", sent[0]);
    assert_eq!(app.delivery().await, ("accepted".to_owned(), None, None));
}

#[tokio::test]
async fn a_text_that_the_carrier_refuses_fails_with_code_and_class_and_the_next_one_goes() {
    let (app, carrier) = app_answered_by(vec![refused(400, 21211), accepted("SM91")]).await;
    play(&app, "one").await;
    assert_eq!(app.delivery().await, ("failed".to_owned(), Some(21211), Some("permanent_recipient".to_owned())));
    play(&app, "two").await;
    assert_eq!(app.delivery().await.0, "accepted");
    assert_eq!(sent_texts(&carrier).await.len(), 2);
}

#[tokio::test]
async fn too_many_requests_is_tried_again_later_and_keeps_the_order() {
    let throttled = refused(429, 20429).insert_header("Retry-After", "30");
    let (app, carrier) = app_answered_by(vec![throttled, accepted("SM92"), accepted("SM93")]).await;
    play(&app, "one").await;
    assert_eq!(app.delivery().await, ("planned".to_owned(), Some(20429), Some("throttled".to_owned())));
    let waits = app.count("select count(*) from delivery where due_at > now() + interval '29 seconds'").await;
    assert_eq!(waits, 1, "the carrier's Retry-After counts");
    play(&app, "two").await;
    assert_eq!(sent_texts(&carrier).await.len(), 1, "the second text waits for the first");
    app.sql("update delivery set due_at = now() where due_at is not null").await;
    app.run_jobs().await;
    let bodies: Vec<bool> = sent_texts(&carrier).await.iter().map(|form| form.contains("Body=1%3A+one")).collect();
    assert_eq!(bodies, [true, true, false]);
}

#[tokio::test]
async fn an_answer_that_leaves_it_open_is_never_sent_again_and_a_report_settles_it() {
    for unclear in
        [ResponseTemplate::new(500), ResponseTemplate::new(503), ResponseTemplate::new(201).set_body_string("garbage")]
    {
        let (app, carrier) = app_answered_by(vec![unclear]).await;
        play(&app, "hi").await;
        assert_eq!(app.delivery().await, ("unknown".to_owned(), None, Some("ambiguous".to_owned())));
        app.run_jobs().await;
        assert_eq!(sent_texts(&carrier).await.len(), 1);

        let id: uuid::Uuid =
            sqlx::query_scalar("select id from delivery").fetch_one(app.storage.pool()).await.expect("an id");
        let report = format!("AccountSid={ACCOUNT_SID}&MessageSid=SM94&MessageStatus=sent");
        assert_eq!(app.post(&format!("status?delivery={id}"), &report, AUTH_TOKEN).await.status(), 200);
        assert_eq!(app.delivery().await.0, "sent");
    }
}

#[tokio::test]
async fn a_worker_that_dies_while_sending_leaves_an_unknown_delivery_not_a_second_text() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.text(ADA, "hi").await;
    while app.workers.turns.step().await.expect("turns") > 0 {}
    let claims = delivery::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims");
    assert_eq!(claims.len(), 1);
    app.sql("update delivery set leased_until = now() - interval '1 second'").await;
    app.run_jobs().await;
    assert_eq!(app.delivery().await.0, "unknown");
    assert!(app.simulator.received(ADA, NUMBER).is_empty());
    // The dead one was only slow: its word comes too late and changes nothing.
    let late = delivery::Settlement {
        id: claims[0].id,
        token: claims[0].token,
        outcome: Outcome::Accepted { carrier_id: "SM95".to_owned() },
    };
    assert_eq!(delivery::settle(&app.storage, late).await.expect("an answer"), delivery::Settled::Stale);
}

#[tokio::test]
async fn a_refusal_that_can_not_be_stored_as_it_was_said_is_settled() {
    let refusal = json!({"code": 21211, "message": "bad \u{0}", "status": 400});
    let (app, carrier) = app_answered_by(vec![ResponseTemplate::new(400).set_body_json(refusal)]).await;
    play(&app, "hi").await;
    assert_eq!(app.delivery().await.0, "failed");
    assert_eq!(app.count("select count(*) from delivery where error_detail = 'bad \u{fffd}'").await, 1);
    assert_eq!(sent_texts(&carrier).await.len(), 1);
}

/// The row lies elsewhere when the carrier's answer is written, under the same lease.
#[tokio::test]
async fn an_answer_that_meets_another_change_of_its_delivery_is_written() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.text(ADA, "hi").await;
    while app.workers.turns.step().await.expect("turns") > 0 {}
    let claim = delivery::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims").remove(0);
    let mut changing = app.storage.pool().begin().await.expect("a transaction");
    sqlx::query("update delivery set leased_until = leased_until + interval '1 minute'")
        .execute(&mut *changing)
        .await
        .expect("changed");
    let settling = tokio::spawn({
        let storage = app.storage.clone();
        let outcome = Outcome::Accepted { carrier_id: "SM97".to_owned() };
        let settlement = delivery::Settlement { id: claim.id, token: claim.token, outcome };
        async move { delivery::settle(&storage, settlement).await }
    });
    app.until_one_waits().await;
    changing.commit().await.expect("committed");
    let settled = settling.await.expect("no panic").expect("settled");
    assert!(matches!(settled, delivery::Settled::Written { .. }), "{settled:?}");
    assert_eq!(app.delivery().await, ("accepted".to_owned(), None, None));
    let read = "select carrier_id, accepted_at is not null, history -> -1 ->> 'status' from delivery";
    let accepted: (Option<String>, bool, Option<String>) =
        sqlx::query_as(read).fetch_one(app.storage.pool()).await.expect("a delivery");
    assert_eq!(accepted, (Some("SM97".to_owned()), true, Some("accepted".to_owned())));
}

#[tokio::test]
async fn a_carrier_that_is_not_there_gets_the_text_when_it_is_back() {
    let (app, carrier) = app_answered_by(vec![accepted("SM96")]).await;
    let nowhere = Url::parse("http://127.0.0.1:9").expect("a URL");
    let sender = app.workers_at(nowhere).deliveries;
    app.text_form("hi").await;
    while app.workers.turns.step().await.expect("turns") > 0 {}
    assert_eq!(sender.step().await.expect("deliveries"), 1);
    assert_eq!(app.delivery().await, ("planned".to_owned(), None, Some("transient".to_owned())));
    app.sql("update delivery set due_at = now() where due_at is not null").await;
    app.run_jobs().await;
    assert_eq!(app.delivery().await.0, "accepted");
    assert_eq!(sent_texts(&carrier).await.len(), 1);
}

#[tokio::test]
async fn a_text_waits_until_its_project_has_a_carrier_account() {
    let (app, carrier) = app_answered_by(vec![accepted("SM95")]).await;
    let at = Url::parse(&carrier.uri()).expect("a URL");
    app.text_form("hi").await;
    while app.workers.turns.step().await.expect("turns") > 0 {}
    app.sql("create table kept as table carrier_account").await;
    app.sql("delete from carrier_account").await;
    assert_eq!(app.workers_at(at.clone()).deliveries.step().await.expect("deliveries"), 1);
    assert_eq!(app.delivery().await, ("planned".to_owned(), None, Some("account".to_owned())));
    let told: Option<String> = sqlx::query_scalar("select history -> -1 ->> 'by' from delivery")
        .fetch_one(app.storage.pool())
        .await
        .expect("a step");
    assert_eq!(told, None, "the carrier was not called");

    app.sql("insert into carrier_account select * from kept").await;
    app.sql("update delivery set due_at = now() where due_at is not null").await;
    assert_eq!(app.workers_at(at).deliveries.step().await.expect("deliveries"), 1);
    assert_eq!(app.delivery().await, ("accepted".to_owned(), None, None));
    assert_eq!(sent_texts(&carrier).await.len(), 1);
}

#[tokio::test]
async fn what_was_due_in_a_backup_can_be_cancelled_before_it_is_sent_again() {
    let (app, carrier) = app_answered_by(vec![accepted("SM94")]).await;
    app.text_form("hi").await;
    while app.workers.turns.step().await.expect("turns") > 0 {}
    assert_eq!(app.delivery().await.0, "planned");
    app.sql(crate::rights::documented("restored")).await;
    app.run_jobs().await;
    assert_eq!(app.delivery().await.0, "suppressed");
    assert_eq!(sent_texts(&carrier).await.len(), 0);
    let history: i64 = app.count("select jsonb_array_length(history)::bigint from delivery").await;
    assert!(history >= 1, "the step is kept");
}

#[tokio::test]
async fn reports_move_a_delivery_forward_only() {
    let (app, _carrier) = app_answered_by(vec![accepted("SM97")]).await;
    play(&app, "hi").await;
    for (word, status) in [
        ("sent", "sent"),
        ("queued", "sent"),
        ("delivered", "delivered"),
        ("sent", "delivered"),
        ("delivered", "delivered"),
        ("failed", "delivered"),
        ("pondering", "delivered"),
    ] {
        let report = format!("AccountSid={ACCOUNT_SID}&MessageSid=SM97&MessageStatus={word}");
        assert_eq!(app.post("status", &report, AUTH_TOKEN).await.status(), 200);
        assert_eq!(app.delivery().await.0, status, "after {word}");
    }
}

#[tokio::test]
async fn a_report_that_is_faster_than_the_carriers_answer_counts() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.text(ADA, "hi").await;
    while app.workers.turns.step().await.expect("turns") > 0 {}
    let claim = delivery::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims").remove(0);
    let report = format!("AccountSid={ACCOUNT_SID}&MessageSid=SM98&MessageStatus=delivered");
    app.post(&format!("status?delivery={}", claim.id), &report, AUTH_TOKEN).await;
    let outcome = Outcome::Accepted { carrier_id: "SM98".to_owned() };
    delivery::settle(&app.storage, delivery::Settlement { id: claim.id, token: claim.token, outcome })
        .await
        .expect("an answer");
    assert_eq!(app.delivery().await.0, "delivered");
}

#[tokio::test]
async fn a_failure_that_is_reported_later_is_told_with_its_code() {
    let (app, _carrier) = app_answered_by(vec![accepted("SM99")]).await;
    play(&app, "hi").await;
    let report = format!("AccountSid={ACCOUNT_SID}&MessageSid=SM99&MessageStatus=undelivered&ErrorCode=30003");
    app.post("status", &report, AUTH_TOKEN).await;
    let session = app.sessions().await.remove(0);
    let reply = app.messages(&session).await.remove(1);
    assert_eq!(
        (&reply["status"], &reply["error_code"], &reply["carrier_id"]),
        (&json!("failed"), &json!(30003), &json!("SM99"))
    );
}

#[tokio::test]
async fn a_report_that_fits_no_delivery_is_kept() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let report = format!("AccountSid={ACCOUNT_SID}&MessageSid=SM404&MessageStatus=sent");
    for hook in ["status", "status?delivery=not-an-id"] {
        assert_eq!(app.post(hook, &report, AUTH_TOKEN).await.status(), 200);
    }
    assert_eq!(app.count("select count(*) from quarantine where kind = 'status'").await, 2);
}

#[tokio::test]
async fn several_texts_of_one_turn_arrive_in_order() {
    let script = "
def reply(conv, text):
    for n in range(5):
        conv.say(\"part \" + str(n))
";
    let app = TestApp::with_agent(script, json!({"first_message": "process"})).await;
    assert_eq!(app.answers(ADA, "hi").await, ["part 0", "part 1", "part 2", "part 3", "part 4"]);
}

#[tokio::test]
async fn a_failing_account_is_paused_and_another_account_still_sends() {
    const OTHER_ACCOUNT: &str = "ACfedcba9876543210fedcba9876543210";
    let (app, carrier) = app_answered_by(vec![accepted("SM990")]).await;
    let (well, sid) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
    let answer = {
        let well = Arc::clone(&well);
        move |_: &wiremock::Request| match well.load(Ordering::Relaxed) {
            true => accepted(&format!("SM99{}", sid.fetch_add(1, Ordering::Relaxed) + 1)),
            false => refused(401, 20003),
        }
    };
    let of_ours = Mock::given(method("POST")).and(path_regex(format!("{ACCOUNT_SID}/Messages.json")));
    of_ours.respond_with(answer).with_priority(1).mount(&carrier).await;
    let (other, other_key) = crate::harness::create_project(&app.storage, "other").await.expect("a project");
    let call = async |method: Method, path: &str, body: serde_json::Value| {
        let (status, answer) = app.call(&other_key, method, path, Some(body)).await;
        assert!(status.is_success(), "{answer}");
        answer
    };
    call(Method::PUT, "/v1/carrier", json!({"account_sid": OTHER_ACCOUNT, "auth_token": AUTH_TOKEN})).await;
    let agent = json!({"name": "echo", "kind": "script", "source": ECHO, "first_message": "process"});
    let agent = call(Method::POST, "/v1/agents", agent).await;
    call(Method::POST, "/v1/numbers", json!({"number": NUMBER, "agent_id": agent["id"]})).await;

    let text = async |project: &textback::storage::project::Project, account: &str, n: usize| {
        let (channel, from) = (textback::channels::of_numbers().facts(), format!("+1415555020{n}"));
        let message = ingest::InboundMessage::of(channel, project.id, from, NUMBER.to_owned(), "hi".to_owned());
        let carrier_id = Some(format!("SM{}{n}", &account[2..4]));
        let stored = ingest::store(&app.storage, ingest::InboundMessage { carrier_id, ..message });
        stored.await.expect("stored");
        app.workers.turns.step().await.expect("turns");
    };
    let ours = project::find_by_name(&mut *crate::harness::pooled(&app.storage).await, "tests")
        .await
        .expect("an answer")
        .expect("a project");
    for n in 0..5 {
        text(&ours, ACCOUNT_SID, n).await;
    }
    assert_eq!(app.workers.deliveries.step().await.expect("deliveries"), 5);
    app.sql("update delivery set due_at = now() where due_at is not null").await;
    assert_eq!(app.workers.deliveries.step().await.expect("deliveries"), 0, "the account rests");
    text(&other, OTHER_ACCOUNT, 0).await;
    assert_eq!(app.workers.deliveries.step().await.expect("deliveries"), 1, "another's text leaves");
    assert_eq!(app.count("select count(*) from delivery where status = 'accepted'").await, 1);

    // When it works again, one text goes first, and then all.
    well.store(true, Ordering::Relaxed);
    let mut steps = Vec::new();
    let all = async {
        while app.count("select count(*) from delivery where status = 'planned'").await > 0 {
            match app.workers.deliveries.step().await.expect("deliveries") {
                0 => tokio::task::yield_now().await,
                count => steps.push(count),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("the rest ends");
    assert_eq!(steps, [1, 4]);
}
