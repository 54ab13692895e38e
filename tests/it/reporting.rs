//! Tests the views of the schema `reporting`: what they tell, whom they tell it, and what they
//! cost.

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use uuid::Uuid;

use crate::commands::{printed, run, textback};
use crate::harness::{NUMBER, TestApp, empty_database, new_database, pool};

pub mod facts;
mod rollups;

/// The contacts of the fixture that have a session, in the order of their first sessions.
pub const CONTACTS: [&str; 6] =
    ["+14155550101", "+14155550102", "+14155550103", "+14155550104", "+447700900123", "+14155550106"];

/// A connection of a role of its own, with nothing that the product sets on its connections.
pub async fn connect(app: &TestApp, role: &str) -> PgConnection {
    let url = app.database_url.replace("//textback@", &format!("//{role}@"));
    PgConnection::connect(&url).await.expect("a connection")
}

/// Creates a login role that may read the views. Roles are of the whole server, so the name is
/// drawn.
pub async fn role(app: &TestApp) -> String {
    let name = format!("dashboard_{}", Uuid::now_v7().simple());
    run_sql(app.storage.pool(), &format!("create role {name} login; grant textback_reporting to {name}")).await;
    name
}

pub async fn run_sql(pool: &PgPool, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(pool).await.expect(statement);
}

/// The rows of a question, each as PostgreSQL writes a row.
async fn rows(connection: &mut PgConnection, question: &str) -> Vec<String> {
    let statement = format!("select answer::text from ({question}) answer");
    sqlx::query_scalar(AssertSqlSafe(statement)).fetch_all(connection).await.expect(question)
}

/// Runs `textback reporting`; whether it succeeded, and what it printed.
fn reporting(app: &TestApp, arguments: &[&str]) -> (bool, String) {
    let done = run(textback().arg("reporting").args(arguments).env("DATABASE_URL", &app.database_url));
    (done.status.success(), printed(&done))
}

async fn views(pool: &PgPool) -> Vec<String> {
    let read = "select viewname::text from pg_views where schemaname = 'reporting' order by viewname";
    sqlx::query_scalar(read).fetch_all(pool).await.expect("names")
}

/// The views with their columns, as docs/reporting.md lists them.
async fn listed(pool: &PgPool) -> Vec<(String, String)> {
    let read = "select view.relname::text,
                       E'\\n' || obj_description(view.oid, 'pg_class') || E'\\n\\n| column | type | meaning |\\n|---|---|---|\\n'
                           || string_agg(format(E'| `%s` | %s | %s |\\n', attname,
                                                replace(format_type(atttypid, null), 'timestamp with time zone', 'timestamptz'),
                                                col_description(view.oid, attnum)), '' order by attnum)
                  from pg_class view join pg_attribute on attrelid = view.oid and attnum > 0
                 where view.relnamespace = 'reporting'::regnamespace and view.relkind = 'v'
                 group by view.oid, view.relname order by view.relname";
    sqlx::query_as(read).fetch_all(pool).await.expect("views")
}

#[tokio::test]
async fn every_view_and_column_has_a_comment_that_says_its_unit_and_meaning() {
    let pool = pool(&new_database().await).await;
    let count = crate::schema::assert_comments(&pool, "reporting", "v").await;
    assert!(count > 150, "{count}");
    let others = "select relname || ' ' || relkind::text from pg_class where relnamespace = 'reporting'::regnamespace and relkind <> 'v'";
    let others: Vec<String> = sqlx::query_scalar(others).fetch_all(&pool).await.expect("names");
    assert_eq!(others, Vec::<String>::new(), "the schema has views only");
}

#[tokio::test]
async fn the_page_lists_every_view_with_its_columns() {
    let page = include_str!("../../docs/reporting.md");
    let listed = listed(&pool(&new_database().await).await).await;
    for (view, text) in &listed {
        let heading = format!("### {view}\n");
        let (_, section) = page.split_once(&heading).unwrap_or_else(|| panic!("docs/reporting.md lacks {view}"));
        let section = section.split("\n### ").next().unwrap_or_default().trim_end();
        assert_eq!(section, text.trim_end(), "docs/reporting.md, {view}");
    }
    assert_eq!(page.matches("\n### ").count(), listed.len());
}

#[tokio::test]
async fn the_role_reads_the_views_and_nothing_else() {
    let app = TestApp::new().await;
    let role = role(&app).await;
    let mut connection = connect(&app, &role).await;
    for view in views(app.storage.pool()).await {
        rows(&mut connection, &format!("select * from reporting.{view}")).await;
    }
    // A statement for each table, view, sequence and function of textback. None is allowed to name
    // anything of that schema.
    let others: Vec<String> = sqlx::query_scalar(
        "select case relkind when 'S' then format('select nextval(''textback.%I'')', relname) else format('select from textback.%I', relname) end
           from pg_class where relnamespace = 'textback'::regnamespace and relkind in ('r', 'v', 'S', 'm', 'p', 'f')
         union all
         select format('select textback.%I(%s)', proname, array_to_string(array_fill('null'::text, array[pronargs]), ', '))
           from pg_proc where pronamespace = 'textback'::regnamespace and prorettype <> 'trigger'::regtype",
    )
    .fetch_all(app.storage.pool())
    .await
    .expect("statements");
    assert!(others.len() > 80, "{}", others.len());
    for statement in others {
        let refused = sqlx::raw_sql(AssertSqlSafe(statement.as_str())).execute(&mut connection).await;
        let refused = refused.err().unwrap_or_else(|| panic!("{statement} is allowed"));
        assert!(refused.to_string().contains("permission denied for schema textback"), "{statement}: {refused}");
    }
    for writing in [
        "delete from reporting.projects_v1",
        "insert into reporting.projects_v1 (project_id, name) values (gen_random_uuid(), 'x')",
        "update reporting.sessions_v1 set language = 'en'",
        "create view reporting.mine as select 1",
        "create table reporting.mine ()",
    ] {
        let refused = sqlx::raw_sql(writing).execute(&mut connection).await.expect_err(writing);
        let code = refused.as_database_error().and_then(|told| told.code()).unwrap_or_default().into_owned();
        assert!(["42501", "55000", "25006"].contains(&&*code), "{writing}: {refused}");
    }
}

#[tokio::test]
async fn a_role_that_is_granted_a_project_gets_the_time_out_and_sees_that_project_alone() {
    let app = facts::app().await;
    facts::add_another_project(&app).await;
    let name = format!("dashboard_{}", Uuid::now_v7().simple());
    let (done, told) = reporting(&app, &["grant", &name, "--project", "tests"]);
    assert!(!done && told.contains("create it first"), "{told}");
    run_sql(app.storage.pool(), &format!("create role {name} login")).await;
    let (done, told) = reporting(&app, &["grant", "textback", "--project", "tests"]);
    assert!(!done && told.contains("sees all projects whatever is granted"), "{told}");
    let (done, told) = reporting(&app, &["grant", &name, "--project", "tests"]);
    assert!(done, "{told}");

    let mut connection = connect(&app, &name).await;
    let settings = "select current_setting('statement_timeout'), current_setting('default_transaction_read_only')";
    assert_eq!(rows(&mut connection, settings).await, ["(15s,on)"]);
    let own: Uuid = sqlx::query_scalar("select project_id from reporting.projects_v1 where name = 'tests'")
        .fetch_one(&mut connection)
        .await
        .expect("a project");
    for view in views(app.storage.pool()).await.iter().filter(|view| *view != "invariants_v1") {
        let seen = format!("select project_id, count(*) > 0 as some from reporting.{view} group by project_id");
        assert_eq!(rows(&mut connection, &seen).await, [format!("({own},t)")], "{view}");
    }
    assert!(
        rows(&mut connection, "select * from reporting.invariants_v1").await.is_empty(),
        "they are of all projects"
    );

    // The setting only narrows, whatever it is set to.
    let other: Uuid = sqlx::query_scalar("select id from project where name = 'others'")
        .fetch_one(app.storage.pool())
        .await
        .expect("a project");
    for setting in [other.to_string(), "x".to_owned(), "' or true --".to_owned()] {
        sqlx::query("select set_config('textback.reporting_project', $1, false)")
            .bind(setting)
            .execute(&mut connection)
            .await
            .expect("set");
        for view in views(app.storage.pool()).await {
            let seen = rows(&mut connection, &format!("select * from reporting.{view}")).await;
            assert!(seen.is_empty(), "{view}: {seen:?}");
        }
    }
    for trick in ["set role textback", "set session authorization textback", "set role textback_reporting"] {
        let _ = sqlx::raw_sql(trick).execute(&mut connection).await;
        sqlx::raw_sql("reset textback.reporting_project").execute(&mut connection).await.expect("reset");
        let seen = rows(&mut connection, "select name from reporting.projects_v1").await;
        assert!(seen.is_empty() || seen == ["(tests)"], "{trick}: {seen:?}");
        sqlx::raw_sql("reset role").execute(&mut connection).await.expect("reset");
    }

    let (done, told) = reporting(&app, &["grant", &name, "--all-projects"]);
    assert!(done, "{told}");
    let all = rows(&mut connection, "select name from reporting.projects_v1 order by name").await;
    assert_eq!(all, ["(others)", "(tests)"]);
    let all = "select 'invariant_' || invariant from reporting.invariants_v1 where holds order by 1";
    let installed =
        "select viewname from pg_views where schemaname = 'textback' and viewname like 'invariant\\_%' order by 1";
    assert_eq!(
        rows(&mut connection, all).await,
        rows(&mut connection, installed).await,
        "each invariant is in the view"
    );
    // An operator's dashboard of one project.
    sqlx::query("select set_config('textback.reporting_project', $1, false)")
        .bind(other.to_string().to_uppercase())
        .execute(&mut connection)
        .await
        .expect("set");
    assert_eq!(rows(&mut connection, "select name from reporting.projects_v1").await, ["(others)"]);

    let (done, told) = reporting(&app, &["list"]);
    assert!(done && told.contains(&name) && told.contains(r#""project_id":null"#), "{told}");
    let (done, told) = reporting(&app, &["revoke", &name]);
    assert!(done, "{told}");
    sqlx::raw_sql("reset textback.reporting_project").execute(&mut connection).await.expect("reset");
    assert!(rows(&mut connection, "select name from reporting.projects_v1").await.is_empty());
    let (done, told) = reporting(&app, &["revoke", &name]);
    assert!(!done && told.contains("saw no project"), "{told}");
}

#[tokio::test]
async fn each_view_answers_its_question_and_names_no_contact_and_no_text() {
    let app = facts::app().await;
    let mut connection = connect(&app, "textback").await;
    let mut wrong = Vec::new();
    for (question, expected) in facts::QUESTIONS {
        let found = rows(&mut connection, question).await;
        if found != *expected {
            wrong.push((question, found));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut all = String::new();
    for view in views(app.storage.pool()).await {
        let dump = rows(&mut connection, &format!("select * from reporting.{view}")).await;
        assert!(!dump.is_empty(), "{view} has no row of the fixture");
        all += &dump.join("\n");
    }
    for contact in CONTACTS {
        assert!(!all.contains(contact) && !all.contains(&contact[1..]), "{contact} stands in a view");
    }
    for text in facts::TEXTS {
        assert!(!all.contains(text), "{text:?} stands in a view");
    }
    assert!(all.contains(NUMBER) && all.contains("+1415•••0101") && all.contains("+4477•••0123"));
}

#[tokio::test]
async fn a_contact_has_one_hash_in_its_project_and_another_in_another_project() {
    let app = facts::app().await;
    facts::add_another_project(&app).await;
    let mut connection = connect(&app, "textback").await;
    let of_ada = "select count(distinct contact_key), count(distinct project_id), min(length(contact_key)) from (
                      select project_id, contact_key, contact_masked from reporting.sessions_v1
                      union all select project_id, contact_key, contact_masked from reporting.messages_v1
                      union all select project_id, contact_key, contact_masked from reporting.deliveries_v1
                      union all select project_id, contact_key, contact_masked from reporting.inactivity_v1) contacts
                   where contact_masked = '+1415•••0101'";
    assert_eq!(rows(&mut connection, of_ada).await, ["(2,2,32)"]);
    // Another installation has another key.
    let here = rows(&mut connection, "select inner_pad from textback.reporting_key").await;
    run_sql(app.storage.pool(), "delete from reporting_key").await;
    textback::storage::migrate(&app.database_url).await.expect("a key");
    assert_ne!(rows(&mut connection, "select inner_pad from textback.reporting_key").await, here);
}

#[tokio::test]
async fn a_view_that_was_changed_in_the_database_is_replaced_and_the_others_are_left_alone() {
    let url = new_database().await;
    let pool = pool(&url).await;
    let read = "select md5(string_agg(pg_get_viewdef(view.oid) || coalesce(array_to_string(view.reloptions, ','), '') || comments.all, ' ' order by view.relname))
                  from pg_class view
                 cross join lateral (select string_agg(description, ' ' order by objsubid) as all from pg_description where objoid = view.oid) comments
                 where relnamespace = 'reporting'::regnamespace and relkind = 'v'";
    let versions = "select string_agg(oid::text || ' ' || xmin, ' ' order by oid) from pg_class
                     where relnamespace = 'reporting'::regnamespace and relname not in ('turns_v1', 'agents_v1', 'jobs_v1')";
    let text = async |statement: &'static str| -> String {
        sqlx::query_scalar(statement).fetch_one(&pool).await.expect(statement)
    };
    let (ours, untouched) = (text(read).await, text(versions).await);
    textback::storage::migrate(&url).await.expect("nothing to do");
    assert_eq!(text(versions).await, untouched);
    run_sql(
        &pool,
        "comment on column reporting.turns_v1.outcome is 'mine'; alter view reporting.agents_v1 reset (security_barrier);
         create or replace view reporting.jobs_v1 as
             select project_id, kind, depth, due, running, oldest_due_seconds, next_due_at from (select null::uuid as project_id, ''::text as kind, 0::bigint as depth, 0::bigint as due, 0::bigint as running, 0::double precision as oldest_due_seconds, null::timestamptz as next_due_at) none",
    )
    .await;
    assert_ne!(text(read).await, ours);
    textback::storage::migrate(&url).await.expect("repaired");
    assert_eq!(text(read).await, ours);
    assert_eq!(text(versions).await, untouched);
}

/// A managed database: its administrator made the schema, and the role of migrate may create no
/// schema and no role.
#[tokio::test]
async fn a_role_that_may_create_nothing_migrates_and_is_told_what_an_administrator_must_run() {
    let name = format!("managed_{}", Uuid::now_v7().simple());
    let url = empty_database(&name).await;
    let administrator = pool(&url).await;
    run_sql(&administrator, &format!("create role {name} login; create schema textback authorization {name}")).await;
    let ours = url.replace("//textback@", &format!("//{name}@"));
    let migrate = || printed(&run(textback().arg("migrate").env("DATABASE_URL", &ours)));
    let told = migrate();
    let statement = format!("create schema reporting authorization {name}");
    assert!(
        told.contains("textback doctor prints the statements")
            && told.contains("the database was migrated to the schema of this binary"),
        "{told}"
    );
    let doctor = printed(&run(textback().arg("doctor").env("DATABASE_URL", &ours)));
    assert!(doctor.contains(&format!("\n{statement};\n")) && doctor.contains("in the database "), "{doctor}");
    run_sql(&administrator, &statement).await;
    let told = migrate();
    assert!(!told.contains("reporting"), "{told}");
    let doctor = printed(&run(textback().arg("doctor").env("DATABASE_URL", &ours)));
    assert!(doctor.contains("ok    reporting"), "{doctor}");
    // It may not make a dashboard's role a member of the other one.
    let dashboard = format!("dashboard_{}", Uuid::now_v7().simple());
    run_sql(&administrator, &format!("create role {dashboard} login")).await;
    let granted =
        printed(&run(textback().args(["reporting", "grant", &dashboard, "--all-projects"]).env("DATABASE_URL", &ours)));
    assert!(granted.contains(&format!("grant textback_reporting to {dashboard}")), "{granted}");
}

/// A filter on time reads the pages of that time, whether one project is seen or all.
#[tokio::test]
async fn a_filter_on_time_does_not_read_a_table_whole() {
    let app = facts::app().await;
    facts::add_many(&app).await;
    let name = role(&app).await;
    run_sql(
        app.storage.pool(),
        &format!("insert into reporting_access select '{name}', id from project where name = 'tests'"),
    )
    .await;
    for role in [name.as_str(), "textback"] {
        let mut connection = connect(&app, role).await;
        for (view, time, index) in [
            ("messages_v1", "created_at", "message_by_time"),
            ("segments_v1", "created_at", "message_by_time"),
            ("deliveries_v1", "created_at", "delivery_by_time"),
            ("delivery_steps_v1", "created_at", "delivery_by_time"),
            ("turns_v1", "finished_at", "turn_without_message_by_time"),
            ("sessions_v1", "opened_at", "session_by_time"),
            ("inactivity_v1", "warned_at", "message_by_time"),
            ("model_requests_v1", "created_at", "model_request_by_time"),
        ] {
            let question = format!(
                "explain (costs off) select * from reporting.{view} where {time} between now() - interval '3 hours' and now()"
            );
            let plan: Vec<String> =
                sqlx::query_scalar(AssertSqlSafe(question)).fetch_all(&mut connection).await.expect(view);
            let plan = plan.join("\n");
            assert!(plan.contains(&format!("Bitmap Index Scan on {index}")), "{view}: {plan}");
            let table = index.trim_end_matches("_by_time");
            assert!(!plan.contains(&format!("Seq Scan on {table}\n")), "{view}: {plan}");
        }
        // A column that is not asked for costs nothing: no other table is read, and no hash is
        // made.
        let plan = rows_of_plan(&mut connection, "select count(*), sum(segments) from reporting.messages_v1").await;
        for other in ["Scan on attachment", "delivery", "reporting_key", "sha256", "number"] {
            assert!(!plan.contains(other), "{other}: {plan}");
        }
    }
}

async fn rows_of_plan(connection: &mut PgConnection, question: &str) -> String {
    let explain = format!("explain (verbose, costs off) {question}");
    let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(explain)).fetch_all(connection).await.expect(question);
    plan.join("\n")
}
