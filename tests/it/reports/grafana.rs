//! Tests the dashboards of Grafana: they are those that the binary makes, Grafana's model allows
//! them, and each panel's statement answers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{counted_app, line, role_of, rows, rows_of};
use crate::reporting::connect;
use textback::domain::report::{Report, reports};

/// The macros that the data source of PostgreSQL documents and the dashboards use.
/// <https://grafana.com/docs/grafana/latest/datasources/postgres/query-editor/#macros>
const MACROS: [&str; 2] = ["$__timeFrom()", "$__timeTo()"];

/// The kinds of panels that Grafana brings along, with the formats of the data that they draw.
const PANELS: [(&str, &str); 4] =
    [("stat", "table"), ("timeseries", "time_series"), ("barchart", "table"), ("table", "table")];

/// Names of units of Grafana:
/// <https://grafana.com/docs/grafana/latest/panels-visualizations/configure-standard-options/#unit>
const UNITS: [&str; 5] = ["short", "s", "percentunit", "string", "bool_yes_no"];

pub fn dashboards() -> Vec<(String, Value)> {
    let files = crate::tidy::files("deploy/grafana/dashboards", "json");
    files.into_iter().map(|(path, text)| (path.clone(), serde_json::from_str(&text).expect(&path))).collect()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is no text: {value}"))
}

/// The panels of a dashboard with those of its closed rows.
fn panels(dashboard: &Value) -> Vec<&Value> {
    list(dashboard, "panels").iter().flat_map(|panel| std::iter::once(panel).chain(list(panel, "panels"))).collect()
}

fn questions(dashboard: &Value) -> Vec<&Value> {
    panels(dashboard).into_iter().filter(|panel| panel["type"] != "row").collect()
}

/// The variables that a text names: `${name}` and `${name:format}`.
fn variables(text: &str) -> BTreeSet<&str> {
    let named = text.split("${").skip(1).filter_map(|rest| rest.split(['}', ':']).next());
    named.filter(|name| !name.starts_with("__")).collect()
}

#[test]
fn each_dashboard_is_as_grafanas_model_has_it() {
    let dashboards = dashboards();
    assert_eq!(dashboards.len(), 3);
    let uids: BTreeSet<&str> = dashboards.iter().map(|(_, dashboard)| text(dashboard, "uid")).collect();
    assert_eq!(uids.len(), 3);
    assert!(
        uids.iter().all(|uid| uid.len() <= 40 && uid.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
    );
    for (path, dashboard) in &dashboards {
        assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 36), "{path}");
        assert!(dashboard.get("id").is_none(), "{path}: Grafana gives the id");
        assert_eq!(dashboard["timezone"], "utc");
        let ids: Vec<u64> = panels(dashboard).iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{path}: {ids:?}");
        let declared: BTreeSet<&str> =
            list(&dashboard["templating"], "list").iter().map(|variable| text(variable, "name")).collect();
        let whole = dashboard["panels"].to_string();
        assert_eq!(variables(&whole), declared, "{path}: variables that are used and declared");
        no_panel_lies_over_another(path, list(dashboard, "panels"));
        for panel in questions(dashboard) {
            check_panel(path, panel);
        }
    }
}

fn check_panel(path: &str, panel: &Value) {
    let title = text(panel, "title");
    assert!(!title.is_empty() && text(panel, "description").len() > 30, "{path}: {title}");
    let [target] = list(panel, "targets") else { panic!("{path}: {title} has one target") };
    let drawn = (text(panel, "type"), text(target, "format"));
    assert!(PANELS.contains(&drawn), "{path}: {title}: {drawn:?}");
    for with_source in [panel, target] {
        assert_eq!(with_source["datasource"]["uid"], "${datasource}", "{path}: {title}");
        assert_eq!(with_source["datasource"]["type"], "grafana-postgresql-datasource", "{path}: {title}");
    }
    assert_eq!(target["refId"], "A");
    assert_eq!(target["rawQuery"], true);
    let units = std::iter::once(&panel["fieldConfig"]["defaults"]["unit"]);
    let overrides = list(&panel["fieldConfig"], "overrides").iter().flat_map(|one| list(one, "properties"));
    for unit in units.chain(overrides.filter(|property| property["id"] == "unit").map(|property| &property["value"])) {
        assert!(unit.as_str().is_some_and(|unit| UNITS.contains(&unit)), "{path}: {title}: {unit}");
    }
    let statement = text(target, "rawSql");
    let without = MACROS.iter().fold(statement.to_owned(), |left, one| left.replace(one, ""));
    assert!(!without.contains("$_") && !without.replace("'${bucket}'", "").contains('$'), "{path}: {title}: {without}");
    let sources: Vec<&str> =
        statement.split_whitespace().filter(|part| part.trim_end_matches(')').ends_with("_v1")).collect();
    assert!(
        !sources.is_empty() && sources.iter().all(|name| name.starts_with("reporting.")),
        "{path}: {title}: {sources:?}"
    );
    assert!(!statement.contains("textback."), "{path}: {title}");
    if drawn.1 == "time_series" {
        assert!(
            statement.contains("as time") || statement.contains("select time,"),
            "{path}: {title} has a column time"
        );
    }
}

fn no_panel_lies_over_another(path: &str, panels: &[Value]) {
    let area = |panel: &Value| {
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap_or_else(|| panic!("{path}: {name} of {panel}"));
        let (x, y, width, height) = (side("x"), side("y"), side("w"), side("h"));
        assert!(x + width <= 24 && width > 0 && height > 0, "{path}: {panel}");
        (x, y, width, height)
    };
    let areas: Vec<_> = panels.iter().map(area).collect();
    for (n, (x, y, width, height)) in areas.iter().enumerate() {
        for (other_x, other_y, other_width, other_height) in areas.iter().skip(n + 1) {
            let is_beside = x + width <= *other_x || other_x + other_width <= *x;
            let is_below = y + height <= *other_y || other_y + other_height <= *y;
            assert!(is_beside || is_below, "{path}: two panels at {x}, {y} and {other_x}, {other_y}");
        }
    }
}

/// The statement as Grafana sends it: its macros become texts in quotes.
fn expanded(statement: &str, from: &str, to: &str) -> String {
    statement
        .replace("$__timeFrom()", &format!("'{from}'"))
        .replace("$__timeTo()", &format!("'{to}'"))
        .replace("${bucket}", "3660d")
}

#[tokio::test]
async fn each_panel_answers_as_its_report_does() {
    let app = counted_app().await;
    let role = role_of(&app, "tests").await;
    let mut connection = connect(&app, &role).await;
    let at = |days: i64| {
        (chrono::Utc::now() + chrono::TimeDelta::days(days)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    };
    let mut compared = 0;
    for (path, dashboard) in dashboards() {
        for panel in questions(&dashboard) {
            let statement = expanded(text(&panel["targets"][0], "rawSql"), &at(-30), &at(1));
            let is_it = |report: &Report| report.title == panel["title"];
            let report = reports().into_iter().find(is_it).unwrap_or_else(|| panic!("{path}: {}", panel["title"]));
            let lines = |rows: &[serde_json::Map<String, Value>]| -> Vec<String> {
                rows.iter().map(|row| line(&report.columns, row)).collect()
            };
            let found = rows_of(&mut connection, &statement).await;
            assert_eq!(lines(&found), lines(&rows(&mut connection, &report).await), "{path}: {}", report.name);
            compared += 1;
        }
    }
    assert_eq!(compared, reports().len());
}

#[test]
fn provisioning_names_the_source_and_the_dashboards() {
    let file = |path: &str| -> Value {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana/provisioning").join(path);
        serde_yaml::from_str(&std::fs::read_to_string(root).expect(path)).expect(path)
    };
    let sources = file("datasources/textback.yaml");
    let [source] = list(&sources, "datasources") else { panic!("one source") };
    assert_eq!(source["type"], "grafana-postgresql-datasource");
    assert!(source["secureJsonData"]["password"].as_str().is_some_and(|password| password.starts_with('$')));
    assert!(source["jsonData"]["database"].is_string() && source["jsonData"]["sslmode"].is_string());
    let providers = file("dashboards/textback.yaml");
    let [provider] = list(&providers, "providers") else { panic!("one provider") };
    assert_eq!(
        (&provider["type"], &provider["options"]["path"]),
        (&"file".into(), &"/etc/grafana/dashboards/textback".into())
    );
    assert_eq!((&sources["apiVersion"], &providers["apiVersion"]), (&1.into(), &1.into()));
}
