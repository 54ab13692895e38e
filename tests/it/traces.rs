//! Traces: one text through two processes is one trace at the collector, and a collector that is away stops nothing.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{ADA, ECHO, NUMBER, TestApp};
use crate::logs::Processes;

async fn collector() -> MockServer {
    let collector = MockServer::start().await;
    let accepts = Mock::given(method("POST")).and(path("/v1/traces")).and(header("x-key", "of-the-collector"));
    accepts.respond_with(ResponseTemplate::new(200)).mount(&collector).await;
    collector
}

/// A span with the name of its service.
struct Exported {
    service: String,
    span: Span,
}

impl Exported {
    fn attributes(&self) -> BTreeMap<String, Value> {
        let value = |value: any_value::Value| match value {
            any_value::Value::StringValue(text) => json!(text),
            any_value::Value::IntValue(number) => json!(number),
            other => panic!("an attribute is {other:?}"),
        };
        let of_span = self.span.attributes.iter().cloned();
        of_span.map(|of| (of.key, value(of.value.and_then(|given| given.value).expect("a value")))).collect()
    }
}

/// What the collector got.
async fn exported(collector: &MockServer) -> Vec<Exported> {
    let mut all = Vec::new();
    for request in collector.received_requests().await.expect("it records") {
        let batch = ExportTraceServiceRequest::decode(&*request.body).expect("protobuf");
        for of_process in batch.resource_spans {
            let attributes = of_process.resource.expect("a resource").attributes;
            let name = attributes.into_iter().find(|given| given.key == "service.name").and_then(|given| given.value);
            let Some(any_value::Value::StringValue(service)) = name.and_then(|given| given.value) else {
                panic!("the service has no name")
            };
            let spans = of_process.scope_spans.into_iter().flat_map(|scope| scope.spans);
            all.extend(spans.map(|span| Exported { service: service.clone(), span }));
        }
    }
    all
}

/// Sends one text through `serve` and a separate worker that call an agent, until the carrier has reported. Then both
/// end and export what waits.
async fn text_once(app: &TestApp, agent: Value, variables: &[(&str, &str)]) {
    let serve_variables = [&[("OTEL_SERVICE_NAME", "of-serve")], variables].concat();
    let mut processes = Processes::of(app, &serve_variables);
    let mut serve = processes.start("serve", "serving");
    processes.set("OTEL_SERVICE_NAME", "of-work");
    let work = processes.start("work", "working");
    processes.attach(app, agent).await;
    app.text(ADA, "hello").await;
    app.simulator.until_received(ADA, NUMBER, 1).await;
    serve.until("delivery_status=\"delivered\"");
    for process in [work, serve] {
        process.tell(Signal::SIGTERM);
        assert_eq!(process.ended(), Some(0), "it stops in good order");
    }
}

fn echo() -> Value {
    json!({"name": "echo", "kind": "script", "source": ECHO, "first_message": "process"})
}

#[tokio::test(flavor = "multi_thread")]
async fn one_text_through_two_processes_is_one_trace() {
    let (app, collector) = (TestApp::new().await, collector().await);
    let address = collector.uri();
    let variables =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()), ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=of-the-collector")];
    text_once(&app, echo(), &variables).await;

    let all = exported(&collector).await;
    let session = &app.sessions().await[0];
    let messages = app.messages(session).await;
    let message_id = messages[0]["id"].as_str().expect("an id");
    let trace_id = hex::decode(message_id.replace('-', "")).expect("hex");
    let of_trace: Vec<&Exported> = all.iter().filter(|exported| exported.span.trace_id == trace_id).collect();
    let find = |name: &str| {
        *of_trace.iter().find(|exported| exported.span.name == name).unwrap_or_else(|| panic!("no {name}"))
    };
    let chain = [
        ("POST /webhooks/{carrier}/{key}/messages", "of-serve", None),
        ("ingest message", "of-serve", Some("POST /webhooks/{carrier}/{key}/messages")),
        ("process turn", "of-work", Some("ingest message")),
        ("invoke_agent", "of-work", Some("process turn")),
        ("settle turn", "of-work", Some("process turn")),
        ("send message", "of-work", Some("settle turn")),
        ("POST /webhooks/{carrier}/{key}/status", "of-serve", Some("send message")),
    ];
    for (name, service, parent) in chain {
        let exported = find(name);
        assert_eq!(exported.service, service, "{name}");
        let expected = parent.map(|parent| find(parent).span.span_id.clone()).unwrap_or_default();
        assert_eq!(exported.span.parent_span_id, expected, "the parent of {name}");
        assert!(exported.span.end_time_unix_nano >= exported.span.start_time_unix_nano, "{name}");
        assert_eq!(exported.span.flags & 1, 1, "{name} is sampled");
        let attributes = exported.attributes();
        let printed = format!("{attributes:?}");
        assert!(!printed.contains(ADA.trim_start_matches('+')) && !printed.contains("hello"), "{name}: {printed}");
        let is_messaging = !matches!(name, "invoke_agent" | "settle turn" | "POST /webhooks/{carrier}/{key}/messages");
        assert_eq!(attributes.contains_key("messaging.operation.name"), is_messaging, "{name}: {printed}");
        assert!(!attributes.contains_key("error.type"), "{name}: {printed}");
    }
    let carrier_id = &find("send message").attributes()["messaging.message.id"];
    assert_eq!(&find("POST /webhooks/{carrier}/{key}/status").attributes()["messaging.message.id"], carrier_id);
    assert_eq!(find("invoke_agent").attributes()["gen_ai.conversation.id"], session["id"]);
    let mut ids: Vec<&[u8]> = all.iter().map(|exported| exported.span.span_id.as_slice()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all.len(), "each span has an id of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gets_the_trace_of_its_turn() {
    let (app, collector, service) = (TestApp::new().await, collector().await, MockServer::start().await);
    let answers = ResponseTemplate::new(200).set_body_json(json!({"utterance": "1: hello"}));
    Mock::given(method("POST")).respond_with(answers).mount(&service).await;
    let agent = json!({"name": "service", "kind": "http", "url": service.uri(), "first_message": "process"});
    let address = collector.uri();
    let variables = [
        ("TEXTBACK_ALLOW_HOSTS", "127.0.0.1/32"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=of-the-collector"),
    ];
    text_once(&app, agent, &variables).await;

    let called = &service.received_requests().await.expect("it records")[0];
    let given = called.headers["traceparent"].to_str().expect("text");
    let all = exported(&collector).await;
    let call = &all.iter().find(|exported| exported.span.name == "invoke_agent").expect("the call").span;
    assert_eq!(given, format!("00-{}-{}-01", hex::encode(&call.trace_id), hex::encode(&call.span_id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_or_a_sample_texts_are_answered_all_the_same() {
    let (app, collector) = (TestApp::new().await, collector().await);
    let address = collector.uri();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=of-the-collector"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0"),
    ];
    text_once(&app, echo(), &variables).await;
    assert!(exported(&collector).await.is_empty(), "no trace is kept");

    // Nothing listens on this port.
    let app = TestApp::new().await;
    text_once(&app, echo(), &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")]).await;
}
