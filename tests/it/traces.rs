//! Traces: one text through two processes is one trace at the collector, and a collector that is
//! away stops nothing.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::commands::Running;
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

/// The settings of a process that exports its spans to a collector.
fn exporting(address: &str) -> [(&str, &str); 2] {
    [("OTEL_EXPORTER_OTLP_ENDPOINT", address), ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=of-the-collector")]
}

/// The id of the trace that a message begins.
fn trace_of(message_id: &Value) -> Vec<u8> {
    hex::decode(message_id.as_str().expect("an id").replace('-', "")).expect("hex")
}

/// The spans of a name.
fn named<'a>(all: &'a [Exported], name: &str) -> Vec<&'a Exported> {
    all.iter().filter(|exported| exported.span.name == name).collect()
}

/// Tells processes to end, which exports what waits.
fn end(processes: impl IntoIterator<Item = Running>) {
    for process in processes {
        process.tell(Signal::SIGTERM);
        assert_eq!(process.ended(), Some(0), "it stops in good order");
    }
}

/// Sends one text through `serve` and a separate worker that call an agent, until the carrier has
/// reported. Then both end and export what waits.
async fn text_once(app: &TestApp, agent: Value, variables: &[(&str, &str)]) {
    let serve_variables = [&[("OTEL_SERVICE_NAME", "of-serve")], variables].concat();
    let mut processes = Processes::of(app, &serve_variables);
    let mut serve = processes.start("serve", "server started");
    processes.set("OTEL_SERVICE_NAME", "of-work");
    let work = processes.start("work", "workers started");
    processes.attach(app, agent).await;
    app.text(ADA, "hello").await;
    app.simulator.until_received(ADA, NUMBER, 1).await;
    serve.until("delivery_status=\"delivered\"");
    end([work, serve]);
}

fn echo() -> Value {
    json!({"name": "echo", "kind": "script", "source": ECHO, "first_message": "process"})
}

#[tokio::test(flavor = "multi_thread")]
async fn one_text_through_two_processes_is_one_trace() {
    let (app, collector) = (TestApp::new().await, collector().await);
    let address = collector.uri();
    text_once(&app, echo(), &exporting(&address)).await;

    let all = exported(&collector).await;
    let session = &app.sessions().await[0];
    let messages = app.messages(session).await;
    let trace_id = trace_of(&messages[0]["id"]);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_answers_several_messages_is_linked_to_each() {
    let (app, collector) = (TestApp::new().await, collector().await);
    let address = collector.uri();
    let mut processes = Processes::of(&app, &exporting(&address));
    let mut serve = processes.start("serve", "server started");
    processes.attach(&app, echo()).await;
    // No worker runs yet, so one turn waits for all three.
    for text in ["one", "two", "three"] {
        app.text(ADA, text).await;
    }
    processes.set("TEXTBACK_LOG", "json");
    let mut work = processes.start("work", "workers started");
    let settled: Value = serde_json::from_str(&work.until("the turn was settled")).expect("JSON");
    app.simulator.until_received(ADA, NUMBER, 1).await;
    serve.until("delivery_status=\"delivered\"");
    end([work, serve]);

    let session = &app.sessions().await[0];
    let ids: Vec<Value> = app.messages(session).await.iter().take(3).map(|message| message["id"].clone()).collect();
    let [first, second, third] = ids.as_slice() else { panic!("three messages: {ids:?}") };
    assert_eq!(&settled["turn_id"], first);
    let further = [second, third].map(|id| id.as_str().expect("an id")).join(",");
    assert_eq!(settled["further_message_ids"], json!(further), "{settled}");

    let all = exported(&collector).await;
    let [turn] = named(&all, "process turn")[..] else { panic!("one attempt") };
    assert_eq!(turn.span.trace_id, trace_of(first));
    assert_eq!(turn.attributes()["messaging.batch.message_count"], json!(3));
    let ingested = named(&all, "ingest message");
    let linked: Vec<(&[u8], &[u8])> =
        turn.span.links.iter().map(|link| (link.trace_id.as_slice(), link.span_id.as_slice())).collect();
    let expected: Vec<(&[u8], &[u8])> = [second, third]
        .map(|id| ingested.iter().find(|exported| exported.span.trace_id == trace_of(id)).expect("its ingest"))
        .map(|exported| (exported.span.trace_id.as_slice(), exported.span.span_id.as_slice()))
        .to_vec();
    assert_eq!(linked, expected);
    let webhooks = named(&all, "POST /webhooks/{carrier}/{key}/messages");
    for id in &ids {
        let (trace, of_trace) = (trace_of(id), |spans: &[&Exported]| {
            spans.iter().filter(|exported| exported.span.trace_id == trace_of(id)).count()
        });
        assert_eq!((of_trace(&webhooks), of_trace(&ingested)), (1, 1), "{}", hex::encode(trace));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_the_api_has_a_span_and_begins_the_trace_of_its_message() {
    let (app, collector) = (TestApp::new().await, collector().await);
    let address = collector.uri();
    let mut processes = Processes::of(&app, &exporting(&address));
    processes.set("OTEL_SERVICE_NAME", "of-serve");
    let mut serve = processes.start("serve", "server started");
    processes.set("OTEL_SERVICE_NAME", "of-work");
    let work = processes.start("work", "workers started");
    processes.attach(&app, echo()).await;
    let url = |path: &str| format!("http://{}{path}", processes.address);
    // The second request is a repetition of the first, and makes no message.
    for request_id in ["first", "again"] {
        let sending = app.http.post(url("/v1/messages")).bearer_auth(&app.key).header("X-Request-Id", request_id);
        let sending = sending.header("Idempotency-Key", "k").json(&json!({"to": ADA, "body": "Your table is ready."}));
        assert_eq!(sending.send().await.expect("an answer").status(), 202);
    }
    app.simulator.until_received(ADA, NUMBER, 1).await;
    serve.until("delivery_status=\"delivered\"");
    let nothing = "/v1/messages/0198c0de-0000-7000-8000-000000000001";
    for (path, key, status) in [(nothing, &*app.key, 404), ("/v1/nothing", &*app.key, 404), (nothing, "tb_wrong", 401)]
    {
        let answer = app.http.get(url(path)).bearer_auth(key).send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{path}");
    }
    end([work, serve]);

    let all = exported(&collector).await;
    let session = &app.sessions().await[0];
    let message_id = app.messages(session).await[0]["id"].clone();
    let requests = named(&all, "POST /v1/messages");
    let find = |id: &str| {
        *requests.iter().find(|request| request.attributes()["textback.request.id"] == id).expect("its span")
    };
    let (request, again) = (find("first"), find("again"));
    assert_eq!((request.span.trace_id.clone(), request.service.as_str()), (trace_of(&message_id), "of-serve"));
    assert!(request.span.parent_span_id.is_empty() && again.span.trace_id != request.span.trace_id);
    let attributes = request.attributes();
    for (name, expected) in [
        ("http.request.method", json!("POST")),
        ("http.route", json!("/v1/messages")),
        ("http.response.status_code", json!(202)),
        ("textback.message.id", message_id),
        ("textback.session.id", session["id"].clone()),
    ] {
        assert_eq!(attributes[name], expected, "{attributes:?}");
    }
    let printed = format!("{attributes:?}");
    assert!(!printed.contains(ADA.trim_start_matches('+')) && !printed.contains("table"), "{printed}");
    let [sent] = named(&all, "send message")[..] else { panic!("one attempt") };
    assert_eq!((&sent.span.parent_span_id, sent.service.as_str()), (&request.span.span_id, "of-work"));
    assert_eq!(sent.span.trace_id, request.span.trace_id);
    for report in named(&all, "POST /webhooks/{carrier}/{key}/status") {
        assert_eq!(report.span.parent_span_id, sent.span.span_id);
    }

    // A caller's mistake is no error of ours, and who has no key has no span.
    let [missing] = named(&all, "GET /v1/messages/{id}")[..] else { panic!("one with a key") };
    assert_eq!(missing.attributes()["http.response.status_code"], json!(404));
    assert!(!missing.attributes().contains_key("error.type"));
    let [unknown] = named(&all, "GET")[..] else { panic!("a path that no operation has") };
    assert!(!unknown.attributes().contains_key("http.route"));
}
