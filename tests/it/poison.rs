//! One row that can't be claimed harms nobody else: it is found and set aside with its reason, for every kind of work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use textback::domain::job::JobKind;
use textback::storage::notifier::Notifier;
use textback::storage::{Storage, health};

use crate::harness::{ADA, ECHO, NUMBER, World, id};

const BEN: &str = "+14155550102";
const CEM: &str = "+14155550103";

pub async fn run(world: &World, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(world.storage.pool()).await.expect("done");
}

pub async fn text_of(world: &World, sql: String) -> String {
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(world.storage.pool()).await.expect("a text")
}

/// Whoever does this to the row with this id fails, as with data that can't be read.
async fn poison(world: &World, table: &str, doing: &str, row: &str) {
    poison_as(world, "22000", table, doing, row).await;
}

/// The same with an error of this code.
pub async fn poison_as(world: &World, code: &str, table: &str, doing: &str, row: &str) {
    run(
        world,
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

pub async fn unguarded(agent: &str) -> World {
    let world = World::with_agent(agent, json!({"first_message": "process"})).await;
    world.unguarded().await;
    world
}

pub async fn session_of(world: &World, contact: &str) -> Value {
    let sessions = world.ok(Method::GET, &format!("/v1/sessions?contact={}", contact.replace('+', "%2B")), None).await;
    sessions["items"][0].clone()
}

/// Many people text at once, one of them from a session that can't be claimed.
async fn all_but_ada_are_answered(world: &World) {
    let others: Vec<String> = (0..20).map(|n| format!("+141555502{n:02}")).collect();
    for (n, other) in others.iter().enumerate() {
        if n == 10 {
            world.text(ADA, "and me").await;
        }
        world.text(other, "hello").await;
    }
    world.settle().await;
    for other in &others {
        assert_eq!(world.simulator.received(other, NUMBER), ["1: hello"], "{other}");
    }
    let session = session_of(world, ADA).await;
    assert_eq!((&session["status"], &session["close_reason"]), (&json!("closed"), &json!("unreadable")));
    let message = world.messages(&session).await.last().cloned().expect("a message");
    assert_eq!((&message["status"], &message["reason"]), (&json!("skipped"), &json!("unreadable")), "{message}");
    // A new session, which remembers nothing.
    assert_eq!(world.answers(ADA, "again").await.last().map(String::as_str), Some("1: again"));
}

/// Ada's delivery has failed and says why.
async fn adas_delivery_was_set_aside(world: &World) {
    let status = text_of(world, format!("select status || ' ' || error_class from delivery where contact = '{ADA}'"));
    assert_eq!(status.await, "failed unreadable");
}

#[tokio::test]
async fn a_session_that_makes_the_claim_fail_is_closed_and_the_others_are_answered() {
    let world = unguarded(ECHO).await;
    world.answers(ADA, "hi").await;
    let session = id(&session_of(&world, ADA).await["id"]);
    run(&world, format!("update session set state = '{{\"kept\": [1, \"é\"]}}' where id = '{session}'")).await;
    let row = format!("new.session_id = '{session}' and new.lease_token is not null");
    poison(&world, "turn", "update", &row).await;
    all_but_ada_are_answered(&world).await;
    let kept = "select kind || ' ' || reason || ' ' || convert_from(form, 'UTF8') from quarantine";
    let told = format!("session_state session_unreadable: {session} {{\"kept\": [1, \"é\"]}}");
    assert_eq!(text_of(&world, kept.to_owned()).await, told, "what it remembered can be had again");
}

#[tokio::test]
async fn a_session_whose_state_is_no_object_is_closed_and_the_others_are_answered() {
    let world = unguarded(ECHO).await;
    world.answers(ADA, "hi").await;
    run(
        &world,
        format!(
            "alter domain session_state drop constraint session_state_is_an_object;
             update session set state = '[1]' where contact = '{ADA}'"
        ),
    )
    .await;
    all_but_ada_are_answered(&world).await;
}

/// 96 kB in a service's answer, 12 bytes each in jsonb, and 1.2 GB as PostgreSQL prints them.
#[tokio::test]
async fn a_state_that_takes_all_memory_as_text_is_refused_and_one_that_is_there_harms_nobody_else() {
    let world = unguarded(ECHO).await;
    world.answers(ADA, "hi").await;
    let huge = format!(
        "update session set state = (select jsonb_build_object('a', jsonb_agg('1e99999'::numeric)) from generate_series(1, 12000))
          where contact = '{ADA}'"
    );
    let refused = sqlx::raw_sql(AssertSqlSafe(huge.clone())).execute(world.storage.pool()).await;
    refused.expect_err("it does not fit the domain");
    let drop = "alter domain session_state drop constraint session_state_has_at_most_256_kb_as_text";
    run(&world, format!("{drop}; {huge}")).await;
    world.text(ADA, "and me").await;
    assert_eq!(world.answers(BEN, "hello").await, ["1: hello"]);
    assert_eq!(session_of(&world, ADA).await["close_reason"], "unreadable");
    assert_eq!(world.count("select count(*) from quarantine").await, 0, "what can't be printed can't be dumped either");
    assert_eq!(world.answers(ADA, "again").await.last().map(String::as_str), Some("1: again"));
}

/// In a process that also takes texts in, the statement that writes a text reads the session's state too.
#[tokio::test]
async fn a_text_into_a_session_that_cant_be_read_is_taken_in_all_the_same() {
    let world = unguarded(ECHO).await;
    world.answers(ADA, "hi").await;
    world.answers(BEN, "hi").await;
    let storage = crate::beginning::beside(&world).0;
    crate::beginning::take_in(&world, &storage, BEN, "the number's agent is learned").await;
    let session = id(&session_of(&world, ADA).await["id"]);
    // Only where the turn begins with the text.
    let row = format!("new.session_id = '{session}' and new.lease_token is not null");
    poison(&world, "turn", "insert", &row).await;
    let taken = crate::beginning::take_in(&world, &storage, ADA, "hello").await;
    assert_eq!(taken.as_str(), "stored");
    let held = format!("select (lease_token is not null)::text from turn where session_id = '{session}'");
    assert_eq!(text_of(&world, held).await, "false");
}

#[tokio::test]
async fn a_delivery_that_makes_the_claim_fail_has_failed_and_the_others_leave() {
    let world = unguarded(ECHO).await;
    for contact in [BEN, ADA, CEM] {
        world.text(contact, "hi").await;
    }
    let claims = format!("new.contact = '{ADA}' and new.status = 'sending'");
    poison(&world, "delivery", "update or insert", &claims).await;
    world.settle().await;
    assert_eq!(world.simulator.received(BEN, NUMBER), ["1: hi"]);
    assert_eq!(world.simulator.received(CEM, NUMBER), ["1: hi"]);
    let failed = format!(
        "select status || ' ' || error_class || ' ' || length(error_detail) from delivery where contact = '{ADA}'"
    );
    let failed = text_of(&world, failed).await;
    assert!(failed.starts_with("failed unreadable 10"), "{failed}");
    let detail = text_of(&world, format!("select error_detail from delivery where contact = '{ADA}'")).await;
    assert!(detail.contains("this row is poison") && detail.len() <= 1024, "{detail}");
    // What follows for the same contact leaves.
    world.sql("drop trigger poison on delivery").await;
    assert_eq!(world.answers(ADA, "more").await, ["2: more"]);
}

#[tokio::test]
async fn a_delivery_that_this_process_cant_read_has_failed_and_the_others_leave() {
    let world = unguarded(ECHO).await;
    for contact in [BEN, ADA] {
        world.text(contact, "hi").await;
    }
    world.workers.turns.step().await.expect("turns");
    let none = "alter table delivery alter column session_id drop not null; update delivery set session_id = null where contact = ";
    run(&world, format!("{none} '{ADA}'")).await;
    world.settle().await;
    assert_eq!(world.simulator.received(BEN, NUMBER), ["1: hi"]);
    adas_delivery_was_set_aside(&world).await;
}

#[tokio::test]
async fn an_unknown_delivery_that_makes_the_claim_fail_has_failed_and_the_others_are_looked_for() {
    let world = unguarded(ECHO).await;
    world.simulator.plan_faults([twilio_simulator::Fault::Fail500, twilio_simulator::Fault::Fail500]);
    for contact in [ADA, BEN] {
        world.text(contact, "hi").await;
    }
    world.workers.turns.step().await.expect("turns");
    world.workers.sender.step().await.expect("deliveries");
    assert_eq!(world.count("select count(*) from delivery where status = 'unknown'").await, 2);
    world.sql("update delivery set due_at = now(), attempted_at = now() - interval '10 minutes'").await;
    let row = format!("new.contact = '{ADA}' and new.status = 'unknown' and new.lease_token is not null");
    poison(&world, "delivery", "update", &row).await;
    world.settle().await;
    assert_eq!(world.simulator.received(BEN, NUMBER), ["1: hi"]);
    adas_delivery_was_set_aside(&world).await;
}

#[tokio::test]
async fn a_scheduled_text_that_cant_be_sent_is_refused_and_the_others_leave() {
    let world = unguarded(ECHO).await;
    world.ok(Method::PATCH, "/v1/project", Some(json!({"quiet_hours": null}))).await;
    let mut ids = Vec::new();
    for contact in [BEN, ADA, CEM] {
        let at = chrono::Utc::now() + chrono::TimeDelta::hours(1);
        let text = json!({"to": contact, "body": "later", "send_at": at});
        ids.push(id(&world.ok(Method::POST, "/v1/messages", Some(text)).await["message_id"]));
    }
    world.sql("update scheduled_message set due_at = now()").await;
    poison(&world, "scheduled_message", "delete", &format!("old.contact = '{ADA}'")).await;
    world.settle().await;
    assert_eq!(world.simulator.received(BEN, NUMBER), ["later"]);
    assert_eq!(world.simulator.received(CEM, NUMBER), ["later"]);
    let refused = world.ok(Method::GET, &format!("/v1/messages/{}", ids[1]), None).await;
    assert_eq!((&refused["status"], &refused["reason"]), (&json!("refused"), &json!("unreadable")), "{refused}");
}

#[tokio::test]
async fn a_silence_that_cant_be_decided_closes_its_session_and_the_others_are_warned() {
    let world = unguarded(ECHO).await;
    for contact in [BEN, ADA, CEM] {
        world.answers(contact, "hi").await;
    }
    world.sql("update session set last_message_at = now() - interval '2 days'").await;
    world.sql("update message set created_at = now() - interval '2 days'").await;
    world.sql("update inactivity set due_at = now()").await;
    let session = id(&session_of(&world, ADA).await["id"]);
    poison(&world, "inactivity", "update", &format!("old.session_id = '{session}'")).await;
    world.workers.silences.step().await.expect("silences");
    let statuses = "select string_agg(status || coalesce(' ' || close_reason, ''), ', ' order by contact) from session";
    assert_eq!(text_of(&world, statuses.to_owned()).await, "closed unreadable, warned, warned");
}

#[tokio::test]
async fn a_number_that_cant_be_claimed_waits_an_hour_and_the_others_are_read() {
    let world = unguarded(ECHO).await;
    let second = "+14155550198";
    world.simulator.add_number(crate::harness::ACCOUNT_SID, second);
    let agent = world.agent("second", ECHO, json!({})).await;
    world.ok(Method::POST, "/v1/numbers", Some(json!({"number": second, "agent_id": agent}))).await;
    world
        .sql("update number set check_at = now() - interval '1 minute', backfill_at = now() - interval '1 minute'")
        .await;
    let row = format!(
        "new.number = '{NUMBER}' and (new.lease_token is not null or new.backfill_at between now() and now() + interval '30 minutes')"
    );
    poison(&world, "number", "update", &row).await;
    assert_eq!(world.workers.numbers.step().await.expect("numbers"), 1);
    assert_eq!(world.workers.listener.step().await.expect("numbers"), 1);
    let waits = format!(
        "select (check_at > now() + interval '59 minutes' and backfill_at > now() + interval '59 minutes')::text from number where number = '{NUMBER}'"
    );
    assert_eq!(text_of(&world, waits).await, "true");
}

/// The worker as it runs, and not its steps.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_worker_finds_the_row_and_goes_on() {
    let world = unguarded(ECHO).await;
    world.answers(ADA, "hi").await;
    let session = id(&session_of(&world, ADA).await["id"]);
    poison(&world, "turn", "update", &format!("new.session_id = '{session}' and new.lease_token is not null")).await;
    let others: Vec<String> = (0..10).map(|n| format!("+141555503{n:02}")).collect();
    world.text(ADA, "and me").await;
    for other in &others {
        world.text(other, "hello").await;
    }
    let mut command = world.command("work", &world.secret_key);
    let mut worker = crate::commands::Running::start(&mut command, false);
    let line = worker.until("it is set aside");
    assert!(line.contains(&session.to_string()) && line.len() < 2048, "{line}");
    let began = Instant::now();
    while others.iter().any(|other| world.simulator.received(other, NUMBER).is_empty()) {
        assert!(began.elapsed() < Duration::from_secs(30), "the others are not answered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_is_not_the_data_is_no_rows_fault() {
    let world = unguarded(ECHO).await;
    world.text(ADA, "hi").await;
    world.sql("alter table turn rename to turn_away").await;
    world.workers.turns.step().await.expect_err("no table");
    world.sql("alter table turn_away rename to turn").await;
    world.settle().await;
    assert_eq!(world.simulator.received(ADA, NUMBER), ["1: hi"]);
}

#[tokio::test]
async fn readyz_and_doctor_say_when_work_is_due_and_nothing_can_be_claimed() {
    let world = unguarded(ECHO).await;
    let storage = Storage::open(&world.database_url, 2, Arc::new(Notifier::default())).expect("a ledger");
    health::check(&storage).await.expect("ready");
    let claims = world.storage.notifier().claim_health();
    let long_ago = Instant::now().checked_sub(Duration::from_secs(40)).expect("a machine that runs for a while");
    claims.failed_at(JobKind::Turn, long_ago);
    let (status, problem) = world.ask("", Method::GET, "/readyz", None).await;
    assert_eq!((status.as_u16(), &problem["code"]), (503, &json!("work_not_claimable")), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("turn")), "{problem}");
    world.workers.turns.step().await.expect("turns");
    assert_eq!(world.ask("", Method::GET, "/readyz", None).await.0, 200);
}
