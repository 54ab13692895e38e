//! An export of Superset: a database, a virtual dataset and the charts of each report, and the
//! dashboards, as `superset import-dashboards` and the page of imports read it from a ZIP file.
//!
//! The statements of the datasets are templates of Jinja, so Superset needs the feature flag
//! ENABLE_TEMPLATE_PROCESSING:
//! <https://superset.apache.org/admin-docs/configuration/sql-templating>

use serde_json::{Map, Value, json};
use uuid::{Builder, Uuid};

use super::{merged, yaml};
use crate::domain::report::dashboard::{DASHBOARDS, Dashboard, Position, WIDTH};
use crate::domain::report::moment::BUCKETS;
use crate::domain::report::{Chart, Column, Report, Unit, reports};
use crate::secret::sha256;

/// The version of Superset's format.
const VERSION: &str = "1.0.0";
/// The time that a dashboard shows first. Superset's own words such as "Last week" end with the day
/// before.
const TIME: &str = "DATEADD(DATETIME(\"now\"), -7, day) : now";
/// Superset has 12 columns, and Grafana 24.
const NARROWER: u32 = 2;
/// The height of one of our rows in units of Superset, which are 8 pixels. A chart's frame takes
/// some of it.
const HIGHER: u32 = 5;

pub fn files() -> Vec<(String, String)> {
    // The time is of the format, and no fact about the dashboards.
    let metadata = json!({"version": VERSION, "type": "Dashboard", "timestamp": "2026-01-01T00:00:00+00:00"});
    let mut files = vec![("metadata".to_owned(), metadata), ("databases/textback".to_owned(), database())];
    for report in reports() {
        files.push((format!("datasets/textback/{}", report.name), dataset(&report)));
        files.extend(charts(&report).into_iter().map(|(name, chart)| (format!("charts/{name}"), chart)));
    }
    files.extend(DASHBOARDS.iter().map(|one| (format!("dashboards/{}", one.name), dashboard(one))));
    files.iter().map(|(path, value)| (format!("superset/textback/{path}.yaml"), yaml::document(value))).collect()
}

/// The id of a thing by its kind and its name, so that a later import replaces it.
fn id(kind: &str, name: &str) -> Uuid {
    let mut bytes = [0; 16];
    for (byte, of_hash) in bytes.iter_mut().zip(sha256(format!("textback/{kind}/{name}").as_bytes())) {
        *byte = of_hash;
    }
    Builder::from_custom_bytes(bytes).into_uuid()
}

fn database() -> Value {
    json!({
        "database_name": "textback", "sqlalchemy_uri": "postgresql+psycopg2://dashboard@localhost:5432/textback", "cache_timeout": null,
        "expose_in_sqllab": true, "allow_run_async": false, "allow_ctas": false, "allow_cvas": false, "allow_dml": false,
        "allow_file_upload": false, "extra": {"metadata_params": {}, "engine_params": {}, "schemas_allowed_for_file_upload": []},
        "impersonate_user": false, "uuid": id("database", "textback"), "version": VERSION,
    })
}

/// The statement as a template. Superset's times have no zone, and are read as UTC.
fn statement(report: &Report) -> String {
    let format = "strftime=\"%Y-%m-%dT%H:%M:%SZ\"";
    // The time of a bucket may be before the start of the time, so the statement filters and
    // Superset does not filter again.
    let filter = match report.chart.is_over_time() {
        true => format!("get_time_filter(\"time\", remove_filter=True, default='{TIME}', {format})"),
        false => format!("get_time_filter(default='{TIME}', {format})"),
    };
    let statement = report.statement_with("{{ start }}", "{{ end }}", "{{ bucket }}");
    if !report.is_of_a_time() {
        return statement;
    }
    let mut lines = vec![
        format!("{{% set time = {filter} %}}"),
        r#"{% set start = "'" ~ (time.from_expr or "2000-01-01T00:00:00Z") ~ "'::timestamptz" %}"#.to_owned(),
        r#"{% set end = "'" ~ (time.to_expr or "2100-01-01T00:00:00Z") ~ "'::timestamptz" %}"#.to_owned(),
    ];
    if report.has_buckets() {
        let cases: Vec<String> = BUCKETS
            .iter()
            .map(|(days, seconds)| {
                format!(
                    r#""when " ~ end ~ " - " ~ start ~ " >= interval '{days} days' then interval '{seconds} seconds' ""#
                )
            })
            .collect();
        lines.push(format!(r#"{{% set bucket = "(case " ~ {} ~ "end)" %}}"#, cases.join(" ~ ")));
    }
    lines.push(statement);
    lines.join("\n")
}

fn dataset(report: &Report) -> Value {
    let column = |column: &Column| {
        json!({
            "column_name": column.name, "verbose_name": null, "is_dttm": column.unit == Unit::Time, "is_active": true,
            "type": kind(column), "advanced_data_type": null, "groupby": true, "filterable": true, "expression": null,
            "description": column.meaning, "python_date_format": null, "extra": {},
        })
    };
    let time = report.chart.is_over_time().then_some("time");
    json!({
        "table_name": format!("textback_{}", report.name), "main_dttm_col": time, "description": report.answers, "default_endpoint": null,
        "offset": 0, "cache_timeout": null, "catalog": null, "schema": "reporting", "sql": statement(report), "params": null,
        "template_params": null, "filter_select_enabled": true, "fetch_values_predicate": null, "extra": null,
        "normalize_columns": false, "always_filter_main_dttm": false, "uuid": id("dataset", report.name), "metrics": [],
        "columns": report.columns.iter().map(column).collect::<Vec<_>>(), "version": VERSION,
        "database_uuid": id("database", "textback"),
    })
}

/// The type of a column, as PostgreSQL names it.
fn kind(column: &Column) -> &'static str {
    match column.unit {
        Unit::Time => "TIMESTAMP WITH TIME ZONE",
        Unit::Text => "TEXT",
        Unit::Count => "BIGINT",
        Unit::Number | Unit::Seconds | Unit::Share => "DOUBLE PRECISION",
        Unit::Whether => "BOOLEAN",
    }
}

/// The format of a figure, in the words of d3.
fn format_of(column: &Column) -> &'static str {
    match column.unit {
        Unit::Share => ".1%",
        Unit::Seconds | Unit::Number => ",.2f",
        _ => ",d",
    }
}

/// A figure of one row. Superset needs an aggregate, and the largest of one is that one.
fn metric(column: &Column) -> Value {
    json!({
        "expressionType": "SQL", "sqlExpression": format!("MAX(\"{}\")", column.name), "label": column.name, "hasCustomLabel": true,
        "optionName": format!("metric_{}", column.name),
    })
}

/// The charts of a report, with the names of their files: one for each figure of a report that has
/// only figures.
fn charts(report: &Report) -> Vec<(String, Value)> {
    match report.chart {
        Chart::Figures => {
            let of = |column: &Column| (chart_name(report, Some(column)), chart(report, Some(column)));
            report.columns.iter().map(of).collect()
        }
        _ => vec![(chart_name(report, None), chart(report, None))],
    }
}

fn chart_name(report: &Report, column: Option<&Column>) -> String {
    column.map_or_else(|| report.name.to_owned(), |column| format!("{}_{}", report.name, column.name))
}

fn chart_title(report: &Report, column: Option<&Column>) -> String {
    column.map_or_else(|| report.title.to_owned(), |column| column.name.replace('_', " "))
}

fn chart(report: &Report, column: Option<&Column>) -> Value {
    let (kind, params) = drawn(report, column);
    let params = merged(params, json!({"viz_type": kind}));
    let name = chart_name(report, column);
    json!({
        "slice_name": chart_title(report, column), "description": column.map_or(report.answers, |column| column.meaning),
        "certified_by": null, "certification_details": null, "viz_type": kind, "params": params, "query_context": null,
        "cache_timeout": null, "uuid": id("chart", &name), "version": VERSION, "dataset_uuid": id("dataset", report.name),
    })
}

/// The kind of a chart, and its settings.
fn drawn(report: &Report, column: Option<&Column>) -> (&'static str, Value) {
    let figures: Vec<Value> = report.figures().map(metric).collect();
    let format = report.figures().next().map_or(",d", format_of);
    let in_unit = if report.figures().all(|column| column.unit == Unit::Seconds) { "seconds" } else { "" };
    let whole_time = json!([{
        "clause": "WHERE", "expressionType": "SIMPLE", "subject": "time", "operator": "TEMPORAL_RANGE", "comparator": "No filter",
    }]);
    let axes = json!({
        "adhoc_filters": [], "metrics": figures, "groupby": [], "row_limit": 10000, "show_legend": true, "legendOrientation": "top",
        "rich_tooltip": true, "y_axis_format": format, "y_axis_title": in_unit, "y_axis_title_margin": 45, "y_axis_title_position": "Left", "truncate_metric": true,
        "x_axis_title_margin": 15, "x_axis_time_format": "%m-%d %H:%M", "sort_series_type": "sum",
    });
    let with = |more: Value| merged(axes.clone(), more);
    let series: Vec<&str> = report.series().iter().map(|column| column.name).collect();
    match (report.chart, column) {
        (Chart::Figures, Some(column)) => (
            "big_number_total",
            json!({"metric": metric(column), "adhoc_filters": [], "header_font_size": 0.4, "y_axis_format": format_of(column)}),
        ),
        (Chart::Lines, _) => (
            "echarts_timeseries_line",
            with(
                json!({"x_axis": "time", "time_grain_sqla": null, "groupby": series, "adhoc_filters": whole_time, "markerEnabled": true, "markerSize": 4}),
            ),
        ),
        (Chart::Bars, _) => (
            "echarts_timeseries_bar",
            with(
                json!({"x_axis": "time", "time_grain_sqla": null, "groupby": series, "adhoc_filters": whole_time, "stack": "Stack", "orientation": "vertical"}),
            ),
        ),
        (Chart::Ranking, _) => {
            let names = report.columns_of(Unit::Text).next().map(|column| column.name);
            let figure = report.figures().next().map(|column| column.name);
            // A horizontal chart begins at the bottom, so the largest is at the top.
            let more = json!({
                "x_axis": names, "orientation": "horizontal", "show_value": true, "show_legend": false, "x_axis_sort": figure,
                "x_axis_sort_asc": true,
            });
            ("echarts_timeseries_bar", with(more))
        }
        (Chart::Figures | Chart::Table, _) => ("table", table(report)),
    }
}

fn table(report: &Report) -> Value {
    let names: Vec<&str> = report.columns.iter().map(|column| column.name).collect();
    let formats: Map<String, Value> =
        report.figures().map(|column| (column.name.to_owned(), json!({"d3NumberFormat": format_of(column)}))).collect();
    json!({
        "query_mode": "raw", "all_columns": names, "groupby": [], "metrics": [], "adhoc_filters": [], "order_by_cols": [],
        "row_limit": 1000, "server_pagination": false, "table_timestamp_format": "%Y-%m-%d %H:%M", "show_cell_bars": false,
        "column_config": formats,
    })
}

fn dashboard(dashboard: &Dashboard) -> Value {
    let filter = json!({
        "id": "NATIVE_FILTER-time", "name": "Time", "type": "NATIVE_FILTER", "filterType": "filter_time", "targets": [{}],
        "description": "", "cascadeParentIds": [], "controlValues": {}, "scope": {"rootPath": ["ROOT_ID"], "excluded": []},
        "defaultDataMask": {"extraFormData": {"time_range": TIME}, "filterState": {"value": TIME}},
    });
    json!({
        "dashboard_title": dashboard.title, "description": dashboard.about, "css": "", "slug": format!("textback-{}", dashboard.name),
        "uuid": id("dashboard", dashboard.name), "position": position(dashboard), "version": VERSION, "published": true,
        "certified_by": "", "certification_details": "",
        "metadata": {
            "native_filter_configuration": [filter], "cross_filters_enabled": false, "color_scheme": "supersetColors",
            "label_colors": {}, "shared_label_colors": [], "timed_refresh_immune_slices": [], "expanded_slices": {},
            "refresh_frequency": 0, "chart_configuration": {},
        },
    })
}

/// Where each chart stands.
fn position(dashboard: &Dashboard) -> Value {
    let mut all = Map::new();
    let mut rows = Vec::new();
    for row in dashboard.rows().iter().flat_map(|row| rows_of(row)) {
        let row_id = format!("ROW-{}", rows.len());
        let mut inside = Vec::new();
        for (report, column, position) in row {
            let drawn = of_chart(&row_id, all.len() + 1, (report, column), position);
            let chart_id = format!("CHART-{}", chart_name(report, column));
            all.insert(chart_id.clone(), drawn);
            inside.push(chart_id);
        }
        let row = json!({
            "type": "ROW", "id": row_id, "children": inside, "parents": ["ROOT_ID", "GRID_ID"],
            "meta": {"background": "BACKGROUND_TRANSPARENT"},
        });
        all.insert(row_id.clone(), row);
        rows.push(row_id);
    }
    all.insert("DASHBOARD_VERSION_KEY".to_owned(), "v2".into());
    all.insert("ROOT_ID".to_owned(), json!({"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]}));
    all.insert(
        "GRID_ID".to_owned(),
        json!({"type": "GRID", "id": "GRID_ID", "children": rows, "parents": ["ROOT_ID"]}),
    );
    let header = json!({"type": "HEADER", "id": "HEADER_ID", "meta": {"text": dashboard.title}});
    all.insert("HEADER_ID".to_owned(), header);
    Value::Object(all)
}

/// A chart with the figure that it is of, if it is of one, and where it stands.
type Drawn<'a> = (&'a Report, Option<&'a Column>, Position);

/// The rows of Superset for a row of a dashboard. Figures are charts of their own, at most four in
/// a row, because their titles need space.
fn rows_of(row: &[(Report, Position)]) -> Vec<Vec<Drawn<'_>>> {
    let [(report, position)] = row else {
        return vec![row.iter().map(|(report, position)| (report, None, *position)).collect()];
    };
    if report.chart != Chart::Figures {
        return vec![vec![(report, None, *position)]];
    }
    let count = report.columns.len();
    let in_a_row = if count <= 4 { count.max(1) } else { count.div_ceil(2) };
    let width = WIDTH / u32::try_from(in_a_row).unwrap_or(WIDTH);
    let of = |column| (report, Some(column), Position { width, ..*position });
    report.columns.chunks(in_a_row).map(|columns| columns.iter().map(of).collect()).collect()
}

/// A chart in a row. The number is unique in the dashboard; an import replaces it by that of the
/// chart.
fn of_chart(row: &str, number: usize, (report, column): (&Report, Option<&Column>), position: Position) -> Value {
    let name = chart_name(report, column);
    json!({
        "type": "CHART", "id": format!("CHART-{name}"), "children": [], "parents": ["ROOT_ID", "GRID_ID", row],
        "meta": {
            "chartId": number, "uuid": id("chart", &name), "sliceName": chart_title(report, column), "width": position.width / NARROWER,
            "height": position.height * HIGHER,
        },
    })
}
