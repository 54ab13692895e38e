//! Tests the metrics: their table and its page, what Prometheus' own tool says of them, the samples
//! that all processes share, the alerts and the runbook.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use serde_yaml::Value;
use textback::domain::job::JobKind;
use textback::http::metrics::Observed;
use textback::telemetry::metrics::{self, ALL, Metric, process};

use crate::commands::Running;
use crate::harness::{ADA, TestApp};
use crate::tidy::files;

const ECHO: &str = "def reply(conv, text): return \"You said \" + text";

/// The value of a series of this process, such as `textback_turns_total{outcome="answered"}`.
pub fn value(series: &str) -> f64 {
    metrics::start();
    value_in(&metrics::render(), series)
}

fn value_in(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not in\n{page}")).parse().expect("a number")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).expect(path)
}

/// What promtool says. `None` where it is not to be had; on Linux `make test` installs it.
fn promtool(arguments: &[&str], input: &str) -> Option<(bool, String)> {
    let folder = format!("{}/deploy/prometheus", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = match command.spawn() {
        Ok(running) => running,
        Err(_) if cfg!(not(target_os = "linux")) => return None,
        Err(error) => panic!("promtool: {error}; run scripts/ensure-promtool.sh"),
    };
    running.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("written");
    let done = running.wait_with_output().expect("it ends");
    let told = [done.stdout, done.stderr].concat();
    Some((done.status.success(), String::from_utf8_lossy(&told).into_owned()))
}

fn assert_clean(arguments: &[&str], input: &str) {
    if let Some((is_clean, told)) = promtool(arguments, input) {
        assert!(is_clean, "{arguments:?}: {told}");
    }
}

fn table() -> impl Iterator<Item = Metric> {
    ALL.iter().map(|entry| *entry.metric()).chain(process::METRICS)
}

async fn page_of(app: &TestApp) -> String {
    let answer = app.http.get(format!("http://{}/metrics", app.metrics)).send().await.expect("an answer");
    answer.text().await.expect("a page")
}

#[tokio::test]
async fn the_page_has_help_and_every_counter_and_promtool_finds_no_fault() {
    metrics::start();
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.answers(ADA, "hi").await;
    Observed::serving(&app.storage).and_workers(&app.storage, &app.workers).sample().await.expect("sampled");
    let page = page_of(&app).await;
    for metric in table().filter(|metric| metric.kind == "counter" && metric.name != "process_cpu_seconds_total") {
        assert!(page.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{}", metric.name);
        let words: usize = metric.labels.iter().map(|(_, words)| words.len()).product();
        let series = page.lines().filter(|line| {
            line.starts_with(&format!("{}{{", metric.name)) || line.starts_with(&format!("{} ", metric.name))
        });
        assert_eq!(series.count(), words, "{} has not all its series from the start", metric.name);
    }
    let named: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    let typed: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(named, typed, "each metric has its help");
    let known: BTreeSet<&str> = table().map(|metric| metric.name).collect();
    assert!(named.is_subset(&known), "{:?}", named.difference(&known));
    assert!(!page.contains("4155550101"), "no label has a number");
    assert_clean(&["check", "metrics"], &page);
}

#[tokio::test]
async fn a_text_and_its_reply_are_counted_on_their_way() {
    metrics::start();
    let operation = "textback_api_requests_total{operation=\"get_project\",status=\"2xx\"}";
    let series = [
        "textback_webhook_requests_total{hook=\"messages\",result=\"stored\"}",
        "textback_turns_total{outcome=\"answered\"}",
        "textback_agent_calls_total{kind=\"script\",function=\"reply\",result=\"ok\"}",
        "textback_deliveries_total{outcome=\"accepted\"}",
        "textback_segments_total{encoding=\"gsm7\"}",
        "textback_sessions_opened_total{origin=\"inbound\"}",
        "textback_sessions_closed_total{reason=\"operator_ended\"}",
        operation,
    ];
    let before = series.map(value);
    let replies = || {
        metrics::render()
            .lines()
            .filter_map(|line| line.strip_prefix("textback_text_to_reply_seconds_count ")?.parse::<f64>().ok())
            .sum::<f64>()
    };
    let replies_before = replies();
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    assert_eq!(app.answers(ADA, "hi").await, ["You said hi"]);
    app.ok(Method::GET, "/v1/project", None).await;
    let sessions = app.ok(Method::GET, "/v1/sessions", None).await;
    let session = sessions["items"][0]["id"].as_str().expect("an id");
    app.ok(Method::POST, &format!("/v1/sessions/{session}/end"), None).await;
    for (series, before) in series.into_iter().zip(before) {
        assert!(value(series) > before, "{series} was not counted");
    }
    assert!(replies() > replies_before, "the time to the reply was not measured");
}

#[tokio::test]
async fn all_processes_show_the_sample_that_one_of_them_took() {
    metrics::start();
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.answers(ADA, "hi").await;
    app.sql("insert into turn (session_id, id, project_id, agent_id, due_at) select id, id, project_id, agent_id, now() - interval '1 hour' from session").await;
    let (one, other) = (Observed::serving(&app.storage), Observed::serving(&app.storage));
    // Two at once: one of them counts.
    let (first, second) = tokio::join!(one.sample(), other.sample());
    first.and(second).expect("sampled");
    let taken = "select string_agg(name || ' ' || sampled_at, ',' order by name) from metric_sample";
    let taken_at: String = sqlx::query_scalar(taken).fetch_one(app.storage.pool()).await.expect("two samples");
    assert!(taken_at.contains("queues 2") && taken_at.contains(",sessions 2"), "{taken_at}");
    app.sql("delete from turn").await;
    other.sample().await.expect("read");
    let again: String = sqlx::query_scalar(taken).fetch_one(app.storage.pool()).await.expect("two samples");
    assert_eq!(again, taken_at, "it is not due");
    let counts = "select counts->'due'->0->>'kind' || ' ' || (counts->'due'->0->>'due') from metric_sample where name = 'queues'";
    let counts: String = sqlx::query_scalar(counts).fetch_one(app.storage.pool()).await.expect("counts");
    assert_eq!(counts, "turn 1");
    let sessions = "select counts::text from metric_sample where name = 'sessions'";
    let sessions: String = sqlx::query_scalar(sessions).fetch_one(app.storage.pool()).await.expect("counts");
    assert!(sessions.contains("\"sessions\": 1") && sessions.contains("\"open\""), "{sessions}");
    app.sql("update metric_sample set next_at = now()").await;
    one.sample().await.expect("sampled");
    let later: String = sqlx::query_scalar(taken).fetch_one(app.storage.pool()).await.expect("two samples");
    assert_ne!(later, taken_at, "it was due again");
    // A sample that a newer version took is not shown, and harms nobody.
    app.sql("update metric_sample set counts = '{\"due\": [{\"kind\": \"dream\", \"due\": 1, \"seconds\": 1}]}'").await;
    one.sample().await.expect("read");
}

#[tokio::test]
async fn a_page_asks_the_database_nothing() {
    metrics::start();
    let app = TestApp::with_agent(ECHO, json!({})).await;
    app.storage.pool().close().await;
    let page = tokio::time::timeout(Duration::from_secs(5), page_of(&app)).await.expect("at once");
    assert!(page.contains("textback_build_info{version="), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_serves_its_metrics_at_each_address_that_it_is_given() {
    let app = TestApp::new().await;
    let mut command = app.command("work", &app.secret_key);
    command.env("TEXTBACK_METRICS_LISTEN", "127.0.0.1:0").env("TEXTBACK_WORK_LISTEN", "127.0.0.1:0");
    let mut work = Running::start(&mut command, false);
    let mut pages = BTreeSet::new();
    for _ in 0..2 {
        let line = work.until("metrics listener started");
        let (_, address) = line.split_once("address=").expect("an address");
        pages.insert(format!("http://{}/metrics", address.split_whitespace().next().expect("an address")));
    }
    assert_eq!(pages.len(), 2, "{pages:?}");
    for page in pages {
        let shown = || async { reqwest::get(&page).await.expect("an answer").text().await.expect("a page") };
        // The first sample and the first check of the readiness come a moment after the start.
        let mut text = shown().await;
        let until = Instant::now() + Duration::from_secs(60);
        let all =
            ["textback_ready 1", "textback_due{work=\"turn\"} 0", "textback_sample_age_seconds{sample=\"queues\"}"];
        while !all.iter().all(|series| text.contains(series)) {
            assert!(Instant::now() < until, "{text}");
            tokio::task::yield_now().await;
            text = shown().await;
        }
        assert_eq!(value_in(&text, "textback_database_connections_limit{pool=\"workers\"}"), 12.0);
        assert!(value_in(&text, "textback_slots{work=\"turn\"}") > 0.0);
        assert!(value_in(&text, "textback_sample_age_seconds{sample=\"queues\"}") < 60.0);
    }
}

/// `INSTA_UPDATE=always` writes the page.
#[test]
fn the_page_of_metrics_is_made_of_the_table() {
    let (head, rest) = ("<!-- The table is made of src/telemetry/metrics/table.rs. -->\n\n", read("docs/metrics.md"));
    let (before, _) = rest.split_once(head).expect("the place of the table");
    let expected = format!("{before}{head}{}", metrics::markdown());
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md"), expected).expect("written");
    } else {
        assert!(rest == expected, "docs/metrics.md is not what the table says; run this test with INSTA_UPDATE=always");
    }
}

#[test]
fn each_metric_is_in_the_table_and_each_of_the_table_is_used() {
    let sources = files("src", "rs");
    let table = sources.iter().find(|(path, _)| path == "src/telemetry/metrics/table.rs").expect("the table");
    let others: Vec<&(String, String)> =
        sources.iter().filter(|(path, _)| !path.starts_with("src/telemetry/metrics")).collect();
    for (path, text) in &others {
        for call in ["counter!", "gauge!", "histogram!"] {
            assert!(!text.contains(call), "{path} has a metric that is not in the table: {call}");
        }
        for word in text.split('"').filter(|word| word.starts_with("textback_")) {
            let is_metric = word.ends_with("_total") || word.ends_with("_seconds");
            assert!(!is_metric, "{path} has a metric that is not in the table: {word}");
        }
    }
    let in_metrics = &sources.iter().find(|(path, _)| path == "src/telemetry/metrics.rs").expect("the module").1;
    let mut handles = 0;
    for line in table.1.lines().map(str::trim) {
        let Some((kind, rest)) = line.split_once(' ') else { continue };
        let Some((handle, name)) =
            rest.split_once(" = \"textback_").filter(|_| ["Counter", "Gauge", "Histogram"].contains(&kind))
        else {
            continue;
        };
        handles += 1;
        let used = format!("metrics::{handle}.");
        let is_used =
            others.iter().any(|(_, text)| text.contains(&used)) || in_metrics.contains(&format!("{handle}.set"));
        assert!(is_used, "textback_{name} is never written");
    }
    assert_eq!(handles, ALL.len());
}

#[test]
fn the_operations_of_the_table_are_those_of_the_document() {
    let document: serde_json::Value = serde_json::from_str(&textback::http::api::document_as_json()).expect("JSON");
    let paths = document["paths"].as_object().expect("paths").values();
    let operations = paths.flat_map(|path| path.as_object().expect("operations").values());
    let mut ids: BTreeSet<&str> = operations.filter_map(|operation| operation["operationId"].as_str()).collect();
    ids.insert(metrics::NONE);
    assert_eq!(ids, metrics::OPERATIONS.iter().copied().collect());
}

/// The alerts of `alerts.yaml`, by their names.
fn alerts() -> BTreeMap<String, Value> {
    let rules: Value = serde_yaml::from_str(&read("deploy/prometheus/alerts.yaml")).expect("YAML");
    let groups = rules["groups"].as_sequence().expect("groups");
    let rules = groups.iter().flat_map(|group| group["rules"].as_sequence().expect("rules"));
    let named: BTreeMap<String, Value> =
        rules.map(|rule| (rule["alert"].as_str().expect("a name").to_owned(), rule.clone())).collect();
    assert!(named.len() >= 20, "{}", named.len());
    named
}

/// The names of metrics in a text that no metric of the table has.
fn unknown_metrics(text: &str) -> BTreeSet<&str> {
    let known: BTreeSet<&str> = table().map(|metric| metric.name).collect();
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let names = text
        .split(|letter| !is_part(letter))
        .filter(|name| name.starts_with("textback_") || name.starts_with("process_"));
    let of_a_histogram = |name: &str| {
        let base = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        table().any(|metric| metric.kind == "histogram" && metric.name == base)
    };
    names.filter(|name| !known.contains(name) && !of_a_histogram(name)).collect()
}

#[test]
fn each_alert_has_a_section_of_the_runbook_and_known_metrics() {
    let runbook = read("docs/operations/runbook.md");
    let sections: BTreeMap<&str, &str> =
        runbook.split("\n## ").skip(1).filter_map(|section| section.split_once('\n')).collect();
    let alerts = alerts();
    assert_eq!(sections.keys().copied().collect::<BTreeSet<_>>(), alerts.keys().map(String::as_str).collect());
    for (name, rule) in &alerts {
        let section = sections[name.as_str()];
        let severity = rule["labels"]["severity"].as_str().expect("a severity");
        assert!(["critical", "warning"].contains(&severity), "{name}: {severity}");
        let summary = rule["annotations"]["summary"].as_str().expect("a summary");
        assert!(section.contains(&format!("*{severity}: {summary}.*")), "the runbook says something else of {name}");
        for part in ["**What it means.**", "**What to look at.**", "**What to do.**"] {
            assert!(section.contains(part), "{name}: {part}");
        }
        let anchor = format!("docs/operations/runbook.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"].as_str(), Some(anchor.as_str()));
        let expression = rule["expr"].as_str().expect("an expression");
        assert_eq!(unknown_metrics(expression), BTreeSet::new(), "{name}");
    }
    assert_eq!(unknown_metrics(&runbook), BTreeSet::new());
    assert_eq!(unknown_metrics(&read("deploy/prometheus/alerts_test.yaml")), BTreeSet::new());
}

/// The words of labels in the rules must be words of these labels, or the rule never fires.
#[test]
fn the_words_in_the_rules_are_words_of_their_labels() {
    let text = read("deploy/prometheus/alerts.yaml") + &read("deploy/prometheus/alerts_test.yaml");
    let mut checked = 0;
    for metric in table() {
        for (at, _) in text.match_indices(metric.name) {
            let Some(selector) = text[at + metric.name.len()..].strip_prefix('{') else { continue };
            let (selector, _) = selector.split_once('}').expect("an end");
            for matcher in selector.split(", ").flat_map(|part| part.split(",")) {
                let Some((label, words)) = matcher.split_once(['=', '!']) else { continue };
                let words = words.trim_start_matches(['=', '~']).trim_matches('"');
                let Some((_, known)) = metric.labels.iter().find(|(name, _)| *name == label.trim()) else {
                    assert!(["instance", "job"].contains(&label.trim()), "{} has no label {label}", metric.name);
                    continue;
                };
                for word in words.split('|') {
                    checked += 1;
                    assert!(known.contains(&word), "{}: {label} has no word {word}", metric.name);
                }
            }
        }
    }
    assert!(checked > 60, "{checked}");
}

/// Kinds of jobs whose oldest due job no alert watches, and the metric that an alert watches
/// instead.
const WATCHED_OTHERWISE: [(JobKind, &str); 2] = [
    // What matters is how long the delivery stays unknown, and not when it is looked for.
    (JobKind::UnknownDelivery, "textback_oldest_unknown_delivery_age_seconds"),
    // The job is due again and again. The hours that it has not counted tell whether it is late.
    (JobKind::Rollup, "textback_rollup_lag_seconds"),
];

#[test]
fn an_alert_watches_each_kind_of_job() {
    let alerts = alerts();
    let expressions: Vec<&str> = alerts.values().map(|rule| rule["expr"].as_str().expect("an expression")).collect();
    let selectors = expressions.iter().flat_map(|text| text.split("textback_oldest_due_age_seconds{work=").skip(1));
    let lists =
        selectors.filter_map(|selector| selector.trim_start_matches('~').trim_start_matches('"').split('"').next());
    let watched: BTreeSet<&str> = lists.flat_map(|list| list.split('|')).collect();
    for kind in JobKind::ALL {
        match WATCHED_OTHERWISE.iter().find(|(other, _)| other == kind) {
            Some((_, metric)) => {
                assert!(expressions.iter().any(|text| text.contains(metric)), "no alert has {metric}");
                assert!(!watched.contains(kind.as_str()), "{kind} is watched twice");
            }
            None => assert!(watched.contains(kind.as_str()), "no alert watches the oldest {kind}"),
        }
    }
}

#[test]
fn each_alert_is_tested_and_fires_when_it_should() {
    let tests: Value = serde_yaml::from_str(&read("deploy/prometheus/alerts_test.yaml")).expect("YAML");
    let (mut fires, mut stays_quiet) = (BTreeSet::new(), BTreeSet::new());
    for test in tests["tests"].as_sequence().expect("tests") {
        for case in test["alert_rule_test"].as_sequence().expect("cases") {
            let name = case["alertname"].as_str().expect("a name").to_owned();
            let is_quiet = case["exp_alerts"].as_sequence().expect("alerts").is_empty();
            if is_quiet {
                stays_quiet.insert(name)
            } else {
                fires.insert(name)
            };
        }
    }
    let names: BTreeSet<String> = alerts().into_keys().collect();
    assert_eq!((&fires, &stays_quiet), (&names, &names));
    assert_clean(&["check", "rules", "alerts.yaml"], "");
    assert_clean(&["test", "rules", "alerts_test.yaml"], "");
    assert_clean(&["check", "config", "prometheus.yaml"], "");
}
