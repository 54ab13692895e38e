//! Tests rules that all tables and functions of the schema follow, by the catalogue of PostgreSQL.

use std::collections::BTreeSet;

use sqlx::{PgPool, Row};
use textback::domain::{
    agent, agent_error, consent, country, delivery, llm, message, metric_sample, number, quarantine, reply_filter,
    segments, session, turn_settlement,
};

use crate::harness::{new_database, pool};

#[tokio::test]
async fn every_table_has_a_primary_key() {
    let pool = pool(&new_database().await).await;
    let without: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class
          where relnamespace = 'textback'::regnamespace and relkind = 'r' and relname <> '_sqlx_migrations'
            and not exists (select 1 from pg_constraint where conrelid = pg_class.oid and contype = 'p')",
    )
    .fetch_all(&pool)
    .await
    .expect("an answer");
    assert_eq!(without, Vec::<String>::new());
}

#[tokio::test]
async fn every_constraint_has_a_name_that_somebody_chose() {
    let pool = pool(&new_database().await).await;
    let generated: Vec<String> = sqlx::query_scalar(
        "select coalesce(nullif(conrelid, 0)::regclass::text, contypid::regtype::text) || '.' || conname from pg_constraint
          where connamespace = 'textback'::regnamespace and contype in ('c', 'f', 'p', 'u')
            and conrelid <> '_sqlx_migrations'::regclass
            and conname ~ '(_check[0-9]*|_fkey[0-9]*|_key[0-9]*|_pkey)$'",
    )
    .fetch_all(&pool)
    .await
    .expect("an answer");
    assert_eq!(generated, Vec::<String>::new());
}

/// Fails unless each table or view (`kind`: `r` or `v`, as pg_class has it) of a schema, and each
/// of its columns, has a comment that says its unit and meaning. Returns how many comments it read.
pub async fn assert_comments(pool: &PgPool, schema: &str, kind: &str) -> usize {
    let commented: Vec<(String, Option<String>)> = sqlx::query_as(
        "select relname || coalesce('.' || attname, ''),
                case when attnum is null then obj_description(pg_class.oid, 'pg_class') else col_description(pg_class.oid, attnum) end
           from pg_class
           join pg_namespace on pg_namespace.oid = relnamespace and nspname = $1
           join (select attrelid, attnum, attname from pg_attribute where attnum > 0 and not attisdropped
                 union all select oid, null, null from pg_class) part on attrelid = pg_class.oid
          where relkind::text = $2 and relname <> '_sqlx_migrations' order by 1",
    )
    .bind(schema)
    .bind(kind)
    .fetch_all(pool)
    .await
    .expect("comments");
    for (of, comment) in &commented {
        let comment = comment.as_ref().unwrap_or_else(|| panic!("{schema}.{of} has no comment"));
        assert!(comment.len() > 15 && comment.ends_with('.'), "{of}: {comment}");
        for (ending, unit) in [("_seconds", "Seconds "), ("_at", "Time "), ("_id", "Id "), ("_messages", "Count ")] {
            assert!(!of.ends_with(ending) || comment.starts_with(unit), "{of} does not say its unit: {comment}");
        }
    }
    commented.len()
}

#[tokio::test]
async fn every_table_and_column_has_a_comment_that_says_its_unit_and_meaning() {
    let count = assert_comments(&pool(&new_database().await).await, "textback", "r").await;
    assert!(count > 300, "{count}");
}

/// The constraints on columns whose words are those of an enum. `endpoint.kind` has no such enum.
const WORDS: [(&str, &[&str]); 34] = [
    ("agent_environment_is_known", agent::Environment::WORDS),
    ("agent_error_code_is_known", agent_error::AgentErrorCode::WORDS),
    ("agent_kind_is_known", agent::AgentKind::WORDS),
    ("confidence_is_known", country::Confidence::WORDS),
    ("consent_kind_is_known", consent::ConsentKind::WORDS),
    ("consent_source_is_known", consent::ConsentSource::WORDS),
    ("delivery_status_is_known", delivery::DeliveryStatus::WORDS),
    ("first_message_is_known", agent::FirstMessage::WORDS),
    ("links_setting_is_known", reply_filter::Links::WORDS),
    ("markdown_setting_is_known", reply_filter::Markdown::WORDS),
    ("message_direction_is_known", message::Direction::WORDS),
    ("message_encoding_is_known", segments::Encoding::WORDS),
    ("message_kind_is_known", message::MessageKind::WORDS),
    ("message_skip_reason_is_known", message::SkipReason::WORDS),
    ("metric_sample_name_is_known", metric_sample::SampleKind::WORDS),
    ("number_desired_state_is_known", number::DesiredState::WORDS),
    ("number_refusal_reason_is_known", number::NumberRefusal::WORDS),
    ("number_registration_is_known", number::RegistrationStatus::WORDS),
    ("number_send_policy_is_known", number::SendPolicy::WORDS),
    ("number_webhook_is_known", number::WebhookState::WORDS),
    ("own_registration_policy_is_known", number::RegistrationPolicy::WORDS),
    ("quarantine_kind_is_known", quarantine::QuarantineKind::WORDS),
    ("quarantine_replay_outcome_is_known", quarantine::ReplayOutcome::WORDS),
    ("reactions_setting_is_known", agent::Reactions::WORDS),
    ("registration_policy_is_known", number::RegistrationPolicy::WORDS),
    ("scheduled_message_refusal_reason_is_known", delivery::RefusalReason::WORDS),
    ("model_finish_is_known", llm::ModelFinish::WORDS),
    ("session_channel_is_known", session::Channel::WORDS),
    ("session_close_reason_is_known", session::CloseReason::WORDS),
    ("session_origin_is_known", session::SessionOrigin::WORDS),
    ("session_status_is_known", session::SessionStatus::WORDS),
    ("turn_end_is_known", turn_settlement::TurnEnd::WORDS),
    ("turn_error_code_is_known", agent_error::AgentErrorCode::WORDS),
    ("what_a_scheduled_message_waits_for_is_known", message::WaitReason::WORDS),
];

#[tokio::test]
async fn a_column_takes_the_words_of_its_enum_and_no_others() {
    let pool = pool(&new_database().await).await;
    let checks: Vec<(String, String)> = sqlx::query_as(
        "select conname::text, pg_get_constraintdef(oid) from pg_constraint
          where connamespace = 'textback'::regnamespace and conname like '%\\_is\\_known' order by conname",
    )
    .fetch_all(&pool)
    .await
    .expect("an answer");
    let has_an_enum = |name: &str| name != "endpoint_kind_is_known";
    for (name, check) in checks.iter().filter(|(name, _)| has_an_enum(name)) {
        let (_, words) = WORDS.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{name} has no enum"));
        let (_, list) = check.split_once("ARRAY[").expect("a list");
        let allowed: BTreeSet<&str> = list.split('\'').skip(1).step_by(2).collect();
        assert_eq!(allowed, words.iter().copied().collect(), "{name}");
    }
    assert_eq!(checks.iter().filter(|(name, _)| has_an_enum(name)).count(), WORDS.len());
}

#[tokio::test]
async fn every_time_has_a_time_zone_and_no_text_a_length() {
    let pool = pool(&new_database().await).await;
    let odd: Vec<String> = sqlx::query_scalar(
        "select table_name || '.' || column_name from information_schema.columns
          where table_schema = 'textback' and table_name <> '_sqlx_migrations'
            and data_type in ('timestamp without time zone', 'character varying', 'character')",
    )
    .fetch_all(&pool)
    .await
    .expect("an answer");
    assert_eq!(odd, Vec::<String>::new());
}

#[tokio::test]
async fn no_function_takes_a_lock_that_outlives_its_transaction() {
    let pool = pool(&new_database().await).await;
    let sources: Vec<String> =
        sqlx::query_scalar("select prosrc from pg_proc where pronamespace = 'textback'::regnamespace")
            .fetch_all(&pool)
            .await
            .expect("an answer");
    for source in sources {
        assert!(!source.contains("pg_advisory_lock") && !source.contains("pg_try_advisory_lock"), "{source}");
        assert!(!source.to_lowercase().contains("pg_notify"), "NOTIFY stands in no transaction that writes");
    }
}

/// pg_dump, pg_restore and logical replication run with an empty search path: what the rows are
/// made by must not depend on it.
#[tokio::test]
async fn every_function_has_a_fixed_search_path() {
    let pool = pool(&new_database().await).await;
    let others: Vec<String> = sqlx::query_scalar(
        "select oid::regprocedure::text from pg_proc
          where pronamespace = 'textback'::regnamespace
            and prosqlbody is null and not coalesce(proconfig, '{}') @> array['search_path=textback, pg_temp']",
    )
    .fetch_all(&pool)
    .await
    .expect("an answer");
    assert_eq!(others, Vec::<String>::new(), "write: set search_path = textback, pg_temp");
    // A function in SQL that is not taken into its statement is planned at each call: 20 us for
    // lock_contact. One with a body of the standard ("return …") is bound to what it names when it
    // is created, and is taken into its statement.
    let in_sql: Vec<String> = sqlx::query_scalar(
        "select proname::text from pg_proc
          where pronamespace = 'textback'::regnamespace and prosqlbody is null
            and prolang = (select oid from pg_language where lanname = 'sql')",
    )
    .fetch_all(&pool)
    .await
    .expect("an answer");
    assert_eq!(in_sql, Vec::<String>::new(), "write them in plpgsql");
}

/// Generated columns, defaults, checks, indexes, views and triggers are stored with what they mean,
/// and not with names to be looked up. They depend on the session only by a function that does: so
/// they may call those of PostgreSQL that read no names, and our own.
#[tokio::test]
async fn no_expression_of_the_schema_depends_on_the_session() {
    let pool = pool(&new_database().await).await;
    let strangers: Vec<String> = sqlx::query_scalar(
        "select distinct p.oid::regprocedure::text
           from pg_depend d join pg_proc p on d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid
          where d.classid in ('pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_class'::regclass, 'pg_rewrite'::regclass, 'pg_trigger'::regclass)
            and p.pronamespace not in ('pg_catalog'::regnamespace, 'textback'::regnamespace, 'information_schema'::regnamespace)",
    )
    .fetch_all(&pool)
    .await
    .expect("an answer");
    assert_eq!(strangers, Vec::<String>::new());
    let expressions: Vec<String> = sqlx::query_scalar(
        "select pg_get_expr(adbin, adrelid) from pg_attrdef join pg_class on pg_class.oid = adrelid where relnamespace = 'textback'::regnamespace
         union all select pg_get_constraintdef(oid) from pg_constraint where connamespace = 'textback'::regnamespace
         union all select indexdef from pg_indexes where schemaname = 'textback'
         union all select definition from pg_views where schemaname = 'textback'",
    )
    .fetch_all(&pool)
    .await
    .expect("an answer");
    assert!(expressions.len() > 200, "{}", expressions.len());
    for expression in expressions {
        let reads = ["current_setting(", "current_schema", "regclass", "regproc", "regtype", "to_reg", "search_path"];
        let found = reads.iter().find(|word| expression.contains(**word));
        assert!(found.is_none(), "{found:?} in {expression}");
    }
}

/// Invariant 12: ids, tokens and other volatile values are parameters, since an UPDATE of a
/// distributed table takes none.
#[test]
fn no_volatile_function_stands_in_an_update() {
    let volatile = ["gen_random_uuid(", "clock_timestamp(", "random(", "nextval("];
    let mut updates = 0;
    for (path, text) in crate::tidy::files("migrations", "sql").into_iter().chain(crate::tidy::files("sql", "sql")) {
        let code: String =
            text.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join("\n");
        for statement in code
            .to_lowercase()
            .split(';')
            .filter(|statement| statement.contains("update ") && statement.contains(" set "))
        {
            updates += 1;
            let found = volatile.iter().find(|name| statement.contains(**name));
            assert!(found.is_none(), "{path}: {found:?} in {statement}");
        }
    }
    assert!(updates > 40, "{updates}");
}

/// What belongs to something can't be without it, though no foreign key says so: many rows are
/// looked up at once.
#[tokio::test]
async fn messages_belong_to_sessions_and_deliveries_to_messages() {
    let app =
        crate::harness::TestApp::with_agent(crate::harness::ECHO, serde_json::json!({"first_message": "process"}))
            .await;
    app.answers(crate::harness::ADA, "hi").await;
    let delivery = "insert into delivery (id, project_id, session_id, number_id, contact, seq, due_at)
                    select gen_random_uuid(), project_id, session_id, number_id, contact, seq + 1, now() from delivery";
    let message = "insert into message (id, project_id, session_id, direction, kind, body)
                   select gen_random_uuid(), project_id, gen_random_uuid(), 'outbound', 'text', 'x' from session";
    let (of_a_message, of_a_session) = ("delivery_belongs_to_a_message", "message_belongs_to_a_session");
    for (breaking, constraint) in [
        (delivery, of_a_message),
        ("delete from message where direction = 'outbound'", of_a_message),
        (message, of_a_session),
        ("update message set session_id = gen_random_uuid()", of_a_session),
        ("delete from inactivity; delete from session", of_a_session),
    ] {
        let mut connection = app.storage.pool().begin().await.expect("a transaction");
        let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(breaking)).execute(&mut *connection).await.expect_err(breaking);
        assert_eq!(textback::storage::refused_by(&refused), Some(constraint), "{breaking}: {refused}");
    }
    // In the right order all of it goes.
    app.sql("delete from delivery").await;
    app.sql("delete from message").await;
    app.sql("delete from inactivity").await;
    app.sql("delete from session").await;
}

/// What marks work and what moves on every message is touched without touching an index.
#[tokio::test]
async fn the_hot_columns_stand_in_no_index() {
    let pool = pool(&new_database().await).await;
    let indexes: Vec<(String, String)> = sqlx::query_as(
        "select tablename::text, indexdef from pg_indexes where schemaname = 'textback' and tablename in ('session', 'turn', 'delivery')",
    )
    .fetch_all(&pool)
    .await
    .expect("an answer");
    for (table, definition) in indexes {
        for column in
            ["last_message_at", "handled_seq", "state", "lease_token", "leased_until", "attempts", "updated_at"]
        {
            assert!(!definition.contains(column), "{table}: {definition}");
        }
        assert!(table != "delivery" || !definition.contains("status"), "a status callback would touch {definition}");
    }
}

/// The schema as it is, committed, so that a migration shows what it changes.
#[tokio::test]
async fn the_schema_is_the_committed_one() {
    let pool = pool(&new_database().await).await;
    let rows = sqlx::query(
        "select what from (
             select 1 as part, c.relname::text || '.' || lpad(a.attnum::text, 2, '0') as place,
                    'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
                        || case when a.attnotnull then ' not null' else '' end
                        || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') as what
               from pg_attribute a
               join pg_class c on c.oid = a.attrelid and c.relkind = 'r'
               left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
              where c.relnamespace = 'textback'::regnamespace and a.attnum > 0 and not a.attisdropped
             union all
             select 0, t.typname, 'domain ' || t.typname || ' ' || format_type(t.typbasetype, t.typtypmod)
                        || ' constraint ' || c.conname || ' ' || pg_get_constraintdef(c.oid)
               from pg_type t join pg_constraint c on c.contypid = t.oid where t.typnamespace = 'textback'::regnamespace
             union all
             select 2, conrelid::regclass || '.' || conname,
                    'constraint ' || conrelid::regclass || '.' || conname || ' ' || pg_get_constraintdef(oid)
               from pg_constraint where connamespace = 'textback'::regnamespace and contype in ('c', 'f', 'p', 'u') and conrelid <> 0
             union all
             select 3, tablename || '.' || indexname, replace(indexdef, 'textback.', '') from pg_indexes where schemaname = 'textback'
             union all
             select 4, p.proname, 'function ' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ') returns ' || pg_get_function_result(p.oid)
                    || ' ' || l.lanname || coalesce(' set ' || array_to_string(p.proconfig, ' set '), '') || coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)
               from pg_proc p join pg_language l on l.oid = p.prolang where p.pronamespace = 'textback'::regnamespace
             union all
             select 5, tgname, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
         ) schema where place not like '\\_sqlx%' order by part, place, what",
    )
    .fetch_all(&pool)
    .await
    .expect("the schema");
    let lines: Vec<String> = rows.iter().map(|row| row.get::<String, _>("what")).collect();
    insta::with_settings!({snapshot_path => "../snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("schema", lines.join("\n"));
    });
}

/// Every statement in `sql/queries/` fits the schema: the server prepares each.
#[tokio::test]
async fn every_statement_fits_the_schema() {
    let pool = pool(&new_database().await).await;
    let mut connection = pool.acquire().await.expect("a connection");
    // A block can't be prepared; the server reads it when it runs.
    for (path, text) in
        crate::tidy::files("sql/queries", "sql").into_iter().filter(|(_, text)| !text.contains("\ndo $$"))
    {
        let statement = format!("prepare probe as {text}");
        let prepared = sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut *connection).await;
        assert!(prepared.is_ok(), "{path}: {prepared:?}");
        sqlx::raw_sql("deallocate probe").execute(&mut *connection).await.expect("forgotten");
    }
}

/// A view that could not be broken would prove nothing: each is shown a row that breaks it.
#[tokio::test]
async fn every_invariant_notices_when_it_is_broken() {
    let app =
        crate::harness::TestApp::with_agent(crate::harness::ECHO, serde_json::json!({"first_message": "process"}))
            .await;
    app.answers(crate::harness::ADA, "hi").await;
    app.text("+14155550102", "waits").await;
    // Adds a message to every session; a warning has this timeout.
    let message = |kind: &str, inactivity: u32| {
        let (direction, sid) = if kind == "text" { ("inbound", "gen_random_uuid()") } else { ("outbound", "null") };
        let inactivity = if kind == "warning" { inactivity.to_string() } else { "null".to_owned() };
        format!(
            "insert into message (id, project_id, session_id, direction, kind, body, carrier_id, inactivity_seconds)
             select gen_random_uuid(), project_id, id, '{direction}', '{kind}', 'x', {sid}, {inactivity} from session"
        )
    };
    for (view, breaking) in [
        (
            "01",
            "drop index carrier_message_is_recorded_once; update message set carrier_id = 'SM1' where direction = 'inbound'",
        ),
        ("02", "drop index one_session_not_closed_per_endpoint_contact_and_channel; update session set contact = '+1'"),
        ("03", "delete from turn"),
        ("04", "update session set status = 'closed', closed_at = now(), close_reason = 'operator_ended'"),
        (
            "04",
            "insert into turn (session_id, id, project_id, agent_id, due_at) select gen_random_uuid(), gen_random_uuid(), project_id, agent_id, now() from session",
        ),
        ("05", "delete from delivery"),
        ("06", "update delivery set due_at = now(), status = 'sent'"),
        (
            "07",
            "insert into consent (id, project_id, endpoint_id, contact, kind, source, recorded_at)
             select gen_random_uuid(), project_id, number_id, contact, 'opted_out', 'operator', attempted_at - interval '1 second'
               from delivery where attempted_at is not null",
        ),
        (
            "07",
            "delete from delivery;
             insert into consent (id, project_id, endpoint_id, contact, kind, source, recorded_at)
             select gen_random_uuid(), project_id, endpoint_id, contact, 'opted_out', 'operator', now() from session",
        ),
        ("08", &message("warning", 3600)),
        (
            "08",
            &format!(
                "{}; {}; update session set status = 'closed', closed_at = now(), close_reason = 'timed_out'",
                message("warning", 0),
                message("text", 0)
            ),
        ),
        ("09", &format!("{0}; {0}", message("warning", 0))),
        ("09", &format!("{}; {}", message("closing", 0), message("text", 0))),
        ("09", "update session set status = 'closed', closed_at = now(), close_reason = 'operator_ended'"),
        ("09", "delete from inactivity"),
        ("10", "update session set last_message_at = now() + interval '1 hour'"),
        ("11", "set local session_replication_role = replica; delete from message"),
        ("11", "set local session_replication_role = replica; delete from message; delete from delivery"),
        ("11", "set local session_replication_role = replica; update message set session_id = gen_random_uuid()"),
        ("11", "set local session_replication_role = replica; delete from number"),
        ("11", "set local session_replication_role = replica; delete from endpoint"),
        ("11", "set local session_replication_role = replica; delete from agent"),
        ("11", "set local session_replication_role = replica; delete from agent_version"),
        ("11", "set local session_replication_role = replica; delete from project"),
        ("11", "set local session_replication_role = replica; delete from session; delete from message; delete from delivery"),
        (
            "11",
            "insert into turn_without_message (id, project_id, session_id, attempts, failures, outcome, created_at)
             select gen_random_uuid(), id, gen_random_uuid(), 1, 0, 'silent', now() from project",
        ),
        (
            "11",
            "set local session_replication_role = replica;
             insert into attachment (id, project_id, message_id, position, url)
             select gen_random_uuid(), id, gen_random_uuid(), 0, 'https://example.com' from project",
        ),
        (
            "11",
            "set local session_replication_role = replica;
             insert into consent (id, project_id, endpoint_id, contact, kind, source, message_id, recorded_at)
             select gen_random_uuid(), id, (select id from number), '+1', 'opted_in', 'keyword', gen_random_uuid(), now() from project",
        ),
        (
            "11",
            "set local session_replication_role = replica;
             insert into scheduled_message (id, project_id, number_id, contact, body, on_active_session, heeds_quiet_hours, send_at, due_at)
             select gen_random_uuid(), id, gen_random_uuid(), '+1', 'x', 'join', false, now(), now() from project",
        ),
        (
            "12",
            "insert into message (id, seq, project_id, session_id, direction, kind, body) overriding system value
             select gen_random_uuid(), 1000000, project_id, id, 'outbound', 'text', 'x' from session",
        ),
        (
            "12",
            "insert into consent (id, seq, project_id, endpoint_id, contact, kind, source, recorded_at) overriding system value
             select gen_random_uuid(), 1000000, project_id, id, '+1', 'opted_in', 'keyword', now() from number",
        ),
    ] {
        let mut connection = app.storage.pool().begin().await.expect("a transaction");
        sqlx::raw_sql(sqlx::AssertSqlSafe(breaking)).execute(&mut *connection).await.expect(view);
        let name: String =
            sqlx::query_scalar("select viewname::text from pg_views where viewname like 'invariant_' || $1 || '%'")
                .bind(view)
                .fetch_one(&mut *connection)
                .await
                .expect(view);
        let statement = sqlx::AssertSqlSafe(format!("select count(*) from {name}"));
        let rows: i64 = sqlx::query_scalar(statement).fetch_one(&mut *connection).await.expect(view);
        assert!(rows > 0, "{name} does not notice");
    }
    app.run_jobs().await;
}
