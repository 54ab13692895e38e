//! Tests the query plans of the busiest statements: each finds its rows by an index, without
//! statistics.

use std::collections::HashMap;

use sqlx::Connection;

use crate::harness::TestApp;

/// The plan of a statement that was prepared, on connections as the product opens them.
async fn plan(app: &TestApp, statement: &str, parameters: &str) -> String {
    let mut connection = app.storage.pool().acquire().await.expect("a connection");
    // What the connection remembers to have prepared goes with all others.
    connection.clear_cached_statements().await.expect("forgotten");
    // As they are made from the sixth time on, for any parameters.
    let general = "set plan_cache_mode = force_generic_plan".to_owned();
    for preparing in ["deallocate all".to_owned(), general, format!("prepare hot as {statement}")] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(preparing)).execute(&mut *connection).await.expect("prepared");
    }
    let parameters = if parameters.is_empty() { String::new() } else { format!("({parameters})") };
    let explain = format!("explain (costs off) execute hot{parameters}");
    let lines: Vec<String> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(explain)).fetch_all(&mut *connection).await.expect("a plan");
    lines.join("\n")
}

/// The plan as it is committed, so that a change of a statement shows its effect. Versions of
/// PostgreSQL word plans differently: those of 15 are kept.
async fn keep(app: &TestApp, name: &str, plan: &str) {
    let version = "select current_setting('server_version_num')::bigint / 10000";
    let version: i64 = sqlx::query_scalar(version).fetch_one(app.storage.pool()).await.expect("a version");
    if version == 15 {
        insta::with_settings!({snapshot_path => "../snapshots", prepend_module_to_snapshot => false}, {
            insta::assert_snapshot!(name.replace(' ', "_"), plan);
        });
    }
}

/// Every table that a plan reads is found by these indexes and no others, and nothing is read
/// whole.
fn must_use(plan: &str, indexes: &[&str]) {
    for line in plan.lines() {
        assert!(!line.contains("Seq Scan on") && !line.contains("Bitmap"), "{line}\n\n{plan}");
        if let Some((_, rest)) = line.split_once("Scan using ") {
            let index = rest.split(' ').next().unwrap_or_default();
            assert!(indexes.contains(&index), "{index}\n\n{plan}");
        }
    }
    for index in indexes {
        assert!(plan.contains(index), "{index} is not used\n\n{plan}");
    }
}

#[tokio::test]
async fn a_claim_of_turns_finds_each_sessions_messages_by_their_order() {
    let app = TestApp::new().await;
    let folder = "10, '{}', '{}', '{}', 10, '{}', '{}', '{}', 10, 30, '01900000-0000-7000-8000-000000000000', null";
    // As it is on a quiet evening: no turn waits while statistics are gathered, and the plan is
    // made of that.
    sqlx::query("analyze").execute(app.storage.pool()).await.expect("analyzed");
    let plan = plan(&app, include_str!("../../sql/queries/turn/claim.sql"), folder).await;
    keep(&app, "plan of a claim of turns", &plan).await;
    assert!(plan.contains("Tid Scan on turn"), "{plan}");
    must_use(
        &plan,
        &[
            "turn_that_is_due",
            "agent_version_pk",
            "message_in_order_of_a_session",
            "attachments_of_a_message_have_an_order",
            "session_pk",
            "number_pk",
        ],
    );
}

#[tokio::test]
async fn a_claim_of_deliveries_reads_live_rows_alone() {
    let app = TestApp::new().await;
    let folder = "10, '{}', '{}', '{}', 10, 30, '01900000-0000-7000-8000-000000000000', null";
    let plan = plan(&app, include_str!("../../sql/queries/delivery/claim.sql"), folder).await;
    keep(&app, "plan of a claim of deliveries", &plan).await;
    // Both hold live rows alone.
    for index in ["delivery_that_is_due", "delivery_in_order_of_a_contact", "message_pk"] {
        assert!(plan.contains(index), "{index} is not used\n\n{plan}");
    }
    assert!(!plan.contains("Seq Scan on") && !plan.contains("Bitmap"), "{plan}");
}

/// No table that grows is read whole, nor is one of its indexes but these: each of its rows is
/// looked up by the first column of one.
async fn must_look_up(app: &TestApp, what: &str, plan: &str, but: &[&str]) {
    let read = "select relname::text, pg_get_indexdef(indexrelid, 1, true)
                  from pg_index join pg_class on pg_class.oid = indexrelid where relnamespace = 'textback'::regnamespace";
    let first: HashMap<String, String> =
        sqlx::query_as(read).fetch_all(app.storage.pool()).await.expect("indexes").into_iter().collect();
    let lines: Vec<&str> = plan.lines().chain([""]).collect();
    let grows = ["session", "message", "delivery", "turn", "inactivity", "consent", "number", "endpoint"];
    for pair in lines.windows(2) {
        assert!(!pair[0].contains("Seq Scan on") && !pair[0].contains("Bitmap"), "{what}: {}\n\n{plan}", pair[0]);
        let scan = pair[0].split_once(" using ").and_then(|(_, scan)| scan.split_once(" on "));
        let Some((index, table)) = scan else { continue };
        if grows.contains(&table.split(' ').next().unwrap_or_default()) && !but.contains(&index) {
            let looked_up = format!("({} ", first[index]);
            assert!(pair[1].contains("Index Cond") && pair[1].contains(&looked_up), "{what}: {}\n\n{plan}", pair[0]);
        }
    }
}

/// Nothing for each parameter of a statement.
async fn nothing_for(app: &TestApp, statement: &str) -> String {
    let mut connection = app.storage.pool().acquire().await.expect("a connection");
    let prepare = sqlx::AssertSqlSafe(format!("prepare typed as {statement}"));
    sqlx::raw_sql(prepare).execute(&mut *connection).await.expect("prepared");
    let read = "select coalesce(string_agg('null::' || type::text, ', ' order by place), '')
                  from pg_prepared_statements, unnest(parameter_types) with ordinality as parameter (type, place)
                 where name = 'typed'";
    let nothing = sqlx::query_scalar(read).fetch_one(&mut *connection).await.expect("types");
    sqlx::raw_sql("deallocate typed").execute(&mut *connection).await.expect("forgotten");
    nothing
}

/// Statistics of empty tables, as a new database may have them, make a join read a whole index:
/// plans last until new ones are gathered.
#[tokio::test]
async fn workers_look_up_each_row_whatever_the_statistics_say() {
    let app = TestApp::new().await;
    sqlx::query("analyze").execute(app.storage.pool()).await.expect("analyzed");
    let folders = [
        "sql/queries/turn/",
        "sql/queries/delivery/",
        "sql/queries/unknown/",
        "sql/queries/inactivity/",
        "sql/queries/inbound/",
    ];
    let statements = crate::tidy::files("sql", "sql");
    let statements: Vec<_> =
        statements.into_iter().filter(|(path, _)| folders.iter().any(|folder| path.starts_with(folder))).collect();
    assert!(statements.len() > 10, "{statements:?}");
    for (path, statement) in statements {
        let plan = plan(&app, &statement, &nothing_for(&app, &statement).await).await;
        // They hold what waits alone; the second is asked for its first row.
        must_look_up(&app, &path, &plan, &["delivery_in_order_of_a_contact", "inactivity_that_is_due"]).await;
    }
}

/// The last statement of a function, its parameters and variables made those of a prepared
/// statement. `messages`: the type of its parameter of that name.
async fn answer_of(app: &TestApp, function: &str, messages: &str) -> String {
    let read = "select prosrc from pg_proc where proname = $1 and pronamespace = 'textback'::regnamespace";
    let source: String =
        sqlx::query_scalar(read).bind(function).fetch_one(app.storage.pool()).await.expect("a function");
    let mut answer = if let Some((_, value)) = source.split_once("ctids := ") {
        // What it locks first, and what it stores of that.
        let (value, stored) = value.split_once(";\n    return query\n").expect("a statement");
        let (stored, _) = stored.rsplit_once(";\nend").expect("its end");
        stored.replace("unnest(ctids,", &format!("unnest(({value}),"))
    } else {
        let (_, answer) =
            source.split_once("return query").or_else(|| source.split_once("\nbegin\n")).expect("a statement");
        let (answer, _) = answer.rsplit_once("end").expect("its end");
        let (answer, _) = answer.rsplit_once("return seqs;").unwrap_or((answer, ""));
        answer.trim().trim_end_matches(';').to_owned()
    };
    let messages = format!("({messages}[])");
    let arrays = [
        ("(turns)", "(settled_turn[])"),
        ("(messages)", messages.as_str()),
        ("(silent)", "(silent_turn[])"),
        (
            "(turns, sessions, tokens, endpoints, contacts, seen_seqs)",
            "(uuid[], uuid[], uuid[], uuid[], text[], bigint[])",
        ),
        ("(ids, tokens)", "(uuid[], uuid[])"),
        ("(due)", "(uuid[])"),
    ];
    for (values, of_type) in [
        (" statuses,", "text"),
        (" due_in_seconds,", "double precision"),
        (" carrier_ids,", "text"),
        (" error_codes,", "integer"),
        (" error_classes,", "text"),
        (" error_details,", "text"),
    ] {
        answer = answer.replacen(values, &format!(" $1::text::{of_type}[],"), 1);
    }
    answer = answer.replacen(" sources)", " $1::text::text[])", 1);
    for (arguments, types) in arrays {
        let types = types.trim_matches(['(', ')']).split(", ").map(|name| format!("$1::text::{name}"));
        let typed = format!("unnest({})", types.collect::<Vec<_>>().join(", "));
        answer = answer.replace(&format!("unnest{arguments}"), &typed);
    }
    answer
        .replace("history || accepted", "history || '[]'::jsonb")
        .replace("seqs[", "('{}'::bigint[])[")
        .replace("locked.endpoints[", "('{}'::uuid[])[")
        .replace("locked.agents[", "('{}'::uuid[])[")
        .replace("locked.environments[", "('{}'::text[])[")
        .replace("claim_token", "null::uuid")
        .replace("claim_seconds", "30")
        .replace("this_time", "now()")
        .replace("first_step", "'[]'::jsonb")
}

#[tokio::test]
async fn a_batch_finds_each_of_its_rows_whatever_the_statistics_say() {
    let app = TestApp::new().await;
    sqlx::query("analyze").execute(app.storage.pool()).await.expect("analyzed");
    for (function, row, wanted) in [
        (
            "load_inbound",
            "inbound_message",
            [
                "carrier_message_is_recorded_once",
                "one_session_not_closed_per_endpoint_contact_and_channel",
                "session_newest_of_a_contact",
            ],
        ),
        (
            "store_inbound",
            "inbound_decision",
            ["session_pk", "a_session_has_one_inactivity_job", "Tid Scan on session"],
        ),
        (
            "load_turns",
            "",
            ["a_session_has_one_turn_at_a_time", "message_in_order_of_a_session", "delivery_in_order_of_a_contact"],
        ),
        ("store_turns", "planned_message", ["a_session_has_one_turn_at_a_time", "session_pk", "Tid Scan on session"]),
        (
            "load_inactive_sessions",
            "",
            ["session_pk", "a_session_has_one_turn_at_a_time", "delivery_in_order_of_a_contact"],
        ),
        (
            "settle_deliveries",
            "",
            ["a_message_has_one_delivery", "Tid Scan on delivery", "delivery_in_order_of_a_contact"],
        ),
    ] {
        let plan = plan(&app, &answer_of(&app, function, row).await, "'{}'").await;
        keep(&app, &format!("plan of {function}"), &plan).await;
        must_look_up(&app, function, &plan, &[]).await;
        for part in wanted {
            assert!(plan.contains(part), "{function}: {part} is not used\n\n{plan}");
        }
    }
}

/// Statements inside functions, in their words.
#[tokio::test]
async fn what_functions_ask_for_each_text_is_found_at_once() {
    let app = TestApp::new().await;
    let id = "'01900000-0000-7000-8000-000000000000'::uuid";
    for (statement, parameters, index) in [
        (
            "select exists (select 1 from message where session_id = $1 and direction = 'inbound' and skip_reason is null and seq > $2)",
            format!("{id}, 1"),
            "message_in_order_of_a_session",
        ),
        (
            "select id, session_id from message where project_id = $1 and carrier_id = $2 and direction = 'inbound'",
            format!("{id}, 'SM1'"),
            "carrier_message_is_recorded_once",
        ),
        (
            "select id from session where endpoint_id = $1 and contact = $2 and channel = 'sms' and status <> 'closed' for update",
            format!("{id}, '+1'"),
            "one_session_not_closed_per_endpoint_contact_and_channel",
        ),
        (
            "select id, paused_until from session where project_id = $1 and contact = $2 and endpoint_id = $3 and channel = 'sms' order by id desc limit 1",
            format!("{id}, '+1', {id}"),
            "session_newest_of_a_contact",
        ),
        (
            "select body, skip_reason, created_at from message where session_id = $1 and direction = 'inbound' and kind = 'text' order by seq desc limit 1000",
            id.to_owned(),
            "message_in_order_of_a_session",
        ),
    ] {
        must_use(&plan(&app, statement, &parameters).await, &[index]);
    }
}
