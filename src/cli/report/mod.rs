//! `textback report`: asks the questions of the dashboards in the terminal.

mod chart;
mod export;
mod text;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Done, explained, print, refuse_unsuitable};
use crate::config::{DatabaseSettings, MissingSetting};
use crate::dev::running::RunningDev;
use crate::domain::report::moment::{self, Moment, Span};
use crate::domain::report::{Report, dashboard, reports};
use crate::storage::database::{Missing, what_is_missing};
use crate::storage::notifier::Notifier;
use crate::storage::report::{self, Range, SeenProject};
use crate::storage::{Storage, database};

/// The options of `textback report`.
#[derive(Args)]
pub struct Options {
    /// The name of the report; without it, the reports are listed
    #[arg(value_parser = PossibleValuesParser::new(reports().iter().map(|report| report.name)), hide_possible_values = true)]
    name: Option<String>,
    /// The start: how long ago (12h, 7d, 2w), or a date or a time (2026-11-01,
    /// 2026-11-01T08:00:00Z)
    #[arg(long, default_value = "7d")]
    since: Moment,
    /// The end, in the same way [default: now]
    #[arg(long)]
    until: Option<Moment>,
    /// The time of each row of a report over time, such as 1h, 1d or 1w
    /// [default: by the length of the whole time]
    #[arg(long)]
    by: Option<Span>,
    /// Only this project, by its name or its id
    #[arg(long)]
    project: Option<String>,
    /// Print the rows as CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print the rows and what they mean as one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseSettings,
    /// The data folder of the textback dev to ask, without a DATABASE_URL
    #[arg(long, env = "TEXTBACK_DATA_DIR", default_value = "./data")]
    data_dir: PathBuf,
}

/// The answer to a question.
struct Answer {
    report: Report,
    range: Range,
    /// `None`: all projects that the role sees.
    project: Option<SeenProject>,
    rows: Vec<Map<String, Value>>,
}

/// How long the database may take. It ends a statement itself after 15 s.
const ANSWERS_WITHIN: Duration = Duration::from_secs(25);

/// At most as many rows of time as a terminal scrolls through.
const MOST_BUCKETS: i64 = 2_000;

/// Runs `textback report`.
pub async fn run(options: Options) -> Done {
    let Some(report) = reports().into_iter().find(|report| Some(report.name) == options.name.as_deref()) else {
        return print(&listed(options.csv || options.json)?);
    };
    let url = options.database_url()?;
    refuse_unsuitable(&url).await?;
    let storage = Storage::open(&url, 1, Arc::new(Notifier::default()))?;
    let Ok(answered) = tokio::time::timeout(ANSWERS_WITHIN, options.ask(&storage, report)).await else {
        return Err("the database does not answer; is its server under load, or the network to it broken?".into());
    };
    let answer = match answered {
        Ok(answer) => answer,
        Err(error) => {
            return Err(match error.downcast::<sqlx::Error>() {
                Ok(error) => told(&storage, *error).await,
                Err(error) => error,
            });
        }
    };
    storage.close().await;
    print(&match (options.csv, options.json) {
        (true, _) => export::csv(&answer),
        (_, true) => export::json(&answer),
        _ => text::answer(&answer),
    })
}

/// The reports, a line each, by dashboard.
fn listed(as_data: bool) -> Result<String, &'static str> {
    if as_data {
        return Err("give --csv and --json with the name of a report; textback report lists the names");
    }
    let all = reports();
    let width = all.iter().map(|report| report.name.len()).max().unwrap_or_default();
    let mut lines = Vec::new();
    for dashboard in dashboard::DASHBOARDS {
        lines.push(dashboard.title.trim_start_matches("textback: ").to_owned());
        for report in dashboard.reports.iter().filter_map(|name| all.iter().find(|report| report.name == *name)) {
            lines.push(format!("  {:<width$}  {}", report.name, report.answers));
        }
        lines.push(String::new());
    }
    lines.push("textback report NAME [--since 7d] [--until 1d] [--by 6h] [--project NAME] [--csv | --json]".to_owned());
    Ok(lines.join("\n"))
}

impl Options {
    /// The address of the database: of DATABASE_URL, or of the `textback dev` that runs here.
    fn database_url(&self) -> Result<String, Box<dyn std::error::Error>> {
        if let Some(url) = self.database.given()? {
            return Ok(url.to_owned());
        }
        let running = RunningDev::find(&self.data_dir).and_then(|running| running.database_url);
        Ok(running.ok_or(MissingSetting("DATABASE_URL", "postgres://dashboard:password@host/database"))?)
    }

    async fn ask(&self, storage: &Storage, report: Report) -> Result<Answer, Box<dyn std::error::Error>> {
        let mut transaction = storage.transaction().await?;
        let now = report::now(&mut transaction).await?;
        let (from, to) = (self.since.at(now), self.until.map_or(now, |until| until.at(now)));
        if from >= to {
            return Err(format!(
                "the time from {} to {} is empty; give a --since that is before --until",
                text::time(from),
                text::time(to)
            )
            .into());
        }
        let bucket = self.by.unwrap_or_else(|| moment::bucket_of(from, to));
        if report.has_buckets() && (to - from).num_seconds() / bucket.seconds > MOST_BUCKETS {
            return Err(
                format!("that is over {MOST_BUCKETS} rows of time; give a longer --by or a later --since").into()
            );
        }
        let seen = report::projects(&mut transaction).await?;
        if seen.is_empty() {
            return Err("the role of DATABASE_URL sees no project: make one (textback project create), or let the role see it (textback reporting grant ROLE --project NAME)".into());
        }
        let project = match &self.project {
            Some(wanted) => Some(project(&seen, wanted)?),
            None => None,
        };
        let range = Range { from, to, bucket };
        let project_id = project.as_ref().map(|project| project.project_id);
        let rows = report::read(&mut transaction, &report, range, project_id).await?;
        transaction.rollback().await?;
        Ok(Answer { report, range, project, rows })
    }
}

/// The project that a name or an id means.
fn project(seen: &[SeenProject], wanted: &str) -> Result<SeenProject, String> {
    let id = Uuid::parse_str(wanted).ok();
    let found: Vec<&SeenProject> =
        seen.iter().filter(|project| id.map_or(project.name == wanted, |id| project.project_id == id)).collect();
    match found[..] {
        [project] => Ok(project.clone()),
        [] => {
            let names: Vec<String> = seen.iter().take(10).map(|project| text::plain(&project.name)).collect();
            Err(format!("the role of DATABASE_URL sees no project {wanted:?}; it sees {}", names.join(", ")))
        }
        _ => Err(format!(
            "several projects are called {wanted:?}; give --project the id of the one that you mean (GET /v1/project tells it)"
        )),
    }
}

/// An error of the database, with what to do.
async fn told(storage: &Storage, error: sqlx::Error) -> Box<dyn std::error::Error> {
    let is_late = error.as_database_error().is_some_and(database::is_given_up);
    match what_is_missing(&error) {
        Some(Missing::Schema) => {
            "the database has not the views of this binary; run textback migrate as the role that owns it".into()
        }
        Some(Missing::Right) => {
            "the role of DATABASE_URL may not read the views of the schema reporting; give the DATABASE_URL of the owner of the tables or of a dashboard's role, or let this one (textback reporting grant ROLE --project NAME)".into()
        }
        None if is_late => "the database took over 15 s; give a later --since, or one --project".into(),
        None => explained(storage, error).await,
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::json;

    use super::*;

    /// An answer with texts that a terminal or a spreadsheet could take for commands.
    pub(super) fn answer(name: &str, rows: &Value) -> Answer {
        let report = reports().into_iter().find(|report| report.name == name).expect(name);
        let time = |text| DateTime::parse_from_rfc3339(text).expect("a time").to_utc();
        let range = Range {
            from: time("2026-11-29T00:00:00Z"),
            to: time("2026-11-30T12:00:00Z"),
            bucket: Span { seconds: 6 * 3_600 },
        };
        let rows = rows.as_array().expect("rows").iter().map(|row| row.as_object().expect("a row").clone()).collect();
        Answer { report, range, project: None, rows }
    }

    #[test]
    fn a_project_is_found_by_its_name_or_id_among_those_that_are_seen() {
        let seen = |name: &str| SeenProject { project_id: Uuid::now_v7(), name: name.to_owned() };
        let all = [seen("acme"), seen("twice"), seen("twice")];
        let id = |wanted: &str| project(&all, wanted).map(|project| project.project_id);
        assert_eq!(id("acme"), Ok(all[0].project_id));
        assert_eq!(id(&all[2].project_id.to_string().to_uppercase()), Ok(all[2].project_id));
        assert!(id("twice").is_err_and(|told| told.contains("several projects")));
        assert!(id("ACME").is_err_and(|told| told.contains("it sees acme, twice")));
        assert!(id(&Uuid::now_v7().to_string()).is_err());
    }

    #[test]
    fn the_list_names_each_report_once() {
        let listed = listed(false).expect("a list");
        for report in reports() {
            assert_eq!(listed.matches(&format!("\n  {} ", report.name)).count(), 1, "{}", report.name);
        }
        assert!(super::listed(true).is_err());
        let answer = answer("jobs", &json!([]));
        assert_eq!(answer.report.name, "jobs");
    }
}
