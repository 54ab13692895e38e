//! Tests the limits on outbound messages per turn, contact, project and country.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{ACCOUNT_SID, ADA, ECHO, NUMBER, TestApp, bodies};
use crate::metrics::value;

const BEA: &str = "+14155550102";
const KINGSTON: &str = "+18765550123";
const LONDON: &str = "+447700900123";

async fn app() -> TestApp {
    TestApp::with_agent(ECHO, json!({"first_message": "process"})).await
}

impl TestApp {
    async fn bound(&self, settings: Value) {
        self.ok(Method::PATCH, "/v1/project", Some(settings)).await;
    }

    /// Asks to send a text; status and code.
    async fn try_send(&self, body: Value) -> (u16, String) {
        let (status, answer) = self.call(&self.key, Method::POST, "/v1/messages", Some(body)).await;
        (status.as_u16(), answer["code"].as_str().unwrap_or_default().to_owned())
    }

    /// How many messages of a project left or wait to leave.
    async fn left(&self) -> i64 {
        self.count("select count(*) from delivery where status <> 'suppressed' and status <> 'failed'").await
    }

    async fn newest_messages(&self) -> Vec<Value> {
        let session = self.sessions().await.remove(0);
        self.messages(&session).await
    }

    async fn scheduled(&self) -> Vec<Value> {
        let listed = self.ok(Method::GET, "/v1/scheduled-messages", None).await;
        listed["items"].as_array().cloned().expect("items")
    }

    async fn used(&self, contact: &str) -> Value {
        self.ok(Method::GET, &format!("/v1/usage?contact={}", contact.replace('+', "%2B")), None).await["outbound"]
            .clone()
    }
    async fn another_number(&self, number: &str) {
        self.simulator.add_number(ACCOUNT_SID, number);
        let agents = self.ok(Method::GET, "/v1/agents", None).await;
        self.ok(Method::POST, "/v1/numbers", Some(json!({"number": number, "agent_id": agents["items"][0]["id"]})))
            .await;
    }
}

fn to(contact: &str) -> Value {
    json!({"to": contact, "body": "Your table is ready.", "on_active_session": "join"})
}

const CUT: &str = "textback_outbound_refused_total{reason=\"turn_limit_reached\"}";
const SUPPRESSED: &str = "textback_outbound_refused_total{reason=\"contact_limit_reached\"}";

#[tokio::test]
async fn a_reply_of_two_megabytes_is_ten_messages_and_says_what_was_cut() {
    let cut_before = value(CUT);
    let agent = "def reply(conv, text): return \"word and \" * 220000";
    let app = TestApp::with_agent(agent, json!({"first_message": "process"})).await;
    assert_eq!(app.answers(ADA, "hi").await.len(), 10);
    let messages = app.newest_messages().await;
    let cut = messages[10]["truncated_characters"].as_i64().expect("a number");
    assert!(cut > 1_960_000 && messages[10]["truncated"] == true, "{cut}");
    assert!(messages[..10].iter().all(|message| message["truncated"] == false));
    assert!(value(CUT) > cut_before);
}

#[tokio::test]
async fn greeting_answer_and_what_goes_elsewhere_share_the_messages_of_a_turn() {
    let agent = format!(
        "
def start(conv):
    conv.send_sms(\"{BEA}\", None, \"a start\")
    return \"Welcome!\"

def reply(conv, text):
    conv.say(\"one\")
    conv.send_sms(\"{BEA}\", None, \"first\")
    conv.send_sms(\"{BEA}\", None, \"second\")
    return \"two\"
"
    );
    let settings = json!({"first_message": "greet_then_process", "max_messages_per_turn": 4});
    let app = TestApp::with_agent(&agent, settings).await;
    assert_eq!(app.answers(ADA, "hi").await, ["Welcome!", "one", "two"]);
    assert_eq!(app.simulator.received(BEA, NUMBER), ["a start"]);
    let refused: Vec<Value> = app.scheduled().await.iter().map(|item| item["reason"].clone()).collect();
    assert_eq!(refused, ["turn_limit_reached", "turn_limit_reached"]);
    let agents = app.ok(Method::GET, "/v1/agents", None).await;
    assert_eq!(agents["items"][0]["max_messages_per_turn"], 4);
    for wrong in [0, 51] {
        let agent = json!({"name": "x", "kind": "script", "source": ECHO, "max_messages_per_turn": wrong});
        app.refused(Method::POST, "/v1/agents", Some(agent)).await;
    }
}

#[tokio::test]
async fn two_hundred_sends_to_one_contact_in_a_row_do_not_pass() {
    let app = app().await;
    let mut passed = 0;
    for _ in 0..200 {
        match app.try_send(to(ADA)).await {
            (202, _) => passed += 1,
            refused => assert_eq!(refused, (429, "contact_limit_reached".to_owned())),
        }
    }
    assert_eq!(passed, 120);
    assert_eq!(app.try_send(to(BEA)).await.0, 202, "nobody else is bounded by it");
    let url = format!("http://{}/v1/messages", app.api);
    let answer = app.http.post(url).bearer_auth(&app.key).json(&to(ADA)).send().await.expect("an answer");
    let seconds: u64 =
        answer.headers()["retry-after"].to_str().ok().and_then(|text| text.parse().ok()).expect("seconds");
    assert!((3000..=3600).contains(&seconds), "{seconds}");
    let used = app.used(ADA).await;
    let hour = used.as_array().and_then(|all| all.iter().find(|one| one["limit"] == "outbound_per_contact_per_hour"));
    assert_eq!((&hour.expect("it")["sent"], &hour.expect("it")["most"]), (&json!(120), &json!(120)));
    app.sql("update outbound_rate_window set short_began = short_began - interval '1 hour'").await;
    assert_eq!(app.try_send(to(ADA)).await.0, 202, "the window has ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_contacts_limit_is_exact_over_all_numbers_at_the_same_time() {
    let app = app().await;
    app.another_number("+14155550188").await;
    app.bound(json!({"outbound_per_contact_per_hour": 7})).await;
    let sends = (0..40).map(|n| {
        let from = if n % 2 == 0 { NUMBER } else { "+14155550188" };
        let on_active = ["supersede", "join"][n / 2 % 2];
        let text = json!({"to": ADA, "from": from, "body": "hi", "on_active_session": on_active});
        app.try_send(text)
    });
    let statuses = futures::future::join_all(sends).await;
    assert_eq!(statuses.iter().filter(|(status, _)| *status == 202).count(), 7, "{statuses:?}");
    assert!(statuses.iter().all(|(status, _)| matches!(status, 202 | 429)), "{statuses:?}");
    assert_eq!(app.left().await, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_projects_limit_is_exact_and_nothing_else_of_the_refused_ones_is_left() {
    let app = app().await;
    app.bound(json!({"outbound_per_project_per_minute": 5, "outbound_per_project_per_day": 8})).await;
    let sends = (0..30).map(|n| app.try_send(to(&format!("+141555506{n:02}"))));
    let statuses = futures::future::join_all(sends).await;
    assert_eq!(statuses.iter().filter(|(status, _)| *status == 202).count(), 5, "{statuses:?}");
    assert!(statuses.contains(&(429, "project_limit_reached".to_owned())));
    assert_eq!(app.count("select count(*) from session").await, 5, "a refused one opens no session");
    app.sql("update outbound_rate_window set short_began = short_began - interval '1 minute'").await;
    for n in 30..34 {
        app.try_send(to(&format!("+141555506{n:02}"))).await;
    }
    assert_eq!(app.left().await, 8, "the day's limit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sends_at_the_same_time_pass_while_no_limit_is_reached() {
    let app = app().await;
    app.another_number("+14155550188").await;
    app.bound(json!({"outbound_per_project_per_minute": 1000, "outbound_per_contact_per_hour": 100})).await;
    let sends = (0..80).map(|n| {
        let from = if n % 2 == 0 { NUMBER } else { "+14155550188" };
        app.try_send(json!({"to": format!("+141555506{:02}", n / 2), "from": from, "body": "hi"}))
    });
    let statuses = futures::future::join_all(sends).await;
    assert!(statuses.iter().all(|(status, _)| *status == 202), "{statuses:?}");
    assert_eq!(app.count("select sum(short_sent)::bigint from outbound_rate_window where contact = ''").await, 80);
    assert_eq!(app.count("select count(*) from outbound_rate_window where contact <> '' and short_sent = 2").await, 40);
}

/// One counts while another has counted and has not committed: to the project's row, to a
/// contact's, and to a contact's first.
#[tokio::test]
async fn who_waits_for_anothers_count_counts_after_it() {
    let app = app().await;
    let project: uuid::Uuid =
        sqlx::query_scalar("select id from project").fetch_one(app.storage.pool()).await.expect("a project");
    let count = "select full_limit from count_one_outbound($1, $2)";
    for (of_project, of_contact, is_first, (one, other), refused) in [
        (9, 0, false, (ADA, BEA), None),
        (9, 0, true, (ADA, BEA), None),
        (0, 9, false, (ADA, ADA), None),
        (0, 9, true, (ADA, ADA), None),
        (2, 9, true, (ADA, ADA), None),
        (1, 0, true, (ADA, BEA), Some("outbound_per_project_per_minute")),
        (0, 1, true, (ADA, ADA), Some("outbound_per_contact_per_hour")),
    ] {
        app.bound(json!({"outbound_per_project_per_minute": of_project, "outbound_per_contact_per_hour": of_contact}))
            .await;
        app.sql("delete from outbound_rate_window").await;
        if !is_first {
            sqlx::query(count).bind(project).bind(one).execute(app.storage.pool()).await.expect("counted");
        }
        let mut first = app.storage.pool().begin().await.expect("a transaction");
        let passed: Option<String> =
            sqlx::query_scalar(count).bind(project).bind(one).fetch_one(&mut *first).await.expect("counted");
        assert_eq!(passed, None);
        let pool = app.storage.pool().clone();
        let counting = tokio::spawn(async move {
            sqlx::query_scalar::<_, Option<String>>(count).bind(project).bind(other).fetch_one(&pool).await
        });
        app.until_one_waits().await;
        first.commit().await.expect("committed");
        let second = counting.await.expect("it ends").expect("counted");
        assert_eq!(second.as_deref(), refused, "{of_project} {of_contact} {is_first}");
    }
}

/// A warning is counted in the project's row, which a turn that ends another session holds with the
/// lock of its contact.
#[tokio::test(flavor = "multi_thread")]
async fn a_warning_that_waits_for_a_count_delays_no_other_session() {
    let app = app().await;
    for contact in [ADA, BEA] {
        app.answers(contact, "hi").await;
    }
    app.bound(json!({"outbound_per_project_per_minute": 1000})).await;
    app.try_send(to(ADA)).await;
    app.run_jobs().await;
    app.sql("update session set last_message_at = now() - interval '2 days'").await;
    app.sql("update inactivity set due_at = now() - case when (select contact from session where id = session_id) = '+14155550101' then interval '2 seconds' else interval '1 second' end").await;
    let mut holding = app.storage.pool().begin().await.expect("a transaction");
    let lock = "select lock_contact(endpoint_id, contact) from session where contact = $1";
    sqlx::query(lock).bind(BEA).execute(&mut *holding).await.expect("locked");
    sqlx::query("select 1 from outbound_rate_window where contact = '' for update")
        .execute(&mut *holding)
        .await
        .expect("held");
    let inactivity = app.workers.inactivity.clone();
    let deciding = tokio::spawn(async move { inactivity.step().await });
    app.until_one_waits().await;
    let delete = "delete from inactivity where session_id = (select id from session where contact = $1)";
    sqlx::query("set local lock_timeout = '1s'").execute(&mut *holding).await.expect("set");
    sqlx::query(delete).bind(BEA).execute(&mut *holding).await.expect("nobody holds it");
    holding.commit().await.expect("committed");
    assert_eq!(deciding.await.expect("it ends").expect("decided"), 1, "the other one is gone");
}

#[tokio::test]
async fn answers_over_a_limit_are_suppressed_and_say_why() {
    let suppressed_before = value(SUPPRESSED);
    let agent = "
def reply(conv, text):
    conv.say(\"one\")
    conv.say(\"two\")
    return \"three\"
";
    let app = TestApp::with_agent(agent, json!({"first_message": "process"})).await;
    app.bound(json!({"outbound_per_contact_per_hour": 5})).await;
    app.answers(ADA, "a").await;
    assert_eq!(app.answers(ADA, "b").await, ["one", "two", "three", "one", "two"], "what fits is sent");
    let last = app.newest_messages().await.pop().expect("a message");
    assert_eq!(last["status"], "suppressed");
    assert!(last["reason"].as_str().is_some_and(|why| why.starts_with("contact_limit_reached")), "{last}");
    let traced = app.ok(Method::GET, &format!("/v1/messages/{}", last["id"].as_str().expect("an id")), None).await;
    assert_eq!(traced["error_class"], "contact_limit_reached");
    assert!(value(SUPPRESSED) > suppressed_before);
    assert_eq!(app.answers(BEA, "c").await.len(), 3);
}

/// An agent that hangs up each time has a new session each time.
#[tokio::test]
async fn a_limit_outlives_the_session() {
    let agent = "def reply(conv, text): return {\"utterance\": \"Bye.\", \"hangup\": True}";
    let app = TestApp::with_agent(agent, json!({"first_message": "process"})).await;
    app.bound(json!({"outbound_per_contact_per_day": 3})).await;
    for n in 0..6 {
        app.answers(ADA, &format!("text {n}")).await;
    }
    assert_eq!(app.simulator.received(ADA, NUMBER).len(), 3);
    assert_eq!(app.sessions().await.len(), 6);
}

#[tokio::test]
async fn two_of_our_agents_that_text_each_other_come_to_an_end() {
    let agent = "
def reply(conv, text):
    conv.send_sms(conv.caller_number, None, \"again\")
    return None
";
    let app = TestApp::with_agent(agent, json!({"first_message": "process"})).await;
    app.without_rate_limits().await;
    app.bound(json!({"outbound_per_contact_per_hour": 4})).await;
    for n in 0..8 {
        app.answers(ADA, &format!("text {n}")).await;
    }
    assert_eq!(app.left().await, 4);
    let reasons: Vec<Value> = app.scheduled().await.iter().map(|item| item["reason"].clone()).collect();
    assert_eq!(reasons, ["contact_limit_reached"; 4]);
}

#[tokio::test]
async fn the_error_message_the_help_the_warning_and_the_farewell_are_counted_too() {
    let agent = "def reply(conv, text):\n    if text != \"\": fail(\"no\")\n    return text";
    let settings = json!({"first_message": "process", "error_message": "Sorry.",
                          "inactivity": {"warn_after_seconds": 60, "grace_seconds": 60, "closing": "Goodbye!"}});
    let app = TestApp::with_agent(agent, settings).await;
    app.bound(json!({"help_message": "Acme.", "outbound_per_contact_per_hour": 1})).await;
    app.answers(ADA, "HELP").await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["Acme."]);
    app.text(ADA, "hi").await;
    for _ in 0..3 {
        app.run_jobs().await;
        app.sql("update turn set due_at = now()").await;
    }
    app.run_jobs().await;
    app.sql("update session set last_message_at = now() - interval '2 minutes'").await;
    app.sql("update message set created_at = created_at - interval '2 minutes'").await;
    app.sql("update inactivity set due_at = now()").await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["Acme."]);
    let suppressed = "select count(*) from message join delivery using (id) where status = 'suppressed' and kind in ('error', 'warning')";
    assert_eq!(app.count(suppressed).await, 2);
    assert_eq!(app.sessions().await[0]["status"], "closed", "who can't be warned is not told of the end either");
}

#[tokio::test]
async fn a_replay_counts_once_and_is_not_refused() {
    let app = app().await;
    app.bound(json!({"outbound_per_contact_per_hour": 1})).await;
    let send = |key: &'static str| {
        let url = format!("http://{}/v1/messages", app.api);
        let request = app.http.post(url).bearer_auth(&app.key).header("Idempotency-Key", key).json(&to(ADA));
        async { request.send().await.expect("an answer").status() }
    };
    for _ in 0..3 {
        assert_eq!(send("order-7").await, StatusCode::ACCEPTED);
    }
    assert_eq!(send("order-8").await, StatusCode::TOO_MANY_REQUESTS);
    app.sql("update outbound_rate_window set short_began = short_began - interval '1 hour'").await;
    assert_eq!(send("order-8").await, StatusCode::ACCEPTED, "a refused key is free");
    assert_eq!(app.left().await, 2);
}

#[tokio::test]
async fn a_revoked_message_does_not_count() {
    let app = app().await;
    app.bound(json!({"outbound_per_contact_per_hour": 2})).await;
    app.try_send(to(ADA)).await;
    app.try_send(to(ADA)).await;
    app.text(ADA, "STOP").await;
    app.text(ADA, "START").await;
    app.run_jobs().await;
    assert_eq!(app.try_send(to(ADA)).await.0, 202, "nothing has left yet");
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER).len(), 1);
    assert_eq!(app.try_send(json!({"to": ADA, "body": "x", "on_active_session": "reject"})).await.1, "session_active");
    assert_eq!(app.try_send(to(ADA)).await.0, 202, "a refused text does not count either");
    assert_eq!(app.try_send(to(ADA)).await.0, 429);
}

#[tokio::test]
async fn an_unknown_delivery_that_is_sent_again_counts_once() {
    let app = app().await;
    app.bound(json!({"outbound_per_contact_per_hour": 2})).await;
    app.simulator.plan_faults([twilio_simulator::Fault::Fail500]);
    app.try_send(to(ADA)).await;
    app.run_jobs().await;
    app.sql("update delivery set attempted_at = attempted_at - interval '10 minutes', due_at = now() where status = 'unknown'").await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER).len(), 1);
    assert_eq!(app.try_send(to(ADA)).await.0, 202);
    assert_eq!(app.try_send(to(ADA)).await.0, 429);
}

#[tokio::test]
async fn a_scheduled_text_over_a_limit_waits_for_an_hour_at_most() {
    let app = app().await;
    app.bound(json!({"outbound_per_contact_per_hour": 1, "outbound_per_contact_per_day": 2})).await;
    app.try_send(to(ADA)).await;
    let mut later = to(ADA);
    later["send_at"] = json!(chrono::Utc::now() + chrono::Duration::hours(1));
    app.try_send(later.clone()).await;
    app.sql("update scheduled_message set due_at = now()").await;
    app.run_jobs().await;
    let waits = app.scheduled().await.remove(0);
    assert_eq!((&waits["status"], app.left().await), (&json!("scheduled"), 1), "{waits}");
    app.sql("update outbound_rate_window set short_began = short_began - interval '1 hour'").await;
    app.sql("update scheduled_message set due_at = now()").await;
    app.run_jobs().await;
    assert_eq!(app.left().await, 2);
    app.try_send(later).await;
    app.sql("update outbound_rate_window set short_began = short_began - interval '1 hour'").await;
    app.sql("update scheduled_message set due_at = now()").await;
    app.run_jobs().await;
    assert_eq!(app.scheduled().await[0]["reason"], "contact_limit_reached", "the day is too long to wait for");
}

#[tokio::test]
async fn a_country_without_a_number_of_ours_is_refused_however_it_is_asked() {
    let agent = format!("def reply(conv, text): conv.send_sms(\"{KINGSTON}\", None, \"hi\")");
    let app = TestApp::with_agent(&agent, json!({"first_message": "process"})).await;
    app.ok(Method::PATCH, "/v1/countries/JM", Some(json!({"two_way": true}))).await;
    for contact in [KINGSTON, LONDON, "+80012345678", "+16135550123"] {
        let (status, answer) = app.call(&app.key, Method::POST, "/v1/messages", Some(to(contact))).await;
        assert_eq!((status.as_u16(), &answer["code"]), (422, &json!("country_not_allowed")), "{contact}");
        let country = textback::domain::phone_number::countries(contact).join(" or ");
        assert!(answer["detail"].to_string().contains(&format!("send to {country};")), "{answer}");
        let mut later = to(contact);
        later["send_at"] = json!(chrono::Utc::now() + chrono::Duration::hours(1));
        assert_eq!(app.try_send(later).await.1, "country_not_allowed");
    }
    app.answers(ADA, "hi").await;
    assert_eq!(app.scheduled().await[0]["reason"], "country_not_allowed");
    assert_eq!(app.left().await, 0);
    app.bound(json!({"allowed_countries": ["US", "JM", "001"]})).await;
    assert_eq!(app.ok(Method::GET, "/v1/project", None).await["allowed_countries"], json!(["US", "JM", "001"]));
    assert_eq!(app.try_send(to(KINGSTON)).await.0, 202);
    assert_eq!(app.try_send(to(LONDON)).await.0, 422);
    for wrong in [json!([]), json!(["usa"]), json!(["XX"]), json!(["US", null])] {
        app.refused(Method::PATCH, "/v1/project", Some(json!({"allowed_countries": wrong}))).await;
    }
    app.bound(json!({"allowed_countries": null})).await;
    assert_eq!(app.ok(Method::GET, "/v1/project", None).await["allowed_countries"], Value::Null);
}

/// A traveller is answered; a project that lists its countries means it.
#[tokio::test]
async fn who_writes_first_is_answered_unless_the_project_has_a_list() {
    let app = app().await;
    assert_eq!(app.answers(LONDON, "hi").await, ["1: hi"]);
    assert_eq!(app.try_send(to(LONDON)).await.0, 202, "an operator may answer too");
    app.run_jobs().await;
    let another = self::app().await;
    another.bound(json!({"allowed_countries": ["US"]})).await;
    assert_eq!(another.answers(LONDON, "hi").await, Vec::<String>::new());
    let reply = another.newest_messages().await.remove(1);
    assert_eq!(reply["status"], "failed");
    assert!(reply["reason"].as_str().is_some_and(|why| why.starts_with("country_not_allowed")), "{reply}");
    assert_eq!(another.answers(ADA, "hi").await, ["1: hi"]);
}

/// The list may have become shorter since it was scheduled.
#[tokio::test]
async fn a_scheduled_text_is_checked_again_when_it_is_due() {
    let app = app().await;
    app.bound(json!({"allowed_countries": ["US", "CA"]})).await;
    let mut later = to("+16135550123");
    later["send_at"] = json!(chrono::Utc::now() + chrono::Duration::hours(1));
    assert_eq!(app.try_send(later).await.0, 202);
    app.bound(json!({"allowed_countries": ["US"]})).await;
    app.sql("update scheduled_message set due_at = now()").await;
    app.run_jobs().await;
    assert_eq!(app.scheduled().await[0]["reason"], "country_not_allowed");
}

/// The rule itself, over plain facts.
#[tokio::test]
async fn a_window_is_full_when_what_comes_does_not_fit() {
    let app = TestApp::new().await;
    // (most, seconds since the window began, sent, more), of which place is full.
    for (most, began, sent, more, full) in [
        ("{0,0}", "{1,1}", "{9,9}", 1, None),
        ("{2,0}", "{1,1}", "{1,9}", 1, None),
        ("{2,0}", "{1,1}", "{2,9}", 1, Some(1)),
        ("{2,5}", "{1,1}", "{2,5}", 1, Some(2)),
        ("{2,0}", "{1,1}", "{1,0}", 2, Some(1)),
        ("{2,0}", "{60,1}", "{2,9}", 2, None),
        ("{2,0}", "{60,1}", "{2,9}", 3, Some(1)),
        ("{2,5}", "{60,1}", "{2,5}", 1, Some(2)),
        ("{2,5}", "{null,null}", "{null,null}", 2, None),
        ("{2,5}", "{null,null}", "{null,null}", 3, Some(1)),
    ] {
        let found: Option<i32> = sqlx::query_scalar(
            "select full_rate_window($1::integer[], array(select now() - make_interval(secs => s) from unnest($2::float8[]) s),
                                $3::integer[], '{60 seconds, 1 hour}', $4, now())",
        )
        .bind(most)
        .bind(began)
        .bind(sent)
        .bind(more)
        .fetch_one(app.storage.pool())
        .await
        .expect("an answer");
        assert_eq!(found, full, "{most} {began} {sent} {more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_of_a_project_at_its_limit() {
    let app = app().await;
    app.bound(json!({"outbound_per_project_per_day": 1, "outbound_per_contact_per_day": 1})).await;
    app.try_send(to(ADA)).await;
    app.run_jobs().await;
    let mut command = app.command("doctor", &app.secret_key);
    command.env("TEXTBACK_PUBLIC_URL", format!("http://{}", app.api));
    let output = tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("is at outbound_per_project_per_day (1) until"), "{printed}");
    assert!(
        printed.contains("1 contacts of the project \"tests\" are at outbound_per_contact_per_day (1)"),
        "{printed}"
    );
    assert_eq!(bodies(&app.newest_messages().await, "outbound").len(), 1);
}
