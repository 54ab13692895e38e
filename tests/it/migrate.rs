//! `migrate` beside live traffic and beside another `migrate`: what it replaces, what it leaves
//! alone, and what it waits for.

use sqlx::{AssertSqlSafe, PgPool};

use crate::harness::{empty_database, new_database, pool};

async fn text(pool: &PgPool, statement: &str) -> String {
    sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(pool).await.expect(statement)
}

async fn run(pool: &PgPool, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(pool).await.expect(statement);
}

/// Every row of the catalogue and of the data that migrate could write, with the transaction that
/// wrote it last.
const VERSIONS: &str = "select md5(string_agg(row, ' ' order by row)) from (
         select 'function ' || oid || ' ' || xmin || ' ' || proname as row from pg_proc where pronamespace = 'textback'::regnamespace
         union all select 'trigger ' || oid || ' ' || xmin from pg_trigger
         union all select 'relation ' || oid || ' ' || xmin from pg_class where relnamespace = 'textback'::regnamespace and relkind = 'v'
         union all select 'comment ' || objoid || ' ' || objsubid || ' ' || xmin from pg_description where classoid = 'pg_class'::regclass
         union all select 'rule ' || oid || ' ' || xmin from pg_rewrite
         union all select 'country ' || xmin || ' ' || xmax || ' ' || iso2 from sms_country) rows";

#[tokio::test]
async fn a_second_migrate_writes_nothing_and_waits_for_no_table() {
    let url = new_database().await;
    let pool = pool(&url).await;
    let before = text(&pool, VERSIONS).await;
    // Somebody holds every table in the strongest mode that lets others read, such as a migration
    // of an operator's.
    let mut holder = pool.begin().await.expect("a transaction");
    sqlx::raw_sql("lock table message, session, delivery, consent, agent_version in exclusive mode")
        .execute(&mut *holder)
        .await
        .expect("locked");
    textback::storage::migrate(&url).await.expect("nothing to do");
    holder.rollback().await.expect("released");
    assert_eq!(text(&pool, VERSIONS).await, before);
}

#[tokio::test]
async fn migrates_at_once_make_one_schema() {
    let url = empty_database("migrates_at_once").await;
    let all = futures::future::join_all((0..4).map(|_| textback::storage::migrate(&url))).await;
    for done in all {
        done.expect("a schema");
    }
    let functions = "select count(*)::text from pg_proc where pronamespace = 'textback'::regnamespace";
    assert_eq!(text(&pool(&url).await, functions).await, text(&pool(&new_database().await).await, functions).await);
}

#[tokio::test]
async fn a_function_that_was_changed_in_the_database_is_replaced_and_keeps_its_grants() {
    let url = new_database().await;
    let pool = pool(&url).await;
    let source = "select prosrc from pg_proc where proname = 'has_opted_out'";
    let rights = "select proacl::text from pg_proc where proname = 'has_opted_out'";
    let trigger = "select pg_get_triggerdef(oid) from pg_trigger where tgname = 'consent_is_append_only'";
    let view = "select pg_get_viewdef('invariant_03_no_message_forgotten'::regclass)";
    let others = "select string_agg(xmin::text, ' ' order by oid) from pg_proc
                   where pronamespace = 'textback'::regnamespace and proname <> 'has_opted_out'";
    let ours = (text(&pool, source).await, text(&pool, trigger).await, text(&pool, view).await);
    let role = format!("reader_{}", uuid::Uuid::now_v7().simple());
    run(&pool, &format!("create role {role}; revoke execute on function has_opted_out from public; grant execute on function has_opted_out to {role}")).await;
    run(
        &pool,
        "create or replace function has_opted_out(of_endpoint uuid, to_contact text) returns boolean language plpgsql stable
             set search_path = textback, pg_temp as $$ begin return false; end $$;
         create or replace trigger consent_is_append_only before delete on consent
             for each row execute function refuse_change_of_consent();
         create or replace view invariant_03_no_message_forgotten as
             select id as message_id, session_id, created_at from message where false",
    )
    .await;
    let (granted, untouched) = (text(&pool, rights).await, text(&pool, others).await);
    textback::storage::migrate(&url).await.expect("repaired");
    assert_eq!((text(&pool, source).await, text(&pool, trigger).await, text(&pool, view).await), ours);
    assert_eq!(text(&pool, rights).await, granted);
    assert_eq!(text(&pool, others).await, untouched, "plans that call other functions stay");
}

#[tokio::test]
async fn a_comment_that_was_changed_in_the_database_is_replaced() {
    let url = new_database().await;
    let pool = pool(&url).await;
    let comments = "select obj_description('message'::regclass, 'pg_class') || col_description('message'::regclass, 7)";
    let ours = text(&pool, comments).await;
    run(&pool, "comment on table message is 'x'; comment on column message.body is null").await;
    textback::storage::migrate(&url).await.expect("repaired");
    assert_eq!(text(&pool, comments).await, ours);
}

#[tokio::test]
async fn a_correction_of_data_is_loaded_and_what_a_project_overrode_stays() {
    let url = new_database().await;
    let pool = pool(&url).await;
    let countries = "select md5(string_agg(country::text, ' ' order by iso2)) from sms_country country";
    let ours = text(&pool, countries).await;
    run(
        &pool,
        "insert into project (id, name, webhook_key) values (gen_random_uuid(), 'p', 'k');
         insert into country_policy (project_id, iso2, registration_policy) select id, 'US', 'none' from project;
         update sms_country set registration_policy = 'unknown', sources = '{}' where iso2 = 'US';
         delete from sms_country where iso2 = 'AD'",
    )
    .await;
    textback::storage::migrate(&url).await.expect("loaded");
    assert_eq!(text(&pool, countries).await, ours);
    assert_eq!(text(&pool, "select iso2 || ' ' || registration_policy from country_policy").await, "US none");
}

#[tokio::test]
async fn a_process_is_not_ready_without_a_function_that_it_calls() {
    let app = crate::harness::TestApp::new().await;
    textback::storage::health::check(&app.storage, None).await.expect("ready");
    app.sql("drop function opt_out").await;
    let not_ready = textback::storage::health::check(&app.storage, None).await.expect_err("not ready");
    assert!(not_ready.to_string().contains("lacks functions of this binary: opt_out"), "{not_ready}");
}
