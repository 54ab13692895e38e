//! Tests quiet hours by the time zones of a number: what waits, until when, and what the API shows
//! of it. The hours of the project are set around the clock of a zone, so that it is night there
//! and nowhere else.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use crate::harness::{ECHO, NUMBER, TestApp};

const SYDNEY_LANDLINE: &str = "+61293744000";
const AUSTRALIAN_MOBILE: &str = "+61412345678";

async fn app(countries: &[&str]) -> TestApp {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.ok(Method::PATCH, "/v1/project", Some(json!({"allowed_countries": countries}))).await;
    app
}

impl TestApp {
    /// Sets the quiet hours to the minutes before and after the time that it is now in a zone.
    async fn quiet_in(&self, zone: &str, before: i32, after: i32) {
        let read = "select to_char(now() at time zone $1 - make_interval(mins => $2), 'HH24:MI'),
                           to_char(now() at time zone $1 + make_interval(mins => $3), 'HH24:MI')";
        let read = sqlx::query_as(read).bind(zone).bind(before).bind(after);
        let (from, until): (String, String) = read.fetch_one(self.storage.pool()).await.expect("times");
        let hours = json!({"quiet_hours": {"from": from, "until": until}});
        self.ok(Method::PATCH, "/v1/project", Some(hours)).await;
    }

    /// Schedules a text to each contact and lets their times come. Returns what the API then shows
    /// of each.
    async fn schedule(&self, contacts: &[&str]) -> Vec<Value> {
        let mut sent = Vec::new();
        for contact in contacts {
            let body = json!({"to": contact, "body": "later", "send_at": Utc::now() + TimeDelta::hours(30)});
            sent.push(self.ok(Method::POST, "/v1/messages", Some(body)).await);
        }
        self.sql("update scheduled_message set due_at = now()").await;
        self.run_jobs().await;
        let mut shown = Vec::new();
        for sent in sent {
            let path = format!("/v1/messages/{}", sent["message_id"].as_str().expect("an id"));
            shown.push(self.ok(Method::GET, &path, None).await);
        }
        shown
    }
}

/// In how many minutes a message is looked at again.
fn minutes_ahead(message: &Value) -> i64 {
    let due: DateTime<Utc> = message["due_at"].as_str().and_then(|at| at.parse().ok()).expect("a time");
    ((due - Utc::now()).as_seconds_f64() / 60.0).round() as i64
}

fn waits_for_quiet_hours(message: &Value, zone: &str) {
    assert_eq!((&message["status"], &message["waits_for"]), (&json!("scheduled"), &json!("quiet_hours")), "{message}");
    let zones = message["time_zones"].as_array().expect("zones");
    assert!(zones.contains(&json!(zone)), "{zone}: {zones:?}");
}

#[tokio::test]
async fn an_australian_mobile_is_not_texted_while_it_is_night_in_perth() {
    let app = app(&["AU"]).await;
    app.answers(AUSTRALIAN_MOBILE, "hi").await;
    app.quiet_in("Australia/Perth", 60, 60).await;
    app.sql("update session set last_message_at = now() - interval '1 day'").await;
    app.sql("update inactivity set due_at = now()").await;
    let shown = app.schedule(&[AUSTRALIAN_MOBILE, SYDNEY_LANDLINE, "+611300123456"]).await;
    waits_for_quiet_hours(&shown[0], "Australia/Perth");
    assert_eq!(app.simulator.received(AUSTRALIAN_MOBILE, NUMBER), ["1: hi"], "neither the text nor a warning");
    // When the hours are over in Perth, they have begun on the Cocos Islands, which are an hour and
    // a half behind.
    assert!((148..=152).contains(&minutes_ahead(&shown[0])), "{}", shown[0]);
    assert_eq!(shown[1]["status"], "delivered", "a landline of Sydney is in Sydney, where it is day");
    waits_for_quiet_hours(&shown[2], "Australia/Perth");
    let warned = "select count(*) from inactivity where due_at between now() + interval '147 minutes' and now() + interval '153 minutes'";
    assert_eq!(app.count(warned).await, 1, "the warning waits as long");

    app.ok(Method::PATCH, "/v1/project", Some(json!({"quiet_hours": null}))).await;
    app.sql("update scheduled_message set due_at = now()").await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(AUSTRALIAN_MOBILE, NUMBER), ["1: hi", "later"]);
}

#[tokio::test]
async fn the_florida_panhandle_waits_for_central_time_and_a_toll_free_number_for_hawaii() {
    let app = app(&["US", "CA"]).await;
    // In New York it is an hour later, and the hours are over.
    app.quiet_in("America/Chicago", 10, 40).await;
    let shown = app.schedule(&["+18502221234", "+14485550123", "+12125550123"]).await;
    waits_for_quiet_hours(&shown[0], "America/Chicago");
    assert!((38..=41).contains(&minutes_ahead(&shown[0])), "{}", shown[0]);
    waits_for_quiet_hours(&shown[1], "America/Chicago");
    assert_eq!(shown[2]["status"], "delivered");

    app.quiet_in("Pacific/Honolulu", 30, 30).await;
    let shown = app.schedule(&["+18005550123", "+14155550177", "+19995550123"]).await;
    waits_for_quiet_hours(&shown[0], "Pacific/Honolulu");
    assert_eq!(shown[1]["status"], "delivered", "San Francisco is two or three hours ahead");
    waits_for_quiet_hours(&shown[2], "Pacific/Honolulu");
    let listed = app.ok(Method::GET, "/v1/scheduled-messages", None).await;
    assert_eq!(listed["items"][0]["waits_for"], "quiet_hours");
    assert!(minutes_ahead(&listed["items"][0]) > 0);
}

#[tokio::test]
async fn a_text_that_waits_for_its_time_says_so() {
    let app = app(&["US"]).await;
    let body = json!({"to": "+12125550123", "body": "later", "send_at": Utc::now() + TimeDelta::hours(1)});
    let sent = app.ok(Method::POST, "/v1/messages", Some(body)).await;
    let path = format!("/v1/messages/{}", sent["message_id"].as_str().expect("an id"));
    let shown = app.ok(Method::GET, &path, None).await;
    assert_eq!((&shown["waits_for"], &shown["due_at"]), (&json!("send_time"), &shown["send_at"]));
    assert_eq!(shown.get("time_zones"), None);
    let cancelled = app.ok(Method::DELETE, &path, None).await;
    assert_eq!((cancelled.get("waits_for"), cancelled.get("due_at")), (None, None), "it waits no longer");
}

/// The clocks of Russia are whole hours apart, so a free time of ten minutes is never one of all
/// zones.
#[tokio::test]
async fn quiet_hours_that_leave_no_time_for_all_zones_of_a_number_end_where_they_leave_most() {
    let app = app(&["RU"]).await;
    let mobile = "+79161234567";
    let all_day_but_ten_minutes = |zone: &'static str| app.quiet_in(zone, -5, -5);
    // Most zones of Russia have the time of Novosibirsk.
    all_day_but_ten_minutes("Europe/Kaliningrad").await;
    let shown = app.schedule(&[mobile]).await;
    waits_for_quiet_hours(&shown[0], "Europe/Kaliningrad");
    assert!((18 * 60..20 * 60).contains(&minutes_ahead(&shown[0])), "{}", shown[0]);
    all_day_but_ten_minutes("Asia/Novosibirsk").await;
    app.sql("update scheduled_message set due_at = now()").await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(mobile, NUMBER), ["later"]);
}

async fn text(pool: &PgPool, statement: &str) -> Option<String> {
    sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(pool).await.expect(statement)
}

/// The first quiet hours that end after a moment in Berlin, in UTC.
async fn in_berlin(pool: &PgPool, from: &str, until: &str, at: &str) -> String {
    let statement = format!(
        "select (span ->> 'from')::timestamptz at time zone 'UTC' || ' to ' || (span ->> 'until')::timestamptz at time zone 'UTC'
           from jsonb_array_elements(load_quiet_spans('Europe/Berlin', '{from}', '{until}', '{at}')) as span
          where (span ->> 'until')::timestamptz > '{at}'
          order by 1 limit 1"
    );
    text(pool, &statement).await.expect("a span")
}

#[tokio::test]
async fn nights_on_which_the_clock_changes_are_as_long_as_they_are() {
    let app = TestApp::new().await;
    for (from, until, at, expected) in [
        ("21:00", "08:00", "2026-01-15 12:00Z", "2026-01-15 20:00:00 to 2026-01-16 07:00:00"),
        // An hour shorter, an hour longer.
        ("21:00", "08:00", "2026-03-28 22:00Z", "2026-03-28 20:00:00 to 2026-03-29 06:00:00"),
        ("21:00", "08:00", "2026-10-24 22:00Z", "2026-10-24 19:00:00 to 2026-10-25 07:00:00"),
        // 02:30 comes twice: from the first until the second.
        ("02:30", "08:00", "2026-10-25 00:00Z", "2026-10-25 00:30:00 to 2026-10-25 07:00:00"),
        ("21:00", "02:30", "2026-10-24 22:00Z", "2026-10-24 19:00:00 to 2026-10-25 01:30:00"),
        // There is no 02:30: the clock goes from 02:00 to 03:00, at 01:00 UTC.
        ("02:30", "08:00", "2026-03-29 00:00Z", "2026-03-29 00:30:00 to 2026-03-29 06:00:00"),
        ("21:00", "02:30", "2026-03-28 22:00Z", "2026-03-28 20:00:00 to 2026-03-29 01:30:00"),
    ] {
        assert_eq!(in_berlin(app.storage.pool(), from, until, at).await, expected, "{from} to {until} at {at}");
    }
}

#[tokio::test]
async fn a_database_without_a_zone_goes_by_the_one_that_stands_in_or_passes_it_over() {
    let app = TestApp::new().await;
    let pool = app.storage.pool();
    let unknown = "select load_quiet_spans('Mars/Olympus_Mons', '21:00', '08:00', now())::text";
    assert_eq!(text(pool, unknown).await, None);
    let query = include_str!("../../sql/queries/quiet_hours/load_spans.sql")
        .replace("$1", "'{Mars/Olympus_Mons,Europe/Kyiv,Mars/Base}'")
        .replace("$2", "'{Europe/Berlin,NULL,NULL}'")
        .replace("$3", "'{21:00,21:00,21:00}'")
        .replace("$4", "'{08:00,08:00,08:00}'");
    let known = format!("select string_agg((spans.\"spans: _\" is not null)::text, ' ') from ({query}) as spans");
    assert_eq!(text(pool, &known).await.as_deref(), Some("true true false"));
}

#[tokio::test]
async fn the_database_knows_every_zone_of_a_number() {
    let app = TestApp::new().await;
    let mut connection = crate::harness::pooled(&app.storage).await;
    let unknown = textback::storage::quiet_hours::unknown_zones(&mut connection).await.expect("an answer");
    assert_eq!(unknown, Vec::<String>::new());
    assert!(textback::domain::time_zone::all().len() > 400);
}
