//! Tests rows that can't be claimed: each is found and set aside with its reason, for every kind of
//! job.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use textback::domain::job::JobKind;
use textback::storage::notifier::Notifier;
use textback::storage::{Storage, health};

use crate::harness::{ADA, ECHO, NUMBER, TestApp, id};

const BEN: &str = "+14155550102";
const CEM: &str = "+14155550103";

pub async fn run(app: &TestApp, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(app.storage.pool()).await.expect("done");
}

pub async fn text_of(app: &TestApp, sql: String) -> String {
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(app.storage.pool()).await.expect("a text")
}

/// Whoever does this to the row with this id fails, as with data that can't be read.
async fn poison(app: &TestApp, table: &str, doing: &str, row: &str) {
    poison_as(app, "22000", table, doing, row).await;
}

/// The same with an error of this code.
pub async fn poison_as(app: &TestApp, code: &str, table: &str, doing: &str, row: &str) {
    run(
        app,
        format!(
            "create function poison() returns trigger language plpgsql as $$
             begin
                 raise exception using errcode = '{code}', message = 'this row is poison' || repeat('!', 5000);
             end $$;
             create trigger poison before {doing} on {table} for each row when ({row}) execute function poison()"
        ),
    )
    .await;
}

pub async fn without_rate_limits(agent: &str) -> TestApp {
    let app = TestApp::with_agent(agent, json!({"first_message": "process"})).await;
    app.without_rate_limits().await;
    app
}

pub async fn session_of(app: &TestApp, contact: &str) -> Value {
    let sessions = app.ok(Method::GET, &format!("/v1/sessions?contact={}", contact.replace('+', "%2B")), None).await;
    sessions["items"][0].clone()
}

/// Many people text at once, one of them from a session that can't be claimed.
async fn all_but_ada_are_answered(app: &TestApp) {
    let others: Vec<String> = (0..20).map(|n| format!("+141555502{n:02}")).collect();
    for (n, other) in others.iter().enumerate() {
        if n == 10 {
            app.text(ADA, "and me").await;
        }
        app.text(other, "hello").await;
    }
    app.run_jobs().await;
    for other in &others {
        assert_eq!(app.simulator.received(other, NUMBER), ["1: hello"], "{other}");
    }
    let session = session_of(app, ADA).await;
    assert_eq!((&session["status"], &session["close_reason"]), (&json!("closed"), &json!("unreadable")));
    let message = app.messages(&session).await.last().cloned().expect("a message");
    assert_eq!((&message["status"], &message["reason"]), (&json!("skipped"), &json!("unreadable")), "{message}");
    // A new session, which remembers nothing.
    assert_eq!(app.answers(ADA, "again").await.last().map(String::as_str), Some("1: again"));
}

/// Ada's delivery has failed and says why.
async fn adas_delivery_was_set_aside(app: &TestApp) {
    let status = text_of(app, format!("select status || ' ' || error_class from delivery where contact = '{ADA}'"));
    assert_eq!(status.await, "failed unreadable");
}

#[tokio::test]
async fn a_session_that_makes_the_claim_fail_is_closed_and_the_others_are_answered() {
    let app = without_rate_limits(ECHO).await;
    app.answers(ADA, "hi").await;
    let session = id(&session_of(&app, ADA).await["id"]);
    run(&app, format!("update session set state = '{{\"kept\": [1, \"é\"]}}' where id = '{session}'")).await;
    let row = format!("new.session_id = '{session}' and new.lease_token is not null");
    poison(&app, "turn", "update", &row).await;
    all_but_ada_are_answered(&app).await;
    let kept = "select kind || ' ' || reason || ' ' || convert_from(form, 'UTF8') from quarantine";
    let told = format!("session_state session_unreadable: {session} {{\"kept\": [1, \"é\"]}}");
    assert_eq!(text_of(&app, kept.to_owned()).await, told, "what it remembered can be had again");
}

#[tokio::test]
async fn a_session_whose_state_is_no_object_is_closed_and_the_others_are_answered() {
    let app = without_rate_limits(ECHO).await;
    app.answers(ADA, "hi").await;
    run(
        &app,
        format!(
            "alter domain session_state drop constraint session_state_is_an_object;
             update session set state = '[1]' where contact = '{ADA}'"
        ),
    )
    .await;
    all_but_ada_are_answered(&app).await;
}

/// 96 kB in a service's answer, 12 bytes each in jsonb, and 1.2 GB as PostgreSQL prints them.
#[tokio::test]
async fn a_state_that_takes_all_memory_as_text_is_refused_and_one_that_is_there_harms_nobody_else() {
    let app = without_rate_limits(ECHO).await;
    app.answers(ADA, "hi").await;
    let huge = format!(
        "update session set state = (select jsonb_build_object('a', jsonb_agg('1e99999'::numeric)) from generate_series(1, 12000))
          where contact = '{ADA}'"
    );
    let refused = sqlx::raw_sql(AssertSqlSafe(huge.clone())).execute(app.storage.pool()).await;
    refused.expect_err("it does not fit the domain");
    let drop = "alter domain session_state drop constraint session_state_has_at_most_256_kb_as_text";
    run(&app, format!("{drop}; {huge}")).await;
    app.text(ADA, "and me").await;
    assert_eq!(app.answers(BEN, "hello").await, ["1: hello"]);
    assert_eq!(session_of(&app, ADA).await["close_reason"], "unreadable");
    assert_eq!(app.count("select count(*) from quarantine").await, 0, "what can't be printed can't be dumped either");
    assert_eq!(app.answers(ADA, "again").await.last().map(String::as_str), Some("1: again"));
}

/// In a process that also runs turns, the statement that stores a message reads the session's state
/// too.
#[tokio::test]
async fn a_message_to_an_unreadable_session_is_still_stored() {
    let app = without_rate_limits(ECHO).await;
    app.answers(ADA, "hi").await;
    let agent_id = "select agent_id from session limit 1";
    let agent_id = sqlx::query_scalar(agent_id).fetch_one(app.storage.pool()).await.expect("an agent");
    let session = id(&session_of(&app, ADA).await["id"]);
    // Only where the turn is claimed with the message.
    let row = format!("new.session_id = '{session}' and new.lease_token is not null");
    poison(&app, "turn", "insert", &row).await;
    let stored = crate::eager_dispatch::store(&app, ADA, "hello", agent_id).await;
    assert_eq!(stored.outcome.as_str(), "stored");
    let held = format!("select (lease_token is not null)::text from turn where session_id = '{session}'");
    assert_eq!(text_of(&app, held).await, "false");
}

#[tokio::test]
async fn a_delivery_that_makes_the_claim_fail_has_failed_and_the_others_leave() {
    let app = without_rate_limits(ECHO).await;
    for contact in [BEN, ADA, CEM] {
        app.text(contact, "hi").await;
    }
    let claims = format!("new.contact = '{ADA}' and new.status = 'sending'");
    poison(&app, "delivery", "update or insert", &claims).await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(BEN, NUMBER), ["1: hi"]);
    assert_eq!(app.simulator.received(CEM, NUMBER), ["1: hi"]);
    let failed = format!(
        "select status || ' ' || error_class || ' ' || length(error_detail) from delivery where contact = '{ADA}'"
    );
    let failed = text_of(&app, failed).await;
    assert!(failed.starts_with("failed unreadable 10"), "{failed}");
    let detail = text_of(&app, format!("select error_detail from delivery where contact = '{ADA}'")).await;
    assert!(detail.contains("this row is poison") && detail.len() <= 1024, "{detail}");
    // What follows for the same contact leaves.
    app.sql("drop trigger poison on delivery").await;
    assert_eq!(app.answers(ADA, "more").await, ["2: more"]);
}

#[tokio::test]
async fn a_delivery_that_this_process_cant_read_has_failed_and_the_others_leave() {
    let app = without_rate_limits(ECHO).await;
    for contact in [BEN, ADA] {
        app.text(contact, "hi").await;
    }
    app.workers.turns.step().await.expect("turns");
    let none = "alter table delivery alter column session_id drop not null; update delivery set session_id = null where contact = ";
    run(&app, format!("{none} '{ADA}'")).await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(BEN, NUMBER), ["1: hi"]);
    adas_delivery_was_set_aside(&app).await;
}

#[tokio::test]
async fn an_unknown_delivery_that_makes_the_claim_fail_has_failed_and_the_others_are_looked_for() {
    let app = without_rate_limits(ECHO).await;
    app.simulator.plan_faults([twilio_simulator::Fault::Fail500, twilio_simulator::Fault::Fail500]);
    for contact in [ADA, BEN] {
        app.text(contact, "hi").await;
    }
    app.workers.turns.step().await.expect("turns");
    app.workers.deliveries.step().await.expect("deliveries");
    assert_eq!(app.count("select count(*) from delivery where status = 'unknown'").await, 2);
    app.sql("update delivery set due_at = now(), attempted_at = now() - interval '10 minutes'").await;
    let row = format!("new.contact = '{ADA}' and new.status = 'unknown' and new.lease_token is not null");
    poison(&app, "delivery", "update", &row).await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(BEN, NUMBER), ["1: hi"]);
    adas_delivery_was_set_aside(&app).await;
}

#[tokio::test]
async fn a_scheduled_text_that_cant_be_sent_is_refused_and_the_others_leave() {
    let app = without_rate_limits(ECHO).await;
    app.ok(Method::PATCH, "/v1/project", Some(json!({"quiet_hours": null}))).await;
    let mut ids = Vec::new();
    for contact in [BEN, ADA, CEM] {
        let at = chrono::Utc::now() + chrono::TimeDelta::hours(1);
        let text = json!({"to": contact, "body": "later", "send_at": at});
        ids.push(id(&app.ok(Method::POST, "/v1/messages", Some(text)).await["message_id"]));
    }
    app.sql("update scheduled_message set due_at = now()").await;
    poison(&app, "scheduled_message", "delete", &format!("old.contact = '{ADA}'")).await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(BEN, NUMBER), ["later"]);
    assert_eq!(app.simulator.received(CEM, NUMBER), ["later"]);
    let refused = app.ok(Method::GET, &format!("/v1/messages/{}", ids[1]), None).await;
    assert_eq!((&refused["status"], &refused["reason"]), (&json!("refused"), &json!("unreadable")), "{refused}");
}

#[tokio::test]
async fn an_inactivity_job_that_cant_be_decided_closes_its_session_and_the_others_are_warned() {
    let app = without_rate_limits(ECHO).await;
    for contact in [BEN, ADA, CEM] {
        app.answers(contact, "hi").await;
    }
    app.sql("update session set last_message_at = now() - interval '2 days'").await;
    app.sql("update message set created_at = now() - interval '2 days'").await;
    app.sql("update inactivity set due_at = now()").await;
    let session = id(&session_of(&app, ADA).await["id"]);
    poison(&app, "inactivity", "update", &format!("old.session_id = '{session}'")).await;
    app.workers.inactivity.step().await.expect("decided");
    let statuses = "select string_agg(status || coalesce(' ' || close_reason, ''), ', ' order by contact) from session";
    assert_eq!(text_of(&app, statuses.to_owned()).await, "closed unreadable, warned, warned");
}

#[tokio::test]
async fn a_number_that_cant_be_claimed_waits_an_hour_and_the_others_are_read() {
    let app = without_rate_limits(ECHO).await;
    let second = "+14155550198";
    app.simulator.add_number(crate::harness::ACCOUNT_SID, second);
    let agent = app.agent("second", ECHO, json!({})).await;
    app.ok(Method::POST, "/v1/numbers", Some(json!({"number": second, "agent_id": agent}))).await;
    app.sql("update number set check_at = now() - interval '1 minute', backfill_at = now() - interval '1 minute'")
        .await;
    let row = format!(
        "new.number = '{NUMBER}' and (new.lease_token is not null or new.backfill_at between now() and now() + interval '30 minutes')"
    );
    poison(&app, "number", "update", &row).await;
    assert_eq!(app.workers.numbers.step().await.expect("numbers"), 1);
    assert_eq!(app.workers.backfill.step().await.expect("numbers"), 1);
    let waits = format!(
        "select (check_at > now() + interval '59 minutes' and backfill_at > now() + interval '59 minutes')::text from number where number = '{NUMBER}'"
    );
    assert_eq!(text_of(&app, waits).await, "true");
}

/// The worker as it runs, and not its steps.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_worker_finds_the_row_and_goes_on() {
    let app = without_rate_limits(ECHO).await;
    app.answers(ADA, "hi").await;
    let session = id(&session_of(&app, ADA).await["id"]);
    poison(&app, "turn", "update", &format!("new.session_id = '{session}' and new.lease_token is not null")).await;
    let others: Vec<String> = (0..10).map(|n| format!("+141555503{n:02}")).collect();
    app.text(ADA, "and me").await;
    for other in &others {
        app.text(other, "hello").await;
    }
    let mut command = app.command("work", &app.secret_key);
    let mut worker = crate::commands::Running::start(&mut command, false);
    let line = worker.until("could not be read and was set aside");
    assert!(line.contains(&session.to_string()) && line.len() < 2048, "{line}");
    let began = Instant::now();
    while others.iter().any(|other| app.simulator.received(other, NUMBER).is_empty()) {
        assert!(began.elapsed() < Duration::from_secs(30), "the others are not answered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_is_not_the_data_is_no_rows_fault() {
    let app = without_rate_limits(ECHO).await;
    app.text(ADA, "hi").await;
    app.sql("alter table turn rename to turn_away").await;
    app.workers.turns.step().await.expect_err("no table");
    app.sql("alter table turn_away rename to turn").await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi"]);
}

#[tokio::test]
async fn readyz_and_doctor_say_when_work_is_due_and_nothing_can_be_claimed() {
    let app = without_rate_limits(ECHO).await;
    let storage = Storage::open(&app.database_url, 2, Arc::new(Notifier::default())).expect("a ledger");
    health::check(&storage, None).await.expect("ready");
    let claims = app.storage.notifier().claim_health();
    let long_ago = Instant::now().checked_sub(Duration::from_secs(40)).expect("a machine that runs for a while");
    claims.failed_at(JobKind::Turn, long_ago);
    let (status, problem) = app.call("", Method::GET, "/readyz", None).await;
    assert_eq!((status.as_u16(), &problem["code"]), (503, &json!("work_not_claimable")), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("turn")), "{problem}");
    app.workers.turns.step().await.expect("turns");
    assert_eq!(app.call("", Method::GET, "/readyz", None).await.0, 200);
}
