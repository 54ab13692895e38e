//! Logs and metrics: where they go and in which shape; it decides nothing and counts nothing itself.

use std::io::IsTerminal;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// The shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Starts logging to stderr; `RUST_LOG` says how much.
pub fn log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn,poem=warn,apalis=warn,apalis_core=warn"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second subscriber in the same process (tests) is refused, and that is fine.
    let _ = match format {
        LogFormat::Text => subscriber.with_target(false).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
}

/// The metrics of this process in Prometheus' text format.
pub fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        let builder = PrometheusBuilder::new();
        let builder =
            builder.set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &seconds).unwrap_or_default();
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        // Only the first recorder of a process counts; OnceLock makes it the only one.
        let _ = metrics::set_global_recorder(recorder);
        metrics::gauge!("textback_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        handle
    })
}

/// A number as logs may show it: the last four digits.
pub fn masked(number: &str) -> String {
    let last: String = number.chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
    format!("…{last}")
}
