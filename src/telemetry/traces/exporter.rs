//! Exports spans in batches, and counts them: exported, failed, or dropped because too many wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor};
use uuid::Uuid;

use super::client::Client;
use super::settings::Settings;
use crate::repeating::Repeating;
use crate::telemetry::metrics;

/// Exports that fail.
static NOT_EXPORTED: Repeating = Repeating::new();

/// How many spans wait for their export.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    waiting: Arc<AtomicUsize>,
    most: usize,
}

impl Queue {
    /// Whether one more span may wait. Otherwise it is dropped.
    pub fn admit(&self) -> bool {
        let add_one = |waiting: usize| (waiting < self.most).then_some(waiting + 1);
        let is_admitted = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add_one).is_ok();
        if !is_admitted {
            count("dropped", 1);
        }
        is_admitted
    }

    fn leave(&self, spans: usize) {
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
    }
}

fn count(result: &'static str, spans: usize) {
    let spans = u64::try_from(spans).unwrap_or(u64::MAX);
    metrics::SPANS.add(&[result], spans);
}

/// An exporter that counts.
#[derive(Debug)]
struct Counting {
    exporter: opentelemetry_otlp::SpanExporter,
    queue: Queue,
}

impl SpanExporter for Counting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.exporter.export(batch).await;
        self.queue.leave(spans);
        match &exported {
            Ok(()) => count("exported", spans),
            Err(error) => {
                count("failed", spans);
                if let Some(times) = NOT_EXPORTED.observe("", &error.to_string()) {
                    tracing::warn!(%error, times, "spans could not be exported and were lost");
                }
            }
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The processor that exports the spans of this process, with its queue.
pub(super) fn processor(settings: &Settings) -> Result<(BatchSpanProcessor, Queue), String> {
    let client = Client::new(settings.timeout).map_err(|error| error.to_string())?;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(client)
        .build()
        .map_err(|error| error.to_string())?;
    let queue = Queue { waiting: Arc::default(), most: settings.queue };
    let mut processor = BatchSpanProcessor::builder(Counting { exporter, queue: queue.clone() }).build();
    processor.set_resource(&resource(settings));
    Ok((processor, queue))
}

/// What the spans of this process have in common. `OTEL_SERVICE_NAME` and
/// `OTEL_RESOURCE_ATTRIBUTES` add to it.
fn resource(settings: &Settings) -> Resource {
    let resource = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", Uuid::now_v7().to_string()));
    if settings.names_service { resource.with_service_name("textback").build() } else { resource.build() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_as_many_spans_wait_as_the_queue_holds() {
        let queue = Queue { waiting: Arc::default(), most: 2 };
        assert_eq!([queue.admit(), queue.admit(), queue.admit()], [true, true, false]);
        queue.leave(1);
        assert_eq!([queue.admit(), queue.admit()], [true, false]);
    }
}
