//! Tests when a row is blamed for a failing claim, and how jobs that are due and not claimed are
//! reported.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use textback::domain::job::JobKind;
use textback::storage::health;

use crate::harness::{ADA, ECHO, NUMBER, TestApp, id};
use crate::poison::{poison_as, run, session_of, text_of, without_rate_limits};

const BEN: &str = "+14155550102";
const CEM: &str = "+14155550103";

async fn nothing_is_set_aside(app: &TestApp) {
    assert_eq!(app.count("select count(*) from unreadable_row").await, 0);
    assert_eq!(app.count("select count(*) from session where close_reason = 'unreadable'").await, 0);
    assert_eq!(app.count("select count(*) from message where skip_reason = 'unreadable'").await, 0);
}

async fn doctor(app: &TestApp) -> String {
    let mut doctor = app.command("doctor", &app.secret_key);
    let printed = tokio::task::spawn_blocking(move || doctor.output().expect("it runs")).await.expect("it runs");
    String::from_utf8_lossy(&printed.stdout).into_owned()
}

/// As an operator's trigger, an added constraint, a damaged index and a server that lacks memory or
/// time.
#[tokio::test]
async fn a_fault_that_hits_all_turns_closes_no_session_and_all_are_answered_when_it_is_over() {
    for code in ["P0001", "23514", "XX002", "XX000", "22000", "53200", "57014"] {
        let app = without_rate_limits(ECHO).await;
        for contact in [ADA, BEN, CEM] {
            app.text(contact, "hi").await;
        }
        poison_as(&app, code, "turn", "update", "new.lease_token is not null").await;
        for _ in 0..2 {
            app.workers.turns.step().await.expect_err(code);
        }
        nothing_is_set_aside(&app).await;
        app.sql("drop trigger poison on turn").await;
        app.run_jobs().await;
        for contact in [ADA, BEN, CEM] {
            assert_eq!(app.simulator.received(contact, NUMBER), ["1: hi"], "{code}");
        }
        app.end().await;
    }
}

#[tokio::test]
async fn a_fault_of_all_inactivity_jobs_closes_no_session() {
    let app = without_rate_limits("def reply(conv, text): conv.state.said = text").await;
    for contact in [ADA, BEN, CEM] {
        app.answers(contact, "hi").await;
    }
    app.sql("update session set last_message_at = now() - interval '2 days'").await;
    app.sql("update inactivity set due_at = now()").await;
    app.sql("alter table inactivity add constraint inactivity_job_is_not_moved check (due_at < now() - interval '1 year') not valid").await;
    app.workers.inactivity.step().await.expect_err("no job can be decided");
    nothing_is_set_aside(&app).await;
    assert_eq!(app.count("select count(*) from session where status = 'open' and state ->> 'said' = 'hi'").await, 3);
    app.sql("alter table inactivity drop constraint inactivity_job_is_not_moved").await;
    assert_eq!(app.workers.inactivity.step().await.expect("decided"), 3);
}

/// Nobody can tell whether it is the row or the schema.
#[tokio::test]
async fn the_only_row_that_is_due_is_not_blamed_and_is_found_beside_others() {
    let app = without_rate_limits(ECHO).await;
    app.answers(ADA, "hi").await;
    let session = id(&session_of(&app, ADA).await["id"]);
    let row = format!("new.session_id = '{session}' and new.lease_token is not null");
    poison_as(&app, "P0001", "turn", "update", &row).await;
    app.text(ADA, "and me").await;
    app.workers.turns.step().await.expect_err("it can't be claimed");
    nothing_is_set_aside(&app).await;
    assert_eq!(app.answers(BEN, "hi").await, ["1: hi"]);
    assert_eq!(session_of(&app, ADA).await["close_reason"], "unreadable");
}

/// As when a newer version added a column that this process can't read.
#[tokio::test]
async fn rows_none_of_which_this_process_can_read_are_not_set_aside() {
    let app = without_rate_limits(ECHO).await;
    for contact in [ADA, BEN] {
        app.text(contact, "hi").await;
    }
    app.workers.turns.step().await.expect("turns");
    run(
        &app,
        "alter table delivery alter column session_id drop not null; update delivery set session_id = null".to_owned(),
    )
    .await;
    app.workers.deliveries.step().await.expect_err("none can be read");
    nothing_is_set_aside(&app).await;
    assert_eq!(app.count("select count(*) from delivery where status = 'sending'").await, 2, "their leases run out");
}

/// The server lacks memory once, while it claims Ada's turn.
#[tokio::test]
async fn a_shortage_that_passes_is_no_rows_fault() {
    for code in ["53200", "57014"] {
        let app = without_rate_limits(ECHO).await;
        app.answers(ADA, "hi").await;
        let session = id(&session_of(&app, ADA).await["id"]);
        let row = format!("new.session_id = '{session}' and new.lease_token is not null");
        poison_as(&app, code, "turn", "update", &row).await;
        app.text(ADA, "and me").await;
        for n in 0..4 {
            let other = format!("+141555504{n:02}");
            app.text(&other, "hi").await;
            app.workers.turns.step().await.expect("the others are claimed");
        }
        nothing_is_set_aside(&app).await;
        app.sql("drop trigger poison on turn").await;
        app.run_jobs().await;
        assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi", "2: and me"], "{code}");
        app.end().await;
    }
}

#[tokio::test]
async fn a_server_without_memory_for_locks_sets_no_row_aside() {
    let app = without_rate_limits(ECHO).await;
    for contact in [ADA, BEN] {
        app.text(contact, "hi").await;
    }
    run(
        &app,
        "create function poison() returns trigger language plpgsql as $$
         begin
             raise exception using errcode = '53200', message = 'out of shared memory';
         end $$;
         create trigger poison before update on turn for each row execute function poison()"
            .to_owned(),
    )
    .await;
    for _ in 0..4 {
        app.workers.turns.step().await.expect_err("no turn can be claimed");
    }
    nothing_is_set_aside(&app).await;
}

/// Sixty-five texts wait for an earlier one to the same contact, and none of them is ever claimed.
#[tokio::test]
async fn a_poison_behind_deliveries_that_wait_is_found_and_the_others_leave() {
    let app = without_rate_limits(ECHO).await;
    app.ok(Method::PATCH, "/v1/project", Some(json!({"outbound_per_contact_per_hour": 0}))).await;
    for n in 0..66 {
        let text = json!({"to": BEN, "body": format!("text {n}"), "on_active_session": "join"});
        app.ok(Method::POST, "/v1/messages", Some(text)).await;
    }
    app.sql("update delivery set due_at = case when seq = (select min(seq) from delivery) then now() + interval '1 hour' else now() - interval '1 hour' end").await;
    app.sql("delete from turn").await;
    for contact in [ADA, CEM] {
        app.text(contact, "hi").await;
    }
    app.workers.turns.step().await.expect("turns");
    let row = format!("new.contact = '{ADA}' and new.status = 'sending'");
    poison_as(&app, "22000", "delivery", "update", &row).await;
    app.workers.deliveries.step().await.expect("deliveries");
    assert_eq!(app.simulator.received(CEM, NUMBER), ["1: hi"]);
    let status = format!("select status || ' ' || error_class from delivery where contact = '{ADA}'");
    assert_eq!(text_of(&app, status).await, "failed unreadable");
}

#[tokio::test(flavor = "multi_thread")]
async fn readyz_and_doctor_tell_of_a_claim_that_fails_while_a_lease_is_held() {
    let app = without_rate_limits(ECHO).await;
    for contact in [ADA, BEN, CEM] {
        app.text(contact, "hi").await;
    }
    app.sql("update turn set due_at = now() - interval '3 minutes'").await;
    // As serve takes one with a text.
    app
        .sql("update turn set lease_token = gen_random_uuid(), leased_until = now() + interval '1 minute' where session_id = (select min(session_id::text)::uuid from turn)")
        .await;
    poison_as(&app, "P0001", "turn", "update", "new.lease_token is not null").await;
    let long_ago = Instant::now().checked_sub(Duration::from_secs(40)).expect("a machine that runs for a while");
    app.storage.notifier().claim_health().failed_at(JobKind::Turn, long_ago);
    app.workers.turns.step().await.expect_err("no turn can be claimed");
    let (status, problem) = app.call("", Method::GET, "/readyz", None).await;
    assert_eq!((status.as_u16(), &problem["code"]), (503, &json!("work_not_claimable")), "{problem}");
    let printed = doctor(&app).await;
    assert!(printed.contains("2 of the kind turn are due and not claimed, the oldest for 18"), "{printed}");

    app.sql("drop trigger poison on turn").await;
    app.workers.turns.step().await.expect("turns");
    assert_eq!(app.call("", Method::GET, "/readyz", None).await.0, 200);
    assert!(!doctor(&app).await.contains("of the kind turn"));
}

#[tokio::test]
async fn work_of_every_kind_that_is_due_and_not_claimed_is_told_of() {
    let app = without_rate_limits(ECHO).await;
    app.answers(ADA, "hi").await;
    let at = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    let later = json!({"to": BEN, "body": "later", "send_at": at, "on_active_session": "join"});
    app.ok(Method::POST, "/v1/messages", Some(later)).await;
    app.text(ADA, "a turn").await;
    assert!(
        health::unclaimed(&mut *crate::harness::pooled(&app.storage).await, 120.0).await.expect("a list").is_empty()
    );
    for late in [
        "update turn set due_at = now() - interval '3 minutes'",
        "update inactivity set due_at = now() - interval '3 minutes'",
        "update scheduled_message set due_at = now() - interval '3 minutes'",
        "update number set check_at = now() - interval '3 minutes', backfill_at = now() - interval '3 minutes'",
        "update delivery set due_at = now() - interval '3 minutes', status = 'unknown'",
    ] {
        app.sql(late).await;
    }
    let kinds = |all: Vec<health::Unclaimed>| all.into_iter().map(|one| one.kind.as_str()).collect::<Vec<_>>();
    let all = health::unclaimed(&mut *crate::harness::pooled(&app.storage).await, 120.0).await.expect("a list");
    assert_eq!(kinds(all), ["backfill", "inactivity", "number", "scheduled_message", "turn", "unknown"]);
    assert!(
        health::unclaimed(&mut *crate::harness::pooled(&app.storage).await, 200.0).await.expect("a list").is_empty(),
        "not for so long"
    );
    app.sql("update turn set lease_token = gen_random_uuid(), leased_until = now() + interval '1 minute'").await;
    let all = health::unclaimed(&mut *crate::harness::pooled(&app.storage).await, 120.0).await.expect("a list");
    assert_eq!(
        kinds(all),
        ["backfill", "inactivity", "number", "scheduled_message", "unknown"],
        "one works at the turn"
    );
}

#[tokio::test]
async fn texts_that_wait_for_an_earlier_one_to_the_same_contact_are_not_missed() {
    let app = without_rate_limits(ECHO).await;
    for n in 0..3 {
        let text = json!({"to": BEN, "body": format!("text {n}"), "on_active_session": "join"});
        app.ok(Method::POST, "/v1/messages", Some(text)).await;
    }
    app.sql("update delivery set due_at = case when seq = (select min(seq) from delivery) then now() + interval '200 seconds' else now() - interval '200 seconds' end").await;
    let kinds: Vec<_> = health::unclaimed(&mut *crate::harness::pooled(&app.storage).await, 120.0)
        .await
        .expect("a list")
        .into_iter()
        .map(|one| one.kind)
        .collect();
    assert!(kinds.is_empty(), "{kinds:?}");
    app.sql("update delivery set due_at = now() - interval '200 seconds'").await;
    let all = health::unclaimed(&mut *crate::harness::pooled(&app.storage).await, 120.0).await.expect("a list");
    assert_eq!((all.len(), all[0].due), (1, 1), "only the first of them could have been claimed");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_what_was_set_aside_until_somebody_has_looked_at_it() {
    let app = without_rate_limits(ECHO).await;
    assert!(doctor(&app).await.contains("set aside    nothing"));
    let second = "+14155550198";
    app.simulator.add_number(crate::harness::ACCOUNT_SID, second);
    let agent = app.agent("second", ECHO, json!({})).await;
    app.ok(Method::POST, "/v1/numbers", Some(json!({"number": second, "agent_id": agent}))).await;
    poison_as(&app, "22000", "number", "update", &format!("new.number = '{second}' and new.lease_token is not null"))
        .await;
    for _ in 0..2 {
        app.sql("update number set check_at = now() - interval '1 second' where check_at is not null").await;
        app.workers.numbers.step().await.expect("numbers");
    }
    let printed = doctor(&app).await;
    assert!(printed.contains("1 of the kind number could not be claimed and are tried again each hour"), "{printed}");
    assert!(printed.contains("this row is poison") && printed.contains("textback.unreadable_row"), "{printed}");
    assert_eq!(app.count("select times::bigint from unreadable_row").await, 2);
    app.sql("delete from unreadable_row").await;
    assert!(doctor(&app).await.contains("set aside    nothing"));
}
