//! Tests the rollups: that they equal the raw rows whatever happens to the rows, to the workers and
//! to the clock.

use std::process::Stdio;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection};
use textback::storage::rollup;
use uuid::Uuid;

use super::{connect, facts, reporting, rows, run_sql};
use crate::commands::Running;
use crate::harness::{ACCOUNT_SID, ADA, AUTH_TOKEN, ECHO, TestApp, pool, pooled};

/// The tables, and the functions that count the raw rows for them.
const TABLES: [(&str, &str); 7] = [
    ("message_rollup", "messages_of_hours"),
    ("session_rollup", "sessions_of_hours"),
    ("inactivity_rollup", "inactivity_of_hours"),
    ("turn_rollup", "turns_of_hours"),
    ("delivery_rollup", "deliveries_of_hours"),
    ("segment_rollup", "segments_of_hours"),
    ("latency_rollup", "latencies_of_hours"),
];

/// Questions to the views by hour, and the same to the raw views. Both have answers in the fixture.
pub const PAIRS: &[(&str, &str)] = &[
    (
        "select hour, address, agent_name, direction, kind, skip_reason, session_case, sum(messages), sum(segments)
           from reporting.messages_by_hour_v1 group by 1, 2, 3, 4, 5, 6, 7",
        "select date_trunc('hour', message.created_at), message.address, agent_name, direction, kind, skip_reason, message.session_case,
                count(*), sum(segments)
           from reporting.messages_v1 message join reporting.sessions_v1 using (session_id) group by 1, 2, 3, 4, 5, 6, 7",
    ),
    (
        "select hour, channel, origin, session_case, agent_name, agent_version, sum(opened)
           from reporting.sessions_by_hour_v1 where end_reason is null group by 1, 2, 3, 4, 5, 6",
        "select date_trunc('hour', opened_at), channel, origin, session_case, agent_name, agent_version, count(*)
           from reporting.sessions_v1 group by 1, 2, 3, 4, 5, 6",
    ),
    (
        "select hour, end_reason, session_case, sum(closed), round(sum(closed_seconds)::numeric, 3)
           from reporting.sessions_by_hour_v1 where closed > 0 group by 1, 2, 3",
        "select date_trunc('hour', closed_at), end_reason, session_case, count(*), round(sum(duration_seconds)::numeric, 3)
           from reporting.sessions_v1 where closed_at is not null group by 1, 2, 3",
    ),
    (
        "select hour, address, sum(warned), sum(rescued), sum(ended), sum(ended_otherwise), sum(waiting)
           from reporting.inactivity_by_hour_v1 where warned > 0 group by 1, 2",
        "select date_trunc('hour', warned_at), address, count(*), count(*) filter (where outcome = 'rescued'),
                count(*) filter (where outcome = 'ended'), count(*) filter (where outcome = 'ended_otherwise'),
                count(*) filter (where outcome = 'waiting')
           from reporting.inactivity_v1 where warned_at is not null group by 1, 2",
    ),
    (
        "select hour, agent_name, agent_version, agent_kind, outcome, error_code, sum(turns), sum(attempts), sum(failures), sum(messages)
           from reporting.turns_by_hour_v1 group by 1, 2, 3, 4, 5, 6",
        "select date_trunc('hour', finished_at), agent_name, agent_version, agent_kind, outcome, error_code, count(*), sum(attempts),
                sum(failures), sum(messages)
           from reporting.turns_v1 group by 1, 2, 3, 4, 5, 6",
    ),
    (
        "select hour, address, number_country, contact_calling_code, status, error_code, error_class, sum(deliveries), sum(attempts), sum(segments)
           from reporting.deliveries_by_hour_v1 group by 1, 2, 3, 4, 5, 6, 7",
        "select date_trunc('hour', delivery.created_at), delivery.address, number_country, delivery.contact_calling_code, delivery.status,
                error_code, error_class, count(*), sum(attempts), sum(segments)
           from reporting.deliveries_v1 delivery join reporting.messages_v1 on message_id = delivery_id group by 1, 2, 3, 4, 5, 6, 7",
    ),
    (
        "select hour, direction, address, number_country, contact_calling_code, encoding, is_at_the_carrier, sum(messages), sum(segments)
           from reporting.segments_by_hour_v1 group by 1, 2, 3, 4, 5, 6, 7",
        "select date_trunc('hour', created_at), direction, address, number_country, contact_calling_code, encoding, is_at_the_carrier,
                count(*), sum(segments)
           from reporting.segments_v1 group by 1, 2, 3, 4, 5, 6, 7",
    ),
    (
        "select hour, measure, sum(observations), round(sum(seconds)::numeric, 3), sum(observations) filter (where below_seconds <= 120)
           from reporting.latencies_by_hour_v1 group by 1, 2",
        "select date_trunc('hour', at), measure, count(*), round(sum(seconds)::numeric, 3), count(*) filter (where seconds < 120)
           from (select finished_at as at, 'turn' as measure, total_seconds as seconds from reporting.turns_v1
                 union all select finished_at, 'agent', agent_seconds from reporting.turns_v1
                 union all select finished_at, 'reply', extract(epoch from accepted_at - turn.created_at)::double precision
                             from reporting.turns_v1 turn
                             join lateral (select message_id from reporting.messages_v1 message
                                            where message.turn_id = turn.turn_id order by message_id limit 1) first on true
                             join reporting.deliveries_v1 on delivery_id = message_id
                 union all select created_at, 'accepted', accepted_seconds from reporting.deliveries_v1
                 union all select created_at, 'delivered', delivered_seconds from reporting.deliveries_v1) latency
          where seconds is not null group by 1, 2",
    ),
];

/// Lets the job count all. The other databases of the server run transactions, and it waits for
/// those that began before.
pub async fn count(app: &TestApp) {
    let began = Instant::now();
    let settled = "select count(*) from rollup_progress where settled_until = ended_until and counted_from = oldest";
    while count_what_is_final(app).await == 0 || app.count(settled).await == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "a transaction never ends");
        tokio::task::yield_now().await;
    }
}

/// Lets the job count all that it can by now.
async fn count_what_is_final(app: &TestApp) -> usize {
    app.workers.rollups.step().await.expect("counted")
}

/// The rows that only the rollups have, or only the counts of the raw rows.
async fn differences(app: &TestApp) -> Vec<String> {
    let mut all = Vec::new();
    for (table, function) in TABLES {
        // Sums of fractions depend on the order of the rows.
        let fields = "to_jsonb(counted) - 'seconds' - 'closed_seconds'";
        let stored = format!("select {fields} from {table} counted");
        let raw = format!("select {fields} from {function}('-infinity', 'infinity') counted");
        let question = format!(
            "select '{table} has ' || fields::text from ({stored} except {raw}) as extra (fields)
             union all select '{table} lacks ' || fields::text from ({raw} except {stored}) as lacking (fields)"
        );
        let found: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(question)).fetch_all(app.storage.pool()).await.expect(table);
        all.extend(found);
    }
    all
}

async fn must_be_equal(app: &TestApp) {
    assert_eq!(differences(app).await, Vec::<String>::new());
}

/// Forgets how far the rollups have come, as before the first count.
async fn begin_again(app: &TestApp) {
    app.sql("update rollup_progress set settled_until = null, ended_until = null, ended_by = null, counted_from = null, oldest = null, due_at = now()").await;
}

/// All rows of the rollups.
async fn dump(app: &TestApp) -> Vec<String> {
    let mut all = Vec::new();
    for (table, _) in TABLES {
        let question = format!("select '{table} ' || counted::text from {table} counted order by 1");
        let found: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(question)).fetch_all(app.storage.pool()).await.expect(table);
        all.extend(found);
    }
    all
}

/// Ada texts and is answered, two days ago; all of it is counted.
async fn two_days_ago() -> TestApp {
    let app = TestApp::with_agent(ECHO, serde_json::json!({"first_message": "process"})).await;
    app.answers(ADA, "hi").await;
    move_back(&app, 48).await;
    count(&app).await;
    must_be_equal(&app).await;
    app
}

/// Everything happened so many hours earlier.
async fn move_back(app: &TestApp, hours: i32) {
    let statement = format!(
        "update session set opened_at = opened_at - interval '{hours} hours', closed_at = closed_at - interval '{hours} hours', warned_at = warned_at - interval '{hours} hours';
         update message set created_at = created_at - interval '{hours} hours', turn_created_at = turn_created_at - interval '{hours} hours';
         update delivery set created_at = created_at - interval '{hours} hours', accepted_at = accepted_at - interval '{hours} hours', updated_at = updated_at - interval '{hours} hours'"
    );
    run_sql(app.storage.pool(), &statement).await;
}

/// Another message in the session, so many hours ago, as a statement.
fn late_message(hours: i32) -> String {
    format!(
        "insert into message (id, project_id, session_id, direction, kind, body, encoding, segments, carrier_id, created_at)
         select gen_random_uuid(), project_id, id, 'inbound', 'text', 'late', 'gsm7', 1, 'SM' || gen_random_uuid(), now() - interval '{hours} hours'
           from session limit 1"
    )
}

#[tokio::test]
async fn the_views_by_hour_tell_what_the_raw_views_tell() {
    let app = facts::app().await;
    let mut connection = connect(&app, "textback").await;
    for (rolled_up, raw) in PAIRS {
        let order = |question: &str| format!("select * from ({question}) unordered order by unordered::text");
        let (found, expected) =
            (rows(&mut connection, &order(rolled_up)).await, rows(&mut connection, &order(raw)).await);
        assert!(!expected.is_empty() && found == expected, "{rolled_up}: {found:#?}, and raw: {expected:#?}");
    }
    must_be_equal(&app).await;
    // A second count, and a rebuild, change nothing.
    let before = dump(&app).await;
    count(&app).await;
    assert_eq!(dump(&app).await, before);
    let (done, told) = reporting(&app, &["rebuild"]);
    assert!(done && told.contains(r#""done":true"#), "{told}");
    assert_eq!(dump(&app).await, before);
}

#[tokio::test]
async fn percentiles_come_from_the_buckets() {
    let app = facts::app().await;
    // A hundred replies took 0.05 to 9.95 s.
    app.sql("insert into latency_rollup select project_id, hour - interval '3 hours', endpoint_id, agent_id, channel, agent_version, 'reply', latency_bound(n / 10.0 - 0.05), count(*), sum(n / 10.0 - 0.05) from (select * from latency_rollup limit 1) any_row, generate_series(1, 100) n group by 1, 2, 3, 4, 5, 6, 8").await;
    let page = include_str!("../../../docs/reporting.md");
    let (_, statement) = page.split_once("```sql\nwith bucket as").expect("a statement for percentiles");
    let statement = format!("with bucket as{}", statement.split("```").next().unwrap_or_default()).replace(
        "$__timeFilter(hour)",
        "hour < (select max(hour) - interval '2 hours' from reporting.latencies_by_hour_v1)",
    );
    let statement = statement.trim().trim_end_matches(';');
    let mut connection = connect(&app, "textback").await;
    assert_eq!(rows(&mut connection, statement).await, ["(5,10,10)"]);
}

#[tokio::test]
async fn an_empty_database_has_no_counts_and_is_not_behind() {
    let app = TestApp::new().await;
    count(&app).await;
    assert_eq!(dump(&app).await, Vec::<String>::new());
    let state = rollup::state(&mut *pooled(&app.storage).await).await.expect("a state");
    assert!(state.lag_seconds < 3_901.0 && state.backlog_hours == 0 && state.marked == 0, "{state:?}");
}

#[tokio::test]
async fn a_message_that_is_stored_late_is_counted_in_its_hour() {
    let app = two_days_ago().await;
    run_sql(app.storage.pool(), &late_message(47)).await;
    run_sql(app.storage.pool(), &late_message(24 * 400)).await;
    assert_eq!(differences(&app).await.len(), 4, "two messages and their segments are not counted");
    count(&app).await;
    must_be_equal(&app).await;
    assert_eq!(app.count("select count(*) from rollup_mark").await, 0);
}

/// A transaction wrote its message while the hour ran, and commits after the job passed.
#[tokio::test]
async fn an_hour_is_not_final_while_a_transaction_runs_that_may_have_written_to_it() {
    let app = two_days_ago().await;
    let mut long = pool(&app.database_url).await.begin().await.expect("a transaction");
    // Without triggers, as if the clock had been in that hour.
    let statement = format!(
        "set local idle_in_transaction_session_timeout = 0; set local session_replication_role = replica; {}",
        late_message(2)
    );
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *long).await.expect("written");
    // The last hours were not settled yet.
    app.sql("update rollup_progress set settled_until = settled_until - interval '3 hours', ended_until = ended_until - interval '3 hours'").await;
    count_what_is_final(&app).await;
    must_be_equal(&app).await;
    let lag = rollup::state(&mut *pooled(&app.storage).await).await.expect("a state").lag_seconds;
    assert!(lag > 10_800.0, "{lag}");
    let doctor = super::printed(&super::run(super::textback().arg("doctor").env("DATABASE_URL", &app.database_url)));
    assert!(doctor.contains("the counts for dashboards are") && doctor.contains("pg_stat_activity"), "{doctor}");
    long.commit().await.expect("committed");
    assert!(!differences(&app).await.is_empty(), "it is committed and not counted");
    count(&app).await;
    must_be_equal(&app).await;
    let doctor = super::printed(&super::run(super::textback().arg("doctor").env("DATABASE_URL", &app.database_url)));
    assert!(doctor.contains("the counts for dashboards are current"), "{doctor}");
}

#[tokio::test]
async fn a_report_that_comes_days_later_moves_the_delivery_in_its_hour() {
    let app = TestApp::with_agent(ECHO, serde_json::json!({"first_message": "process"})).await;
    app.simulator.report_statuses(false);
    app.answers(ADA, "hi").await;
    move_back(&app, 48).await;
    count(&app).await;
    let accepted = "select coalesce(sum(deliveries), 0)::bigint from delivery_rollup
                     where hour < now() - interval '47 hours' and status = 'accepted'";
    assert_eq!(app.count(accepted).await, 1);
    let sid: String =
        sqlx::query_scalar("select carrier_id from delivery").fetch_one(app.storage.pool()).await.expect("an id");
    let report = format!("AccountSid={ACCOUNT_SID}&MessageSid={sid}&MessageStatus=undelivered&ErrorCode=30003");
    assert!(app.post("status", &report, AUTH_TOKEN).await.status().is_success());
    count(&app).await;
    must_be_equal(&app).await;
    let failed = "select coalesce(sum(deliveries), 0)::bigint from delivery_rollup
                   where hour < now() - interval '47 hours' and status = 'failed' and error_code = 30003";
    assert_eq!(app.count(failed).await, 1);
}

#[tokio::test]
async fn a_session_that_is_answered_or_closed_later_is_counted_again() {
    let app = facts::app().await;
    move_back(&app, 30).await;
    count(&app).await;
    must_be_equal(&app).await;
    let unanswered =
        "select coalesce(sum(opened), 0)::bigint from session_rollup where session_case = 'outbound_without_reply'";
    assert_eq!(app.count(unanswered).await, 1);
    let [_, ben, _, _, eve, _] = super::CONTACTS;
    for contact in [eve, ben] {
        app.answers(contact, "hello there").await;
    }
    count(&app).await;
    must_be_equal(&app).await;
    assert_eq!(app.count(unanswered).await, 0);
    app.answers(ben, "good bye").await;
    count(&app).await;
    must_be_equal(&app).await;
}

/// Ninety days of hours, by two workers at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_at_once_count_each_row_once() {
    let app = facts::app().await;
    facts::add_many(&app).await;
    begin_again(&app).await;
    let (one, two) = (app.workers.rollups.clone(), app.workers.rollups.clone());
    let (one, two) =
        tokio::join!(tokio::spawn(async move { one.step().await }), tokio::spawn(async move { two.step().await }));
    let steps = one.expect("ended").expect("counted") + two.expect("ended").expect("counted");
    assert!(steps > 1, "both did something: {steps}");
    count(&app).await;
    must_be_equal(&app).await;
    // Of two that claim, one gets it, and the other one can't write under its token.
    app.sql("update rollup_progress set due_at = now()").await;
    let (mine, theirs) = (Uuid::now_v7(), Uuid::now_v7());
    assert!(rollup::claim(&mut *pooled(&app.storage).await, mine).await.expect("claimed"));
    assert!(!rollup::claim(&mut *pooled(&app.storage).await, theirs).await.expect("not claimed"));
    let all = rollup::Wanted {
        allowed: textback::domain::rollup::Allowed { live: true, marked: true, hours: 1 },
        early: true,
    };
    assert!(rollup::step(&app.storage, Some(theirs), all).await.expect("nothing").is_none());
    assert!(rollup::step(&app.storage, Some(mine), all).await.expect("a step").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_connection_ends_amid_a_step_leaves_nothing_half_done() {
    let app = two_days_ago().await;
    let before = dump(&app).await;
    run_sql(app.storage.pool(), &late_message(47)).await;
    // The last table of a step is locked, so all others are counted and not committed.
    let holder = app.lock_table("latency_rollup").await;
    let rollups = app.workers.rollups.clone();
    let counting = tokio::spawn(async move { rollups.step().await });
    app.until_one_waits().await;
    app.sql("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'").await;
    assert!(counting.await.expect("ended").is_err());
    holder.rollback().await.expect("unlocked");
    assert_eq!(dump(&app).await, before);
    count(&app).await;
    must_be_equal(&app).await;
}

/// kill -9 of the process, at each of its steps in turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_goes_on_where_it_was() {
    let app = facts::app().await;
    facts::add_many(&app).await;
    begin_again(&app).await;
    // The first hours are final once the transactions of the server's other databases are over.
    let wanted = rollup::Wanted {
        allowed: textback::domain::rollup::Allowed { live: false, marked: false, hours: 1 },
        early: true,
    };
    let began = Instant::now();
    while app.count("select count(*) from rollup_progress where oldest is not null").await == 0 {
        rollup::step(&app.storage, None, wanted).await.expect("a step");
        assert!(began.elapsed() < Duration::from_secs(60), "a transaction never ends");
    }
    let mut backlog = i64::MAX;
    for (nth, micros) in [(1, 0), (4, 900), (8, 3_000)] {
        app.sql("update rollup_progress set due_at = now(), leased_until = case when leased_until is not null then now() - interval '1 second' end").await;
        let mut work = app.command("work", &app.secret_key);
        work.env("TEXTBACK_FAILPOINT", format!("rollup.in_commit:{nth}:{micros}"));
        work.env("RUST_LOG", "off,textback::cli=info").stdout(Stdio::null());
        let dying = Running::start(&mut work, false);
        assert!(dying.aborts_within(Duration::from_secs(20)).await, "step {nth}");
        let left = app.count("select coalesce(extract(epoch from counted_from - oldest) / 3600, 100000)::bigint from rollup_progress").await;
        assert!(left <= backlog, "{left} hours are left, and {backlog} were");
        backlog = left;
    }
    assert!((1..2_160).contains(&backlog), "some were counted and some were not: {backlog}");
    count(&app).await;
    must_be_equal(&app).await;
}

#[tokio::test]
async fn the_newest_hours_of_a_backlog_come_first_and_the_rest_later() {
    let app = TestApp::with_agent(ECHO, serde_json::json!({"first_message": "process"})).await;
    app.answers(ADA, "hi").await;
    run_sql(app.storage.pool(), &late_message(10)).await;
    run_sql(app.storage.pool(), &late_message(24 * 365 * 3)).await;
    let wanted = |live| rollup::Wanted {
        allowed: textback::domain::rollup::Allowed { live, marked: false, hours: 24 },
        early: true,
    };
    // The hour that runs comes first, and then steps from the newest on.
    let began = Instant::now();
    for live in std::iter::once(true).chain(std::iter::repeat(false)) {
        rollup::step(&app.storage, None, wanted(live)).await.expect("a step");
        if app.count("select coalesce(sum(messages), 0)::bigint from message_rollup").await == 3 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "today's messages are not counted");
    }
    let backlog = rollup::state(&mut *pooled(&app.storage).await).await.expect("a state").backlog_hours;
    assert!((26_200..26_280).contains(&backlog), "{backlog}");
    count(&app).await;
    assert_eq!(app.count("select sum(messages)::bigint from message_rollup").await, 4);
    must_be_equal(&app).await;
}

#[tokio::test]
async fn counts_outlive_the_rows_that_retention_deletes() {
    let app = two_days_ago().await;
    let before = dump(&app).await;
    for table in ["delivery", "message"] {
        run_sql(app.storage.pool(), &format!("delete from {table} where created_at < now() - interval '1 day'")).await;
    }
    assert_eq!(app.count("select count(distinct hour) from rollup_frozen").await, 1);
    // What comes late to such an hour is not counted, and nothing of it is lost.
    run_sql(app.storage.pool(), &late_message(48)).await;
    count(&app).await;
    assert_eq!(app.count("select count(*) from rollup_mark").await, 0);
    assert_eq!(dump(&app).await, before);
    let (done, told) = reporting(&app, &["rebuild"]);
    assert!(done, "{told}");
    assert_eq!(dump(&app).await, before);
    // Rows of the hour that runs go with their counts.
    run_sql(app.storage.pool(), &late_message(0)).await;
    count(&app).await;
    app.sql("delete from message where created_at > now() - interval '1 day'").await;
    count(&app).await;
    let recent = "select count(*) from message_rollup where hour > now() - interval '1 day'";
    assert_eq!(app.count(recent).await, 0);
}

#[tokio::test]
async fn a_clock_that_goes_back_makes_hours_count_again() {
    let app = two_days_ago().await;
    // The hours until the day after tomorrow were final.
    app.sql("update rollup_progress set settled_until = settled_until + interval '2 days', ended_until = ended_until + interval '2 days'").await;
    app.answers("+14155550102", "hi").await;
    app.sql("update rollup_progress set count_at = now() + interval '1 hour'").await;
    count(&app).await;
    must_be_equal(&app).await;
    assert_eq!(app.count("select count(*) from rollup_progress where settled_until <= now()").await, 1);
}

#[tokio::test]
async fn a_transaction_id_of_another_server_does_not_stop_the_rollups() {
    let app = two_days_ago().await;
    app.sql("update rollup_progress set settled_until = settled_until - interval '3 hours', ended_by = '999999999999'")
        .await;
    count(&app).await;
    assert_eq!(app.count("select count(*) from rollup_progress where settled_until = ended_until").await, 1);
}

#[tokio::test]
async fn hours_are_of_utc_in_every_time_zone() {
    let app = TestApp::new().await;
    let mut connection = connect(&app, "textback").await;
    for zone in ["UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe"] {
        sqlx::raw_sql(AssertSqlSafe(format!("set time zone '{zone}'"))).execute(&mut connection).await.expect(zone);
        let question = "select textback.hour_of('2026-03-29 01:59:59.999+00') = '2026-03-29 01:00+00' as spring,
                               textback.hour_of('2026-11-01 06:00+00') = '2026-11-01 06:00+00' as autumn,
                               textback.hour_of('1999-12-31 23:30+00') = '1999-12-31 23:00+00' as before";
        assert_eq!(rows(&mut connection, question).await, ["(t,t,t)"], "{zone}");
    }
    connection.close().await.expect("closed");
}
