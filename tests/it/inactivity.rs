//! Tests the inactivity timeout: warning, grace and end.

use reqwest::Method;
use serde_json::{Value, json};
use textback::storage::{project, session};
use twilio_simulator::Fault;
use uuid::Uuid;

use crate::harness::{ADA, AUTH_TOKEN, ECHO, NUMBER, TestApp, bodies};

const HOUR: u32 = 3_600;
const MINUTE: u32 = 60;
const WARNING: &str = "Are you still there? If we don't hear from you, this conversation will end soon.";

impl TestApp {
    /// The newest session, as the API tells it.
    async fn newest(&self) -> Value {
        self.sessions().await.remove(0)
    }

    /// So much time passes in the newest session, and what is due happens.
    pub async fn pass(&self, seconds: u32) {
        self.pass_unsettled(seconds).await;
        self.run_jobs().await;
    }

    async fn pass_unsettled(&self, seconds: u32) {
        let id = self.newest().await["id"].as_str().and_then(|id| Uuid::parse_str(id).ok()).expect("an id");
        let project = project::find_by_name(&mut *crate::harness::pooled(&self.storage).await, "tests")
            .await
            .expect("an answer")
            .expect("a project");
        assert!(
            session::skip(&mut *crate::harness::pooled(&self.storage).await, project.id, id, seconds)
                .await
                .expect("an answer"),
            "it is not closed"
        );
    }

    async fn attach_echo_with(&self, inactivity: Value) {
        self.attach(ECHO, json!({"first_message": "process", "inactivity": inactivity})).await;
    }
}

async fn app() -> TestApp {
    TestApp::with_agent(ECHO, json!({"first_message": "process"})).await
}

#[tokio::test]
async fn after_24_hours_of_no_messages_a_warning_message_is_sent_to_the_user() {
    let app = app().await;
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);
    app.pass(24 * HOUR - MINUTE).await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi"], "a minute too early");
    assert_eq!(app.newest().await["status"], "open");
    app.pass(MINUTE).await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi", WARNING]);
    let session = app.newest().await;
    assert_eq!(session["status"], "warned");
    assert!(session["warned_at"].is_string());
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER).len(), 2, "one warning");
}

#[tokio::test]
async fn if_the_user_replies_within_10_minutes_the_session_stays_open_and_the_timer_resets() {
    let app = app().await;
    app.answers(ADA, "hi").await;
    app.pass(24 * HOUR).await;
    app.pass(9 * MINUTE).await;
    assert_eq!(app.newest().await["status"], "warned");
    assert_eq!(app.answers(ADA, "still here").await, ["1: hi", WARNING, "2: still here"]);
    let session = app.newest().await;
    assert_eq!((&session["status"], &session["warned_at"]), (&json!("open"), &Value::Null));
    app.pass(24 * HOUR - MINUTE).await;
    assert_eq!(app.newest().await["status"], "open");
    app.pass(MINUTE).await;
    assert_eq!(app.newest().await["status"], "warned");
    assert_eq!(app.sessions().await.len(), 1);
}

#[tokio::test]
async fn if_no_reply_the_session_terminates_and_the_next_text_opens_a_new_one() {
    let app = app().await;
    app.answers(ADA, "hi").await;
    app.pass(24 * HOUR).await;
    app.pass(10 * MINUTE).await;
    let ended = app.newest().await;
    assert_eq!((&ended["status"], &ended["close_reason"]), (&json!("closed"), &json!("timed_out")));
    assert!(ended["closed_at"].is_string() && ended["end_due_at"].is_null());
    assert_eq!(app.count("select count(*) from inactivity").await, 0, "it has no job any more");
    assert_eq!(app.answers(ADA, "hello again").await, ["1: hi", WARNING, "1: hello again"]);
    let session = app.newest().await;
    assert_eq!((&session["status"], &session["previous_session_id"]), (&json!("open"), &ended["id"]));
}

#[tokio::test]
async fn messages_of_the_agent_restart_the_timeout() {
    let app = app().await;
    app.text(ADA, "hi").await;
    // The agent answers an hour later.
    app.pass_unsettled(HOUR).await;
    app.run_jobs().await;
    app.pass(23 * HOUR).await;
    assert_eq!(app.newest().await["status"], "open", "24 hours since hi, 23 since the answer");
    app.pass(HOUR).await;
    assert_eq!(app.newest().await["status"], "warned");
}

#[tokio::test]
async fn a_contact_that_waits_for_an_answer_is_not_inactive() {
    let app = app().await;
    app.text(ADA, "hi").await;
    app.pass_unsettled(25 * HOUR).await;
    assert_eq!(app.workers.inactivity.step().await.expect("decided"), 0);
    assert_eq!(app.newest().await["status"], "open", "we owe an answer");
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi"]);
    app.pass(24 * HOUR).await;
    assert_eq!(app.newest().await["status"], "warned");
}

/// A job that waits for an answer of the agent may be due later than a short timeout. The next
/// message moves it forward.
#[tokio::test]
async fn a_timeout_below_a_minute_is_not_late_after_a_late_answer() {
    let app = TestApp::new().await;
    app.attach_echo_with(json!({"warn_after_seconds": 10})).await;
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);
    let later = "update inactivity set due_at = now() + interval '59 seconds'";
    let late = "select count(*) from inactivity where due_at > now() + interval '10 seconds'";
    app.sql(later).await;
    app.text(ADA, "again").await;
    assert_eq!(app.count(late).await, 0, "the contact's text brings it forward");
    app.sql(later).await;
    app.run_jobs().await;
    assert_eq!(app.count(late).await, 0, "so does the answer");
}

#[tokio::test]
async fn a_session_that_nobody_engaged_in_has_no_timer() {
    let app = app().await;
    app.answers(ADA, "hi").await;
    // As Send SMS would leave it.
    app.sql("update session set engaged = false, origin = 'outbound'").await;
    app.sql("delete from inactivity").await;
    let session = app.newest().await;
    assert!(session["warning_due_at"].is_null() && session["end_due_at"].is_null());
    app.pass(300 * HOUR).await;
    assert_eq!(app.newest().await["status"], "open");
    app.answers(ADA, "now I am").await;
    app.pass(24 * HOUR).await;
    assert_eq!(app.newest().await["status"], "warned");
}

#[tokio::test]
async fn the_grace_counts_from_the_carriers_acceptance_of_the_warning() {
    let app = app().await;
    app.answers(ADA, "hi").await;
    app.pass_unsettled(24 * HOUR).await;
    assert_eq!(app.workers.inactivity.step().await.expect("decided"), 1);
    // The carrier is not there for an hour.
    app.pass_unsettled(HOUR).await;
    assert_eq!(app.workers.inactivity.step().await.expect("decided"), 0);
    assert_eq!(app.newest().await["status"], "warned", "the warning has not left");
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER).last().map(String::as_str), Some(WARNING));
    app.pass(10 * MINUTE - 5).await;
    assert_eq!(app.newest().await["status"], "warned");
    app.pass(5).await;
    assert_eq!(app.newest().await["close_reason"], "timed_out");
}

#[tokio::test]
async fn a_text_that_is_faster_than_the_warning_takes_it_back() {
    let app = app().await;
    app.answers(ADA, "hi").await;
    app.pass_unsettled(24 * HOUR).await;
    assert_eq!(app.workers.inactivity.step().await.expect("decided"), 1);
    assert_eq!(app.answers(ADA, "I'm back").await, ["1: hi", "2: I'm back"]);
    let messages = app.messages(&app.newest().await).await;
    let warning = messages.iter().find(|message| message["kind"] == "warning").expect("it is told");
    assert_eq!(warning["status"], "suppressed");
}

#[tokio::test]
async fn a_warning_that_can_never_arrive_ends_the_session_without_more_texts() {
    let app = TestApp::new().await;
    app.attach_echo_with(json!({"closing": "Goodbye."})).await;
    app.answers(ADA, "hi").await;
    app.pass(24 * HOUR).await;
    let warning = app.messages(&app.newest().await).await.pop().expect("a warning");
    let form = format!(
        "AccountSid={}&MessageSid={}&MessageStatus=undelivered&ErrorCode=30005",
        crate::harness::ACCOUNT_SID,
        warning["carrier_id"].as_str().expect("accepted")
    );
    app.sql("update delivery set status = 'sent' where status = 'delivered'").await;
    assert_eq!(app.post("status", &form, AUTH_TOKEN).await.status(), 200);
    app.run_jobs().await;
    let session = app.newest().await;
    assert_eq!((&session["status"], &session["close_reason"]), (&json!("closed"), &json!("timed_out")));
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi", WARNING], "no goodbye");
}

#[tokio::test]
async fn a_warned_contact_who_opted_out_at_the_carrier_is_left_alone() {
    let app = TestApp::new().await;
    app.attach_echo_with(json!({"closing": "Goodbye."})).await;
    app.answers(ADA, "hi").await;
    app.simulator.opt_out(ADA, NUMBER);
    app.pass(24 * HOUR).await;
    let session = app.newest().await;
    assert_eq!((&session["status"], &session["close_reason"]), (&json!("closed"), &json!("opted_out")));
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi"]);
}

#[tokio::test]
async fn the_agent_says_how_long_and_with_which_words() {
    let app = TestApp::new().await;
    let inactivity = json!({"warn_after_seconds": 60, "grace_seconds": 30, "warning": "Hello?", "closing": "Goodbye."});
    app.attach_echo_with(inactivity.clone()).await;
    let agents = app.ok(Method::GET, "/v1/agents", None).await;
    assert_eq!(agents["items"][0]["inactivity"], inactivity);
    app.answers(ADA, "hi").await;
    app.pass(60).await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi", "Hello?"]);
    app.pass(30).await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi", "Hello?", "Goodbye."]);
    let session = app.newest().await;
    assert_eq!(session["close_reason"], "timed_out");
    assert_eq!(bodies(&app.messages(&session).await, "outbound"), ["1: hi", "Hello?", "Goodbye."]);
}

#[tokio::test]
async fn changed_settings_count_from_the_next_period_on_in_open_sessions_too() {
    let app = app().await;
    app.answers(ADA, "hi").await;
    let agent = app.newest().await["agent_id"].as_str().expect("an id").to_owned();
    let version = |seconds: u32| json!({"kind": "script", "source": ECHO, "first_message": "process", "inactivity": {"warn_after_seconds": seconds}});
    let change = async |seconds: u32| {
        app.ok(Method::POST, &format!("/v1/agents/{agent}/versions"), Some(version(seconds))).await;
    };
    app.pass(20 * HOUR).await;
    let before = app.newest().await["warning_due_at"].clone();
    change(HOUR).await;
    assert_eq!(app.newest().await["warning_due_at"], before, "this period keeps its time");
    app.pass(3 * HOUR).await;
    assert_eq!(app.newest().await["status"], "open");
    app.answers(ADA, "a new period").await;
    app.pass(HOUR).await;
    assert_eq!(app.newest().await["status"], "warned", "an hour is enough now");
    change(48 * HOUR).await;
    app.answers(ADA, "and another").await;
    app.pass(24 * HOUR).await;
    assert_eq!(app.newest().await["status"], "open", "it takes two days now");
    app.pass(24 * HOUR).await;
    assert_eq!(app.newest().await["status"], "warned");
}

#[tokio::test]
async fn the_api_tells_when_the_warning_and_the_end_are_due() {
    let app = app().await;
    app.answers(ADA, "hi").await;
    let at = |session: &Value, name: &str| {
        chrono::DateTime::parse_from_rfc3339(session[name].as_str().expect("a time")).expect("RFC 3339")
    };
    let session = app.newest().await;
    let last = at(&session, "last_message_at");
    assert_eq!((at(&session, "warning_due_at") - last).num_seconds(), 86_400);
    assert_eq!((at(&session, "end_due_at") - last).num_seconds(), 87_000);
    app.pass(24 * HOUR).await;
    let session = app.newest().await;
    assert!(session["warning_due_at"].is_null());
    let left = (at(&session, "end_due_at") - at(&session, "warned_at")).num_seconds();
    assert!((600..=605).contains(&left), "{left}");
    assert!(app.refused(Method::GET, "/v1/sessions/01900000-0000-7000-8000-000000000000", None).await.0 == 404);
}

/// The carrier did not take the warning, and nobody knows that for two minutes.
async fn warned_into_the_dark() -> TestApp {
    let app = app().await;
    app.answers(ADA, "hi").await;
    app.pass_unsettled(24 * HOUR).await;
    app.workers.inactivity.step().await.expect("decided");
    app.simulator.plan_faults([Fault::Fail500]);
    app.workers.deliveries.step().await.expect("deliveries");
    assert_eq!(app.newest().await["status"], "warned");
    app
}

/// So much later it is certain that the carrier does not have it.
async fn light(app: &TestApp) {
    app.sql("update delivery set attempted_at = attempted_at - interval '5 minutes', due_at = now() where status = 'unknown'").await;
    app.run_jobs().await;
}

#[tokio::test]
async fn an_unsure_warning_is_not_sent_again_after_somebody_spoke() {
    let app = warned_into_the_dark().await;
    app.text(ADA, "I am here").await;
    light(&app).await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi", "2: I am here"]);
}

#[tokio::test]
async fn an_unsure_warning_is_not_sent_again_after_the_sessions_end() {
    let app = warned_into_the_dark().await;
    let session = app.newest().await["id"].as_str().expect("an id").to_owned();
    app.ok(Method::POST, &format!("/v1/sessions/{session}/end"), None).await;
    light(&app).await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi"]);
}

#[tokio::test]
async fn an_unsure_warning_is_sent_again_while_it_is_still_true() {
    let app = warned_into_the_dark().await;
    light(&app).await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi", WARNING]);
}

#[tokio::test]
async fn an_unsent_farewell_does_not_follow_a_new_session() {
    for fault in [Fault::TooManyRequests, Fault::Fail500] {
        let app = TestApp::new().await;
        app.attach_echo_with(json!({"closing": "Bye!"})).await;
        app.answers(ADA, "hi").await;
        app.pass(24 * HOUR).await;
        app.pass_unsettled(10 * MINUTE).await;
        app.workers.inactivity.step().await.expect("decided");
        app.simulator.plan_faults([fault]);
        app.workers.deliveries.step().await.expect("deliveries");
        app.text(ADA, "hello again").await;
        app.sql("update delivery set due_at = now() where due_at is not null").await;
        light(&app).await;
        assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi", WARNING, "1: hello again"], "{fault:?}");
    }
}

#[tokio::test]
async fn limits_are_checked() {
    let app = TestApp::new().await;
    for inactivity in [
        json!({"warn_after_seconds": 0}),
        json!({"warn_after_seconds": 2_592_001}),
        json!({"grace_seconds": 0}),
        json!({"warning": ""}),
        json!({"warning": "x".repeat(1601)}),
        json!({"closing": ""}),
        json!({"closing": "  "}),
        json!({"closing": "x".repeat(1601)}),
        json!({"warning": " "}),
        json!({"grace_seconds": 2_592_001}),
        json!({"patience": 1}),
    ] {
        let agent = json!({"name": "a", "kind": "script", "source": ECHO, "inactivity": inactivity});
        let (status, _) = app.refused(Method::POST, "/v1/agents", Some(agent)).await;
        assert!([400, 422].contains(&status), "{inactivity}");
    }
    for (name, seconds) in [("short", 1), ("long", 2_592_000)] {
        let inactivity = json!({"warn_after_seconds": seconds, "grace_seconds": seconds});
        app.agent(name, ECHO, json!({"inactivity": inactivity})).await;
    }
}

#[tokio::test]
async fn a_period_costs_one_write_of_the_job_however_many_texts_there_are() {
    let app = app().await;
    app.answers(ADA, "hi").await;
    let written = "select xmin::text::bigint from inactivity";
    let first = app.count(written).await;
    for n in 0..5 {
        app.answers(ADA, &format!("text {n}")).await;
    }
    assert_eq!(app.count(written).await, first, "texts don't touch it");
    // Due by the first text, it moves itself to where the last one puts it.
    app.sql("update session set last_message_at = now() - interval '1 hour'").await;
    app.sql("update message set created_at = created_at - interval '1 hour'").await;
    app.sql("update inactivity set due_at = now()").await;
    app.run_jobs().await;
    assert_eq!(app.newest().await["status"], "open");
    let left = "select round(extract(epoch from due_at - now()) / 3600)::bigint from inactivity";
    assert_eq!(app.count(left).await, 23);
}
