//! Which questions stand on which dashboard, and where.

use super::{Chart, Report, Unit, reports};

/// A dashboard of Grafana and of Superset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dashboard {
    /// Its name in addresses and files.
    pub name: &'static str,
    pub title: &'static str,
    pub about: &'static str,
    /// The names of its questions, from the top left to the bottom right.
    pub reports: &'static [&'static str],
}

/// All dashboards.
pub const DASHBOARDS: [Dashboard; 3] = [
    Dashboard {
        name: "operations",
        title: "textback: operations",
        about: "Whether textback keeps up, and what needs somebody's attention.",
        reports: &[
            "due",
            "backlog",
            "jobs",
            "agent_failures",
            "agents_that_failed",
            "lateness",
            "quarantined",
            "quarantine",
            "invariants",
            "numbers",
            "failed_turns",
            "late_warnings",
        ],
    },
    Dashboard {
        name: "conversations",
        title: "textback: conversations",
        about: "What people and agents do: texts, sessions, turns, and how long an answer takes.",
        reports: &[
            "conversations",
            "texts",
            "sessions",
            "text_to_reply",
            "turn_duration",
            "turns",
            "end_reasons",
            "inactivity",
            "opt_outs",
            "text_cases",
            "agent_versions",
            "model_use",
        ],
    },
    Dashboard {
        name: "delivery-and-cost",
        title: "textback: delivery and cost",
        about: "Whether texts arrive, why some do not, and the segments that carriers charge for.",
        reports: &[
            "deliveries",
            "delivery_funnel",
            "delivery_statuses",
            "delivery_latency",
            "delivery_errors",
            "segments",
            "encodings",
            "segments_by_country",
            "deliveries_by_number",
            "failed_deliveries",
        ],
    },
];

/// The columns of a dashboard of Grafana. Superset's has half as many.
pub const WIDTH: u32 = 24;

/// Where a question stands, in columns of Grafana and in its rows of 30 pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

/// The width and the height of a question.
fn size(report: &Report) -> (u32, u32) {
    match report.chart {
        Chart::Figures => (WIDTH, 4),
        Chart::Lines | Chart::Bars | Chart::Ranking => (WIDTH / 2, 8),
        Chart::Table if report.columns.len() > 5 || report.columns_of(Unit::Text).count() > 3 => (WIDTH, 8),
        Chart::Table => (WIDTH / 2, 8),
    }
}

impl Dashboard {
    /// Its questions in rows, each with its position. A question that stands alone in its row is as
    /// wide as the row.
    pub fn rows(&self) -> Vec<Vec<(Report, Position)>> {
        let mut all = reports();
        let mut rows: Vec<Vec<(Report, Position)>> = Vec::new();
        for name in self.reports {
            let Some(at) = all.iter().position(|report| report.name == *name) else { continue };
            let report = all.swap_remove(at);
            let (width, height) = size(&report);
            let last = rows.last().and_then(|row| row.last()).map(|(_, position)| *position);
            match (last, rows.last_mut()) {
                (Some(last), Some(row)) if last.x + last.width + width <= WIDTH && last.height == height => {
                    row.push((report, Position { x: last.x + last.width, y: last.y, width, height }));
                }
                _ => {
                    let y = last.map_or(0, |last| last.y + last.height);
                    rows.push(vec![(report, Position { x: 0, y, width, height })]);
                }
            }
        }
        for row in &mut rows {
            if let [(_, only)] = &mut row[..] {
                only.width = WIDTH;
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_question_stands_on_one_dashboard() {
        let mut named: Vec<&str> = DASHBOARDS.iter().flat_map(|dashboard| dashboard.reports.iter().copied()).collect();
        named.sort_unstable();
        let mut known: Vec<&str> = reports().iter().map(|report| report.name).collect();
        known.sort_unstable();
        assert_eq!(named, known);
    }

    #[test]
    fn no_two_questions_stand_over_each_other() {
        for dashboard in DASHBOARDS {
            let all: Vec<Position> = dashboard.rows().into_iter().flatten().map(|(_, position)| position).collect();
            assert_eq!(all.len(), dashboard.reports.len());
            for (n, one) in all.iter().enumerate() {
                assert!(one.x + one.width <= WIDTH, "{one:?}");
                for other in all.iter().skip(n + 1) {
                    let is_beside = one.x + one.width <= other.x || other.x + other.width <= one.x;
                    let is_below = one.y + one.height <= other.y || other.y + other.height <= one.y;
                    assert!(is_beside || is_below, "{one:?} {other:?}");
                }
            }
        }
    }
}
