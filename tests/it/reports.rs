//! Tests the reports of `sql/reports`: what they answer, to whom, in the terminal and on the
//! dashboards that are made of them.

use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, Column as _, Executor, PgConnection, SqlSafeStr, TypeInfo};
use textback::domain::report::{Chart, Column, Report, Unit, reports};
use uuid::Uuid;

use crate::commands::{printed, run, textback};
use crate::harness::{NUMBER, TestApp, new_database, pool};
use crate::reporting::{CONTACTS, connect, facts, role, run_sql};

mod expected;
mod grafana;
mod superset;

/// A bucket that all times of a test are in. It begins with 2024.
const ONE_BUCKET: &str = "interval '3660 days'";

/// The fixture of the views, with a text to a landline, and with its hours counted.
async fn counted_app() -> TestApp {
    let app = facts::app().await;
    run_sql(
        app.storage.pool(),
        "update delivery set status = 'failed', error_code = 30006, error_class = 'landline' where contact = '+447700900123'",
    )
    .await;
    facts::add_another_project(&app).await;
    count_hours(&app).await;
    app
}

/// Lets a new role see a project.
async fn role_of(app: &TestApp, project: &str) -> String {
    let name = role(app).await;
    let grant = format!("insert into reporting_access select '{name}', id from project where name = '{project}'");
    run_sql(app.storage.pool(), &grant).await;
    name
}

/// The rows of a statement without parameters, each by the names of its columns.
async fn rows_of(connection: &mut PgConnection, statement: &str) -> Vec<Map<String, Value>> {
    let statement = format!("select to_jsonb(answer) from ({statement}) answer");
    let rows: Vec<sqlx::types::Json<Map<String, Value>>> =
        sqlx::query_scalar(AssertSqlSafe(statement.as_str())).fetch_all(connection).await.expect(&statement);
    rows.into_iter().map(|row| row.0).collect()
}

async fn rows(connection: &mut PgConnection, report: &Report) -> Vec<Map<String, Value>> {
    let (from, to) = ("(now() - interval '30 days')", "(now() + interval '1 hour')");
    rows_of(connection, &report.statement_with(from, to, ONE_BUCKET)).await
}

/// A row as the expected tables have it. What differs from run to run is a `*`.
fn line(columns: &[Column], row: &Map<String, Value>) -> String {
    let cell = |column: &Column| match (column.unit, row.get(column.name).unwrap_or(&Value::Null)) {
        (_, Value::Null) => String::new(),
        _ if column.name == "session_id" => "*".to_owned(),
        (Unit::Time | Unit::Number | Unit::Seconds, _) => "*".to_owned(),
        (_, Value::String(text)) => text.clone(),
        (_, other) => other.to_string(),
    };
    columns.iter().map(cell).collect::<Vec<_>>().join("|")
}

fn expected_of(name: &str) -> &'static [&'static str] {
    let found = expected::ANSWERS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("{name} has no expected table")).1
}

#[tokio::test]
async fn the_columns_of_each_report_are_those_of_its_statement() {
    let pool = pool(&new_database().await).await;
    for report in reports() {
        let described = (&pool).describe(AssertSqlSafe(report.statement).into_sql_str()).await.expect(report.name);
        let columns: Vec<(&str, &str)> =
            described.columns().iter().map(|column| (column.name(), column.type_info().name())).collect();
        assert_eq!(columns.len(), report.columns.len(), "{}", report.name);
        for ((name, kind), column) in columns.iter().zip(&report.columns) {
            assert_eq!(*name, column.name, "{}", report.name);
            assert!(column.unit.types().contains(kind), "{}.{name} is {kind}", report.name);
        }
    }
}

#[tokio::test]
async fn each_report_answers_its_question_to_a_role_that_sees_one_project() {
    let app = counted_app().await;
    let role = role_of(&app, "tests").await;
    let mut connection = connect(&app, &role).await;
    let mut wrong = Vec::new();
    let mut all = String::new();
    for report in reports() {
        let found: Vec<Map<String, Value>> = rows(&mut connection, &report).await;
        let lines: Vec<String> = found.iter().map(|row| line(&report.columns, row)).collect();
        if lines != expected_of(report.name) {
            wrong.push((report.name, lines));
        }
        all += &serde_json::to_string(&found).expect("JSON");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for contact in CONTACTS {
        assert!(!all.contains(contact) && !all.contains(&contact[1..]), "{contact} stands in a report");
    }
    for text in facts::TEXTS {
        assert!(!all.contains(text), "{text:?} stands in a report");
    }
    assert!(all.contains(NUMBER) && all.contains("+1415•••0101"));
    assert!(!all.contains("their agent") && !all.contains("+14155550188"), "that is of the other project");
}

#[tokio::test]
async fn a_role_sees_no_more_than_its_project_and_one_without_a_project_nothing() {
    let app = counted_app().await;
    let mut theirs = connect(&app, &role_of(&app, "others").await).await;
    let mut nobodys = connect(&app, &role(&app).await).await;
    let mut owner = connect(&app, "textback").await;
    let id: Uuid = sqlx::query_scalar("select id from project where name = 'others'")
        .fetch_one(app.storage.pool())
        .await
        .expect("a project");
    run_on(&mut owner, &format!("set textback.reporting_project = '{id}'")).await;
    for report in reports() {
        let lines = |rows: &[Map<String, Value>]| rows.iter().map(|row| line(&report.columns, row)).collect::<Vec<_>>();
        let seen = rows(&mut theirs, &report).await;
        assert_eq!(lines(&seen), lines(&rows(&mut owner, &report).await), "{}", report.name);
        let text = serde_json::to_string(&seen).expect("JSON");
        assert!(!text.contains(NUMBER), "{}: {text}", report.name);
        let unseen = rows(&mut nobodys, &report).await;
        match report.chart {
            Chart::Figures => {
                let is_nothing = |value: &Value| value.is_null() || value.as_f64() == Some(0.0);
                assert!(unseen.iter().flat_map(Map::values).all(is_nothing), "{}: {unseen:?}", report.name);
            }
            _ if report.name == "delivery_funnel" => {
                assert!(unseen.iter().all(|row| row["deliveries"] == 0), "{unseen:?}");
            }
            _ => assert!(unseen.is_empty(), "{}: {unseen:?}", report.name),
        }
    }
}

async fn run_on(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.expect(statement);
}

/// Runs `textback report` as a role; whether it succeeded, and what it printed.
fn report(app: &TestApp, role: &str, arguments: &[&str]) -> (bool, String) {
    let url = app.database_url.replace("//textback@", &format!("//{role}@"));
    let done = run(textback().arg("report").args(arguments).env("DATABASE_URL", url).env("RUST_LOG", "warn"));
    (done.status.success(), printed(&done))
}

#[tokio::test]
async fn the_terminal_tells_what_the_dashboards_tell() {
    let app = counted_app().await;
    let dashboard = role_of(&app, "tests").await;
    for role in [dashboard.as_str(), "textback"] {
        for one in reports() {
            let of_the_project = ["--since", "30d", "--by", "520w", "--project", "tests"];
            let (done, told) = report(&app, role, &[&[one.name, "--json"], &of_the_project[..]].concat());
            assert!(done, "{}: {told}", one.name);
            let told: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
            let rows = told["rows"].as_array().expect("rows");
            let lines: Vec<String> =
                rows.iter().map(|row| line(&one.columns, row.as_object().expect("a row"))).collect();
            assert_eq!(lines, expected_of(one.name), "{} as {role}", one.name);
        }
        let (done, told) = report(&app, role, &["text_cases", "--since", "30d", "--project", "tests"]);
        assert!(done && told.contains("new                    4  █████"), "{told}");
        let (done, told) = report(&app, role, &["texts", "--since", "30d", "--by", "1d", "--project", "tests"]);
        assert!(done && told.contains("inbound") && told.contains("11 in all"), "{told}");
    }
    let (done, told) = report(&app, &dashboard, &["segments_by_country", "--csv"]);
    let expected = "address,number_country,contact_calling_code,messages,segments_out,segments_in\r\n+14155550199,US,1,22,11,11\r\n";
    assert!(done && told.starts_with(expected), "{told}");
    let (done, told) = report(&app, "textback", &["texts"]);
    assert!(done && told.contains("all projects"), "{told}");
    let (done, told) = report(&app, "textback", &["invariants", "--csv"]);
    assert!(done && told.matches(",0,true").count() == 12, "{told}");
    let (done, told) = report(&app, "textback", &[]);
    assert!(
        done && told.contains("delivery and cost\n") && told.contains("  segments_by_country   How many segments"),
        "{told}"
    );
}

#[tokio::test]
async fn what_can_not_be_told_says_what_to_do() {
    let app = TestApp::new().await;
    let nobody = role(&app).await;
    let stranger = format!("stranger_{}", Uuid::now_v7().simple());
    run_sql(app.storage.pool(), &format!("create role {stranger} login")).await;
    for (role, arguments, expected) in [
        ("textback", &["texst"][..], "texts"),
        ("textback", &["texts", "--since", "yesterday"], "give how long ago, such as 12h, 7d or 2w, or a date"),
        ("textback", &["texts", "--since", "0d"], "longer than nothing"),
        ("textback", &["texts", "--since", "9999w"], "at most 3660d"),
        ("textback", &["texts", "--by", "1x"], "a whole number and h, d or w"),
        ("textback", &["texts", "--since", "1d", "--until", "2d"], "give a --since that is before --until"),
        ("textback", &["texts", "--since", "2099-01-01"], "is empty"),
        ("textback", &["texts", "--since", "3660d", "--by", "1h"], "give a longer --by or a later --since"),
        ("textback", &["texts", "--project", "nobody"], "sees no project \"nobody\"; it sees tests"),
        ("textback", &["texts", "--csv", "--json"], "cannot be used with"),
        ("textback", &["--csv"], "textback report lists the names"),
        (&nobody, &["texts"], "textback reporting grant ROLE --project NAME"),
        (&stranger, &["texts"], "may not read the views of the schema reporting"),
    ] {
        let (done, told) = report(&app, role, arguments);
        assert!(!done && told.contains(expected), "{arguments:?}: {told}");
    }
    let done = run(textback().args(["report", "texts", "--data-dir", "/dev/null/none"]));
    assert!(!done.status.success() && printed(&done).contains("DATABASE_URL is not set"), "{}", printed(&done));
    run_sql(app.storage.pool(), "drop schema reporting cascade").await;
    let (done, told) = report(&app, "textback", &["texts"]);
    assert!(!done && told.contains("run textback migrate"), "{told}");
}

/// Counts the hours of the fixture, as the job of the rollups does.
async fn count_hours(app: &TestApp) {
    run_sql(
        app.storage.pool(),
        "begin isolation level repeatable read;
         select recount_hours(date_trunc('hour', now() - interval '3 days'), now() + interval '1 hour');
         commit",
    )
    .await;
}

/// What a `*` of the expected tables hides: the figures that are times.
#[tokio::test]
async fn percentiles_and_means_are_those_of_the_views_of_single_rows() {
    let app = counted_app().await;
    let mut connection = connect(&app, &role_of(&app, "tests").await).await;
    let bound = |quantile: &str, seconds: &str| {
        format!(
            "(select min(bound) from unnest(array[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 45, 60, 90, 120, 300,
                                                  600, 1800, 3600, 21600, 86400]) bound
              where bound > percentile_disc({quantile}) within group (order by {seconds}))::double precision"
        )
    };
    for (name, view, seconds) in
        [("turn_duration", "turns_v1", "total_seconds"), ("delivery_latency", "deliveries_v1", "delivered_seconds")]
    {
        let expected = format!(
            "select {} as p50_seconds, {} as p95_seconds, {} as p99_seconds from reporting.{view}",
            bound("0.5", seconds),
            bound("0.95", seconds),
            bound("0.99", seconds)
        );
        let mut expected = rows_of(&mut connection, &expected).await;
        let [found] = &rows(&mut connection, &named(name)).await[..] else { panic!("{name} has one bucket") };
        expected[0].insert("time".to_owned(), found["time"].clone());
        assert_eq!(*found, expected[0], "{name}");
    }
    let mean = "select round((sum(total_seconds) / (3660 * 86400))::numeric, 12)::double precision as turns from reporting.turns_v1";
    let expected = rows_of(&mut connection, mean).await[0]["turns"].as_f64().expect("a mean");
    let found = rows(&mut connection, &named("backlog")).await[0]["turns"].as_f64().expect("a mean");
    assert!(found > 0.0 && (found - expected).abs() < 1e-11, "{found} {expected}");
    let most = "select max(warning_late_seconds) as warning_most_seconds, max(end_late_seconds) as end_most_seconds from reporting.inactivity_v1";
    let expected = rows_of(&mut connection, most).await;
    let found = rows(&mut connection, &named("lateness")).await;
    for name in ["warning_most_seconds", "end_most_seconds"] {
        assert_eq!(found[0][name], expected[0][name]);
        assert!(found[0][name].as_f64().is_some_and(|seconds| seconds > 0.0), "{found:?}");
    }
}

fn named(name: &str) -> Report {
    reports().into_iter().find(|report| report.name == name).expect(name)
}
