//! Formats a log line as one flat JSON object: the fields of the line, and then those of the spans
//! around it. So the ids of a message are at the same place in every line of its flow.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// The format of JSON lines. The fields of spans must be formatted as JSON too.
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut fields = Map::new();
        event.record(&mut Fields(&mut fields));
        let message = fields.remove("message").unwrap_or_default();
        let span = context.lookup_current();
        write!(writer, "{{\"timestamp\":{},\"level\":\"{}\"", json(&timestamp.into()), metadata.level())?;
        write!(writer, ",\"message\":{},\"target\":\"{}\"", json(&message), metadata.target())?;
        if let Some(span) = &span {
            write!(writer, ",\"span\":\"{}\"", span.name())?;
        }
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            let formatted = extensions.get::<FormattedFields<N>>().map(|formatted| formatted.fields.as_str());
            let of_span: Map<String, Value> =
                formatted.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            for (name, value) in of_span {
                // What is nearer to the line says more of it.
                fields.entry(name).or_insert(value);
            }
        }
        for (name, value) in &fields {
            write!(writer, ",{}:{}", json(&name.as_str().into()), json(value))?;
        }
        writeln!(writer, "}}")
    }
}

fn json(value: &Value) -> String {
    value.to_string()
}

/// Collects the fields of a line.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn insert(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}").into());
    }
}
