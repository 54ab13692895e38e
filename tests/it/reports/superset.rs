//! Tests the export for Superset: it is the one that the binary makes, its parts belong together,
//! and each dataset's statement answers. `make dashboards-test` imports it into a Superset.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{counted_app, line, role_of, rows, rows_of};
use crate::commands::{printed, run, textback};
use crate::reporting::connect;
use crate::tidy::files;
use textback::domain::report::reports;

/// The files of the export by their paths below it.
fn export() -> BTreeMap<String, Value> {
    let all = files("deploy/superset/textback", "yaml");
    let parsed = all.into_iter().map(|(path, text)| {
        let name = path.trim_start_matches("deploy/superset/textback/").to_owned();
        (name, serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}")))
    });
    parsed.collect()
}

fn of<'a>(export: &'a BTreeMap<String, Value>, folder: &str) -> Vec<&'a Value> {
    export.iter().filter(|(path, _)| path.starts_with(folder)).map(|(_, value)| value).collect()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is no text: {value}"))
}

/// Whoever changes a report runs `textback reporting dashboards deploy` (make exports).
#[test]
fn the_committed_dashboards_are_those_of_the_binary() {
    let folder = std::env::temp_dir().join(format!("textback-dashboards-{}", std::process::id()));
    let done = run(textback().args(["reporting", "dashboards"]).arg(&folder));
    assert!(done.status.success(), "{}", printed(&done));
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut written = 0;
    let mut folders = vec![folder.clone()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            written += 1;
            let committed = root.join("deploy").join(path.strip_prefix(&folder).expect("below it"));
            let ours = std::fs::read_to_string(&path).expect("a text");
            let theirs = std::fs::read_to_string(&committed).unwrap_or_default();
            assert!(ours == theirs, "{} differs: run make exports", committed.display());
        }
    }
    std::fs::remove_dir_all(&folder).expect("removed");
    let committed = files("deploy/grafana/dashboards", "json").len() + files("deploy/superset/textback", "yaml").len();
    assert_eq!(written, committed, "a file is left of a report that is gone");
    let refused = run(textback().args(["reporting", "dashboards", "/dev/null/none"]));
    assert!(!refused.status.success() && printed(&refused).contains("can't be written"), "{}", printed(&refused));
}

#[test]
fn the_parts_of_the_export_belong_together() {
    let export = export();
    assert_eq!(export["metadata.yaml"]["type"], "Dashboard");
    let mut ids: Vec<&str> = export.values().filter_map(|value| value["uuid"].as_str()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "each part has an id of its own");
    let [database] = of(&export, "databases/")[..] else { panic!("one database") };
    assert!(!text(database, "sqlalchemy_uri").contains(":@") && database["allow_dml"] == false);
    let datasets = of(&export, "datasets/");
    assert_eq!(datasets.len(), reports().len());
    for dataset in &datasets {
        assert_eq!(dataset["database_uuid"], database["uuid"]);
        assert_eq!(dataset["schema"], "reporting");
        for column in dataset["columns"].as_array().expect("columns") {
            assert!(text(column, "description").len() > 5, "{column}");
        }
    }
    let charts = of(&export, "charts/");
    for chart in &charts {
        let dataset = datasets.iter().find(|dataset| dataset["uuid"] == chart["dataset_uuid"]).expect("its dataset");
        assert_eq!(chart["viz_type"], chart["params"]["viz_type"]);
        let columns: Vec<&str> =
            dataset["columns"].as_array().expect("columns").iter().map(|column| text(column, "column_name")).collect();
        for name in ["groupby", "all_columns", "x_axis"] {
            let given = &chart["params"][name];
            let named = given
                .as_array()
                .cloned()
                .unwrap_or_else(|| given.is_string().then(|| given.clone()).into_iter().collect());
            assert!(named.iter().all(|name| columns.contains(&name.as_str().unwrap_or_default())), "{chart}");
        }
    }
    let mut drawn: Vec<&str> = Vec::new();
    for dashboard in of(&export, "dashboards/") {
        let position = dashboard["position"].as_object().expect("a position");
        for (id, part) in position.iter().filter(|(_, part)| part.is_object()) {
            assert_eq!(text(part, "id"), id);
            let children: Vec<&Value> = part["children"].as_array().map(|all| all.iter().collect()).unwrap_or_default();
            assert!(children.iter().all(|child| position.contains_key(child.as_str().unwrap_or_default())), "{id}");
            if part["type"] == "ROW" {
                let width: u64 =
                    children.iter().filter_map(|child| position[child.as_str()?]["meta"]["width"].as_u64()).sum();
                assert!((1..=12).contains(&width), "{id} is {width} wide");
            }
            if part["type"] == "CHART" {
                drawn.push(text(&part["meta"], "uuid"));
            }
        }
    }
    drawn.sort_unstable();
    let mut known: Vec<&str> = charts.iter().map(|chart| text(chart, "uuid")).collect();
    known.sort_unstable();
    assert_eq!(drawn, known, "each chart is on one dashboard");
}

/// What Superset's templates become, with the time of the dashboard and one bucket.
/// `make dashboards-test` runs the templates themselves.
fn expanded(template: &str, from: &str, to: &str) -> String {
    let is_of_the_template = |line: &&str| line.starts_with("{% set ") && line.ends_with(" %}");
    let statement: Vec<&str> = template.lines().skip_while(is_of_the_template).collect();
    let statement = statement
        .join("\n")
        .replace("{{ start }}", &format!("'{from}'::timestamptz"))
        .replace("{{ end }}", &format!("'{to}'::timestamptz"))
        .replace("{{ bucket }}", super::ONE_BUCKET);
    assert!(!statement.contains(['{', '}', '%']), "{statement}");
    statement
}

#[tokio::test]
async fn each_dataset_answers_as_its_report_does() {
    let app = counted_app().await;
    let role = role_of(&app, "tests").await;
    let mut connection = connect(&app, &role).await;
    let export = export();
    let at = |days: i64| {
        (chrono::Utc::now() + chrono::TimeDelta::days(days)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    };
    for report in reports() {
        let dataset = &export[&format!("datasets/textback/{}.yaml", report.name)];
        let found = rows_of(&mut connection, &expanded(text(dataset, "sql"), &at(-30), &at(1))).await;
        let lines = |rows: &[serde_json::Map<String, Value>]| {
            rows.iter().map(|row| line(&report.columns, row)).collect::<Vec<_>>()
        };
        assert_eq!(lines(&found), lines(&rows(&mut connection, &report).await), "{}", report.name);
    }
}
