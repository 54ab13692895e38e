//! The questions that dashboards and `textback report` ask of the views of the schema `reporting`.
//! Each stands once, in a file of sql/reports: its title, what it answers, its chart, its columns
//! with their units, and its statement.

pub mod dashboard;
pub mod moment;

/// The files of sql/reports, with their names, embedded by build.rs.
static FILES: &[&str] = &include!(concat!(env!("OUT_DIR"), "/reports.rs"));

/// Where a statement has the start of the time, its end, and the length of a bucket.
const FROM: &str = "$1::timestamptz";
const TO: &str = "$2::timestamptz";
const BUCKET: &str = "$3::interval";

/// How the answer is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chart {
    /// One row of figures.
    Figures,
    /// A line over time for each figure, or for each text of a column.
    Lines,
    /// Stacked bars over time.
    Bars,
    /// A bar for each text, by a figure.
    Ranking,
    /// Rows.
    Table,
}

impl Chart {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "figures" => Some(Self::Figures),
            "lines" => Some(Self::Lines),
            "bars" => Some(Self::Bars),
            "ranking" => Some(Self::Ranking),
            "table" => Some(Self::Table),
            _ => None,
        }
    }

    /// Whether the horizontal axis is time.
    pub fn is_over_time(self) -> bool {
        matches!(self, Self::Lines | Self::Bars)
    }
}

/// The unit of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Time,
    Text,
    Count,
    /// A mean of counts.
    Number,
    Seconds,
    /// From 0 to 1.
    Share,
    Whether,
}

impl Unit {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Time, Self::Text, Self::Count, Self::Number, Self::Seconds, Self::Share, Self::Whether];

    /// The name of the unit in the files and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Text => "text",
            Self::Count => "count",
            Self::Number => "number",
            Self::Seconds => "seconds",
            Self::Share => "share",
            Self::Whether => "whether",
        }
    }

    /// The types that PostgreSQL gives a column of the unit.
    pub fn types(self) -> &'static [&'static str] {
        match self {
            Self::Time => &["TIMESTAMPTZ"],
            Self::Text => &["TEXT"],
            Self::Count => &["INT4", "INT8"],
            Self::Number | Self::Seconds | Self::Share => &["FLOAT8"],
            Self::Whether => &["BOOL"],
        }
    }

    /// Whether its values are drawn as lengths and stand right-aligned.
    pub fn is_figure(self) -> bool {
        matches!(self, Self::Count | Self::Number | Self::Seconds | Self::Share)
    }
}

/// A column of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub unit: Unit,
    pub meaning: &'static str,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub name: &'static str,
    pub title: &'static str,
    /// What the answer tells, as a sentence.
    pub answers: &'static str,
    pub chart: Chart,
    pub columns: Vec<Column>,
    /// One statement, without a semicolon. Its parameters are the start of the time, its end, and
    /// the length of a bucket.
    pub statement: &'static str,
}

impl Report {
    /// Reads a file. Errors with what is wrong in it.
    fn parse(file: &'static str) -> Result<Self, String> {
        let wrong = |what: &str| format!("a file of sql/reports has no {what}: {file}");
        let (name, text) = file.split_once('\n').ok_or_else(|| wrong("name"))?;
        let head: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("-- ")).collect();
        let [title, answers, chart, columns @ ..] = &head[..] else { return Err(wrong("title, answer and chart")) };
        let chart = chart.strip_prefix("chart: ").and_then(Chart::parse).ok_or_else(|| wrong("chart"))?;
        let columns: Option<Vec<Column>> = columns.iter().map(|line| Column::parse(line)).collect();
        let start = text.find("\n\n").ok_or_else(|| wrong("statement"))?;
        let statement = text.get(start..).unwrap_or_default().trim();
        let statement = statement.strip_suffix(';').ok_or_else(|| wrong("semicolon at its end"))?;
        Ok(Self { name, title, answers, chart, columns: columns.ok_or_else(|| wrong("columns"))?, statement })
    }

    /// The statement with other expressions for the start of the time, its end, and the length of a
    /// bucket.
    pub fn statement_with(&self, from: &str, to: &str, bucket: &str) -> String {
        self.statement.replace(FROM, from).replace(TO, to).replace(BUCKET, bucket)
    }

    /// Whether the answer is of a time. Otherwise it is of now.
    pub fn is_of_a_time(&self) -> bool {
        self.statement.contains(FROM)
    }

    /// Whether the answer has a row for each bucket.
    pub fn has_buckets(&self) -> bool {
        self.statement.contains(BUCKET)
    }

    /// Whether the answer reads whole tables, so that it is not asked on each refresh of a
    /// dashboard.
    pub fn is_heavy(&self) -> bool {
        self.statement.contains("reporting.invariants_v1")
    }

    /// The columns of a unit.
    pub fn columns_of(&self, unit: Unit) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(move |column| column.unit == unit)
    }

    /// The columns that are figures.
    pub fn figures(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.unit.is_figure())
    }

    /// The column whose texts are drawn as one line or bar each.
    pub fn series(&self) -> Option<&Column> {
        self.chart.is_over_time().then(|| self.columns_of(Unit::Text).next()).flatten()
    }
}

impl Column {
    /// Reads `name (unit): meaning`.
    fn parse(line: &'static str) -> Option<Self> {
        let (name, rest) = line.split_once(" (")?;
        let (unit, meaning) = rest.split_once("): ")?;
        let unit = Unit::ALL.into_iter().find(|known| known.as_str() == unit)?;
        Some(Self { name, unit, meaning })
    }
}

/// All questions, by their names.
pub fn reports() -> Vec<Report> {
    FILES.iter().filter_map(|file| Report::parse(file).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_a_question_that_its_chart_can_draw() {
        assert!(FILES.len() > 20, "{}", FILES.len());
        for file in FILES {
            let report = Report::parse(file).unwrap_or_else(|wrong| panic!("{wrong}"));
            let name = report.name;
            assert!(report.answers.ends_with('.') && report.answers.len() > 30, "{name}: {}", report.answers);
            assert!(report.title.len() <= 50 && !report.title.ends_with('.'), "{name}: {}", report.title);
            assert!(!report.statement.contains([';', '{', '}']), "{name}: another tool would read these");
            for column in &report.columns {
                assert!(column.meaning.len() > 5 && column.meaning.ends_with('.'), "{name}.{}", column.name);
            }
            let (texts, figures) = (report.columns_of(Unit::Text).count(), report.figures().count());
            let is_drawable = match report.chart {
                Chart::Figures => texts == 0 && figures == report.columns.len(),
                Chart::Lines => texts == 0 && figures > 0 || texts == 1 && figures == 1,
                Chart::Bars => texts == 1 && figures == 1,
                Chart::Ranking => texts == 1 && figures == 1 && report.columns.len() == 2,
                Chart::Table => !report.columns.is_empty(),
            };
            assert!(is_drawable, "{name}: {:?} with {texts} texts and {figures} figures", report.chart);
            if report.chart.is_over_time() {
                assert_eq!(report.columns.first().map(|column| (column.name, column.unit)), Some(("time", Unit::Time)));
                assert!(report.has_buckets() && report.is_of_a_time(), "{name}");
            }
            // What is not a parameter with its type would not be replaced for other tools.
            let replaced = report.statement_with("", "", "");
            assert!(!replaced.contains('$'), "{name}: {replaced}");
            assert_eq!(report.statement.contains(FROM), report.statement.contains(TO), "{name}");
        }
    }
}
