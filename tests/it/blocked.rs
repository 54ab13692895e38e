//! Tests locked tables and rows, used up connections, and messages that a constraint refuses. The
//! carrier gets its answer in time, readiness reports a blocked database, and no message is lost or
//! stored twice.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ACCOUNT_SID, ADA, AUTH_TOKEN, ECHO, NUMBER, TestApp};

/// The time within which each webhook must be answered. The carrier stops waiting after 15 s.
const IN_TIME: Duration = Duration::from_secs(12);
/// How many webhooks wait at the same time.
const MANY: usize = 150;

fn text(n: usize) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    let (sid, from) = (format!("SM{n}"), format!("+1415556{n:04}"));
    form.extend_pairs([
        ("AccountSid", ACCOUNT_SID),
        ("MessageSid", &sid),
        ("From", &from),
        ("To", NUMBER),
        ("Body", "hi"),
    ]);
    form.finish()
}

async fn readiness(app: &TestApp) -> (u16, Value) {
    let answer = app.http.get(format!("http://{}/readyz", app.api)).send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

/// Posts texts at the same time. Returns the statuses without repetitions, and how long the slowest
/// answer took.
async fn post_all(app: &TestApp, numbers: std::ops::Range<usize>) -> (Vec<u16>, Duration) {
    let began = Instant::now();
    let posting = numbers.map(|n| async move { app.post("messages", &text(n), AUTH_TOKEN).await.status().as_u16() });
    let mut statuses = futures::future::join_all(posting).await;
    statuses.dedup();
    (statuses, began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_table_is_locked_each_webhook_is_refused_in_time_and_then_each_message_is_stored_once() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.without_rate_limits().await;
    assert_eq!(post_all(&app, 0..1).await.0, [200]);
    assert_eq!(readiness(&app).await.0, 200);
    let locker = crate::harness::pool(&app.database_url).await;
    let mut holder = locker.begin().await.expect("a transaction");
    sqlx::raw_sql("set idle_in_transaction_session_timeout = 0; lock table message in access exclusive mode")
        .execute(&mut *holder)
        .await
        .expect("locked");
    let path = "/v1/messages";
    let asking = app.call(&app.key, Method::POST, path, Some(json!({"to": ADA, "body": "hi"})));
    let ((statuses, slowest), ready, (api_status, _)) = tokio::join!(post_all(&app, 1..MANY), readiness(&app), asking);
    assert_eq!(statuses, [503]);
    assert!(slowest < IN_TIME, "{slowest:?}");
    assert_eq!((ready.0, &ready.1["code"]), (503, &json!("database_blocked")));
    assert_eq!(api_status.as_u16(), 503);
    // Webhooks that come while others wait are refused in time too.
    let (statuses, slowest) = post_all(&app, 1..MANY).await;
    assert_eq!(statuses, [503]);
    assert!(slowest < IN_TIME, "{slowest:?}");
    holder.rollback().await.expect("rolled back");

    let began = Instant::now();
    while post_all(&app, 1..MANY).await.0 != [200] {
        assert!(began.elapsed() < Duration::from_secs(30), "texts are not stored again");
    }
    let (stored, different) = (
        app.count("select count(*) from message where direction = 'inbound'").await,
        app.count("select count(distinct carrier_id) from message where direction = 'inbound'").await,
    );
    assert_eq!((stored, different), (i64::try_from(MANY).expect("a number"), i64::try_from(MANY).expect("a number")));
    assert_eq!(readiness(&app).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_reports_a_locked_table_if_every_message_needs_it() {
    let needed = [
        "project",
        "carrier_account",
        "number",
        "active_version",
        "agent_version",
        "consent",
        "message",
        "session",
        "turn",
        "inactivity",
    ];
    // Most messages are stored while one of these is locked.
    let others =
        ["delivery", "attachment", "quarantine", "scheduled_message", "outbound_rate_window", "inbound_rate_window"];
    let all = needed.map(|table| (table, true)).into_iter().chain(others.map(|table| (table, false)));
    let tests = all.map(|(table, is_needed)| async move {
        let app = TestApp::with_agent(ECHO, json!({})).await;
        let holder = app.lock_table(table).await;
        let report = format!("AccountSid={ACCOUNT_SID}&MessageSid=SM1&MessageStatus=sent");
        let began = Instant::now();
        let ((texts, slowest), status, ready) =
            tokio::join!(post_all(&app, 0..20), app.post("status", &report, AUTH_TOKEN), readiness(&app));
        assert_eq!(texts, if is_needed { [503] } else { [200] }, "{table}");
        assert!(slowest < IN_TIME && began.elapsed() < IN_TIME, "{table}: {slowest:?}");
        assert!([200, 503].contains(&status.status().as_u16()), "{table}: {}", status.status());
        match is_needed {
            true => assert_eq!(ready.1["code"], "database_blocked", "{table}: {ready:?}"),
            false => assert_eq!(ready.0, 200, "{table}: {ready:?}"),
        }
        holder.rollback().await.expect("rolled back");
    });
    futures::future::join_all(tests).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_refused_in_time_while_no_connection_is_free() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let mut taken = Vec::new();
    while let Ok(connection) = app.storage.pool().acquire().await {
        taken.push(connection);
    }
    let ((texts, slowest), ready) = tokio::join!(post_all(&app, 0..20), readiness(&app));
    assert_eq!(texts, [503]);
    assert!(slowest < IN_TIME, "{slowest:?}");
    assert_eq!((ready.0, &ready.1["code"]), (503, &json!("database_blocked")));
    drop(taken);
    assert_eq!(post_all(&app, 0..20).await.0, [200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_session_of_one_contact_or_a_client_that_disconnects_leaves_the_process_ready() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.without_rate_limits().await;
    assert_eq!(post_all(&app, 0..2).await.0, [200]);
    let locker = crate::harness::pool(&app.database_url).await;
    let mut holder = locker.begin().await.expect("a transaction");
    sqlx::raw_sql(
        "set idle_in_transaction_session_timeout = 0; select from session where contact = '+14155560000' for update",
    )
    .execute(&mut *holder)
    .await
    .expect("locked");
    // A client that disconnects before its answer says nothing about the database.
    let form = text(0).replace("SM0", "SM10");
    let posting = app.post("messages", &form, AUTH_TOKEN);
    let _ = tokio::time::timeout(Duration::from_millis(500), posting).await.expect_err("it waits");
    assert_eq!(readiness(&app).await.0, 200);
    // Nor does a contact whose session is locked.
    let form = text(0).replace("SM0", "SM11");
    assert_eq!(app.post("messages", &form, AUTH_TOKEN).await.status(), 503);
    assert_eq!(readiness(&app).await.0, 200);
    holder.rollback().await.expect("rolled back");
    assert_eq!(app.post("messages", &form, AUTH_TOKEN).await.status(), 200);
}

#[tokio::test]
async fn a_message_that_the_database_refuses_is_quarantined() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.sql("alter table message add constraint nobody_is_rude check (body <> 'rude')").await;
    app.sql("alter table message add constraint nobody_divides_by_zero check (body <> 'zero' or 1 / (length(body) - 4) > 0)").await;
    app.sql("alter table message alter column kind drop not null").await;
    let long = format!("https://api.twilio.com/{}", "a".repeat(4001));
    let odd: [&[(&str, &str)]; 4] = [
        &[("MessageSid", "SM1"), ("NumMedia", "1"), ("MediaUrl0", &long)],
        &[("MessageSid", "SM2"), ("Body", "rude")],
        &[("MessageSid", "SM3"), ("Body", "zero")],
        &[("MessageSid", "SM4"), ("Body", "rude"), ("From", "+14155550102")],
    ];
    let form = |pairs: &[(&str, &str)]| {
        let common = [("AccountSid", ACCOUNT_SID), ("From", ADA), ("To", NUMBER), ("Body", "hi")];
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(common.iter().filter(|(name, _)| pairs.iter().all(|(given, _)| given != name)));
        form.extend_pairs(pairs.iter());
        form.finish()
    };
    // They come together with a valid message, and twice, as from a carrier that missed the
    // answers.
    for _ in 0..2 {
        let good = form(&[("MessageSid", "SM9"), ("From", "+14155550103")]);
        let all = odd.iter().map(|pairs| form(pairs)).chain([good]);
        let posting = all.map(|form| {
            let app = &app;
            async move { app.post("messages", &form, AUTH_TOKEN).await.status().as_u16() }
        });
        assert_eq!(futures::future::join_all(posting).await, [200; 5]);
    }
    let kept: Vec<(String, String)> = sqlx::query_as("select carrier_id, reason from quarantine order by carrier_id")
        .fetch_all(app.storage.pool())
        .await
        .expect("rows");
    let of = |sid: &str, reason: &str| (sid.to_owned(), reason.to_owned());
    assert_eq!(
        kept,
        [
            of("SM1", "media_url_too_long"),
            of("SM2", "nobody_is_rude"),
            of("SM3", "refused_by_the_database_22012"),
            of("SM4", "nobody_is_rude"),
        ]
    );
    assert_eq!(app.count("select count(*) from message where direction = 'inbound'").await, 1);
    app.run_jobs().await;
}
