//! The metrics of a process, in Prometheus' text format. [`table`] names them all, with their
//! labels and all words of these labels. A metric that is not in the table can't be written.
//!
//! Counters are there from the start with 0, because a counter that first appears with 1 shows no
//! increase. The handle of each series is made once, so a call looks nothing up in the recorder.

pub mod process;
pub mod table;

use std::fmt::Write;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use table::*;

/// The labels of a metric: the name of each, and all its words.
pub type Labels = &'static [(&'static str, &'static [&'static str])];

/// The word that stands for the words that a label does not have, if it is among those of the
/// label.
const OTHER: &str = "other";

/// What a metric is.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub name: &'static str,
    /// What it counts or measures, for its users.
    pub help: &'static str,
    pub labels: Labels,
    /// The upper bounds of a histogram.
    pub buckets: &'static [f64],
}

impl Metric {
    /// The unit, by the end of the name.
    pub fn unit(&self) -> &'static str {
        let name = self.name.trim_end_matches("_total");
        ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit)).unwrap_or("")
    }

    /// The values of the labels of each series, in the order of [`Self::position`].
    fn series(&self) -> Vec<Vec<metrics::Label>> {
        let mut all = vec![Vec::new()];
        for (name, words) in self.labels {
            let longer = |labels: &Vec<metrics::Label>| {
                let labels = labels.clone();
                words.iter().map(move |word| {
                    let mut labels = labels.clone();
                    labels.push(metrics::Label::from_static_parts(name, word));
                    labels
                })
            };
            all = all.iter().flat_map(longer).collect();
        }
        all
    }

    /// The position of a series among all of the metric. `None` if a label does not have the word.
    fn position(&self, words: &[&str]) -> Option<usize> {
        debug_assert_eq!(words.len(), self.labels.len(), "{}", self.name);
        let mut position = 0;
        for ((label, known), word) in self.labels.iter().zip(words) {
            let of = |word: &str| known.iter().position(|known| *known == word);
            let found = of(word).or_else(|| of(OTHER));
            debug_assert!(found.is_some(), "{}: the label {label} has no word {word}", self.name);
            position = position * known.len() + found?;
        }
        Some(position)
    }
}

/// Declares a kind of metric with its handles.
macro_rules! kind {
    ($(#[doc = $doc:literal])+ $name:ident, $handle:ty, $word:literal, $register:ident) => {
        $(#[doc = $doc])+
        pub struct $name {
            metric: Metric,
            series: OnceLock<Vec<$handle>>,
        }

        impl $name {
            const fn new(name: &'static str, help: &'static str, labels: Labels, buckets: &'static [f64]) -> Self {
                Self { metric: Metric { kind: $word, name, help, labels, buckets }, series: OnceLock::new() }
            }

            /// What it is.
            pub const fn metric(&self) -> &Metric {
                &self.metric
            }

            fn series(&self) -> &[$handle] {
                self.series.get_or_init(|| {
                    install();
                    let series = self.metric.series().into_iter();
                    series.map(|labels| metrics::$register!(self.metric.name, labels)).collect()
                })
            }

            /// The series with these words, in the order of the labels.
            fn at(&self, words: &[&str]) -> Option<&$handle> {
                self.series().get(self.metric.position(words)?)
            }
        }
    };
}

kind! {
    /// A number that only grows.
    Counter, metrics::Counter, "counter", counter
}
kind! {
    /// A number that goes up and down.
    Gauge, metrics::Gauge, "gauge", gauge
}
kind! {
    /// How often a measured value was below each of some bounds.
    Histogram, metrics::Histogram, "histogram", histogram
}

impl Counter {
    /// Counts one, with the word of each label.
    pub fn count(&self, words: &[&str]) {
        self.add(words, 1);
    }

    /// Counts several.
    pub fn add(&self, words: &[&str], several: u64) {
        if let Some(counter) = self.at(words) {
            counter.increment(several);
        }
    }
}

impl Gauge {
    /// Sets the value, with the word of each label.
    pub fn set(&self, words: &[&str], value: f64) {
        if let Some(gauge) = self.at(words) {
            gauge.set(value);
        }
    }

    /// Sets the value to a count.
    pub fn set_count(&self, words: &[&str], count: usize) {
        self.set(words, f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    }
}

impl Histogram {
    /// Records a time, with the word of each label.
    pub fn record(&self, words: &[&str], time: Duration) {
        self.record_seconds(words, time.as_secs_f64());
    }

    /// Records a time in seconds.
    pub fn record_seconds(&self, words: &[&str], seconds: f64) {
        if let Some(histogram) = self.at(words) {
            histogram.record(seconds);
        }
    }
}

/// A metric of the table.
pub enum Entry {
    Counter(&'static Counter),
    Gauge(&'static Gauge),
    Histogram(&'static Histogram),
}

impl Entry {
    /// What it is.
    pub const fn metric(&self) -> &Metric {
        match self {
            Self::Counter(counter) => counter.metric(),
            Self::Gauge(gauge) => gauge.metric(),
            Self::Histogram(histogram) => histogram.metric(),
        }
    }
}

/// Makes this process record metrics, and returns what prints them.
fn install() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let mut builder = PrometheusBuilder::new();
        for metric in ALL.iter().map(Entry::metric).filter(|metric| !metric.buckets.is_empty()) {
            let name = Matcher::Full(metric.name.to_owned());
            builder = builder.set_buckets_for_metric(name, metric.buckets).unwrap_or_default();
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        // A process has one recorder, and OnceLock makes this one the first.
        let _ = metrics::set_global_recorder(recorder);
        handle
    })
}

/// Begins to record metrics: all counters are there with 0, and all metrics with their help.
pub fn start() {
    install();
    for entry in ALL {
        let Metric { name, help, .. } = *entry.metric();
        match entry {
            Entry::Counter(counter) => {
                metrics::describe_counter!(name, help);
                counter.series();
            }
            Entry::Gauge(_) => metrics::describe_gauge!(name, help),
            Entry::Histogram(_) => metrics::describe_histogram!(name, help),
        }
    }
    BUILD_INFO.set(&[env!("CARGO_PKG_VERSION")], 1.0);
}

/// Moves measured values into their histograms. Without it they would pile up in memory while
/// nobody reads the metrics.
pub fn upkeep() {
    install().run_upkeep();
}

/// All metrics of this process in Prometheus' text format.
pub fn render() -> String {
    let mut page = install().render();
    process::render(&mut page);
    page
}

/// The table of all metrics in Markdown, for `docs/metrics.md`.
pub fn markdown() -> String {
    let mut page = String::from("| metric | kind | labels | what |\n|---|---|---|---|\n");
    let all = ALL.iter().map(|entry| *entry.metric()).chain(process::METRICS);
    for Metric { kind, name, help, labels, .. } in all {
        let labels: Vec<String> = labels.iter().map(|(name, words)| label_in_markdown(name, words)).collect();
        // Writing to a String does not fail.
        let _ = writeln!(page, "| `{name}` | {kind} | {} | {help} |", labels.join("; "));
    }
    page
}

/// How many words of a label the page names. Of the operations it would name forty.
const WORDS_IN_MARKDOWN: usize = 24;

fn label_in_markdown(name: &str, words: &[&str]) -> String {
    match words.len() {
        0..=WORDS_IN_MARKDOWN => format!("`{name}`: {}", words.join(", ")),
        more => format!("`{name}`: {more} words"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRIC: Metric = Metric {
        kind: "counter",
        name: "textback_things_total",
        help: "Things.",
        labels: &[("a", &["x", "y"]), ("b", &["1", "2", OTHER])],
        buckets: &[],
    };

    #[test]
    fn each_series_is_found_by_its_words() {
        let all = METRIC.series();
        assert_eq!(all.len(), 6);
        for (n, labels) in all.iter().enumerate() {
            let words: Vec<&str> = labels.iter().map(metrics::Label::value).collect();
            assert_eq!(METRIC.position(&words), Some(n), "{words:?}");
        }
    }

    #[test]
    fn a_word_that_the_label_does_not_have_is_counted_as_another_one() {
        assert_eq!(METRIC.position(&["y", "7"]), METRIC.position(&["y", OTHER]));
    }

    #[test]
    fn names_follow_the_practice_of_prometheus() {
        let mut names: Vec<&str> = Vec::new();
        for entry in ALL {
            let metric = entry.metric();
            names.push(metric.name);
            assert!(metric.name.starts_with("textback_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == "counter", "{}", metric.name);
            assert_eq!(metric.kind == "histogram", !metric.buckets.is_empty(), "{}", metric.name);
            assert!(metric.kind != "histogram" || metric.unit() == "seconds", "{}", metric.name);
            assert!(metric.help.ends_with('.') && !metric.help.contains(['|', '\n']), "{}", metric.help);
            assert!(metric.series().len() <= 256, "{} has too many series", metric.name);
        }
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "a name is used twice");
    }
}
