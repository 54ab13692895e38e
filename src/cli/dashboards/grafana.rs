//! Dashboards of Grafana, in its JSON model, for its data source of PostgreSQL.
//!
//! <https://grafana.com/docs/grafana/latest/visualizations/dashboards/build-dashboards/view-dashboard-json-model/>,
//! <https://grafana.com/docs/grafana/latest/datasources/postgres/query-editor/>

use serde_json::{Value, json};

use super::merged;
use crate::domain::report::dashboard::{DASHBOARDS, Dashboard, Position, WIDTH};
use crate::domain::report::{Chart, Column, Report, Unit};

/// The version of the JSON model: that of Grafana 11 and later. Grafana migrates older ones by
/// itself.
const SCHEMA_VERSION: u32 = 39;

pub fn files() -> Vec<(String, String)> {
    let file = |dashboard: &Dashboard| {
        let text = serde_json::to_string_pretty(&document(dashboard)).unwrap_or_default();
        (format!("grafana/dashboards/{}.json", dashboard.name), text + "\n")
    };
    DASHBOARDS.iter().map(file).collect()
}

fn datasource() -> Value {
    json!({"type": "grafana-postgresql-datasource", "uid": "${datasource}"})
}

fn document(dashboard: &Dashboard) -> Value {
    let mut panels = Vec::new();
    let mut heavy = Vec::new();
    let mut bottom = 0;
    for (report, position) in dashboard.rows().into_iter().flatten() {
        if report.is_heavy() {
            heavy.push(report);
        } else {
            bottom = bottom.max(position.y + position.height);
            panels.push(panel(&report, panels.len() + 1, position));
        }
    }
    for report in heavy {
        panels.extend(closed_row(&report, panels.len() + 1, bottom));
        bottom += 1;
    }
    let (since, refresh) = if dashboard.name == "operations" { ("now-24h", "1m") } else { ("now-7d", "5m") };
    json!({
        "uid": format!("textback-{}", dashboard.name), "title": dashboard.title, "description": dashboard.about,
        "tags": ["textback"], "schemaVersion": SCHEMA_VERSION, "version": 1, "editable": true, "graphTooltip": 1,
        "timezone": "utc", "time": {"from": since, "to": "now"}, "refresh": refresh, "panels": panels,
        "links": [{
            "type": "dashboards", "title": "textback", "tags": ["textback"], "asDropdown": false, "includeVars": true, "keepTime": true,
            "targetBlank": false, "icon": "external link", "tooltip": "", "url": "",
        }],
        "annotations": {"list": []},
        "templating": {"list": [
            {
                "name": "datasource", "label": "Data source", "type": "datasource", "query": "grafana-postgresql-datasource", "hide": 0,
                // The source of deploy/grafana/provisioning. Grafana takes another one if there is
                // none of this name.
                "regex": "", "current": {"text": "textback", "value": "textback"}, "options": [], "multi": false, "includeAll": false, "refresh": 1, "skipUrlSync": false,
            },
            {
                // The views are counted by the hour, so there are no shorter buckets.
                "name": "bucket", "label": "By", "type": "interval", "query": "1h,6h,1d,7d", "hide": 0, "auto": true, "auto_count": 40,
                "auto_min": "1h", "current": {"text": "auto", "value": "$__auto_interval_bucket"}, "options": [], "refresh": 2,
                "skipUrlSync": false,
            },
        ]},
    })
}

/// A row that is closed. Its question is not asked before somebody opens it.
fn closed_row(report: &Report, id: usize, y: u32) -> [Value; 1] {
    let inside = panel(report, id + 1_000, Position { x: 0, y: y + 1, width: WIDTH, height: 8 });
    [json!({
        "id": id, "type": "row", "title": format!("{} (heavy: asked when you open it)", report.title), "collapsed": true,
        "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}, "panels": [inside],
    })]
}

fn panel(report: &Report, id: usize, position: Position) -> Value {
    let format = if report.chart.is_over_time() { "time_series" } else { "table" };
    let (kind, options) = drawn(report);
    json!({
        "id": id, "type": kind, "title": report.title, "description": described(report), "datasource": datasource(),
        "gridPos": {"x": position.x, "y": position.y, "w": position.width, "h": position.height},
        "targets": [{
            "refId": "A", "datasource": datasource(), "editorMode": "code", "format": format, "rawQuery": true,
            "rawSql": statement(report),
        }],
        "fieldConfig": fields(report), "options": options, "transparent": false,
    })
}

/// The statement with Grafana's macros.
fn statement(report: &Report) -> String {
    report.statement_with("$__timeFrom()::timestamptz", "$__timeTo()::timestamptz", "'${bucket}'::interval")
}

/// What it answers, and what its figures mean.
fn described(report: &Report) -> String {
    let mut lines = vec![report.answers.to_owned()];
    lines.extend(report.columns.iter().map(|column| format!("- `{}`: {}", column.name, column.meaning)));
    lines.join("\n")
}

/// The kind of the panel, and its options.
fn drawn(report: &Report) -> (&'static str, Value) {
    match report.chart {
        Chart::Figures => (
            "stat",
            json!({
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false}, "colorMode": "none", "graphMode": "none",
                "justifyMode": "auto", "orientation": "auto", "textMode": "value_and_name", "wideLayout": true,
            }),
        ),
        Chart::Lines | Chart::Bars => (
            "timeseries",
            json!({
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }),
        ),
        Chart::Ranking => (
            "barchart",
            json!({
                "xField": report.columns_of(Unit::Text).next().map(|column| column.name), "orientation": "horizontal", "showValue": "auto",
                "stacking": "none", "barWidth": 0.8, "groupWidth": 0.7, "xTickLabelRotation": 0, "xTickLabelSpacing": 0,
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": []},
                "tooltip": {"mode": "single", "sort": "none"},
            }),
        ),
        Chart::Table => ("table", json!({"showHeader": true, "cellHeight": "sm"})),
    }
}

/// The units of the figures, and how lines and bars look.
fn fields(report: &Report) -> Value {
    let custom = match report.chart {
        Chart::Lines => {
            json!({"drawStyle": "line", "lineWidth": 2, "fillOpacity": 0, "showPoints": "auto", "spanNulls": true})
        }
        Chart::Bars => json!({
            "drawStyle": "bars", "lineWidth": 1, "fillOpacity": 80, "showPoints": "never", "barAlignment": 1,
            "stacking": {"mode": "normal", "group": "A"},
        }),
        Chart::Ranking => json!({"lineWidth": 1, "fillOpacity": 80}),
        Chart::Figures | Chart::Table => json!({}),
    };
    // The figures of a chart have one axis.
    let unit = report.figures().next().map_or("string", unit);
    let mut defaults = json!({"unit": unit, "custom": custom, "noValue": "–"});
    if report.chart.is_over_time() || report.chart == Chart::Ranking {
        defaults = merged(defaults, json!({"min": 0}));
    }
    if let Some(series) = report.series() {
        defaults = merged(defaults, json!({"displayName": format!("${{__field.labels.{}}}", series.name)}));
    }
    let of_column = |column: &Column| json!({"matcher": {"id": "byName", "options": column.name}, "properties": [{"id": "unit", "value": self::unit(column)}]});
    let overrides: Vec<Value> = match report.series() {
        Some(_) => Vec::new(),
        None => report.columns.iter().filter(|column| column.unit != Unit::Time).map(of_column).collect(),
    };
    json!({"defaults": defaults, "overrides": overrides})
}

/// Grafana's name of a unit.
fn unit(column: &Column) -> &'static str {
    match column.unit {
        Unit::Time => "dateTimeAsIso",
        Unit::Text => "string",
        Unit::Count | Unit::Number => "short",
        Unit::Seconds => "s",
        Unit::Share => "percentunit",
        Unit::Whether => "bool_yes_no",
    }
}
